//! `kinesis-edge send`: publishes one request and waits for its status, for trying things by hand.

use std::cell::Cell;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use kinesis_edge::connector::session_settings;
use kinesis_edge::mqtt::{Event, Message, Parting, Session, host_and_port};
use kinesis_edge::parameters::{self, LogFormat, SendParameters};
use kinesis_edge::request::Topics;
use kinesis_edge::telemetry;
use serde_json::{Value, json};

use super::report;

/// How long the broker may take to let go of us.
const GOODBYE: Duration = Duration::from_secs(1);

pub fn command() -> Command {
    Command::new("send")
        .about("Publishes a request to a running connector and waits for its status")
        .long_about(
            "Publishes a request to the broker as a local app would, waits for its status and prints it. \
             Exit status: 0 for success, 1 for a fail or when no status came in time.",
        )
        .arg(Arg::new("data").value_name("DATA").required(true).help("The record; - reads it from standard input"))
        .arg(
            Arg::new("binary")
                .long("binary")
                .action(ArgAction::SetTrue)
                .help("Publish the record as it is on the binary topic, not inside a JSON request"),
        )
        .arg(Arg::new("id").long("id").value_name("ID").help("The id of the request [default: a random one]"))
        .arg(
            Arg::new("stream")
                .long("stream")
                .value_name("ARN")
                .conflicts_with("binary")
                .help("The stream to send to [default: the connector's default stream]"),
        )
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .value_name("SECONDS")
                .value_parser(value_parser!(u64).range(1..=86_400))
                .default_value("30")
                .help("How long to wait for the status; it should be longer than the publish interval"),
        )
        .args(parameters::args_mqtt())
}

pub async fn execute(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let parameters = match parameters::load_mqtt(matches) {
        Ok(parameters) => parameters,
        Err(faults) => return Ok(report(&faults)),
    };
    telemetry::init_logs(LogFormat::Text, &["kinesis_edge"]);
    let topics = Topics::new(&parameters.topic_prefix);
    let request = Request::from_arguments(matches, &topics)?;
    let seconds = matches.get_one::<u64>("timeout").copied().unwrap_or(30);
    let published = Cell::new(false);
    let answer = tokio::time::timeout(
        Duration::from_secs(seconds),
        exchange(&parameters, &topics, &request, &published),
    )
    .await;
    let Ok(status) = answer else {
        if !published.get() {
            let broker = host_and_port(&parameters.mqtt.host, parameters.mqtt.port);
            bail!(
                "no connection to the MQTT broker {broker} within {seconds} s, so nothing was sent; \
                 is it running there? --mqtt-url names another"
            );
        }
        bail!(
            "no status within {seconds} s; is the connector running on this broker, with the same \
             TOPIC_PREFIX and a publish interval below that?"
        );
    };
    let status = status?;
    writeln!(std::io::stdout(), "{status}")?;
    let success = status["status"] == "success" || status["response"]["status"] == "success";
    Ok(if success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is published.
struct Request {
    topic: Arc<str>,
    payload: Vec<u8>,
    id: String,
}

impl Request {
    fn from_arguments(matches: &ArgMatches, topics: &Topics) -> anyhow::Result<Self> {
        let data = match matches.get_one::<String>("data").map(String::as_str) {
            Some("-") => {
                let mut data = Vec::new();
                std::io::stdin()
                    .read_to_end(&mut data)
                    .context("standard input cannot be read")?;
                data
            }
            data => data.unwrap_or_default().as_bytes().to_vec(),
        };
        let id = match matches.get_one::<String>("id") {
            Some(id) if id.is_empty() => {
                bail!(
                    "with an empty id its status cannot be told from others; leave --id out for a random one"
                )
            }
            Some(id) => id.clone(),
            None => format!("send-{:016x}", fastrand::u64(..)),
        };
        if matches.get_flag("binary") {
            if id.contains(['+', '#', '\0']) {
                bail!(
                    "an id with +, # or NUL cannot stand in a topic; leave --binary out or choose another id"
                );
            }
            return Ok(Request {
                topic: topics.binary(&id).into(),
                payload: data,
                id,
            });
        }
        let text = String::from_utf8(data).context(
            "the record is not UTF-8, so it cannot stand in a JSON request; use --binary",
        )?;
        let mut request = json!({"request": {"data": text}, "id": id});
        if let Some(arn) = matches.get_one::<String>("stream") {
            request["request"]["delivery_stream_arn"] = Value::from(arn.as_str());
        }
        Ok(Request {
            topic: topics.message().into(),
            payload: request.to_string().into_bytes(),
            id,
        })
    }
}

/// Publishes the request once subscribed to the statuses, notes that in `published`, and waits for its
/// own status.
async fn exchange(
    parameters: &SendParameters,
    topics: &Topics,
    request: &Request,
    published: &Cell<bool>,
) -> anyhow::Result<Value> {
    let mut settings = session_settings(&parameters.mqtt, vec![topics.status().to_owned()])
        .context("the TLS files for the broker cannot be used")?;
    // A session of our own: with the connector's client id the broker would end its session.
    settings.client_id = format!("{}-send-{:08x}", settings.client_id, fastrand::u32(..));
    settings.clean = true;
    let mut session = Session::new(settings);
    loop {
        match session.next().await {
            Event::Connected { .. } if !published.get() => {
                published.set(true);
                if !session.publish(&request.topic, request.payload.clone().into()) {
                    bail!(
                        "the broker takes no message of {} bytes",
                        request.payload.len()
                    );
                }
            }
            Event::Received(messages) => {
                for token in messages.iter().filter_map(|message| message.ack) {
                    session.acknowledge(token);
                }
                if let Some(status) = messages
                    .iter()
                    .find_map(|message| status_of(message, &request.id))
                {
                    session.disconnect(Parting::Goodbye, GOODBYE).await;
                    return Ok(status);
                }
            }
            Event::Connected { .. } | Event::Disconnected => {}
        }
    }
}

/// The status of the request with this id, in either shape of documents.
fn status_of(message: &Message, id: &str) -> Option<Value> {
    let document: Value = serde_json::from_slice(message.payload()).ok()?;
    let entries = match &document["response"] {
        Value::Array(entries) => entries.clone(),
        Value::Object(_) => vec![document.clone()],
        _ => return None,
    };
    entries.into_iter().find(|entry| entry["id"] == id)
}
