//! Through mosquitto: an app publishes as fast as it takes messages, and one subscriber at a time
//! receives them. Mosquitto has one thread, which is the limit.
//!
//! The work is the same for all: so many requests are published, delivered to the subscriber and
//! acknowledged by it, and of the connector its statuses are published too, which costs mosquitto
//! a publish of 300 bytes for each request. In the runs that are compared nobody subscribes to the statuses,
//! as the peers have none: that the broker has taken all is known from the connector's exit status and
//! its log. Another run has an app that receives and counts them.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{Context, in_turn, start_connector, stop, with_log};
use crate::common::{ConnectorProcess, Mosquitto, MosquittoOptions, PATIENCE};
use crate::endpoint::{Endpoint, EndpointOptions};
use crate::floor::Floor;
use crate::packets::Version;
use crate::payload::Payload;
use crate::process::{self, Cpu};
use crate::publisher;
use crate::results::{Results, Run};
use crate::statuses::Statuses;

/// Who is measured.
pub const FLOOR_V5: &str = "rumqttc that only acks, MQTT 5";
pub const FLOOR_V311: &str = "rumqttc that only acks, MQTT 3.1.1";
pub const CONNECTOR_V5: &str = "kinesis-edge, MQTT 5";
pub const CONNECTOR_V311: &str = "kinesis-edge, MQTT 3.1.1";
pub const WITH_APP: &str = "kinesis-edge, MQTT 5, an app counts statuses";
pub const DISK_V5: &str = "kinesis-edge, MQTT 5, queue on disk";

/// What goes through before the measurement begins.
const WARM_UP: u64 = 20_000;

/// What is measured. Full batches only, or the last records wait for the publish interval.
const RECORDS: u64 = 300_000;

/// All of them in turn.
pub fn run(context: &Context, results: &mut Results) {
    let v311 = [("MQTT_VERSION", "3.1.1")];
    in_turn(
        context,
        results,
        "mosquitto",
        &[
            (FLOOR_V5, &|| floor(Version::V5)),
            (CONNECTOR_V5, &|| connector(context, &[], false)),
            (DISK_V5, &|| on_disk(context)),
            (FLOOR_V311, &|| floor(Version::V311)),
            (CONNECTOR_V311, &|| connector(context, &v311, false)),
            (WITH_APP, &|| connector(context, &[], true)),
        ],
    );
}

fn broker() -> Mosquitto {
    Mosquitto::start_with(MosquittoOptions {
        // What a subscriber does not keep up with waits, and none is dropped.
        lines: vec!["max_queued_messages 10000000".into()],
        ..MosquittoOptions::default()
    })
}

/// What the broker and the subscriber have used.
struct Used {
    broker: Cpu,
    subscriber: Cpu,
    at: Instant,
}

impl Used {
    fn now(broker: &Mosquitto, subscriber: u32) -> io::Result<Self> {
        Ok(Used {
            broker: process::cpu(broker.pid())?,
            subscriber: process::cpu(subscriber)?,
            at: Instant::now(),
        })
    }
}

/// Publishes and measures: `wait` returns when so many are through.
fn measure(
    broker: &Mosquitto,
    subscriber: u32,
    payload: &Payload,
    mut wait: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<Run> {
    publisher::publish(broker.port, 0..WARM_UP, payload)?;
    wait(WARM_UP)?;
    settle();
    let before = Used::now(broker, subscriber)?;
    publisher::publish(broker.port, WARM_UP..WARM_UP + RECORDS, payload)?;
    wait(WARM_UP + RECORDS)?;
    let took = before.at.elapsed().as_secs_f64();
    settle();
    let after = Used::now(broker, subscriber)?;
    let mut run = Run::new(
        RECORDS,
        took,
        after.subscriber.since(before.subscriber),
        process::peak_bytes(subscriber)?,
    );
    run.broker_seconds = Some(after.broker.since(before.broker).total());
    Ok(run)
}

/// The last acknowledgements and statuses are under way when the last message is through: a moment
/// for them, which costs nothing where nothing happens.
fn settle() {
    thread::sleep(Duration::from_millis(200));
}

fn floor(version: Version) -> io::Result<Run> {
    let broker = broker();
    let counts = [WARM_UP, WARM_UP + RECORDS];
    let mut floor = Floor::start(broker.port, version, &counts)?;
    // Subscribed.
    floor.wait()?;
    measure(&broker, floor.pid(), &Payload::new(200), |_| floor.wait())
}

fn on_disk(context: &Context) -> io::Result<Run> {
    let folder = tempfile::tempdir_in(context.folder)?;
    let queue = std::path::absolute(folder.path().join("queue"))?;
    let variables = [("QUEUE_DIR", &*queue.to_string_lossy())];
    connector(context, &variables, false)
}

fn connector(context: &Context, variables: &[(&str, &str)], with_app: bool) -> io::Result<Run> {
    let broker = broker();
    let all = WARM_UP + RECORDS;
    let payload = Payload::new(200);
    let endpoint = Endpoint::start(EndpointOptions {
        payload: payload.clone(),
        records: all,
        latency: Duration::ZERO,
        clock: None,
    })?;
    let statuses = Arc::new(Statuses::new(all));
    if with_app {
        publisher::count_statuses(broker.port, Arc::clone(&statuses))?;
    }
    let mut connector = start_connector(context, &broker.url(), &endpoint, variables);
    let pid = connector.pid();
    until_subscribed(&connector)?;
    let run = measure(&broker, pid, &payload, |count| {
        endpoint.wait_for(count)?;
        if with_app {
            statuses.delivered.wait_for(count)?;
        }
        Ok(())
    });
    let run = run.map_err(|error| with_log(&connector, &error))?;
    endpoint.check()?;
    stop(&mut connector)?;
    if with_app {
        statuses.delivered.check("statuses of success", all)?;
    }
    Ok(run)
}

/// The log says that it is connected once the subscription stands.
fn until_subscribed(connector: &ConnectorProcess) -> io::Result<()> {
    let start = Instant::now();
    while !connector.stderr().contains("connected to the MQTT broker") {
        if start.elapsed() > PATIENCE {
            let error = io::Error::other("it does not connect");
            return Err(with_log(connector, &error));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
