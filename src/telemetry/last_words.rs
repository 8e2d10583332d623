//! Why the program ends, and where a fault of ours (a panic) is: plain text for a person, and lines of the log like
//! all others where programs read it.

use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};

/// Where these lines come from, as `RUST_LOG` knows it. They are logged whatever that says.
pub(super) const TARGET: &str = "kinesis_edge::last_words";

/// Whether the log is JSON lines.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// From now on standard error takes JSON lines only.
pub(super) fn speak_json() {
    IS_JSON.store(true, Ordering::Relaxed);
    panic::set_hook(Box::new(log_panic));
}

/// Says on standard error why the program ends.
pub fn last_words(words: &str) {
    if IS_JSON.load(Ordering::Relaxed) {
        tracing::error!(target: TARGET, "{words}");
    } else {
        eprintln!("{words}");
    }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    tracing::error!(
        target: TARGET,
        panic = panic.payload_as_str().unwrap_or("it says nothing"),
        place = panic.location().map(tracing::field::display),
        "a fault of kinesis-edge; what it was about goes on or is begun anew where that is possible"
    );
}
