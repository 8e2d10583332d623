//! Aggregation: requests of a stream joined into one Firehose record, since Firehose bills each record
//! rounded up to 5 KB. [`cut`] says which go together, [`compress`] makes them smaller, [`pack`] puts
//! them together.

pub mod compress;
pub mod cut;
pub mod pack;

pub use compress::Compression;
pub use cut::{BILLED_BYTES, GroupLimits, billed_bytes};
pub use pack::Aggregation;
