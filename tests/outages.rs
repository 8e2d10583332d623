//! What the queue on disk is for: records wait out a stop, a crash, an outage, a full disk and one
//! that cannot be written, and leave once they can. The connector is the program, as a process; a
//! relay notes what it has acknowledged.

#![cfg(feature = "local")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{
    App, ConnectorProcess, Mosquitto, PATIENCE, Publisher, Relay, RunningConnector, STREAM,
    SmallDisk, endpoint, eventually, parameters, quick_firehose,
};
use kinesis_edge::local::{CallFault, Endpoint, Faults};

/// Brokers, an endpoint and an app around a queue on disk; the connector comes and goes.
struct Site {
    broker: Mosquitto,
    relay: Relay,
    endpoint: Endpoint,
    app: App,
    /// Where the queue is.
    queue: PathBuf,
    /// What starts the connector where it can see `queue`, if that takes something.
    wrapper: Vec<String>,
    mqtt: &'static str,
}

impl Site {
    /// The connector does not run yet.
    async fn new(mqtt: &'static str, queue: &Path, wrapper: Vec<String>) -> Self {
        let (broker, relay, app) = broker(mqtt).await;
        Site {
            broker,
            relay,
            endpoint: endpoint().await,
            app,
            queue: queue.to_owned(),
            wrapper,
            mqtt,
        }
    }

    fn start(&self) -> ConnectorProcess {
        self.start_as("connector")
    }

