//! A device without AWS credentials, for now or for good: the connector says at once what is missing
//! and what to do, once and not at every attempt, keeps the records, and delivers them as soon as
//! there are credentials.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use kinesis_edge::local::Endpoint;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::common::{App, ConnectorProcess, Mosquitto, STREAM, endpoint, eventually};
use crate::{connector_at, until_records_wait, warnings};

fn connector(broker: &Mosquitto, endpoint: &Endpoint, more: &[(&str, &str)]) -> ConnectorProcess {
    connector_at(broker, &endpoint.url(), more)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_credentials_it_says_so_at_start_and_keeps_the_records() {
    let (broker, endpoint) = (Mosquitto::start(), endpoint().await);
    let mut connector = connector(&broker, &endpoint, &[]);
    eventually("it says at start that there are no credentials", || {
        !warnings(&connector).is_empty()
    })
    .await;
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    app.request("kept", "a record").await;
    eventually("it says that records wait", || {
        warnings(&connector).len() == 2
    })
    .await;
    let said = warnings(&connector);
    assert!(
        said[0].contains("records cannot be delivered yet"),
        "{said:?}"
    );
    assert!(
        said[1].contains("are kept") && said[1].contains(STREAM),
        "{said:?}"
    );
    for line in &said {
        // What it is, what to do, and no more than a person reads.
        for words in [
            "error.code=NoCredentials",
            "AWS_ACCESS_KEY_ID",
            "AWS_PROFILE",
        ] {
            assert!(line.contains(words), "{line}");
        }
        assert!(line.len() < 500, "{line}");
    }

    connector.signal("TERM");
    assert_eq!(connector.wait().code(), Some(1), "{}", connector.stderr());
    let status = app.status_of("kept").await;
    assert_eq!(status.code(), "ConnectorStopped");
    assert_eq!((app.count(), endpoint.calls()), (1, 0));
}

/// A provider of credentials as Greengrass has one, which answers 500 until it works.
struct Provider {
    url: String,
    asked: Arc<AtomicUsize>,
    works: Arc<AtomicBool>,
}

impl Provider {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/credentials", listener.local_addr().unwrap());
        let (asked, works) = (Arc::default(), Arc::default());
        let provider = Provider { url, asked, works };
        let (asked, works) = (Arc::clone(&provider.asked), Arc::clone(&provider.works));
        tokio::spawn(async move {
            loop {
                let Ok((mut connection, _)) = listener.accept().await else {
                    return;
                };
                let mut request = [0; 4096];
                let _ = connection.read(&mut request).await;
                asked.fetch_add(1, Ordering::SeqCst);
                let (status, body) = if works.load(Ordering::SeqCst) {
                    let credentials = r#"{"AccessKeyId": "made-up", "SecretAccessKey": "made-up",
                        "Token": "made-up", "Expiration": "2099-01-01T00:00:00Z"}"#;
                    ("200 OK", credentials)
                } else {
                    ("500 Internal Server Error", "not yet")
                };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
                     connection: close\r\n\r\n{body}"
                );
                let _ = connection.write_all(answer.as_bytes()).await;
            }
        });
        provider
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_come_later_deliver_what_was_kept() {
    let (broker, endpoint, provider) = (
        Mosquitto::start(),
        endpoint().await,
        Provider::start().await,
    );
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", provider.url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "made-up"),
    ];
    let mut connector = connector(&broker, &endpoint, &variables);
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    app.request("kept", "a record").await;
    until_records_wait(&connector).await;
    let asked = provider.asked();
    eventually("it asks again and again", || provider.asked() >= asked + 6).await;
    let said = warnings(&connector);
    assert_eq!(
        said.len(),
        2,
        "once at start, once with the first record: {said:?}"
    );
    assert!(
        said[1].contains("the AWS credentials could not be loaded"),
        "{said:?}"
    );
    assert_eq!((app.count(), endpoint.calls()), (0, 0));

    provider.works.store(true, Ordering::SeqCst);
    assert!(app.status_of("kept").await.is_success());
    let accepted = endpoint.accepted("test");
    assert_eq!(accepted.len(), 1);
    assert_eq!(accepted[0].data, "a record");
    connector.signal("TERM");
    assert!(connector.wait().success(), "{}", connector.stderr());
}
