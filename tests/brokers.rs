//! A real broker that restarts, refuses, goes silent or speaks only the older protocol: the
//! connector comes back subscribed within two seconds of it, nothing that the broker still has is
//! lost, and what a person has to know is logged once.

#![cfg(feature = "local")]

mod common;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{
    App, ConnectorProcess, Mosquitto, MosquittoOptions, PATIENCE, RunningConnector, STREAM,
    endpoint, eventually, parameters, quick_firehose,
};
use kinesis_edge::local::{Endpoint, Faults};
use kinesis_edge::mqtt::{Event, Protocol, ProtocolChoice, Session, SessionSettings};
use rumqttc::MqttOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

const NO_CONNECTION: &str = "no connection to the MQTT broker";

async fn connector(url: &str, endpoint: &Endpoint, more: &[(&str, &str)]) -> RunningConnector {
    let mut given = vec![
        ("MQTT_URL", url),
        ("MQTT_CLIENT_ID", "connector"),
        ("PUBLISH_INTERVAL", "1"),
    ];
    given.extend(more);
    RunningConnector::start(&parameters(&given), quick_firehose(&endpoint.url()).await)
}

fn process(url: &str, more: &[(&str, &str)]) -> ConnectorProcess {
    let mut variables = vec![
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("MQTT_URL", url),
        ("MQTT_CLIENT_ID", "connector"),
    ];
    variables.extend(more);
    ConnectorProcess::start(&variables)
}

fn persistent(persistent: bool) -> Mosquitto {
    Mosquitto::start_with(MosquittoOptions {
        persistent,
        ..MosquittoOptions::default()
    })
}

