//! The contract, as a local app sees it: what it may publish, where that arrives, and what it hears
//! back, in the words of the original connector's document. Everything goes through a real broker,
//! in both versions of MQTT, to the embedded endpoint, whose journal says what has arrived.

#![cfg(feature = "local")]

mod common;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;

use common::{
    App, Mosquitto, MosquittoOptions, RunningConnector, STREAM, endpoint, endpoint_with,
    eventually, parameters, quick_firehose, stream_arn,
};
use kinesis_edge::files::Directory;
use kinesis_edge::local::{CallFault, Endpoint, Faults};
use rumqttc::{AsyncClient, MqttOptions, QoS};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const VERSIONS: [&str; 2] = ["3.1.1", "5"];

/// The client id of every connector here.
const CLIENT: &str = "kinesis";

/// A broker, an endpoint, a connector between them and an app.
struct Site {
    broker: Mosquitto,
    endpoint: Endpoint,
    connector: RunningConnector,
    app: App,
}

impl Site {
    /// Everything up, the connector answering; `set` on top of an interval of a second.
    async fn start(mqtt: &str, set: &[(&str, &str)]) -> Self {
        let broker = Mosquitto::start();
        let (endpoint, url) = (endpoint().await, broker.url());
        Self::start_with(broker, endpoint, &url, mqtt, set).await
    }

    /// The same with a broker and an endpoint set up already, the broker reached by `url`.
    async fn start_with(
        broker: Mosquitto,
        endpoint: Endpoint,
        url: &str,
        mqtt: &str,
        set: &[(&str, &str)],
    ) -> Self {
        let connector = connector(&endpoint, url, mqtt, set).await;
        let app = App::connect(broker.port).await;
        app.until_answered().await;
        Site {
            broker,
            endpoint,
            connector,
            app,
        }
    }

    /// What the default stream has accepted, in order.
    fn arrived(&self) -> Vec<Vec<u8>> {
        arrived(&self.endpoint, "test")
    }
}

async fn connector(
    endpoint: &Endpoint,
    url: &str,
    mqtt: &str,
    set: &[(&str, &str)],
) -> RunningConnector {
    let mut all = set.to_vec();
    all.extend([
        ("MQTT_URL", url),
        ("MQTT_VERSION", mqtt),
        ("MQTT_CLIENT_ID", CLIENT),
        ("PUBLISH_INTERVAL", "1"),
    ]);
    RunningConnector::start(&parameters(&all), quick_firehose(&endpoint.url()).await)
}

