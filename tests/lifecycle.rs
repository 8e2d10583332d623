//! The program as a process: how it starts, what a stop flushes and reports, how long it may take,
//! what the service manager hears and what the log says.

#![cfg(feature = "local")]

mod common;

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use common::{
    App, ConnectorProcess, Mosquitto, MosquittoOptions, PATIENCE, STREAM, endpoint, eventually,
    free_address, free_port, http, packet,
};
use kinesis_edge::local::{CallFault, Endpoint, Faults};
use rumqttc::QoS;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

fn start(broker_url: &str, endpoint_url: &str, more: &[(&str, &str)]) -> ConnectorProcess {
    let mut variables = vec![
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("MQTT_URL", broker_url),
        ("MQTT_CLIENT_ID", "connector"),
        ("AWS_ENDPOINT_URL_FIREHOSE", endpoint_url),
        ("AWS_ACCESS_KEY_ID", "none"),
        ("AWS_SECRET_ACCESS_KEY", "none"),
    ];
    variables.extend(more);
    ConnectorProcess::start(&variables)
}

/// A broker, an endpoint, an app and the program, which answers.
struct World {
    broker: Mosquitto,
    endpoint: Endpoint,
    app: App,
    process: ConnectorProcess,
}

impl World {
    async fn start(more: &[(&str, &str)]) -> Self {
        let broker = Mosquitto::start_with(MosquittoOptions {
            persistent: true,
            ..MosquittoOptions::default()
        });
        let endpoint = endpoint().await;
        let process = start(&broker.url(), &endpoint.url(), more);
        let app = App::connect(broker.port).await;
        app.until_answered().await;
        World {
            broker,
            endpoint,
            app,
            process,
        }
    }

    fn hang(&self) {
        self.endpoint.faults().set_all(Faults {
            call: CallFault::Hang,
            ..Faults::default()
        });
    }

