//! Several connectors of one group on a real broker: each request goes to one of them, one that is killed loses
//! nothing, and none hides another's status. In both versions of MQTT, as brokers take `$share` in 3.1.1 too.

#![cfg(feature = "local")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::Mutex;

use common::{
    App, ConnectorProcess, Mosquitto, PATIENCE, RunningConnector, STREAM, endpoint, eventually,
    parameters, quick_firehose,
};
use kinesis_edge::local::Endpoint;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::Value;

const GROUP: (&str, &str) = ("SHARED_SUBSCRIPTION_GROUP", "hall");

async fn member(
    id: &str,
    broker: &Mosquitto,
    endpoint: &Endpoint,
    more: &[(&str, &str)],
) -> RunningConnector {
    let url = broker.url();
    let mut given = vec![
        ("MQTT_URL", url.as_str()),
        ("MQTT_CLIENT_ID", id),
        ("PUBLISH_INTERVAL", "1"),
    ];
    given.extend(more);
    let connector =
        RunningConnector::start(&parameters(&given), quick_firehose(&endpoint.url()).await);
    eventually("it is subscribed", || connector.look().session.subscribed).await;
    connector
}

/// What arrived, each with how often.
fn arrived(endpoint: &Endpoint) -> BTreeMap<String, usize> {
    let mut arrived = BTreeMap::new();
    for record in endpoint.accepted("test") {
        let text = String::from_utf8(record.data.to_vec()).expect("the tests send text");
        *arrived.entry(text).or_default() += 1;
    }
    arrived
}

/// Publishes records of these numbers, JSON and binary in turns.
async fn publish(app: &App, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let (id, data) = (number.to_string(), format!("record {number}"));
        if number % 2 == 0 {
            app.request(&id, &data).await;
        } else {
            app.binary(&id, data.into_bytes()).await;
        }
    }
    app.flush().await;
}

fn once_each(endpoint: &Endpoint, records: usize) {
    let arrived = arrived(endpoint);
    assert_eq!(arrived.len(), records);
    let more: Vec<_> = arrived.iter().filter(|(_, count)| **count != 1).collect();
    assert!(more.is_empty(), "more than once: {more:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_goes_to_one_of_the_group() {
    const REQUESTS: usize = 600;
    for version in ["5", "3.1.1"] {
        let (broker, endpoint) = (Mosquitto::start(), endpoint().await);
        let more = [GROUP, ("MQTT_VERSION", version)];
        let mut members = Vec::new();
        for id in ["edge-1", "edge-2", "edge-3"] {
            members.push(member(id, &broker, &endpoint, &more).await);
        }
        let app = App::connect(broker.port).await;
        publish(&app, 0..REQUESTS).await;
        let statuses = app.wait_for(REQUESTS).await;
        assert!(statuses.iter().all(|status| status.is_success()));
        assert_eq!((statuses.len(), app.by_id().len()), (REQUESTS, REQUESTS));
        once_each(&endpoint, REQUESTS);
        let split: Vec<u64> = members
            .iter()
            .map(|member| member.look().totals.received)
            .collect();
        println!("MQTT {version}: {split:?}");
        assert_eq!(split.iter().sum::<u64>(), REQUESTS as u64);
        assert!(split.iter().all(|&received| received > 0), "{split:?}");
        for member in members {
            assert!(member.stop().await.is_nothing());
        }
    }
}

/// Mosquitto keeps the share of a member whose session it has. So it is all there when the member is back; and what it had
/// acknowledged is in its queue on disk. The other goes on meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_killed_loses_nothing() {
    const REQUESTS: usize = 400;
    for version in ["5", "3.1.1"] {
        let (broker, endpoint) = (Mosquitto::start(), endpoint().await);
        let folder = tempfile::tempdir().unwrap();
        let queue = folder.path().join("queue").display().to_string();
        let (mqtt, firehose) = (broker.url(), endpoint.url());
        let variables = [
            GROUP,
            ("MQTT_VERSION", version),
            ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
            ("MQTT_URL", &mqtt),
            ("MQTT_CLIENT_ID", "killed"),
            ("QUEUE_DIR", &queue),
            ("PUBLISH_INTERVAL", "1"),
            ("AWS_ENDPOINT_URL", &firehose),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ];
        let mut killed = ConnectorProcess::start(&variables);
        eventually("it is subscribed", || {
            killed.stderr().contains("connected to the MQTT broker")
        })
        .await;
        let other = member(
            "other",
            &broker,
            &endpoint,
            &[GROUP, ("MQTT_VERSION", version)],
        )
        .await;
        let app = App::connect(broker.port).await;
        publish(&app, 0..REQUESTS / 2).await;
        killed.kill();
        publish(&app, REQUESTS / 2..REQUESTS).await;
        // What is published meanwhile reaches the other in parts.
        eventually("the other goes on", || {
            let totals = other.look().totals;
            totals.received > REQUESTS as u64 / 4 && totals.delivered == totals.received
        })
        .await;
        let without = arrived(&endpoint).len();
        assert!(
            without < REQUESTS,
            "{without} without the one that was killed"
        );
        let again = ConnectorProcess::start(&variables);
        eventually("all have arrived", || arrived(&endpoint).len() == REQUESTS).await;
        eventually("each has a status", || app.by_id().len() == REQUESTS).await;
        let twice = arrived(&endpoint)
            .values()
            .filter(|count| **count > 1)
            .count();
        println!("MQTT {version}: {without} without it, {twice} twice");
        // What was under way at the kill may come twice: at the most all that it had by then.
        assert!(twice <= REQUESTS / 4, "{twice} twice");
        assert!(other.stop().await.is_nothing());
        drop(again);
    }
}

