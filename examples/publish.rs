//! Sends one record through kinesis-edge and waits for its status, with rumqttc.
//!
//! A local app written in Rust: it publishes a request to `kinesisfirehose/message`, then reads on
//! `kinesisfirehose/message/status` what became of it. It subscribes before it publishes, so the
//! status cannot pass by unseen, and picks its own entry, by its id, out of the documents, which carry
//! the statuses of other apps' records too.
//!
//! ```sh
//! cargo run --example publish -- [--binary] [DATA] [ID]
//! ```
//!
//! With `--binary` DATA goes as it is to `kinesisfirehose/message/binary/ID`, without JSON around it.
//! Environment: `MQTT_HOST` (127.0.0.1), `MQTT_PORT` (1883), `TOPIC_PREFIX` (kinesisfirehose) and
//! `STATUS_TIMEOUT` (30 seconds; more than the connector's `PUBLISH_INTERVAL`). The status is printed;
//! the exit status is 0 if the record was delivered, 1 if it failed or no status came in time, 2 for a
//! faulty command line.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeReasonCode,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// What the event loop passes on: the packets that came from the broker, or why there will be no more.
type Received = Result<Packet, ConnectionError>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let binary = arguments.first().is_some_and(|first| first == "--binary");
    if binary {
        arguments.remove(0);
    }
    if arguments.len() > 2 {
        eprintln!("usage: publish [--binary] [DATA] [ID]");
        return Ok(ExitCode::from(2));
    }
    let mut arguments = arguments.into_iter();
    let data = arguments.next();
    let data = data.unwrap_or_else(|| "Message from Firehose Connector Test".to_owned());
    let id = arguments.next().unwrap_or_else(|| "req_123".to_owned());

    let host = variable("MQTT_HOST", "127.0.0.1");
    let port = variable("MQTT_PORT", "1883").parse()?;
    let seconds: f64 = variable("STATUS_TIMEOUT", "30").parse()?;
    let topic = variable("TOPIC_PREFIX", "kinesisfirehose") + "/message";

    let (send_topic, message) = if binary {
        (format!("{topic}/binary/{id}"), data)
    } else {
        let request = json!({"request": {"data": data}, "id": id});
        (topic.clone(), request.to_string())
    };

    // Client ids must differ between programs on one broker: the later of two with the same id
    // throws the earlier one out.
    let mut options = MqttOptions::new(format!("publish-{}", std::process::id()), host, port);
    // rumqttc's own limit is 10 KiB, and a larger packet ends the connection: a status document can
    // have 120,000 bytes, and a record six times 1,024,000 when all of it is escaped in JSON.
    options.set_max_packet_size(256 * 1024, 7 * 1024 * 1024);
    let (client, event_loop) = AsyncClient::new(options, 10);

    // The client only queues requests; it is the event loop that sends them. On a task of its own, it
    // goes on doing so while this one waits for a place in the queue.
    let (sender, mut received) = mpsc::channel(10);
    let session = tokio::spawn(run(event_loop, sender));

    let exchange = async {
        client
            .subscribe(format!("{topic}/status"), QoS::AtLeastOnce)
            .await?;
        while let Some(packet) = received.recv().await {
            match packet.context("the connection to the broker failed")? {
                Packet::SubAck(answer) => {
                    if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                        bail!("the broker refused the subscription");
                    }
                    eprintln!("Message To Publish:  {message}");
                    let (topic, message) = (send_topic.as_str(), message.as_str());
                    client
                        .publish(topic, QoS::AtLeastOnce, false, message)
                        .await?;
                }
                Packet::Publish(document) => {
                    if let Some(status) = status_of(&id, &document.payload) {
                        return Ok(status);
                    }
                }
                _ => {}
            }
        }
        bail!("the session ended")
    };
    let status = timeout(Duration::from_secs_f64(seconds), exchange)
        .await
        .with_context(|| format!("no status within {seconds} s"))??;

    println!("{status}");
    client.disconnect().await?;
    // The task ends once the DISCONNECT is sent; with nobody left to receive, it does not wait to be read.
    drop(received);
    session.await?;
    Ok(if status["status"] == "success" {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Drives the session and passes on what arrives, until the connection ends. Polling again would
/// connect again; a program that runs for long does that, and subscribes anew.
async fn run(mut event_loop: EventLoop, received: mpsc::Sender<Received>) {
    loop {
        match event_loop.poll().await {
            Ok(Event::Incoming(packet)) => {
                // Fails once the status has been found: what comes after it is of no interest.
                let _ = received.send(Ok(packet)).await;
            }
            Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) => return,
            Ok(Event::Outgoing(_)) => {}
            Err(error) => {
                let _ = received.send(Err(error)).await;
                return;
            }
        }
    }
}

/// The entry for our request in a status document, if it has one.
fn status_of(id: &str, payload: &[u8]) -> Option<Value> {
    let mut document: Value = serde_json::from_slice(payload).ok()?;
    let entries = document.get_mut("response")?.as_array_mut()?;
    let ours = entries.iter_mut().find(|entry| entry["id"] == id)?;
    Some(ours.take())
}

/// An environment variable, or what holds where it is unset or empty.
fn variable(name: &str, default: &str) -> String {
    let value = env::var(name).unwrap_or_default();
    if value.is_empty() {
        default.to_owned()
    } else {
        value
    }
}