    fn start_as(&self, client: &str) -> ConnectorProcess {
        let queue = self.queue.display().to_string();
        let (broker, endpoint) = (self.relay.url(), self.endpoint.url());
        let variables = [
            ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
            ("MQTT_URL", broker.as_str()),
            ("MQTT_VERSION", self.mqtt),
            ("MQTT_CLIENT_ID", client),
            ("PUBLISH_INTERVAL", "1"),
            ("SHUTDOWN_TIMEOUT", "1"),
            ("DELIVERY_STREAM_QUEUE_SIZE", "1000000"),
            ("QUEUE_DIR", queue.as_str()),
            ("AWS_ENDPOINT_URL_FIREHOSE", endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", "none"),
            ("AWS_SECRET_ACCESS_KEY", "none"),
            // For the wrapper.
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ];
        match self.wrapper.as_slice() {
            [] => ConnectorProcess::start(&variables),
            wrapper => ConnectorProcess::start_through(wrapper, &variables),
        }
    }

    /// The endpoint takes no records any more.
    fn outage(&self) {
        self.endpoint.faults().set_all(Faults {
            call: CallFault::ServerError,
            ..Faults::default()
        });
    }

    /// Another broker takes the place of the first, which had the connector's session: from here on
    /// the connector has only what its queue holds. Returns the app on the old one.
    async fn replace_broker(&mut self) -> (Mosquitto, App) {
        let (broker, relay, app) = broker(self.mqtt).await;
        self.relay = relay;
        let old = std::mem::replace(&mut self.broker, broker);
        (old, std::mem::replace(&mut self.app, app))
    }

    /// Publishes the numbers below `count`, as records of this many bytes.
    async fn publish(&self, count: u32, bytes: usize) {
        let mut publisher = Publisher::connect(self.broker.port)
            .await
            .expect("it connects");
        let published = publisher.publish_all(count, |number| {
            let topic = format!("kinesisfirehose/message/binary/{number}");
            (topic, record(number, bytes))
        });
        published.await.expect("the broker takes them");
    }

    /// How often each record was accepted; they are as they were published.
    fn accepted(&self, bytes: usize) -> BTreeMap<u32, usize> {
        let mut accepted = BTreeMap::new();
        for accept in self.endpoint.accepted("test") {
            let number = std::str::from_utf8(&accept.data[..8]).expect("digits");
            let number = number.parse().expect("a number");
            assert!(accept.data == record(number, bytes), "{number} has changed");
            *accepted.entry(number).or_default() += 1;
        }
        accepted
    }

    /// Waits until the numbers below `count` have all been delivered, and checks that none came
    /// twice unless the broker had delivered it twice.
    async fn all_delivered(&self, count: u32, bytes: usize, process: &ConnectorProcess) {
        let arrived = || {
            self.endpoint
                .stats()
                .get("test")
                .map_or(0, |stats| stats.records)
        };
        let (mut last, mut last_change) = (0, std::time::Instant::now());
        while self.accepted(bytes).len() < count as usize {
            if arrived() != last {
                (last, last_change) = (arrived(), std::time::Instant::now());
            }
            assert!(
                last_change.elapsed() < PATIENCE,
                "{} of {count} are delivered; {} were acknowledged:\n{}",
                self.accepted(bytes).len(),
                self.relay.acknowledged(),
                process.stderr()
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        for (number, times) in self.accepted(bytes) {
            let may = self.relay.deliveries(number).max(1);
            assert!(times <= may, "{number} came {times} times");
        }
    }
}

async fn broker(mqtt: &str) -> (Mosquitto, Relay, App) {
    let broker = Mosquitto::start();
    let relay = Relay::start(broker.port, mqtt).await;
    let app = App::connect(broker.port).await;
    (broker, relay, app)
}

/// The data of a number.
fn record(number: u32, bytes: usize) -> Vec<u8> {
    let mut data = format!("{number:08}").into_bytes();
    data.resize(bytes, b'a' + (number % 26) as u8);
    data
}

fn stop(process: &mut ConnectorProcess) {
    process.signal("TERM");
    let ended = process.wait();
    assert!(ended.success(), "{ended}\n{}", process.stderr());
}

fn lines(process: &ConnectorProcess, words: &str) -> usize {
    let log = process.stderr();
    log.lines().filter(|line| line.contains(words)).count()
}

/// Records that were queued during an outage leave after the next start, and their statuses come
/// then: nothing of it may come from the broker, which is another one.
async fn an_outage_is_waited_out(mqtt: &'static str, crash: bool) {
    const RECORDS: u32 = 700;
    let folder = tempfile::tempdir().expect("a folder for the queue");
    let mut site = Site::new(mqtt, &folder.path().join("queue"), Vec::new()).await;
    site.outage();
    let mut process = site.start();
    site.app.until_answered().await;
    site.publish(RECORDS, 100).await;
    eventually("all is acknowledged", || {
        site.relay.acknowledged() == RECORDS as usize
    })
    .await;
    let calls = site.endpoint.calls();
    eventually("the endpoint was tried", || {
        site.endpoint.calls() > calls.max(1)
    })
    .await;
    if crash {
        process.kill();
    } else {
        stop(&mut process);
    }
    assert!(site.accepted(100).is_empty());

    let (_broker, old_app) = site.replace_broker().await;
    site.endpoint.faults().clear();
    let mut process = site.start();
    site.all_delivered(RECORDS, 100, &process).await;
    site.app.wait_for(RECORDS as usize).await;
    stop(&mut process);
    let statuses = site.app.by_id();
    for number in 0..RECORDS {
        let of_number = &statuses[&number.to_string()];
        assert_eq!(of_number.len(), 1, "{of_number:?}");
        assert!(of_number[0].is_success(), "{of_number:?}");
    }
    assert_eq!(site.accepted(100).values().sum::<usize>(), RECORDS as usize);
    // What is kept is not reported: no outcome is final before the next start.
    let last = r#"{"response":[{"id":"the last one","status":"success"}]}"#;
    old_app
        .publish("kinesisfirehose/message/status", last)
        .await;
    old_app.status_of("the last one").await;
    assert_eq!(old_app.count(), 1, "{:?}", old_app.statuses());

    // What is delivered and noted is not sent again.
    let mut process = site.start();
    site.app.until_answered().await;
    stop(&mut process);
    assert_eq!(site.accepted(100).values().sum::<usize>(), RECORDS as usize);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_outlive_a_stop() {
    tokio::join!(
        an_outage_is_waited_out("5", false),
        an_outage_is_waited_out("3.1.1", false)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_outlive_a_crash() {
    tokio::join!(
        an_outage_is_waited_out("5", true),
        an_outage_is_waited_out("3.1.1", true)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_same_queue_is_refused() {
    let folder = tempfile::tempdir().expect("a folder for the queue");
    let site = Site::new("5", &folder.path().join("queue"), Vec::new()).await;
    let mut first = site.start();
    site.app.until_answered().await;
    let mut second = site.start_as("another");
    let ended = second.wait();
    assert!(!ended.success(), "{}", second.stderr());
    let said = second.stderr() + &second.stdout();
    assert!(said.contains("QUEUE_DIR"), "{said}");
    assert!(said.contains(&site.queue.display().to_string()), "{said}");
    assert!(said.contains("another process"), "{said}");
    assert!(!said.contains("connected to the MQTT broker"), "{said}");
    assert!(!said.contains("panicked"), "{said}");

    site.app.request("1", "data").await;
    assert!(site.app.status_of("1").await.is_success());
    stop(&mut first);
    // The lock goes with its holder.
    let mut third = site.start_as("another");
    site.app.until_answered().await;
    stop(&mut third);
}

const DISK_FULL: &str = "No space left on device";
const READ_ONLY: &str = "Read-only file system";

/// More comes than the disk has room for. The broker keeps the rest; nothing else goes wrong, and
/// once records leave there is room again. A restart while it is full changes nothing.
async fn a_full_disk_is_waited_out(mqtt: &'static str, restart: bool) {
    const RECORDS: u32 = 1500;
    const BYTES: usize = 8000;
    let disk = SmallDisk::new(4096);
    let site = Site::new(mqtt, &disk.path().join("queue"), disk.enter()).await;
    site.outage();
    let mut process = site.start();
    site.app.until_answered().await;
    site.publish(RECORDS, BYTES).await;
    eventually("the log says that the disk is full", || {
        lines(&process, DISK_FULL) > 0
    })
    .await;
    let acknowledged = site.relay.acknowledged();
    assert!(acknowledged > 100, "{acknowledged} fit into 4 MiB");
    assert!(
        acknowledged < RECORDS as usize,
        "more than there is room for"
    );
    let calls = site.endpoint.calls();
    eventually("the endpoint is tried on", || {
        site.endpoint.calls() > calls + 1
    })
    .await;
    assert!(process.is_running(), "{}", process.stderr());
    assert_eq!(lines(&process, DISK_FULL), 1, "{}", process.stderr());
    if restart {
        process.kill();
        process = site.start();
        // It need not connect before it can take something.
        let (open, calls) = ("the queue on disk is open", site.endpoint.calls());
        eventually("the queue is open", || lines(&process, open) > 0).await;
        eventually("the endpoint is tried", || site.endpoint.calls() > calls).await;
        assert!(process.is_running(), "{}", process.stderr());
    }
    site.endpoint.faults().clear();
    site.all_delivered(RECORDS, BYTES, &process).await;
    eventually("all is acknowledged", || {
        site.relay.acknowledged() == RECORDS as usize
    })
    .await;
    // A status for each, and none of them bad, though there was no room for a while.
    site.app.wait_for(RECORDS as usize).await;
    assert!(site.app.statuses().iter().all(|status| status.is_success()));
    stop(&mut process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_out_and_said_once() {
    a_full_disk_is_waited_out("5", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_out_with_mqtt_3() {
    a_full_disk_is_waited_out("3.1.1", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_survives_a_crash() {
    a_full_disk_is_waited_out("5", true).await;
}

/// A device comes up after a crash, and its file system is read-only. (One with files open for
/// writing cannot be made so from outside; to a running connector it is the same as a full one, an
/// error of a write.) Nothing is acknowledged, the program waits, and resumes by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_disk_is_waited_out() {
    const RECORDS: u32 = 300;
    let disk = SmallDisk::new(16 * 1024);
    let site = Site::new("5", &disk.path().join("queue"), disk.enter()).await;
    site.outage();
    let mut process = site.start();
    site.app.until_answered().await;
    site.publish(RECORDS, 100).await;
    eventually("all is acknowledged", || {
        site.relay.acknowledged() == RECORDS as usize
    })
    .await;
    process.kill();

    disk.set_read_only(true);
    let mut process = site.start();
    site.publish(2 * RECORDS, 100).await;
    eventually("the log says that the disk cannot be written", || {
        lines(&process, READ_ONLY) > 0
    })
    .await;
    // Time for a mistake; a connector that makes none passes however slow it is.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(process.is_running(), "{}", process.stderr());
    assert_eq!(lines(&process, READ_ONLY), 1, "{}", process.stderr());
    assert_eq!(site.relay.acknowledged(), RECORDS as usize);

    disk.set_read_only(false);
    eventually("all is acknowledged", || {
        site.relay.acknowledged() == 2 * RECORDS as usize
    })
    .await;
    site.endpoint.faults().clear();
    site.all_delivered(2 * RECORDS, 100, &process).await;
    stop(&mut process);
}

#[tokio::test]
async fn what_waits_for_room_keeps_no_memory_from_what_would_make_it() {
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("queue");
    let (broker, endpoint) = (Mosquitto::start(), endpoint().await);
    let given = [
        ("MQTT_URL", &*broker.url()),
        ("MQTT_VERSION", "5"),
        ("PUBLISH_INTERVAL", "1"),
        ("WHEN_FULL", "wait"),
        ("DELIVERY_STREAM_QUEUE_SIZE", "2000"),
        ("MEMORY_SIZE", "32768"),
        ("QUEUE_DIR", queue.to_str().unwrap()),
    ];
    endpoint.faults().set_all(Faults {
        call: CallFault::ServerError,
        ..Faults::default()
    });
    let connector =
        RunningConnector::start(&parameters(&given), quick_firehose(&endpoint.url()).await);
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    const RECORDS: usize = 3000;
    for number in 0..RECORDS {
        app.binary(&number.to_string(), vec![b'x'; 2000]).await;
    }
    app.flush().await;
    // The queue is full, calls fail, and as much waits un-acknowledged as may.
    eventually("calls fail", || endpoint.calls() > 5).await;
    endpoint.faults().clear();
    let statuses = app.wait_for(RECORDS).await;
    assert!(statuses.iter().all(|status| status.is_success()));
    assert!(connector.stop().await.is_nothing());
}
