//! RECORD_ENVELOPE, as whoever reads the records sees it: each arrives in an envelope that says where it
//! came from, a record that is sent again is the same byte for byte, and so what was published can be
//! told from what arrived, once each and in order.

#![cfg(feature = "local")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use common::{App, Mosquitto, RunningConnector, endpoint, eventually, parameters, quick_firehose};
use kinesis_edge::local::{CallFault, Endpoint, Faults};
use kinesis_edge::utc::Utc;
use serde_json::Value;

const CLIENT: &str = "press-\"7\"";

/// A broker, an endpoint and an app; the connector between them comes and goes.
struct Site {
    broker: Mosquitto,
    endpoint: Endpoint,
    app: App,
}

impl Site {
    async fn start() -> Self {
        let broker = Mosquitto::start();
        let app = App::connect(broker.port).await;
        Site {
            endpoint: endpoint().await,
            app,
            broker,
        }
    }

    /// A connector that puts records into envelopes, answering.
    async fn connector(&self) -> RunningConnector {
        let parameters = parameters(&[
            ("MQTT_URL", &self.broker.url()),
            ("MQTT_CLIENT_ID", CLIENT),
            ("PUBLISH_INTERVAL", "1"),
            ("RECORD_ENVELOPE", "true"),
        ]);
        let firehose = quick_firehose(&self.endpoint.url()).await;
        let connector = RunningConnector::start(&parameters, firehose);
        self.app.until_answered().await;
        connector
    }

    /// What arrived, in order of arrival, with what Firehose was given again.
    fn arrived(&self) -> Vec<Value> {
        let records = self.endpoint.accepted("test").into_iter();
        records
            .map(|record| serde_json::from_slice(&record.data).expect("JSON"))
            .collect()
    }
}

fn text<'a>(envelope: &'a Value, field: &str) -> &'a str {
    envelope[field].as_str().expect(field)
}

/// Envelopes by their sequence: copies fall together, and are checked to be copies.
fn distinct(arrived: Vec<Value>) -> BTreeMap<String, Value> {
    let mut distinct = BTreeMap::new();
    for envelope in arrived {
        let sequence = text(&envelope, "sequence").to_owned();
        let first = distinct.entry(sequence).or_insert_with(|| envelope.clone());
        assert_eq!(*first, envelope);
    }
    distinct
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_can_be_told_from_what_arrived() {
    let site = Site::start().await;
    let connector = site.connector().await;
    // Every record is committed and no answer comes, so every record is sent again.
    let lost_answers = Faults {
        call: CallFault::ResetAfterCommit,
        ..Faults::default()
    };
    site.endpoint.faults().set_all(lost_answers);
    // The same text twice is two records.
    for id in ["1", "2"] {
        site.app.request(id, "a \"quoted\"\nline, ü").await;
    }
    site.app
        .raw(r#"{"request": {"data": {"n" : 1.50}}, "id": "3"}"#)
        .await;
    site.app.binary("a/4", "text all the same").await;
    site.app.binary("5", vec![0xff, 0, 1, 2]).await;
    eventually("all records are committed", || {
        distinct(site.arrived()).len() == 5
    })
    .await;
    site.endpoint.faults().set_all(Faults::default());
    let statuses = site.app.wait_for(5).await;
    assert!(statuses.iter().all(|status| status.is_success()));
    let arrived = site.arrived();
    assert!(arrived.len() >= 10, "{} records", arrived.len());

    let distinct = distinct(arrived);
    let json = "kinesisfirehose/message";
    let expected = [
        (json, "data", "a \"quoted\"\nline, ü"),
        (json, "data", "a \"quoted\"\nline, ü"),
        (json, "data", r#"{"n" : 1.50}"#),
        (
            "kinesisfirehose/message/binary/a/4",
            "data",
            "text all the same",
        ),
        (
            "kinesisfirehose/message/binary/5",
            "data_base64",
            "/wABAg==",
        ),
    ];
    assert_eq!(distinct.len(), expected.len());
    let mut last = String::new();
    for ((sequence, envelope), (topic, field, data)) in distinct.iter().zip(expected) {
        assert_eq!(text(envelope, "topic"), topic);
        assert_eq!(text(envelope, field), data);
        assert_eq!(envelope.as_object().expect("an object").len(), 5);
        // The run's start in its sequence, the time of receipt after it, and after the one before.
        let run = sequence
            .strip_prefix(&format!("{CLIENT}-"))
            .expect(sequence);
        let start_ms = run.split('-').next().and_then(|ms| ms.parse().ok());
        let start = UNIX_EPOCH + Duration::from_millis(start_ms.expect(sequence));
        let received = text(envelope, "received").to_owned();
        assert!(received >= Utc::from(start).to_string() && received >= last);
        last = received;
    }
    assert!(connector.stop().await.is_nothing());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_repeats_no_sequence() {
    let site = Site::start().await;
    let mut published = 0;
    for _ in 0..3 {
        let connector = site.connector().await;
        for _ in 0..10 {
            site.app.request("id", "the same").await;
            published += 1;
        }
        site.app.wait_for(published).await;
        assert!(connector.stop().await.is_nothing());
    }
    let arrived = site.arrived();
    let sequences: BTreeSet<_> = arrived.iter().map(|e| text(e, "sequence")).collect();
    assert_eq!((arrived.len(), sequences.len()), (published, published));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fits_without_its_envelope_only_is_told_so() {
    let site = Site::start().await;
    let connector = site.connector().await;
    site.app.binary("large", vec![b'x'; 1_024_000]).await;
    site.app.binary("base64", vec![0xff; 768_000]).await;
    site.app.binary("fits", vec![0xff; 767_000]).await;
    for id in ["large", "base64"] {
        let status = site.app.status_of(id).await;
        assert_eq!(status.code(), "RecordTooLarge");
        assert!(
            status.message().contains("RECORD_ENVELOPE"),
            "{}",
            status.message()
        );
    }
    assert!(site.app.status_of("fits").await.is_success());
    let arrived = site.arrived();
    assert_eq!(arrived.len(), 1);
    assert_eq!(text(&arrived[0], "data_base64").len(), 1_022_668);
    assert!(connector.stop().await.is_nothing());
}