/// What the stream `test` accepted, as texts.
fn accepted(endpoint: &Endpoint) -> Vec<String> {
    let text = |data: &[u8]| String::from_utf8(data.to_vec()).expect("the tests send text");
    let records = endpoint.accepted("test");
    records.iter().map(|record| text(&record.data)).collect()
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

async fn comes_back(version: &str, keeps: bool) {
    let (mut broker, endpoint) = (persistent(keeps), endpoint().await);
    let connector = connector(&broker.url(), &endpoint, &[("MQTT_VERSION", version)]).await;
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    let mut waits = Vec::new();
    for (number, away_ms) in [50, 700, 2500, 1300].into_iter().enumerate() {
        // SIGTERM lets it say goodbye and save; SIGKILL does not.
        if number % 2 == 0 {
            broker.stop();
        } else {
            broker.kill();
        }
        sleep(Duration::from_millis(away_ms)).await;
        broker.launch();
        let start = Instant::now();
        app.until_answered().await;
        waits.push(start.elapsed());
    }
    waits.sort();
    println!("MQTT {version}, persistent {keeps}: answered again after {waits:?}");
    // The bar, for the typical case; a machine that sleeps may miss it now and then.
    assert!(waits[1] < Duration::from_secs(2), "{waits:?}");
    assert!(waits[3] < Duration::from_secs(8), "{waits:?}");
    connector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn back_soon_after_the_broker_311() {
    tokio::join!(comes_back("3.1.1", false), comes_back("3.1.1", true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn back_soon_after_the_broker_5() {
    tokio::join!(comes_back("5", false), comes_back("5", true));
}

/// The broker saves at SIGTERM, so all that it ever acknowledged has to arrive.
async fn nothing_is_lost(version: &str) {
    const REQUESTS: usize = 3000;
    let (mut broker, endpoint) = (persistent(true), endpoint().await);
    let connector = connector(&broker.url(), &endpoint, &[("MQTT_VERSION", version)]).await;
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    let publish = async {
        for number in 0..REQUESTS {
            app.request(&number.to_string(), &format!("record {number}"))
                .await;
            if number % 10 == 0 {
                sleep(Duration::from_millis(10)).await;
            }
        }
    };
    let restart = async {
        for _ in 0..3 {
            sleep(Duration::from_millis(700)).await;
            broker.stop();
            sleep(Duration::from_millis(300)).await;
            broker.launch();
        }
    };
    tokio::join!(publish, restart);
    app.flush().await;
    eventually("every id has a status", || app.by_id().len() >= REQUESTS).await;
    assert!(app.statuses().iter().all(|status| status.is_success()));
    let records: BTreeSet<String> = accepted(&endpoint).into_iter().collect();
    assert_eq!(records.len(), REQUESTS);
    assert!(connector.stop().await.is_nothing());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_the_broker_has_is_lost_over_restarts() {
    tokio::join!(nothing_is_lost("3.1.1"), nothing_is_lost("5"));
}

/// Killed, it comes back with what it had saved: here while the connector was away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_broker_had_saved_is_delivered() {
    let (mut broker, endpoint) = (persistent(true), endpoint().await);
    let first = connector(&broker.url(), &endpoint, &[]).await;
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    assert!(first.stop().await.is_nothing());
    for number in 0..200 {
        app.request(&number.to_string(), &format!("saved {number}"))
            .await;
    }
    app.flush().await;
    let database = broker.folder().join("mosquitto.db");
    eventually("the broker has saved", || {
        let saved = std::fs::read(&database).unwrap_or_default();
        saved.windows(9).any(|part| part == b"saved 199")
    })
    .await;
    broker.kill();
    broker.launch();
    let second = connector(&broker.url(), &endpoint, &[]).await;
    eventually("every id has a status", || app.by_id().len() == 200).await;
    assert_eq!(accepted(&endpoint).len(), 200);
    assert!(second.stop().await.is_nothing());
}

/// Statuses that are written to a broker that takes nothing any more, and those that come while
/// it is away, are there once it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_under_way_when_the_broker_goes_are_sent_again() {
    let (mut broker, endpoint) = (persistent(true), endpoint().await);
    let connector = connector(&broker.url(), &endpoint, &[]).await;
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    // Both sessions have to outlive the broker's death.
    let database = broker.folder().join("mosquitto.db");
    eventually("the broker has saved", || {
        let saved = std::fs::read(&database).unwrap_or_default();
        [&b"app-"[..], b"connector"]
            .iter()
            .all(|id| saved.windows(id.len()).any(|part| part == *id))
    })
    .await;
    endpoint.faults().set_all(Faults {
        latency: Duration::from_millis(800),
        ..Faults::default()
    });
    for number in 0..700 {
        app.request(&number.to_string(), "data").await;
    }
    app.flush().await;
    // Answered at once, behind all others: the connector has them.
    app.raw("no json").await;
    app.status_of("").await;
    signal(&broker, "STOP");
    eventually("all are delivered", || accepted(&endpoint).len() == 700).await;
    // Time for the statuses to be written; without it they would only be sent later.
    sleep(Duration::from_millis(500)).await;
    broker.kill();
    broker.launch();
    eventually("every id has a status", || app.by_id().len() == 701).await;
    connector.stop().await;
}

/// Twenty un-acknowledged messages at a time (Mosquitto with 3.1.1), or a thousand (with 5).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_messages_pass_the_brokers_window() {
    for version in ["3.1.1", "5"] {
        let (broker, endpoint) = (Mosquitto::start(), endpoint().await);
        let connector = connector(&broker.url(), &endpoint, &[("MQTT_VERSION", version)]).await;
        let app = App::connect(broker.port).await;
        app.until_answered().await;
        for number in 0..4000 {
            app.request(&number.to_string(), "data").await;
        }
        let statuses = app.wait_for(4000).await;
        assert_eq!(statuses.len(), 4000);
        assert!(statuses.iter().all(|status| status.is_success()));
        assert_eq!(app.by_id().len(), 4000);
        assert!(connector.stop().await.is_nothing());
    }
}

/// How a broker that speaks only 3.1.1 meets MQTT 5.
#[derive(Clone, Copy)]
enum Refusal {
    Answer(&'static [u8]),
    Close,
}

/// A broker in front of a broker, that refuses MQTT 5. Gives its port.
async fn only_311(broker: u16, refusal: Refusal) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connect = [0u8; 1024];
                let bytes = client.read(&mut connect).await?;
                // Behind two bytes of fixed header and the name MQTT with its length.
                if connect[8] == 5 {
                    if let Refusal::Answer(answer) = refusal {
                        client.write_all(answer).await?;
                    }
                    return Ok(());
                }
                let mut server = TcpStream::connect(("127.0.0.1", broker)).await?;
                server.write_all(&connect[..bytes]).await?;
                copy_bidirectional(&mut client, &mut server)
                    .await
                    .map(|_| ())
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn falls_back_to_311_where_the_broker_refuses_5() {
    let broker = Mosquitto::start();
    let endpoint = endpoint().await;
    for refusal in [
        Refusal::Answer(&[0x20, 2, 0, 1]),
        Refusal::Answer(&[0x20, 2, 0, 0]),
        Refusal::Answer(&[0x20, 3, 0, 0x84, 0]),
        Refusal::Close,
    ] {
        let url = format!("mqtt://127.0.0.1:{}", only_311(broker.port, refusal).await);
        let app = App::connect(broker.port).await;
        let connector = connector(&url, &endpoint, &[]).await;
        app.until_answered().await;
        app.request("1", "data").await;
        assert!(app.status_of("1").await.is_success());
        assert!(connector.stop().await.is_nothing());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn says_once_that_the_broker_does_not_speak_5() {
    let broker = Mosquitto::start();
    let port = only_311(broker.port, Refusal::Answer(&[0x20, 2, 0, 1])).await;
    let process = process(
        &format!("mqtt://127.0.0.1:{port}"),
        &[("MQTT_VERSION", "5")],
    );
    eventually("the log says why", || {
        process.stderr().contains("does not speak MQTT 5")
    })
    .await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(
        count(&process.stderr(), NO_CONNECTION),
        1,
        "{}",
        process.stderr()
    );
}

fn set_password(broker: &Mosquitto, password: &str) {
    let status = Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(broker.folder().join("passwords"))
        .args(["edge", password])
        .status();
    assert!(status.expect("mosquitto_passwd runs").success());
    // Mosquitto reads it again at SIGHUP.
    let status = Command::new("kill")
        .args(["-s", "HUP", &broker.pid().to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_named_once_and_works_after_the_broker_is_set_right() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("passwords"), "").unwrap();
    let broker = Mosquitto::start_in(
        folder,
        MosquittoOptions {
            own_listener: true,
            lines: vec![
                "listener {port} 127.0.0.1".into(),
                "allow_anonymous false".into(),
                "password_file {dir}/passwords".into(),
            ],
            ..MosquittoOptions::default()
        },
    );
    set_password(&broker, "first");
    for version in ["3.1.1", "5"] {
        set_password(&broker, "first");
        let process = process(
            &broker.url(),
            &[
                ("MQTT_VERSION", version),
                ("MQTT_USERNAME", "edge"),
                ("MQTT_PASSWORD", "se cond"),
            ],
        );
        let log = || process.stderr();
        eventually("the log says why", || log().contains("refuses")).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(count(&log(), NO_CONNECTION), 1, "{}", log());
        assert!(log().contains("NotAuthorized"), "{}", log());
        assert!(!log().contains("connected to"), "{}", log());
        assert!(!log().contains("se cond"), "a password in the log");
        set_password(&broker, "se cond");
        eventually("it connects", || log().contains("connected to the MQTT")).await;
    }
    let mut options = MqttOptions::new("app", "127.0.0.1", broker.port);
    options.set_credentials("edge", "se cond");
    App::connect_to(options, "kinesisfirehose").await;
}

/// A broker that lets us in and refuses the second filter. Gives its port.
async fn refuses_a_subscription(code: u8) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut bytes = [0u8; 1024];
            let _ = client.read(&mut bytes).await;
            let _ = client.write_all(&[0x20, 2, 0, 0]).await;
            let _ = client.read(&mut bytes).await;
            let (high, low) = (bytes[2], bytes[3]);
            let _ = client.write_all(&[0x90, 4, high, low, 1, code]).await;
            let _ = client.read(&mut bytes).await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_subscription_is_named() {
    let port = refuses_a_subscription(0x80).await;
    let process = process(
        &format!("mqtt://127.0.0.1:{port}"),
        &[("MQTT_VERSION", "3.1.1")],
    );
    eventually("the log names the filter", || {
        process
            .stderr()
            .contains("subscription to kinesisfirehose/message/binary/#")
    })
    .await;
    sleep(Duration::from_secs(1)).await;
    let log = process.stderr();
    assert_eq!(count(&log, NO_CONNECTION), 1, "{log}");
    assert!(!log.contains("connected to"), "{log}");
}

/// By the real broker, in words of either version, and tried again ever more slowly. (What is only withheld, as Mosquitto
/// does by its `acl_file`, no client hears of.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_mosquitto_refuses_is_named_and_not_tried_in_a_hurry() {
    let group = ("SHARED_SUBSCRIPTION_GROUP", "g");
    for (version, reason, more, filter) in [
        ("5", "NotAuthorized", None, "to kinesisfirehose/message:"),
        ("3.1.1", "Failure", None, "to kinesisfirehose/message:"),
        (
            "5",
            "NotAuthorized",
            Some(group),
            "to $share/g/kinesisfirehose/message:",
        ),
    ] {
        let broker = Mosquitto::without_subscriptions();
        let mut variables = vec![("MQTT_VERSION", version)];
        variables.extend(more);
        let process = process(&broker.url(), &variables);
        let log = || process.stderr();
        eventually("the log names the filter", || {
            log().contains(&format!("refuses the subscription {filter} {reason}"))
        })
        .await;
        let before = broker.connections();
        sleep(Duration::from_secs(3)).await;
        let attempts = broker.connections() - before;
        println!("MQTT {version}: {attempts} more attempts in 3 s");
        // They wait 50 ms and more, then 100, 200, 400, 800, 1600.
        assert!(attempts <= 8, "{attempts} attempts in 3 s");
        assert_eq!(count(&log(), NO_CONNECTION), 1, "{}", log());
        assert!(!log().contains("connected to"), "{}", log());
    }
}

/// Two connectors with one client id throw each other out for ever. That must not keep the device
/// busy, and ends when one of them is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_connectors_with_one_client_id_do_not_spin() {
    for version in ["3.1.1", "5"] {
        let (broker, endpoint) = (Mosquitto::start(), endpoint().await);
        let more = [("MQTT_VERSION", version)];
        let first = connector(&broker.url(), &endpoint, &more).await;
        let second = connector(&broker.url(), &endpoint, &more).await;
        let connects = || count(&broker.log(), "as connector");
        eventually("they fight", || connects() > 3).await;
        let before = connects();
        sleep(Duration::from_secs(4)).await;
        let fought = connects() - before;
        println!("MQTT {version}: {fought} connections in 4 s");
        // Each waits half a second to a second; without growing waits it is about a hundred.
        assert!(fought < 40, "{fought} connections in 4 s");
        first.stop().await;
        let app = App::connect(broker.port).await;
        app.until_answered().await;
        second.stop().await;
    }
}

fn signal(broker: &Mosquitto, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &broker.pid().to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}

/// The connector's keep-alive is 30 s; the same session with a shorter one shows it sooner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_goes_silent_is_left_and_found_again() {
    let broker = Mosquitto::start();
    let mut session = Session::new(SessionSettings {
        will: None,
        host: "127.0.0.1".into(),
        port: broker.port,
        tls: None,
        client_id: "quick".into(),
        credentials: None,
        protocol: ProtocolChoice::Only(Protocol::V5),
        clean: false,
        filters: vec!["in".into()],
        former_filters: Vec::new(),
        receive_maximum: 10,
        keep_alive_seconds: 1,
    });
    until(&mut session, |event| {
        matches!(event, Event::Connected { .. })
    })
    .await;
    // The answer to the subscription.
    session.next().await;
    signal(&broker, "STOP");
    until(&mut session, |event| matches!(event, Event::Disconnected)).await;
    signal(&broker, "CONT");
    until(&mut session, |event| {
        matches!(event, Event::Connected { .. })
    })
    .await;
}

async fn until(session: &mut Session, wanted: impl Fn(&Event) -> bool) {
    let found = async { while !wanted(&session.next().await) {} };
    tokio::time::timeout(PATIENCE, found)
        .await
        .expect("the event comes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_appears_later_is_found() {
    let (mut broker, endpoint) = (Mosquitto::start(), endpoint().await);
    broker.stop();
    let connector = connector(&broker.url(), &endpoint, &[]).await;
    sleep(Duration::from_secs(3)).await;
    broker.launch();
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    assert!(connector.stop().await.is_nothing());
}

/// The broker has a session of this client with the topics of an earlier configuration.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_other_topics_gets_ours() {
    let (broker, endpoint) = (Mosquitto::start(), endpoint().await);
    let before = connector(&broker.url(), &endpoint, &[("TOPIC_PREFIX", "before")]).await;
    let mut options = MqttOptions::new("before", "127.0.0.1", broker.port);
    options.set_clean_session(true);
    let app = App::connect_to(options, "before").await;
    app.until_answered().await;
    before.stop().await;
    let now = connector(&broker.url(), &endpoint, &[("TOPIC_PREFIX", "now/here")]).await;
    let options = MqttOptions::new("now", "127.0.0.1", broker.port);
    let app = App::connect_to(options, "now/here").await;
    app.until_answered().await;
    assert!(now.stop().await.is_nothing());
}

/// A broker killed long after its last save knows the session, and not what it subscribed to
/// since then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_from_an_old_save_is_subscribed_again() {
    let (mut broker, endpoint) = (persistent(true), endpoint().await);
    let before = connector(&broker.url(), &endpoint, &[("TOPIC_PREFIX", "before")]).await;
    let options = MqttOptions::new("before", "127.0.0.1", broker.port);
    let app = App::connect_to(options, "before").await;
    app.until_answered().await;
    before.stop().await;
    broker.stop();
    let database = broker.folder().join("mosquitto.db");
    let old_save = std::fs::read(&database).unwrap();
    broker.launch();
    let now = connector(&broker.url(), &endpoint, &[("TOPIC_PREFIX", "now")]).await;
    let options = MqttOptions::new("now", "127.0.0.1", broker.port);
    let app = App::connect_to(options, "now").await;
    app.until_answered().await;
    broker.kill();
    std::fs::write(&database, old_save).unwrap();
    broker.launch();
    app.until_answered().await;
    assert!(now.stop().await.is_nothing());
}
