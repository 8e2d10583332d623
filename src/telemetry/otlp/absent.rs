//! In place of the exports where the program is built without the feature `otlp`: there are none.

use tracing_subscriber::layer::Identity;

use super::observer::Observer;

/// What is exported: nothing.
pub struct Exports;

impl Exports {
    /// Nothing, whatever the environment says.
    pub fn from_environment(_client_id: &str) -> Self {
        Exports
    }

    /// Nobody takes spans.
    pub fn spans(&self) -> Option<Identity> {
        None
    }

    /// Nobody takes metrics.
    pub fn start(&mut self, _observer: Observer) {}

    /// Nothing is left.
    pub async fn stop(self) {}
}
