//! What the code under test logs, as whoever reads the log finds it with `LOG_FORMAT=json`.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing::span;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::fmt::MakeWriter;

/// Holds what was written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Behind all threads, and interested in nothing: without it, a line that is logged for the first time on a thread where
/// nobody listens may be taken for one that nobody ever wants, though a listener comes on another thread just then.
struct Nobody;

impl Subscriber for Nobody {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The lines that `run` logs on this thread, of level `info` and above.
pub(crate) fn lines(run: impl FnOnce()) -> Vec<Value> {
    // All but the first find it there.
    let _ = tracing::subscriber::set_global_default(Nobody);
    let written = Written::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(written.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, run);
    let written = written.0.lock().unwrap();
    written
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("a JSON object"))
        .collect()
}
