//! The cases: what is measured, on whom, and how often.

pub mod fed;
mod footprint;
pub mod interval_0;
pub mod linear;
pub mod mosquitto;
pub mod watched;

use std::io;

use super::common::{ConnectorProcess, STREAM};
use super::endpoint::Endpoint;
use super::results::{Results, Row, Run};

/// Who is measured, as tables show it.
pub const FLOOR: &str = "rumqttc that only receives and acks";
pub const CONNECTOR: &str = "kinesis-edge";
pub const ON_DISK: &str = "kinesis-edge, queue on disk";

/// What all cases need.
pub struct Context {
    /// The program to measure.
    pub program: String,
    /// Where files go that must be on a disk, and results.
    pub folder: &'static str,
    /// How often each is measured where medians are taken.
    pub runs: usize,
}

/// A case.
pub struct Case {
    /// As it is asked for.
    pub name: &'static str,
    /// For a person.
    pub about: &'static str,
    /// Measures.
    pub run: fn(&Context, &mut Results),
}

/// All of them, in the order in which they run.
pub const ALL: [Case; 8] = [
    Case {
        name: "fed",
        about: "fed without limit, 200 bytes; peak memory; the queue on disk",
        run: fed::small,
    },
    Case {
        name: "large",
        about: "fed without limit, 1,000 bytes",
        run: fed::large,
    },
    Case {
        name: "slow",
        about: "fed, with 50 ms of endpoint latency and without",
        run: fed::slow,
    },
    Case {
        name: "mosquitto",
        about: "through mosquitto",
        run: mosquitto::run,
    },
    Case {
        name: "interval-0",
        about: "latency where each record is sent at once",
        run: interval_0::run,
    },
    Case {
        name: "linear",
        about: "cost by streams and sizes",
        run: linear::run,
    },
    Case {
        name: "watched",
        about: "fed, with the page open and metrics scraped, and without",
        run: watched::run,
    },
    Case {
        name: "footprint",
        about: "memory and CPU while idle, size of the program",
        run: footprint::run,
    },
];

/// Someone to measure: a name, and what does one run.
type Subject<'a> = (&'static str, &'a dyn Fn() -> io::Result<Run>);

/// Measures several in turn, as often as asked: what disturbs the machine disturbs all alike.
fn in_turn(context: &Context, results: &mut Results, case: &'static str, subjects: &[Subject]) {
    let mut rows: Vec<Row> = subjects
        .iter()
        .map(|&(subject, _)| Row {
            case,
            subject,
            runs: Vec::new(),
        })
        .collect();
    for _ in 0..context.runs {
        for (row, (subject, measure)) in rows.iter_mut().zip(subjects) {
            let run = match measure() {
                Ok(run) => run,
                Err(error) => {
                    results.fault(format!("{case}, {subject}: {error}"));
                    continue;
                }
            };
            println!(
                "{case:<10} {subject:<42} {:>9.0} records/s  {:>6.2} CPU s/M{}",
                run.rate(),
                run.cpu_per_million(),
                run.broker_seconds.map_or(String::new(), |_| format!(
                    "  mosquitto {:>5.2} CPU s/M, {:.0} % busy",
                    run.broker_per_million(),
                    run.broker_busy() * 100.0
                )),
            );
            row.runs.push(run);
        }
    }
    rows.retain(|row| !row.runs.is_empty());
    results.rows.append(&mut rows);
}

/// Starts the connector with the default settings, and `more`.
fn start_connector(
    context: &Context,
    mqtt_url: &str,
    endpoint: &Endpoint,
    more: &[(&str, &str)],
) -> ConnectorProcess {
    let endpoint_url = endpoint.url();
    let mut variables = vec![
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("MQTT_URL", mqtt_url),
        ("MQTT_CLIENT_ID", "connector"),
        // Faster than it can be delivered: what is too much waits where it comes from.
        ("WHEN_FULL", "wait"),
        ("AWS_ENDPOINT_URL_FIREHOSE", &endpoint_url),
        ("AWS_ACCESS_KEY_ID", "none"),
        ("AWS_SECRET_ACCESS_KEY", "none"),
    ];
    variables.extend_from_slice(more);
    ConnectorProcess::start_program(&context.program, &variables)
}

/// Stops a connector. It is to have nothing to complain of: everything was delivered and reported.
fn stop(connector: &mut ConnectorProcess) -> io::Result<()> {
    connector.signal("TERM");
    let status = connector.wait();
    let log = connector.stderr();
    // Whatever it warns of, the work was not done as it should be: statuses were dropped, say.
    if status.success() && !log.contains(" WARN ") && !log.contains(" ERROR ") {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the connector ended with {status}; its log:\n{log}"
    )))
}

/// Adds the connector's log to an error: it may say why.
fn with_log(connector: &ConnectorProcess, error: &io::Error) -> io::Error {
    io::Error::other(format!("{error}; its log:\n{}", connector.stderr()))
}
