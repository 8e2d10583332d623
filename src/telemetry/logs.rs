//! Logs on standard error, as text or JSON lines, filtered by `RUST_LOG`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::parameters::LogFormat;

/// Starts logging. `quiet` names libraries of which only warnings are of interest. Only the first
/// call of a process has an effect.
pub fn init(format: LogFormat, quiet: &[&str]) {
    let mut filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env_lossy();
    if std::env::var_os("RUST_LOG").is_none() {
        for library in quiet {
            if let Ok(directive) = format!("{library}=warn").parse() {
                filter = filter.add_directive(directive);
            }
        }
    }
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // An error means that logging was started before.
    let _ = match format {
        LogFormat::Text => logs
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
}
