//! Beside a connector that runs, and beside one too many.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::common::{App, eventually};
use crate::site::{ID, NO_SEND, Site};

/// The connector's records go on, none is lost, and it stays connected.
async fn beside_a_running_connector(version: &'static str) {
    let mut site = Site::new().await;
    site.set("MQTT_VERSION", version);
    let mut connector = site.connector(&[]);
    let app = App::connect(site.broker.port).await;
    app.until_answered().await;
    // Others come and go all the time, to publish something.
    let port = site.broker.port;
    let others = tokio::spawn(async move {
        while let Ok(other) = TcpStream::connect(("127.0.0.1", port)).await {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                drop(other);
            });
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut published = 0;
    let report = {
        let check = site.check(&[]);
        tokio::pin!(check);
        loop {
            tokio::select! {
                report = &mut check => break report,
                () = tokio::time::sleep(Duration::from_millis(10)) => {
                    app.request(&published.to_string(), &format!("record {published}")).await;
                    published += 1;
                }
            }
        }
    };
    others.abort();
    report
        .is(&[NO_SEND])
        .says("client-id", &["on this device", "the running connector"])
        .says("queue", &["a running connector holds it"]);
    assert!(connector.is_running(), "{}", connector.stderr());
    assert!(published > 100, "{published} were published meanwhile");
    app.flush().await;
    let all = || app.by_id().len() == published;
    eventually("each has a status", all).await;
    assert!(app.statuses().iter().all(|status| status.is_success()));
    let accepted: BTreeSet<Vec<u8>> = site
        .endpoint
        .accepted("test")
        .iter()
        .map(|record| record.data.to_vec())
        .collect();
    for number in 0..published {
        let record = format!("record {number}").into_bytes();
        assert!(accepted.contains(&record), "{number} is lost");
    }
    assert_eq!(accepted.len(), published);
    // An empty list of statuses, and no others than those of the requests.
    assert!(app.documents().contains(&br#"{"response":[]}"#.to_vec()));
    connector.signal("TERM");
    assert!(connector.wait().success(), "{}", connector.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_that_runs_loses_nothing() {
    tokio::join!(
        beside_a_running_connector("5"),
        beside_a_running_connector("3.1.1")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_connectors_with_one_client_id_on_this_device_are_named() {
    let mut site = Site::new().await;
    site.variables.remove("QUEUE_DIR");
    site.variables.remove("DEAD_LETTER_DIR");
    let (one, other) = (site.connector(&[]), site.connector(&[]));
    for connector in [&one, &other] {
        eventually("each is connected once", || {
            connector.stderr().contains("connected to the MQTT broker")
        })
        .await;
    }
    let report = site.check(&[]).await;
    report
        .is(&[
            NO_SEND,
            ("queue", "skipped"),
            ("dead-letters", "skipped"),
            ("client-id", "failed"),
        ])
        .says(
            "client-id",
            &["was thrown out", "another one", ID, "MQTT_CLIENT_ID"],
        );
}

/// Shows the program a device without connections, or one that keeps no list of them: whoever has the client
/// id seems to be elsewhere then.
fn without_connections(listed: bool) -> Vec<String> {
    let script = r#"mount -t tmpfs tmpfs /proc && if "$1"; then mkdir /proc/net && echo head >/proc/net/tcp; fi
        shift && exec "$@""#;
    let mut words = vec!["unshare", "--mount", "--propagation", "private"];
    let id = std::process::Command::new("id").arg("-u").output();
    if id.expect("id starts").stdout != b"0\n" {
        words.extend(["--user", "--map-root-user"]);
    }
    words.extend([
        "sh",
        "-c",
        script,
        "sh",
        if listed { "true" } else { "false" },
    ]);
    words.into_iter().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_with_the_same_client_id_elsewhere_is_named() {
    let mut site = Site::new().await;
    site.wrapper = without_connections(true);
    let elsewhere = tempfile::tempdir().unwrap();
    let queue = elsewhere.path().join("queue").display().to_string();
    let letters = elsewhere.path().join("letters").display().to_string();
    let there = [("QUEUE_DIR", &*queue), ("DEAD_LETTER_DIR", &*letters)];
    for version in ["5", "3.1.1"] {
        site.set("MQTT_VERSION", version);
        let mut connector = site.connector(&there);
        let app = App::connect(site.broker.port).await;
        app.until_answered().await;
        let report = site.check(&[]).await;
        report.is(&[NO_SEND, ("client-id", "failed")]).says(
            "client-id",
            &[
                "another client is connected",
                ID,
                "MQTT_CLIENT_ID of its own",
            ],
        );
        connector.signal("TERM");
        assert!(connector.wait().success(), "{}", connector.stderr());
    }
    // The same beside a connector of this device, which holds its queue and is thrown out at present.
    let _connector = site.connector(&[]);
    let app = App::connect(site.broker.port).await;
    app.until_answered().await;
    let report = site.check(&[]).await;
    report.is(&[NO_SEND, ("client-id", "failed")]).says(
        "client-id",
        &["another client is connected", "holds QUEUE_DIR"],
    );
    // Where nothing lists connections, it is that connector most likely.
    site.wrapper = without_connections(false);
    let report = site.check(&[]).await;
    report.is(&[NO_SEND, ("client-id", "skipped")]).says(
        "client-id",
        &["holds QUEUE_DIR on this device", "cannot be told"],
    );
}
