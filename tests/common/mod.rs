//! What the integration tests share: a real broker, a local app, the connector inside the test's
//! process or as a process of its own. Everything listens on loopback and ends with the test.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test file uses its own part of this"
)]

mod aggregated;
mod app;
mod authority;
mod connector;
mod disk;
#[cfg(feature = "local")]
mod endpoint;
pub mod http;
pub mod iot;
mod mosquitto;
mod packets;
mod ports;
mod programs;
mod publisher;
mod relay;
#[cfg(feature = "local")]
mod watched;

use std::time::{Duration, Instant};

pub use aggregated::{decompressed, lines, telemetry};
pub use app::{App, Status};
pub use authority::Authority;
pub use connector::{
    ConnectorProcess, RunningConnector, imbalance, parameters, program, quick_firehose,
};
pub use disk::SmallDisk;
#[cfg(feature = "local")]
pub use endpoint::{endpoint, endpoint_at, endpoint_with};
pub use mosquitto::{Mosquitto, MosquittoOptions};
pub use packets::packet;
pub use ports::free_port;
pub use programs::{finish, finish_with, moto_server, python, stderr, stdout};
pub use publisher::Publisher;
pub use relay::Relay;
#[cfg(feature = "local")]
pub use watched::{Watched, free_address};

/// The stream that tests send to when they name none.
pub const STREAM: &str = "arn:aws:firehose:us-east-1:123456789012:deliverystream/test";

/// The ARN of another stream.
pub fn stream_arn(name: &str) -> String {
    format!("arn:aws:firehose:us-east-1:123456789012:deliverystream/{name}")
}

/// How long a test waits for what must happen before it fails. Long, since machines are slow at
/// times: it decides how long a failing test takes, never whether a working one passes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < PATIENCE,
            "did not happen within {PATIENCE:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
