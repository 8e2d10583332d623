//! Answers that no AWS service gives, and those that proxies, portals and half-dead gateways do.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::arn::Partitions;

#[test]
fn a_call_gets_time_by_its_size() {
    let settings = FirehoseSettings::default();
    assert_eq!(settings.timeout_of(0), Duration::from_secs(20));
    assert_eq!(
        settings.timeout_of(4 * 1024 * 1024),
        Duration::from_secs(20 + 256)
    );
}

#[test]
fn an_answer_without_a_record_id_leaves_the_record_in_the_unknown() {
    let outcome = single_outcome(String::new());
    assert!(matches!(outcome, Outcome::Retry(_)));
    let record_id = "r".into();
    assert_eq!(
        single_outcome("r".to_owned()),
        Outcome::Delivered { record_id }
    );
}

/// What a batch of `count` records becomes of when the endpoint gives this answer, byte for byte, and
/// the request it got.
async fn answered(count: usize, answer: Vec<u8>) -> (Result<Vec<Outcome>, CallError>, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let (mut request, mut part) = (Vec::new(), [0; 4096]);
        // The body is one piece of JSON, and it ends so.
        while !request.ends_with(b"]}") {
            let read = socket.read(&mut part).await.unwrap();
            request.extend_from_slice(&part[..read]);
        }
        // Whoever has read enough of it hangs up.
        let _ = socket.write_all(&answer).await;
        String::from_utf8(request).unwrap()
    });
    let settings = FirehoseSettings {
        stand_in: Some(url),
        ..FirehoseSettings::default()
    };
    let firehose = Firehose::new(settings).await;
    let arn = "arn:aws:firehose:us-east-1:123456789012:deliverystream/test";
    let stream = DeliveryStreamArn::parse(arn, &Partitions::default()).unwrap();
    let records = vec![Bytes::from_static(b"record"); count];
    let outcomes = firehose.put_batch(&stream, records).await;
    (outcomes, server.await.unwrap())
}

fn with_body(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn delivered(id: &str) -> Outcome {
    Outcome::Delivered {
        record_id: id.into(),
    }
}

#[tokio::test]
async fn a_batch_is_signed_as_it_is_sent() {
    let answer = r#"{"FailedPutCount":0,"RequestResponses":[{"RecordId":"1"},{"RecordId":"2"}]}"#;
    let (outcomes, request) = answered(2, with_body("200 OK", answer)).await;
    assert_eq!(outcomes.unwrap(), [delivered("1"), delivered("2")]);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let expected =
        r#"{"DeliveryStreamName":"test","Records":[{"Data":"cmVjb3Jk"},{"Data":"cmVjb3Jk"}]}"#;
    assert_eq!(body, expected);
    let head = head.to_lowercase();
    let lengths: Vec<_> = head
        .lines()
        .filter(|line| line.starts_with("content-length:"))
        .collect();
    assert_eq!(lengths, [format!("content-length: {}", body.len())]);
    assert!(head.contains("authorization: aws4-hmac-sha256 "), "{head}");
    assert!(
        head.contains("x-amz-target: firehose_20150804.putrecordbatch"),
        "{head}"
    );
}

#[tokio::test]
async fn an_answer_in_chunks_is_put_together() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        18\r\n{\"RequestResponses\":[{\"R\r\n11\r\necordId\":\"one\"}]}\r\n0\r\n\r\n";
    let (outcomes, _) = answered(1, chunked.as_bytes().to_vec()).await;
    assert_eq!(outcomes.unwrap(), [delivered("one")]);
}

#[tokio::test]
async fn what_is_no_answer_leaves_the_records_in_the_unknown() {
    let too_long = format!("{{\"x\":\"{}\"}}", "x".repeat(5 << 20));
    for (answer, part) in [
        (
            with_body("200 OK", "<html>Please log in</html>"),
            "cannot be read",
        ),
        (with_body("200 OK", ""), "cannot be read"),
        (with_body("200 OK", &too_long), "longer than 4194304 bytes"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec(),
            "",
        ),
    ] {
        let (outcomes, _) = answered(1, answer).await;
        let error = outcomes.unwrap_err();
        assert!(error.retryable, "{error}");
        assert_eq!(error.error.code, "UnreadableResponse");
        assert!(error.error.message.contains(part), "{error}");
    }
}

#[tokio::test]
async fn an_error_is_read_by_the_sdk() {
    let error = r#"{"__type":"ResourceNotFoundException","message":"gone"}"#;
    let (outcomes, _) = answered(1, with_body("400 Bad Request", error)).await;
    let error = outcomes.unwrap_err();
    assert!(!error.retryable);
    assert_eq!(
        error.error,
        ServiceError::new("ResourceNotFoundException", "gone")
    );
}
