//! SIGTERM and SIGINT: the first asks for a stop, a second ends the process at once.

use std::process;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit status after a second signal: what was queued in memory is lost, and statuses may be.
const EXIT_AT_ONCE: i32 = 1;

/// Completes with the first signal.
///
/// # Errors
/// Where the system does not let us listen for signals.
pub fn stop_requested() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("a second signal: ending at once");
            process::exit(EXIT_AT_ONCE);
        });
    })
}

fn listen(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("the system does not let the process listen for signals")
}