/// The broker has a session of this connector from the time before it joined the group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_joins_a_group_gets_nothing_twice() {
    const REQUESTS: usize = 100;
    for version in ["5", "3.1.1"] {
        let (broker, endpoint) = (Mosquitto::start(), endpoint().await);
        let version = ("MQTT_VERSION", version);
        let alone = member("edge-1", &broker, &endpoint, &[version]).await;
        assert!(alone.stop().await.is_nothing());
        let app = App::connect(broker.port).await;
        // The session takes these in, by its first subscription.
        publish(&app, 0..REQUESTS).await;
        let first = member("edge-1", &broker, &endpoint, &[version, GROUP]).await;
        app.wait_for(REQUESTS).await;
        let second = member("edge-2", &broker, &endpoint, &[version, GROUP]).await;
        publish(&app, REQUESTS..2 * REQUESTS).await;
        app.wait_for(2 * REQUESTS).await;
        assert!(first.stop().await.is_nothing() && second.stop().await.is_nothing());
        once_each(&endpoint, 2 * REQUESTS);
        assert_eq!(app.statuses().len(), 2 * REQUESTS);
    }
}

/// Watches the connectors' own statuses: the last state on each topic.
async fn own_statuses(port: u16) -> Arc<Mutex<BTreeMap<String, Value>>> {
    let mut options = MqttOptions::new("watcher", "127.0.0.1", port);
    options.set_clean_session(true);
    let (client, mut events) = AsyncClient::new(options, 10);
    client
        .subscribe("kinesisfirehose/connector/#", QoS::AtLeastOnce)
        .await
        .unwrap();
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        // The client lives as long as this does.
        let _client = client;
        while let Ok(event) = events.poll().await {
            if let Event::Incoming(Packet::Publish(message)) = event {
                let status: Value = serde_json::from_slice(&message.payload).unwrap();
                kept.lock()
                    .unwrap()
                    .insert(message.topic, status["state"].clone());
            }
        }
    });
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_member_has_a_topic_for_its_own_status() {
    let (broker, endpoint) = (Mosquitto::start(), endpoint().await);
    let more = [GROUP, ("CONNECTOR_STATUS_INTERVAL", "3600")];
    let first = member("edge-1", &broker, &endpoint, &more).await;
    let firehose = endpoint.url();
    let mut killed = ConnectorProcess::start(&[
        more[0],
        more[1],
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("MQTT_URL", &broker.url()),
        ("MQTT_CLIENT_ID", "edge-2"),
        ("AWS_ENDPOINT_URL", &firehose),
    ]);
    let seen = own_statuses(broker.port).await;
    let states = |one: &str, other: &str| {
        let prefix = "kinesisfirehose/connector/status";
        BTreeMap::from([
            (format!("{prefix}/edge-1"), Value::from(one)),
            (format!("{prefix}/edge-2"), Value::from(other)),
        ])
    };
    let until = |what: &'static str, expected: BTreeMap<String, Value>| {
        let seen = Arc::clone(&seen);
        async move { eventually(what, || *seen.lock().unwrap() == expected).await }
    };
    until("both are online", states("online", "online")).await;
    // The broker publishes the will of the one, and leaves the other's status as it is.
    killed.kill();
    until("one is offline", states("online", "offline")).await;
    first.stop().await;
    until("both are offline", states("offline", "offline")).await;
}