    /// Publishes requests and waits until the connector holds them.
    async fn hold(&self, ids: std::ops::Range<usize>) {
        for id in ids {
            self.app.request(&id.to_string(), "data").await;
        }
        // Rejected and answered at once, behind all others.
        self.app.raw(r#"{"id": "behind"}"#).await;
        self.app.status_of("behind").await;
    }

    /// Every id has exactly one status, with this code.
    fn assert_each_once(&self, ids: std::ops::Range<usize>, code: &str) {
        let by_id = self.app.by_id();
        for id in ids {
            let statuses = by_id
                .get(&id.to_string())
                .map(Vec::as_slice)
                .unwrap_or_default();
            assert_eq!(statuses.len(), 1, "statuses of {id}: {statuses:?}");
            assert_eq!(statuses[0].code(), code, "{statuses:?}");
        }
    }
}

async fn a_stop_flushes(signal: &str) {
    let mut world = World::start(&[("PUBLISH_INTERVAL", "900")]).await;
    world.hold(0..700).await;
    // One batch went early; the rest waits for the interval.
    world.process.signal(signal);
    assert_eq!(
        world.process.wait().code(),
        Some(0),
        "{}",
        world.process.stderr()
    );
    world.app.wait_for(701).await;
    world.assert_each_once(0..700, "");
    assert_eq!(world.endpoint.accepted("test").len(), 700);
    assert!(
        world
            .process
            .stderr()
            .contains("nothing is left: each record was delivered")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_flushes_what_is_queued() {
    tokio::join!(a_stop_flushes("TERM"), a_stop_flushes("INT"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_flushed_in_time_is_reported_once_each() {
    let mut world = World::start(&[("PUBLISH_INTERVAL", "1"), ("SHUTDOWN_TIMEOUT", "2")]).await;
    world.hang();
    world.hold(0..1300).await;
    let calls = world.endpoint.calls();
    eventually("calls hang", || world.endpoint.calls() > calls.max(1)).await;
    world.process.signal("TERM");
    let start = Instant::now();
    assert_eq!(world.process.wait().code(), Some(1));
    // The time-out and the last statuses take at most five seconds; the rest is for slow machines.
    assert!(start.elapsed() >= Duration::from_millis(1900));
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    world.app.wait_for(1301).await;
    world.assert_each_once(0..1300, "ConnectorStopped");
    let log = world.process.stderr();
    assert!(log.contains("records=1300"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_at_once() {
    let mut world = World::start(&[("PUBLISH_INTERVAL", "1"), ("SHUTDOWN_TIMEOUT", "3600")]).await;
    world.hang();
    world.hold(0..10).await;
    world.process.signal("INT");
    eventually("it drains", || {
        world.process.stderr().contains("stopping: sending")
    })
    .await;
    sleep(Duration::from_millis(300)).await;
    assert!(world.process.is_running());
    world.process.signal("TERM");
    assert_eq!(world.process.wait().code(), Some(1));
    assert!(world.process.stderr().contains("a second signal"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_without_time_reports_all_and_without_records_leaves_nothing() {
    let more = [("PUBLISH_INTERVAL", "900"), ("SHUTDOWN_TIMEOUT", "0")];
    let mut world = World::start(&more).await;
    world.hold(0..100).await;
    world.process.signal("TERM");
    assert_eq!(world.process.wait().code(), Some(1));
    world.app.wait_for(101).await;
    world.assert_each_once(0..100, "ConnectorStopped");
    assert_eq!(world.endpoint.accepted("test").len(), 0);

    let mut world = World::start(&more).await;
    world.process.signal("TERM");
    assert_eq!(world.process.wait().code(), Some(0));
}

/// While it drains the connector takes nothing in: the broker keeps it for the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_during_and_after_a_stop_is_for_the_next_start() {
    let more = [("PUBLISH_INTERVAL", "1"), ("SHUTDOWN_TIMEOUT", "3")];
    let mut world = World::start(&more).await;
    world.hang();
    world.hold(0..5).await;
    world.process.signal("TERM");
    eventually("it drains", || {
        world.process.stderr().contains("stopping: sending")
    })
    .await;
    for id in 5..105 {
        world.app.request(&id.to_string(), "data").await;
    }
    // No broker keeps what is published at QoS 0: such a request ends here.
    let topic = "kinesisfirehose/message/binary/fleeting";
    world
        .app
        .publish_with(topic, QoS::AtMostOnce, false, "data")
        .await;
    assert_eq!(
        world.app.status_of("fleeting").await.code(),
        "ConnectorStopped"
    );
    assert!(world.process.is_running(), "the message came too late");
    assert_eq!(world.process.wait().code(), Some(1));
    for id in 105..205 {
        world.app.request(&id.to_string(), "data").await;
    }
    world.app.flush().await;
    world.app.wait_for(7).await;
    world.assert_each_once(0..5, "ConnectorStopped");
    assert_eq!(world.app.count(), 7);

    world.endpoint.faults().clear();
    world.process = start(&world.broker.url(), &world.endpoint.url(), &more);
    world.app.wait_for(207).await;
    world.assert_each_once(5..205, "");
    assert_eq!(world.endpoint.accepted("test").len(), 200);
    world.process.signal("TERM");
    assert_eq!(world.process.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_without_the_broker_delivers_and_does_not_hang() {
    let mut world = World::start(&[("PUBLISH_INTERVAL", "900")]).await;
    world.hold(0..50).await;
    world.broker.kill();
    world.process.signal("TERM");
    // The records arrive; their statuses have nowhere to go, and the exit status says so.
    assert_eq!(world.process.wait().code(), Some(1));
    assert_eq!(world.endpoint.accepted("test").len(), 50);
    assert!(
        world.process.stderr().contains("documents=1"),
        "{}",
        world.process.stderr()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_broker_it_waits_says_so_once_and_stops_at_once() {
    let url = format!("mqtt://127.0.0.1:{}", free_port());
    let mut process = start(&url, "http://127.0.0.1:1", &[]);
    eventually("the log says it", || {
        process.stderr().contains("no connection")
    })
    .await;
    // A dozen attempts are made meanwhile.
    sleep(Duration::from_secs(5)).await;
    let log = process.stderr();
    assert_eq!(log.lines().count(), 2, "starting, no connection: {log}");
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
}

/// One line for each change of the connection's state, not for each attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_logged_once_each() {
    let mut world = World::start(&[]).await;
    for _ in 0..2 {
        world.broker.stop();
        sleep(Duration::from_secs(2)).await;
        world.broker.launch();
        world.app.until_answered().await;
    }
    world.process.signal("TERM");
    assert_eq!(world.process.wait().code(), Some(0));
    let log = world.process.stderr();
    let connected = log.matches("connected to the MQTT broker").count();
    assert_eq!(connected, 3, "{log}");
    // Closed by the broker, then nobody there: two reasons each time.
    let lost = log.matches("no connection to the MQTT broker").count();
    assert!((2..=4).contains(&lost), "{log}");
}

struct ServiceManager {
    socket: UnixDatagram,
    path: String,
    _folder: tempfile::TempDir,
}

impl ServiceManager {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let path = path.display().to_string();
        ServiceManager {
            socket,
            path,
            _folder: folder,
        }
    }

    /// The next word.
    fn hears(&self) -> String {
        let mut text = [0u8; 4096];
        let bytes = self.socket.recv(&mut text).expect("a word comes");
        String::from_utf8(text[..bytes].to_vec()).unwrap()
    }
}

#[test]
fn systemd_hears_that_it_is_ready_lives_and_stops() {
    let manager = ServiceManager::start();
    let url = format!("mqtt://127.0.0.1:{}", free_port());
    let more = [
        ("NOTIFY_SOCKET", manager.path.as_str()),
        ("WATCHDOG_USEC", "400000"),
    ];
    let mut process = start(&url, "http://127.0.0.1:1", &more);
    assert_eq!(manager.hears().trim(), "READY=1");
    for _ in 0..5 {
        assert_eq!(manager.hears().trim(), "WATCHDOG=1");
    }
    process.signal("TERM");
    let mut last = manager.hears();
    while last.trim() == "WATCHDOG=1" {
        last = manager.hears();
    }
    assert_eq!(last.trim(), "STOPPING=1");
    assert_eq!(process.wait().code(), Some(0));
}

/// A drain may take long. systemd must not take the connector for dead meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_hears_that_it_lives_while_it_drains() {
    let manager = ServiceManager::start();
    let mut world = World::start(&[
        ("PUBLISH_INTERVAL", "1"),
        ("SHUTDOWN_TIMEOUT", "3600"),
        ("NOTIFY_SOCKET", manager.path.as_str()),
        ("WATCHDOG_USEC", "400000"),
    ])
    .await;
    world.hang();
    world.hold(0..10).await;
    world.process.signal("TERM");
    while manager.hears().trim() != "STOPPING=1" {}
    for _ in 0..3 {
        assert_eq!(manager.hears().trim(), "WATCHDOG=1");
    }
    world.process.signal("TERM");
    assert_eq!(world.process.wait().code(), Some(1));
}

fn json_lines(log: &str) -> Vec<Value> {
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_logs_are_json_with_the_same_field_names() {
    let mut world = World::start(&[
        ("PUBLISH_INTERVAL", "1"),
        ("LOG_FORMAT", "json"),
        ("SHUTDOWN_TIMEOUT", "1"),
    ])
    .await;
    world.endpoint.faults().set_all(Faults {
        call: CallFault::Throttled,
        ..Faults::default()
    });
    world.hold(0..20).await;
    eventually("the trouble is logged", || {
        world.process.stderr().contains("ThrottlingException")
    })
    .await;
    world.process.signal("TERM");
    assert_eq!(world.process.wait().code(), Some(1));
    let lines = json_lines(&world.process.stderr());
    assert!(lines.iter().all(|line| line["level"].is_string()
        && line["timestamp"].is_string()
        && line["message"].is_string()));
    let trouble = lines
        .iter()
        .find(|line| line["error.code"] == "ThrottlingException")
        .expect("a line about the trouble");
    assert_eq!(trouble["stream"], STREAM);
    assert!(trouble["records"].is_u64(), "{trouble}");
    let end = lines.last().expect("lines");
    assert_eq!(end["records"], 20, "{end}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_log_filters() {
    let url = format!("mqtt://127.0.0.1:{}", free_port());
    let mut quiet = start(&url, "http://127.0.0.1:1", &[("RUST_LOG", "error")]);
    let mut talkative = start(&url, "http://127.0.0.1:1", &[("RUST_LOG", "warn")]);
    eventually("a warning is logged", || !talkative.stderr().is_empty()).await;
    for process in [&mut quiet, &mut talkative] {
        sleep(Duration::from_millis(500)).await;
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(0));
    }
    assert_eq!(quiet.stderr(), "");
    assert_eq!(
        talkative.stderr().lines().count(),
        1,
        "{}",
        talkative.stderr()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_drains_it_is_not_ready_and_says_why() {
    let address = free_address();
    let mut world = World::start(&[
        ("PUBLISH_INTERVAL", "1"),
        ("SHUTDOWN_TIMEOUT", "3600"),
        ("HTTP_LISTEN", &address.to_string()),
    ])
    .await;
    assert_eq!(http::get(address, "/readyz").await.status, 200);
    world.hang();
    world.hold(0..10).await;
    world.process.signal("TERM");
    let reason = http::until_unready(address).await;
    assert!(reason.contains("stopping"), "{reason}");
    assert!(world.process.is_running());
    world.endpoint.faults().clear();
    // The call that hangs is given up, and its records sent again, or the second signal ends it.
    world.process.signal("TERM");
    world.process.wait();
}

/// What a broker of a few lines is sent by a connector that publishes its own status, until the end of the
/// connection: the types of packets (MQTT 3.1.1 section 2.2.1). The stop comes with the first status; what is
/// published is answered, or never.
async fn heard_by_a_broker(answers: bool) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let more = [
        ("MQTT_VERSION", "3.1.1"),
        ("CONNECTOR_STATUS_INTERVAL", "60"),
    ];
    let mut process = start(&url, "http://127.0.0.1:1", &more);
    let (mut broker, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let mut heard = Vec::new();
    while let Ok((first, body)) = timeout(PATIENCE, packet(&mut broker)).await.unwrap() {
        let kind = first >> 4;
        if kind == PUBLISH && !heard.contains(&PUBLISH) {
            process.signal("TERM");
        }
        heard.push(kind);
        let answer = match kind {
            CONNECT => vec![0x20, 2, 0, 0],
            SUBSCRIBE => vec![0x90, 4, body[0], body[1], 1, 1],
            PUBLISH if answers => {
                let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                vec![0x40, 2, body[2 + topic], body[3 + topic]]
            }
            _ => continue,
        };
        broker.write_all(&answer).await.unwrap();
    }
    let ended = process.wait();
    assert_eq!(ended.success(), answers, "{}", process.stderr());
    heard
}

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const SUBSCRIBE: u8 = 8;
const DISCONNECT: u8 = 14;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_does_not_take_the_last_status_is_left_with_the_will() {
    let begin = [CONNECT, SUBSCRIBE, PUBLISH, PUBLISH];
    let taken = heard_by_a_broker(true).await;
    assert_eq!(taken, [&begin[..], &[DISCONNECT]].concat());
    assert_eq!(heard_by_a_broker(false).await, begin);
}