fn arrived(endpoint: &Endpoint, stream: &str) -> Vec<Vec<u8>> {
    let accepted = endpoint.accepted(stream).into_iter();
    accepted.map(|record| record.data.to_vec()).collect()
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

/// The entries of a list document.
fn entries(document: &[u8]) -> Vec<Value> {
    let document: Value = serde_json::from_slice(document).expect("JSON");
    assert_eq!(keys(&document), ["response"]);
    document["response"].as_array().expect("a list").clone()
}

/// Ids of the failed requests in order of their statuses, with their codes.
fn failed(app: &App) -> Vec<(String, String)> {
    app.statuses()
        .iter()
        .filter(|status| !status.is_success())
        .map(|status| (status.id().to_owned(), status.code().to_owned()))
        .collect()
}

fn hang() -> Faults {
    Faults {
        call: CallFault::Hang,
        ..Faults::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_each_type_arrives_exactly_as_published() {
    let cases = [
        (r#""plain""#, "plain"),
        (r#""""#, ""),
        (
            r#""\u00e9 \"quoted\" \\ \n \ud83d\ude00 ü""#,
            "é \"quoted\" \\ \n 😀 ü",
        ),
        (r#"{"b" : 1,  "a":[ 1,2 ]}"#, r#"{"b" : 1,  "a":[ 1,2 ]}"#),
        (r#"["\u0041", null ]"#, r#"["\u0041", null ]"#),
        ("-0.10", "-0.10"),
        ("1E+2", "1E+2"),
        (
            "123456789012345678901234567890",
            "123456789012345678901234567890",
        ),
        ("true", "true"),
        ("false", "false"),
    ];
    for mqtt in VERSIONS {
        let site = Site::start(mqtt, &[]).await;
        for (data, _) in cases {
            site.app
                .raw(format!(r#"{{"request": {{"data": {data} }}, "id": "x"}}"#))
                .await;
        }
        let statuses = site.app.wait_for(cases.len()).await;
        assert!(statuses.iter().all(|status| status.is_success()));
        assert_eq!(site.arrived(), texts(&cases.map(|(_, record)| record)));
        assert!(site.connector.stop().await.is_nothing());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_is_rejected_with_its_id() {
    let cases = [
        (r#"{"request": {"data": null}, "id": "null"}"#, "null"),
        (r#"{"request": {}, "id": "none"}"#, "none"),
        (r#"{"request": "text", "id": "text"}"#, "text"),
        (r#"{"request": null, "id": "no object"}"#, "no object"),
        (r#"{"id": "no request"}"#, "no request"),
        (
            r#"{"request": {"data": 1, "delivery_stream_arn": 7}, "id": "arn"}"#,
            "arn",
        ),
        (r#"{"request": {"data": "1"}, "id": {"a": 1}}"#, ""),
        (r#"{"request": {"data": "1"}, "id": true}"#, ""),
        (r#"["a list"]"#, ""),
        ("not JSON", ""),
        (r#"{"request": {"data": "1"}"#, ""),
        ("", ""),
    ];
    for mqtt in VERSIONS {
        let site = Site::start(mqtt, &[]).await;
        for (payload, _) in cases {
            site.app.raw(payload).await;
        }
        site.app.request("good", "good").await;
        site.app.wait_for(cases.len() + 1).await;
        let expected: Vec<_> = cases
            .map(|(_, id)| (id.to_owned(), "InvalidRequest".to_owned()))
            .into();
        assert_eq!(failed(&site.app), expected);
        assert_eq!(site.arrived(), texts(&["good"]));
        for status in site.app.statuses() {
            assert!(status.is_success() || !status.message().is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_may_name_its_stream() {
    for mqtt in VERSIONS {
        let site = Site::start(mqtt, &[]).await;
        site.app.request("1", "to the default stream").await;
        let other = stream_arn("other-Stream_1.x");
        site.app.request_to(&other, "2", "to another").await;
        site.app.request_to(STREAM, "3", "named default").await;
        let null = r#"{"request": {"data": "null means default", "delivery_stream_arn": null}, "id": "4"}"#;
        site.app.raw(null).await;
        let bad = [
            "other",
            "",
            "arn:aws:firehose:us-east-1:12345678901:deliverystream/short-account",
            "arn:aws:kinesis:us-east-1:123456789012:stream/other",
            "arn:aws:firehose:us-east-1:123456789012:deliverystream/a b",
            "arn:aws:firehose:us-east-1:123456789012:deliverystream/newline\n",
            "arn:aws-cn:firehose:cn-north-1:123456789012:deliverystream/not-allowed-here",
        ];
        for (number, arn) in bad.iter().enumerate() {
            site.app
                .request_to(arn, &format!("bad {number}"), "never arrives")
                .await;
        }
        site.app.wait_for(4 + bad.len()).await;
        let expected: Vec<_> = (0..bad.len())
            .map(|number| {
                (
                    format!("bad {number}"),
                    "InvalidDeliveryStreamArn".to_owned(),
                )
            })
            .collect();
        assert_eq!(failed(&site.app), expected);
        assert_eq!(
            site.arrived(),
            texts(&[
                "to the default stream",
                "named default",
                "null means default"
            ])
        );
        assert_eq!(
            arrived(&site.endpoint, "other-Stream_1.x"),
            texts(&["to another"])
        );
        assert_eq!(site.endpoint.stats().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_allowed_streams_are_sent_to_where_they_are_listed() {
    for mqtt in VERSIONS {
        let list = format!("{},{}", stream_arn("one"), stream_arn("press-*"));
        let site = Site::start(mqtt, &[("ALLOWED_DELIVERY_STREAM_ARNS", &list)]).await;
        for stream in ["one", "press-7", "two", "one-more"] {
            site.app
                .request_to(&stream_arn(stream), stream, stream)
                .await;
        }
        site.app.request("default", "default").await;
        site.app.request_to(STREAM, "named", "named").await;
        site.app.wait_for(6).await;
        let refused = |id: &str| (id.to_owned(), "DeliveryStreamNotAllowed".to_owned());
        assert_eq!(failed(&site.app), [refused("two"), refused("one-more")]);
        assert_eq!(site.arrived(), texts(&["default", "named"]));
        assert_eq!(arrived(&site.endpoint, "one"), texts(&["one"]));
        assert_eq!(arrived(&site.endpoint, "press-7"), texts(&["press-7"]));
        let refused = site.app.status_of("two").await;
        assert!(refused.message().contains("ALLOWED_DELIVERY_STREAM_ARNS"));
        assert_eq!(site.endpoint.stats().len(), 3);
    }
}

/// Whatever is published as an id, its status is no longer than what was published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_long_id_the_beginning_comes_back() {
    for mqtt in VERSIONS {
        for version in ["1", "5"] {
            let site = Site::start(mqtt, &[("CONNECTOR_VERSION", version)]).await;
            let (plain, quotes) = ("i".repeat(60_000), "\"".repeat(30_000));
            site.app.request(&plain, "json").await;
            site.app.request(&quotes, "quotes").await;
            site.app.binary(&plain, "binary").await;
            site.app.raw(json!({"id": plain}).to_string()).await;
            let statuses = site.app.wait_for(4).await;
            // What is left of each, and whether it is a success. A failing test need not show 60,000 letters.
            let mut found: Vec<_> = statuses
                .iter()
                .map(|status| (status.id(), status.is_success()))
                .map(|(id, success)| (id.chars().next(), id.len(), id.ends_with('…'), success))
                .collect();
            found.sort_unstable();
            let (quotes, plain) = (510 + '…'.len_utf8(), 1021 + '…'.len_utf8());
            let expected = [
                (Some('"'), quotes, true, true),
                (Some('i'), plain, true, false),
                (Some('i'), plain, true, true),
                (Some('i'), plain, true, true),
            ];
            assert_eq!(found, expected, "MQTT {mqtt}, version {version}");
            let mut arrived = site.arrived();
            arrived.sort_unstable();
            assert_eq!(arrived, texts(&["binary", "json", "quotes"]));
            let longest = site.app.documents().iter().map(Vec::len).max();
            assert!(longest.is_some_and(|bytes| bytes < 8_000), "{longest:?}");
        }
    }
}

/// A record that was taken is delivered, though requests may name its stream no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_no_longer_allowed_gets_what_waits_for_it_and_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("queue").display().to_string();
    let set = [("QUEUE_DIR", &*queue), ("SHUTDOWN_TIMEOUT", "0")];
    let site = Site::start("5", &set).await;
    let fails = |call| Faults {
        call,
        ..Faults::default()
    };
    site.endpoint
        .faults()
        .set_all(fails(CallFault::ServerError));
    // As many streams as there may be beside the default one.
    const BESIDE: usize = 127;
    let once = |number: usize| format!("once-{number}");
    for number in 0..BESIDE {
        let stream = stream_arn(&once(number));
        site.app.request_to(&stream, &once(number), "kept").await;
    }
    site.app.request_to(&stream_arn("mine"), "0", "x").await;
    assert_eq!(site.app.status_of("0").await.code(), "TooManyStreams");
    assert_eq!(site.connector.stop().await.kept, BESIDE);
    // They cannot be delivered yet, so these streams are in use.
    let allowed = format!("{STREAM},{}", stream_arn("mine"));
    let list = [("ALLOWED_DELIVERY_STREAM_ARNS", &*allowed)];
    // Whoever looked at it still does for a moment.
    eventually("the queue is let go of", || {
        Directory::hold(Path::new(&queue)).is_ok()
    })
    .await;
    let set = [&set[..], &list].concat();
    let connector = connector(&site.endpoint, &site.broker.url(), "5", &set).await;
    site.app.until_answered().await;
    site.app
        .request_to(&stream_arn(&once(1)), "1", "refused")
        .await;
    let refused = site.app.status_of("1").await;
    assert_eq!(refused.code(), "DeliveryStreamNotAllowed");
    // Nor do they keep out those that are allowed.
    site.app.request_to(&stream_arn("mine"), "2", "mine").await;
    site.endpoint.faults().set_all(Faults::default());
    assert!(site.app.status_of("2").await.is_success());
    for number in 0..BESIDE {
        let id = once(number);
        assert!(site.app.status_of(&id).await.is_success(), "{id}");
        assert_eq!(arrived(&site.endpoint, &id), texts(&["kept"]));
    }
    connector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_come_back_and_unknown_fields_do_not_matter() {
    let cases = [
        (r#"{"request": {"data": "0"}}"#, ""),
        (r#"{"request": {"data": "1"}, "id": ""}"#, ""),
        (r#"{"request": {"data": "2"}, "id": null}"#, ""),
        (r#"{"request": {"data": "3"}, "id": 17}"#, "17"),
        (r#"{"request": {"data": "4"}, "id": -1.50}"#, "-1.50"),
        (
            r#"{"id": "a \"b\" \\ ü 😀", "request": {"data": "5"}}"#,
            "a \"b\" \\ ü 😀",
        ),
        (
            r#"{"x": [{}], "request": {"y": null, "data": "6", "z": {"data": 1}}, "id": "7", "w": "id"}"#,
            "7",
        ),
    ];
    for mqtt in VERSIONS {
        let site = Site::start(mqtt, &[]).await;
        for (payload, _) in cases {
            site.app.raw(payload).await;
        }
        let statuses = site.app.wait_for(cases.len()).await;
        let ids: Vec<_> = statuses.iter().map(|status| status.id()).collect();
        assert_eq!(ids, cases.map(|(_, id)| id));
        // One batch or two: arrival order either way, and each status names its own record.
        let accepted = site.endpoint.accepted("test");
        assert_eq!(site.arrived(), texts(&["0", "1", "2", "3", "4", "5", "6"]));
        for (status, record) in statuses.iter().zip(accepted) {
            assert_eq!(
                status.entry,
                json!({"firehose_record_id": record.record_id, "id": status.id(), "status": "success"})
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binary_topics_take_the_payload_as_it_is() {
    let all_bytes: Vec<u8> = (0..=255).collect();
    let cases = [
        ("kinesisfirehose/message/binary/request123", "request123"),
        ("kinesisfirehose/message/binary/a/b//c", "a/b//c"),
        ("kinesisfirehose/message/binary/", ""),
        // No slash at the end: the filter matches on brokers that follow the standard.
        ("kinesisfirehose/message/binary", ""),
        ("kinesisfirehose/message/binary/ü 😀", "ü 😀"),
    ];
    for mqtt in VERSIONS {
        let site = Site::start(mqtt, &[]).await;
        for (topic, _) in cases {
            site.app.publish(topic, all_bytes.clone()).await;
        }
        // What looks like a request stays what it is, and nothing at all is a record too.
        let json = r#"{"request": {"data": "x"}, "id": "inner"}"#;
        site.app.binary("json", json).await;
        site.app.binary("empty", "").await;
        let statuses = site.app.wait_for(cases.len() + 2).await;
        assert!(statuses.iter().all(|status| status.is_success()));
        let ids: Vec<_> = statuses.iter().map(|status| status.id()).collect();
        let mut expected = cases.map(|(_, id)| id).to_vec();
        expected.extend(["json", "empty"]);
        assert_eq!(ids, expected);
        let mut records = vec![all_bytes.clone(); cases.len()];
        records.extend([json.into(), Vec::new()]);
        assert_eq!(site.arrived(), records);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_topics_hang_under_the_prefix() {
    let (broker, endpoint) = (Mosquitto::start(), endpoint().await);
    let prefix = "factory/press 7/firehose";
    let _connector = connector(&endpoint, &broker.url(), "5", &[("TOPIC_PREFIX", prefix)]).await;
    let options = MqttOptions::new("app", "127.0.0.1", broker.port);
    let app = App::connect_to(options, prefix).await;
    app.until_answered().await;
    for topic in [
        "kinesisfirehose/message",
        "kinesisfirehose/message/binary/x",
        "factory/press 7/firehose/messages",
        "factory/press 7/firehose",
    ] {
        app.publish(topic, r#"{"request": {"data": "elsewhere"}, "id": "0"}"#)
            .await;
    }
    app.request("1", "json").await;
    app.binary("2", "binary").await;
    app.wait_for(2).await;
    assert_eq!(arrived(&endpoint, "test"), texts(&["json", "binary"]));
    assert_eq!(app.by_id().into_keys().collect::<Vec<_>>(), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_qos_0_are_answered_as_well() {
    for mqtt in VERSIONS {
        let site = Site::start(mqtt, &[]).await;
        for number in 0..20 {
            let payload = json!({"request": {"data": "x"}, "id": number}).to_string();
            let topic = "kinesisfirehose/message";
            site.app
                .publish_with(topic, QoS::AtMostOnce, false, payload)
                .await;
        }
        site.app.wait_for(20).await;
        assert_eq!((site.app.by_id().len(), site.arrived().len()), (20, 20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_answered_in_one_document_in_the_contracts_shape() {
    // Versions 2 to 5 of the connector do not differ in this.
    for (version, mqtt) in [("2", "5"), ("3", "3.1.1"), ("4", "5"), ("5", "3.1.1")] {
        let broker = Mosquitto::start();
        let (endpoint, url) = (endpoint_with(&["test"]).await, broker.url());
        let set = [
            ("CONNECTOR_VERSION", version),
            ("STATUS_MAX_BYTES", "1000000"),
        ];
        let site = Site::start_with(broker, endpoint, &url, mqtt, &set).await;
        for number in 0..700 {
            site.app.request(&number.to_string(), "x").await;
        }
        site.app.wait_for(700).await;
        let calls = site.endpoint.stats()["test"];
        assert_eq!(calls.batch_calls, calls.calls);
        let documents: Vec<_> = site.app.documents().iter().map(|d| entries(d)).collect();
        assert_eq!(documents.len() as u64, calls.calls);
        let largest = documents.iter().map(Vec::len).max();
        assert_eq!(largest, Some(calls.largest_call_records));
        for entry in documents.iter().flatten() {
            assert_eq!(keys(entry), ["firehose_record_id", "id", "status"]);
            assert_eq!(entry["status"], "success");
        }

        site.app
            .request_to(&stream_arn("gone"), "request123", "x")
            .await;
        let status = site.app.status_of("request123").await;
        assert_eq!(
            status.entry,
            json!({
                "ErrorCode": "ResourceNotFoundException",
                "ErrorMessage": "Firehose gone not found under account 123456789012.",
                "id": "request123",
                "status": "fail",
            })
        );
        let text = String::from_utf8(site.app.documents().pop().unwrap()).unwrap();
        assert!(text.starts_with(r#"{"response":[{"ErrorCode":"ResourceNotFoundException","#));
        assert!(text.ends_with(r#","id":"request123","status":"fail"}]}"#));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_documents_are_split() {
    for (limit, padding, count) in [("4096", 0, 500), ("120000", 400, 600)] {
        let site = Site::start("3.1.1", &[("STATUS_MAX_BYTES", limit)]).await;
        let ids: Vec<String> = (0..count)
            .map(|n| format!("{n}{}", "i".repeat(padding)))
            .collect();
        for id in &ids {
            site.app.request(id, "x").await;
        }
        site.app.wait_for(count).await;
        let documents = site.app.documents();
        let longest = documents.iter().map(Vec::len).max().unwrap();
        let limit: usize = limit.parse().unwrap();
        assert!(
            longest <= limit && longest > limit / 2,
            "{longest} of {limit} bytes"
        );
        let calls = site.endpoint.stats()["test"].calls as usize;
        assert!(documents.len() > calls, "nothing had to be split");
        let found: Vec<_> = documents.iter().flat_map(|d| entries(d)).collect();
        let found: BTreeSet<_> = found.iter().map(|e| e["id"].as_str().unwrap()).collect();
        assert_eq!((found.len(), site.app.count()), (count, count));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_1_sends_each_record_by_itself_and_answers_in_its_own_shape() {
    for mqtt in VERSIONS {
        let broker = Mosquitto::start();
        let (endpoint, url) = (endpoint_with(&["test"]).await, broker.url());
        // Version 1 has no interval to wait for.
        let set = [("CONNECTOR_VERSION", "1"), ("PUBLISH_INTERVAL", "900")];
        let site = Site::start_with(broker, endpoint, &url, mqtt, &set).await;
        for number in 0..50 {
            site.app.request(&number.to_string(), "x").await;
        }
        site.app.wait_for(50).await;
        let calls = site.endpoint.stats()["test"];
        assert_eq!((calls.calls, calls.batch_calls, calls.records), (50, 0, 50));
        let given: BTreeSet<_> = site
            .endpoint
            .accepted("test")
            .into_iter()
            .map(|record| record.record_id)
            .collect();
        for document in site.app.documents() {
            let document: Value = serde_json::from_slice(&document).unwrap();
            assert_eq!(keys(&document), ["id", "response"]);
            let response = &document["response"];
            assert_eq!(keys(response), ["firehose_record_id", "status"]);
            assert_eq!(response["status"], "success");
            assert!(given.contains(response["firehose_record_id"].as_str().unwrap()));
        }

        site.app
            .request_to(&stream_arn("test1"), "request123", "x")
            .await;
        let status = site.app.status_of("request123").await;
        assert_eq!(
            status.entry,
            json!({
                "response": {
                    "error": "ResourceNotFoundException",
                    "error_message": "An error occurred (ResourceNotFoundException) when calling the PutRecord operation: \
                                      Firehose test1 not found under account 123456789012.",
                    "status": "fail",
                },
                "id": "request123",
            })
        );
        site.app.raw(r#"{"id": "no request"}"#).await;
        let status = site.app.status_of("no request").await;
        assert_eq!(keys(&status.entry), ["id", "response"]);
        let response = &status.entry["response"];
        assert_eq!(keys(response), ["error", "error_message", "status"]);
        assert_eq!(
            (status.code(), &response["status"]),
            ("InvalidRequest", &json!("fail"))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interval_of_0_sends_each_record_at_once() {
    for mqtt in VERSIONS {
        let site = Site::start(mqtt, &[("PUBLISH_INTERVAL", "0")]).await;
        for number in 0..100 {
            site.app.request(&number.to_string(), "x").await;
        }
        site.app.wait_for(100).await;
        let calls = site.endpoint.stats()["test"];
        assert_eq!((calls.calls, calls.batch_calls), (100, 0));
        // The shape is that of versions 2 to 5 all the same.
        for document in site.app.documents() {
            assert_eq!(entries(&document).len(), 1);
        }
    }
}

/// How often the broker sent the connector a message that it keeps, by its log.
fn replays(broker: &Mosquitto) -> usize {
    let log = broker.log();
    let sent = log
        .lines()
        .filter(|line| line.contains(&format!("Sending PUBLISH to {CLIENT} (")));
    sent.filter(|line| line.contains(", r1, ")).count()
}

/// Waits until the connector has subscribed for the `times`th time and has been sent both retained
/// requests each time after the first; with MQTT 5 it asks the broker to leave that.
async fn resubscribed(broker: &Mosquitto, mqtt: &str, times: usize) {
    eventually("it subscribes again", || {
        logged(broker, &format!("Sending SUBACK to {CLIENT}")) == times
    })
    .await;
    let expected = if mqtt == "5" { 0 } else { 2 * (times - 1) };
    eventually("the broker sends what it keeps", || {
        replays(broker) == expected
    })
    .await;
}

fn talkative() -> MosquittoOptions {
    MosquittoOptions {
        lines: vec!["log_type all".into()],
        ..MosquittoOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retained_request_is_delivered_when_published_and_not_when_replayed() {
    for mqtt in VERSIONS {
        let broker = Mosquitto::start_with(talkative());
        let (endpoint, url) = (endpoint().await, broker.url());
        let site = Site::start_with(broker, endpoint, &url, mqtt, &[]).await;
        let request = json!({"request": {"data": "kept"}, "id": "kept"}).to_string();
        let topic = "kinesisfirehose/message";
        site.app
            .publish_with(topic, QoS::AtLeastOnce, true, request)
            .await;
        let binary = "kinesisfirehose/message/binary/kept too";
        site.app
            .publish_with(binary, QoS::AtLeastOnce, true, "kept too")
            .await;
        site.app.wait_for(2).await;
        assert_eq!(site.arrived(), texts(&["kept", "kept too"]));

        // A visitor under the connector's name leaves it without its session: it subscribes anew.
        take_session_away(&site.broker).await;
        resubscribed(&site.broker, mqtt, 2).await;
        site.app.request("marker", "marker").await;
        site.app.wait_for(3).await;

        // A new process subscribes even where the broker has kept the session.
        assert!(site.connector.stop().await.is_nothing());
        let connector = connector(&site.endpoint, &site.broker.url(), mqtt, &[]).await;
        resubscribed(&site.broker, mqtt, 3).await;
        site.app.request("end", "end").await;
        site.app.wait_for(4).await;
        assert!(connector.stop().await.is_nothing());
        assert_eq!(
            arrived(&site.endpoint, "test"),
            texts(&["kept", "kept too", "marker", "end"])
        );
    }
}

/// Connects under the connector's client id, without a session to keep, and leaves.
async fn take_session_away(broker: &Mosquitto) {
    let mut options = MqttOptions::new(CLIENT, "127.0.0.1", broker.port);
    options.set_clean_session(true);
    let (client, mut events) = AsyncClient::new(options, 10);
    events.poll().await.expect("the visitor connects");
    client.disconnect().await.expect("the visitor says goodbye");
    while events.poll().await.is_ok() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_rejects_exactly_what_is_beyond_it() {
    // Once with every record waiting for the interval, once with all of them in calls that hang.
    let waiting = [("PUBLISH_INTERVAL", "900"), ("PUBLISH_WHEN_FULL", "false")];
    for (mqtt, set, hangs) in [("3.1.1", &waiting[..], false), ("5", &[][..], true)] {
        let set = [&[("DELIVERY_STREAM_QUEUE_SIZE", "2000")], set].concat();
        let site = Site::start(mqtt, &set).await;
        if hangs {
            site.endpoint.faults().set_all(hang());
        }
        for number in 0..2100 {
            site.app.request(&number.to_string(), "x").await;
        }
        site.app.wait_for(100).await;
        let expected: Vec<_> = (2000..2100)
            .map(|number| (number.to_string(), "QueueFull".to_owned()))
            .collect();
        assert_eq!(failed(&site.app), expected);
        site.endpoint.faults().clear();
        if hangs {
            site.app.wait_for(2100).await;
        }
        assert!(site.connector.stop().await.is_nothing());
        site.app.wait_for(2100).await;
        assert_eq!(site.app.by_id().len(), 2100);
        assert_eq!(failed(&site.app), expected);
        assert_eq!(arrived(&site.endpoint, "test").len(), 2000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drop_oldest_gives_up_the_oldest_for_the_newest() {
    for mqtt in VERSIONS {
        let set = [
            ("DELIVERY_STREAM_QUEUE_SIZE", "2000"),
            ("WHEN_FULL", "drop-oldest"),
            ("PUBLISH_INTERVAL", "900"),
            ("PUBLISH_WHEN_FULL", "false"),
        ];
        let site = Site::start(mqtt, &set).await;
        for number in 0..2100 {
            let number = number.to_string();
            site.app.request(&number, &number).await;
        }
        site.app.wait_for(100).await;
        assert!(site.connector.stop().await.is_nothing());
        site.app.wait_for(2100).await;
        let expected: Vec<_> = (0..100)
            .map(|number| (number.to_string(), "Dropped".to_owned()))
            .collect();
        assert_eq!(failed(&site.app), expected);
        assert_eq!(site.app.by_id().len(), 2100);
        let mut records = arrived(&site.endpoint, "test");
        records.sort_unstable();
        let mut newest: Vec<_> = (100..2100)
            .map(|number| number.to_string().into_bytes())
            .collect();
        newest.sort_unstable();
        assert_eq!(records, newest);
    }
}

/// A way to the broker that can be cut: every connection over it dies, new ones work.
struct Cuttable {
    port: u16,
    cut: watch::Sender<()>,
}

impl Cuttable {
    async fn to(broker: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, cuts) = watch::channel(());
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut cuts = cuts.clone();
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect((Ipv4Addr::LOCALHOST, broker)).await
                    else {
                        return;
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Cuttable { port, cut }
    }
}

/// Lines of the broker's log with this in it.
fn logged(broker: &Mosquitto, text: &str) -> usize {
    let log = broker.log();
    log.lines().filter(|line| line.contains(text)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wait_leaves_to_the_broker_what_does_not_fit() {
    for mqtt in VERSIONS {
        let broker = Mosquitto::start_with(talkative());
        let link = Cuttable::to(broker.port).await;
        let url = format!("mqtt://127.0.0.1:{}", link.port);
        let set = [
            ("DELIVERY_STREAM_QUEUE_SIZE", "2000"),
            ("WHEN_FULL", "wait"),
        ];
        let site = Site::start_with(broker, endpoint().await, &url, mqtt, &set).await;
        let sent = |site: &Site| logged(&site.broker, &format!("Sending PUBLISH to {CLIENT} ("));
        let acknowledged =
            |site: &Site| logged(&site.broker, &format!("Received PUBACK from {CLIENT} ("));
        eventually("the probes are acknowledged", || {
            sent(&site) == acknowledged(&site)
        })
        .await;
        let before = acknowledged(&site);

        site.endpoint.faults().set_all(hang());
        for number in 0..4000 {
            let number = number.to_string();
            site.app.request(&number, &number).await;
        }
        site.app.flush().await;
        eventually("the queue is full", || acknowledged(&site) - before >= 2000).await;
        // What it has un-acknowledged comes again on the next connection, and nothing else does.
        link.cut.send_replace(());
        eventually("it is back", || {
            logged(&site.broker, &format!(" as {CLIENT} (")) == 2
        })
        .await;
        eventually("the broker sends again", || {
            logged(&site.broker, &format!("Sending PUBLISH to {CLIENT} (d1, ")) > 0
        })
        .await;
        assert_eq!(acknowledged(&site) - before, 2000);
        assert_eq!(site.app.count(), 0);

        site.endpoint.faults().clear();
        let statuses = site.app.wait_for(4000).await;
        assert!(statuses.iter().all(|status| status.is_success()));
        assert!(site.connector.stop().await.is_nothing());
        assert_eq!((site.app.by_id().len(), site.app.count()), (4000, 4000));
        let records = arrived(&site.endpoint, "test");
        let distinct: BTreeSet<_> = records.iter().collect();
        assert_eq!((records.len(), distinct.len()), (4000, 4000));
    }
}
