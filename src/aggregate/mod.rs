//! Aggregation: requests of a stream joined into one Firehose record, since Firehose bills each record
//! rounded up to 5 KB. [`cut`] says which go together, [`plan`] what one call carries, [`pack`] joins
//! them, and [`compress`] makes them smaller.

pub mod compress;
pub mod cut;
pub mod pack;
pub mod plan;

pub use compress::Compression;
pub use cut::{BILLED_BYTES, Group, GroupLimits, billed_bytes};
pub use pack::Aggregation;
pub use plan::Plan;
