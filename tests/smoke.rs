//! The shortest way through: a request goes in through a real broker, its record arrives, its
//! status comes back, and a stop leaves nothing.

#![cfg(feature = "local")]

mod common;

use common::{App, Mosquitto, RunningConnector, parameters, quick_firehose};
use kinesis_edge::local::{Endpoint, EndpointConfig};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_arrives_and_its_status_comes_back() {
    let broker = Mosquitto::start();
    let endpoint = Endpoint::start(EndpointConfig {
        addr: ([127, 0, 0, 1], 0).into(),
        storage: None,
        journal: true,
        streams: None,
    })
    .await
    .unwrap();
    for version in ["5", "3.1.1"] {
        let parameters = parameters(&[
            ("MQTT_URL", &broker.url()),
            ("MQTT_VERSION", version),
            ("MQTT_CLIENT_ID", version),
            ("PUBLISH_INTERVAL", "1"),
        ]);
        let connector = RunningConnector::start(&parameters, quick_firehose(&endpoint.url()).await);
        let app = App::connect(broker.port).await;
        app.until_answered().await;
        app.request("1", "hello").await;
        app.binary("a/b", *b"\x00\xff").await;
        let statuses = app.wait_for(2).await;
        assert!(
            statuses.iter().all(|status| status.is_success()),
            "{statuses:?}"
        );
        assert_eq!(app.by_id().into_keys().collect::<Vec<_>>(), ["1", "a/b"]);
        assert!(connector.stop().await.is_nothing());
    }
    let accepted: Vec<_> = endpoint
        .accepted("test")
        .into_iter()
        .map(|record| record.data)
        .collect();
    assert_eq!(
        accepted,
        [&b"hello"[..], b"\x00\xff", b"hello", b"\x00\xff"]
    );
}
