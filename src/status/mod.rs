//! What became of each request, on its way back to the local apps: the documents, and the
//! [`Publisher`] that takes them from intake and delivery without ever making either wait.

mod document;
mod publisher;

pub use document::{Document, DocumentBuilder, Shape, Verdict};
pub use publisher::{Expected, Publisher, PublisherSettings, Room};
