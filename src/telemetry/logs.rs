//! Logs on standard error, as text or JSON lines, filtered by `RUST_LOG`.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use super::last_words;
use super::otlp::Exports;
use crate::parameters::LogFormat;

/// What is logged where `RUST_LOG` is not set. The AWS library tells at every attempt that it found
/// no credentials; delivery tells it once. What it says of faulty settings stays.
const DEFAULT: [(&str, LevelFilter); 3] = [
    ("aws_config", LevelFilter::ERROR),
    ("aws_config::default_provider", LevelFilter::WARN),
    ("aws_config::provider_config", LevelFilter::WARN),
];

/// Starts logging. `quiet` names libraries of which only warnings are of interest. Only the first
/// call of a process has an effect.
pub fn init(format: LogFormat, quiet: &[&str]) {
    let (filter, not_understood) = filter(quiet);
    // An error means that logging was started before.
    let started = Registry::default()
        .with(filter)
        .with(lines(format))
        .try_init();
    if started.is_ok() {
        begin(format, not_understood);
    }
}

/// The same, with spans for whoever exports them: what filters the lines does not filter these.
pub fn init_with_exports(format: LogFormat, exports: &Exports) {
    let Some(spans) = exports.spans() else {
        return init(format, &[]);
    };
    let (filter, not_understood) = filter(&[]);
    let lines = lines(format).with_filter(filter);
    let started = Registry::default().with(spans).with(lines).try_init();
    if started.is_ok() {
        begin(format, not_understood);
    }
}

/// What of `RUST_LOG` is to be logged, and what of it is not understood.
fn filter(quiet: &[&str]) -> (Targets, Vec<String>) {
    let (filter, not_understood) = match std::env::var_os("RUST_LOG") {
        Some(directives) => read(&directives.to_string_lossy()),
        None => {
            let quiet = quiet.iter().map(|&library| (library, LevelFilter::WARN));
            let filter = by_default().with_targets(DEFAULT.into_iter().chain(quiet));
            (filter, Vec::new())
        }
    };
    let filter = filter.with_target(last_words::TARGET, LevelFilter::ERROR);
    (filter, not_understood)
}

/// What writes the lines.
fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}

/// The log stands: whatever is said from now on is said in its format.
fn begin(format: LogFormat, not_understood: Vec<String>) {
    if format == LogFormat::Json {
        last_words::speak_json();
    }
    for directive in not_understood {
        tracing::warn!(
            directive,
            "this part of RUST_LOG is not understood and left out; valid are LEVEL, TARGET=LEVEL and \
             TARGET, with a comma between them and one of off, error, warn, info, debug, trace as LEVEL"
        );
    }
}

/// Everything from `info` on.
fn by_default() -> Targets {
    Targets::new().with_default(LevelFilter::INFO)
}

/// Reads the value of `RUST_LOG`: directives with a comma between them, of which the last one wins that
/// speaks of the same. Gives those too that are not understood.
fn read(directives: &str) -> (Targets, Vec<String>) {
    let mut not_understood = Vec::new();
    let mut filter = Targets::new();
    let mut any = false;
    for directive in directives.split(',').map(str::trim) {
        if directive.is_empty() {
            continue;
        }
        // Brackets would be about spans and their fields, of which there are none worth a filter.
        match directive.parse::<Targets>() {
            Ok(one) if !directive.contains('[') => {
                any = true;
                if let Some(level) = one.default_level() {
                    filter = filter.with_default(level);
                }
                filter = filter.with_targets(one);
            }
            _ => not_understood.push(directive.to_owned()),
        }
    }
    // As without it: nothing said is not "say nothing".
    (if any { filter } else { by_default() }, not_understood)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn a_level_a_target_and_both() {
        let (filter, not_understood) = read("warn,kinesis_edge=debug, rustls=off,hyper");
        assert!(not_understood.is_empty(), "{not_understood:?}");
        assert!(filter.would_enable("kinesis_edge::mqtt", &Level::DEBUG));
        assert!(!filter.would_enable("kinesis_edge::mqtt", &Level::TRACE));
        assert!(!filter.would_enable("rustls::client", &Level::ERROR));
        assert!(filter.would_enable("hyper::proto", &Level::TRACE));
        assert!(filter.would_enable("aws_config", &Level::WARN));
        assert!(!filter.would_enable("aws_config", &Level::INFO));
    }

    #[test]
    fn what_is_not_understood_costs_only_itself() {
        let (filter, not_understood) = read("kinesis_edge=loud,[span]=debug,aws_config=debug");
        assert_eq!(not_understood, ["kinesis_edge=loud", "[span]=debug"]);
        assert!(filter.would_enable("aws_config", &Level::DEBUG));
    }

    #[test]
    fn nothing_said_is_info() {
        for directives in ["", " , ", "kinesis_edge=loud"] {
            let (filter, _) = read(directives);
            assert!(
                filter.would_enable("kinesis_edge", &Level::INFO),
                "{directives:?}"
            );
            assert!(
                !filter.would_enable("kinesis_edge", &Level::DEBUG),
                "{directives:?}"
            );
        }
    }
}
