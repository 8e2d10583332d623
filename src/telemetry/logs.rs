//! Logs on standard error, as text or JSON lines, filtered by `RUST_LOG`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::parameters::LogFormat;

/// The AWS library tells at every attempt that it found no credentials; delivery tells it once. What
/// it says of faulty settings stays.
const ONCE_IS_ENOUGH: [&str; 3] = [
    "aws_config=error",
    "aws_config::default_provider=warn",
    "aws_config::provider_config=warn",
];

/// Starts logging. `quiet` names libraries of which only warnings are of interest. Only the first
/// call of a process has an effect.
pub fn init(format: LogFormat, quiet: &[&str]) {
    let mut filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env_lossy();
    if std::env::var_os("RUST_LOG").is_none() {
        let quiet = quiet.iter().map(|library| format!("{library}=warn"));
        let directives = quiet.chain(ONCE_IS_ENOUGH.map(str::to_owned));
        for directive in directives.filter_map(|directive| directive.parse().ok()) {
            filter = filter.add_directive(directive);
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
