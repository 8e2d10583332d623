//! What holds of any bytes from outside, one module for each place that they come in by. The fuzz targets
//! look for bytes of which it does not; `tests/fuzz_corpus.rs` gives them those that were found before.

pub mod arn;
pub mod http;
pub mod parameters;
pub mod request;
pub mod segment;
