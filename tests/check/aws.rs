//! What can be wrong with credentials, the clock, the endpoint and the stream.

use kinesis_edge::local::{CallFault, Faults};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::common::{App, STREAM, eventually, free_port, lines, stream_arn};
use crate::site::{ID, NO_SEND, Site};

/// What is not well where no endpoint answers, `send` among it, which was not asked for.
const NO_ENDPOINT: [(&str, &str); 4] = [
    NO_SEND,
    ("endpoint", "failed"),
    ("clock", "skipped"),
    ("access", "skipped"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_credentials_are_named() {
    let site = Site::new().await;
    site.endpoint.faults().set_all(Faults {
        call: CallFault::ExpiredToken,
        ..Faults::default()
    });
    let report = site.check(&["--send"]).await;
    report
        .is(&[("access", "failed"), ("send", "skipped")])
        .says("access", &["ExpiredTokenException", "have ended", "renews"]);
}

/// Answers each request with the same: a status line, further headers and a body.
async fn that_answers(head: String, body: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = socket.read(&mut request).await;
            let bytes = body.len();
            let answer = format!(
                "HTTP/1.1 {head}\r\ncontent-length: {bytes}\r\nconnection: close\r\n\r\n{body}"
            );
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    place
}

/// A provider as a container or Greengrass has one, whose credentials end at this time.
async fn provider(expiration: &'static str) -> String {
    let head = "200 OK\r\ncontent-type: application/json".to_owned();
    let body = format!(
        r#"{{"AccessKeyId": "ASIAABCDEFGHIJKLMNOP", "SecretAccessKey": "hidden-secret",
            "Token": "hidden-token", "Expiration": "{expiration}"}}"#
    );
    format!("http://{}/credentials", that_answers(head, body).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_answers_in_the_place_of_aws_is_named() {
    let mut site = Site::new().await;
    for (status, body) in [
        ("200 OK", "<html>Welcome! Please log in.</html>"),
        ("302 Found", ""),
        ("403 Forbidden", "<html>Not from here.</html>"),
        ("200 OK", "{}"),
    ] {
        // A clock that nobody should be judged by.
        let head = format!(
            "{status}\r\ndate: Thu, 01 Jan 2015 00:00:00 GMT\r\nlocation: http://127.0.0.1/login"
        );
        let place = that_answers(head, body.to_owned()).await;
        site.set("AWS_ENDPOINT_URL", format!("http://{place}"));
        let report = site.check(&[]).await;
        report.is(&NO_ENDPOINT).says(
            "endpoint",
            &[
                &place,
                &status[..3],
                "something else",
                "portal",
                "AWS_ENDPOINT_URL",
            ],
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_credentials_come_from_and_when_they_end_is_told() {
    let mut site = Site::new().await;
    site.variables.remove("AWS_ACCESS_KEY_ID");
    site.variables.remove("AWS_SECRET_ACCESS_KEY");
    let report = site.check(&[]).await;
    let none = [NO_SEND, ("credentials", "failed"), ("access", "skipped")];
    report.is(&none).says(
        "credentials",
        &["no AWS credentials found", "AWS_ACCESS_KEY_ID"],
    );

    let url = provider("2099-01-01T00:00:00Z").await;
    site.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", url);
    let report = site.check(&[]).await;
    report.is(&[NO_SEND]).says(
        "credentials",
        &[
            "container or Greengrass",
            "ASIA…MNOP",
            "2099-01-01T00:00:00",
        ],
    );

    let url = provider("2020-01-01T00:00:00Z").await;
    site.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", url);
    let report = site.check(&[]).await;
    report
        .is(&none)
        .says("credentials", &["expired at 2020-01-01T00:00:00", "renew"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_wrong_is_named() {
    let site = Site::new().await;
    for (ahead, result, words) in [
        (1000, "failed", "behind that of AWS"),
        (-1000, "failed", "ahead of that of AWS"),
        (150, "ok", "behind that of AWS"),
    ] {
        site.endpoint.faults().set_clock_ahead(ahead);
        let report = site.check(&[]).await;
        report
            .is(&[NO_SEND, ("clock", result)])
            .says("clock", &[words]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_not_there_is_named() {
    let mut site = Site::new().await;
    let gone = format!("http://127.0.0.1:{}", free_port());
    site.set("AWS_ENDPOINT_URL", &*gone);
    let report = site.check(&[]).await;
    report
        .is(&NO_ENDPOINT)
        .says("endpoint", &[&gone, "refused", "AWS_ENDPOINT_URL"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_not_there_or_not_allowed_is_named() {
    let mut site = Site::new().await;
    site.set("DEFAULT_DELIVERY_STREAM_ARN", stream_arn("missing"));
    let report = site.check(&["--send"]).await;
    report.is(&[("send", "failed")]).says(
        "send",
        &["ResourceNotFoundException", "create the stream", "missing"],
    );

    site.set("DEFAULT_DELIVERY_STREAM_ARN", STREAM);
    site.endpoint.faults().set_all(Faults {
        call: CallFault::AccessDenied,
        ..Faults::default()
    });
    let report = site.check(&["--send"]).await;
    report.is(&[("send", "failed")]).says(
        "send",
        &[
            "AccessDeniedException",
            "allow firehose:PutRecordBatch",
            STREAM,
            "kinesis-edge policy",
        ],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_1_is_checked_as_what_it_is() {
    let mut site = Site::new().await;
    site.set("CONNECTOR_VERSION", "1");
    let app = App::connect(site.broker.port).await;
    site.check(&["--send"]).await.is(&[]);
    assert_eq!(site.endpoint.accepted("test").len(), 1);
    // A status in the shape of that version, of a request that nobody made.
    eventually("the app saw it", || app.count() == 1).await;
    let status = &app.statuses()[0];
    assert!(status.id().starts_with("kinesis-edge-check-") && status.is_success());
    site.endpoint.faults().set_all(Faults {
        call: CallFault::AccessDenied,
        ..Faults::default()
    });
    let report = site.check(&["--send"]).await;
    report
        .is(&[("send", "failed")])
        .says("send", &["allow firehose:PutRecord on"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_test_record_is_as_other_records_are() {
    let mut site = Site::new().await;
    site.set("RECORD_ENVELOPE", "true");
    site.set("RECORD_AGGREGATION", "delimited");
    site.set("RECORD_COMPRESSION", "gzip");
    site.check(&["--send"]).await.is(&[]);
    let sent = site.endpoint.accepted("test");
    let found = lines("gzip", &sent[0].data);
    assert_eq!(found.len(), 1);
    let envelope: Value = serde_json::from_slice(&found[0]).unwrap();
    assert_eq!(envelope["id"], "kinesis-edge-check");
    assert!(envelope["sequence"].as_str().unwrap().starts_with(ID));
    let told: Value = serde_json::from_str(envelope["data"].as_str().unwrap()).unwrap();
    assert!(told["kinesis_edge_check"]["sent"].is_string());
}
