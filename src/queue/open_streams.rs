//! The streams in use, for whoever only looks at them: metrics, the page.

use std::sync::{Arc, Mutex, PoisonError};

use super::Stream;

/// The streams in use, the default stream first. Cheap to clone; clones see the same.
#[derive(Debug, Clone, Default)]
pub struct OpenStreams {
    streams: Arc<Mutex<Vec<Arc<Stream>>>>,
}

impl OpenStreams {
    /// A stream comes into use.
    pub fn add(&self, stream: Arc<Stream>) {
        self.with(|streams| streams.push(stream));
    }

    /// A stream is forgotten.
    pub fn remove(&self, stream: &Arc<Stream>) {
        self.with(|streams| streams.retain(|other| !Arc::ptr_eq(other, stream)));
    }

    /// Those in use now.
    pub fn all(&self) -> Vec<Arc<Stream>> {
        self.with(|streams| streams.clone())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Vec<Arc<Stream>>) -> T) -> T {
        work(&mut self.streams.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