/// The embedded broker shares messages too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_may_be_told_of_a_group() {
    let port = common::free_port();
    let process = ConnectorProcess::start_with(
        "local",
        &[
            "--port",
            &port.to_string(),
            "--shared-subscription-group",
            "g",
        ],
        &[],
    );
    eventually("it listens", || process.stdout().contains("MQTT broker")).await;
    let app = App::connect(port).await;
    app.until_answered().await;
    publish(&app, 0..20).await;
    let ids: BTreeSet<String> = app
        .wait_for(20)
        .await
        .iter()
        .map(|status| status.id().to_owned())
        .collect();
    assert_eq!(ids.len(), 20, "within {PATIENCE:?}");
}

/// The lines for a shell that the README has for taking a connector out of a group.
fn to_take_one_out() -> String {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let section = readme
        .split_once("**To take one out for good,**")
        .and_then(|(_, rest)| rest.split_once("**To join a group**"))
        .expect("the README says how")
        .0;
    let fenced = section.split("```").skip(1).step_by(2);
    fenced
        .map(|block| block.strip_prefix("sh\n").expect("lines for a shell"))
        .collect()
}

/// As the README has it done: what waits in the session of a connector that is gone for good reaches the others byte for
/// byte, and the session is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_member_that_leaves_is_published_again() {
    const REQUESTS: usize = 200;
    let (broker, endpoint) = (Mosquitto::start(), endpoint().await);
    let gone = member("edge-3", &broker, &endpoint, &[GROUP]).await;
    assert!(gone.stop().await.is_nothing());
    let app = App::connect(broker.port).await;
    publish(&app, 0..REQUESTS).await;
    let strange = b"two\nlines, NUL \0, not UTF-8 \xff, and a space at the end ".to_vec();
    app.binary("strange", strange.clone()).await;
    let large = vec![b'l'; 1_000_000];
    app.binary("large", large.clone()).await;
    app.flush().await;
    let other = member("edge-1", &broker, &endpoint, &[GROUP]).await;

    let folder = tempfile::tempdir().unwrap();
    for program in ["mosquitto_sub", "mosquitto_pub"] {
        let port = format!("-p {}\n", broker.port);
        std::fs::write(folder.path().join(program), port).unwrap();
    }
    // Less patience than where a network may be slow.
    let lines = to_take_one_out();
    assert!(lines.contains("sleep 10") && lines.contains("-W 5"));
    let lines = lines.replace("sleep 10", "sleep 3").replace("-W 5", "-W 1");
    let said = tokio::process::Command::new("sh")
        .args(["-c", &lines])
        .current_dir(folder.path())
        .env("XDG_CONFIG_HOME", folder.path())
        .output()
        .await
        .unwrap();
    assert!(said.status.success() && said.stdout.is_empty(), "{said:?}");

    eventually("all have arrived", || {
        endpoint.accepted("test").len() > REQUESTS + 1
    })
    .await;
    let accepted = endpoint.accepted("test");
    assert_eq!(accepted.len(), REQUESTS + 2);
    let distinct: BTreeSet<_> = accepted.iter().map(|record| record.data.to_vec()).collect();
    assert_eq!(distinct.len(), REQUESTS + 2);
    assert!(distinct.contains(&strange) && distinct.contains(&large));
    // The one that is left gets everything from now on.
    publish(&app, REQUESTS..2 * REQUESTS).await;
    eventually("the rest has arrived", || {
        endpoint.accepted("test").len() == 2 * REQUESTS + 2
    })
    .await;
    assert!(other.stop().await.is_nothing());
}
