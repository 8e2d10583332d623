//! Answers that no AWS service gives, and those that proxies, portals and half-dead gateways do.

use aws_sdk_firehose::config::SharedCredentialsProvider;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

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
    let (mut results, mut requests) = answered_in_turn(count, vec![answer]).await;
    (results.remove(0), requests.remove(0))
}

/// The same of one batch after the other, each on a connection of its own.
async fn answered_in_turn(
    count: usize,
    answers: Vec<Vec<u8>>,
) -> (Vec<Result<Vec<Outcome>, CallError>>, Vec<String>) {
    let calls = answers.len();
    let (firehose, server) = firehose_at(answers).await;
    let mut results = Vec::new();
    for _ in 0..calls {
        let records = vec![Bytes::from_static(b"record"); count];
        results.push(firehose.put_batch(&stream(), records).await);
    }
    (results, server.await.unwrap())
}

fn stream() -> DeliveryStreamArn {
    let arn = "arn:aws:firehose:us-east-1:123456789012:deliverystream/test";
    DeliveryStreamArn::parse(arn, &Partitions::default()).unwrap()
}

/// An endpoint that gives these answers, each on a connection of its own, and ends with the requests that it got.
async fn firehose_at(answers: Vec<Vec<u8>>) -> (Firehose, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            let (mut request, mut part) = (Vec::new(), [0; 4096]);
            // The body is one piece of JSON, and it ends so.
            while !request.ends_with(b"]}") {
                let read = socket.read(&mut part).await.unwrap();
                request.extend_from_slice(&part[..read]);
            }
            // Whoever has read enough of it hangs up.
            let _ = socket.write_all(&answer).await;
            requests.push(String::from_utf8(request).unwrap());
        }
        requests
    });
    let settings = FirehoseSettings {
        stand_in: Some(url),
        ..FirehoseSettings::default()
    };
    (Firehose::new(settings).await, server)
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
async fn whoever_keeps_the_credentials_learns_which_streams_they_serve() {
    let good = with_body("200 OK", r#"{"RequestResponses":[{"RecordId":"1"}]}"#);
    let busy = with_body(
        "503 Busy",
        r#"{"__type":"ServiceUnavailableException","message":"busy"}"#,
    );
    let refusal = with_body(
        "400 Bad Request",
        r#"{"__type":"ExpiredTokenException","message":"expired"}"#,
    );
    let (mut firehose, server) = firehose_at(vec![good, busy, refusal]).await;
    let keeper = Keeper::new(SharedCredentialsProvider::new(made_up_credentials()));
    keeper.credentials().await.unwrap();
    Arc::get_mut(&mut firehose.inner).unwrap().keeper = Some(keeper);
    for serve in [true, true, false] {
        let records = vec![Bytes::from_static(b"record")];
        let _ = firehose.put_batch(&stream(), records).await;
        let keeper = firehose.inner.keeper.as_ref().unwrap();
        assert_eq!(keeper.serve(&stream()), serve);
    }
    assert_eq!(server.await.unwrap().len(), 3);
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
        (with_body("200 OK", &too_long), "longer than 16896 bytes"),
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

/// An error with the date of the service's clock, which is so many hours ahead of ours.
fn dated(hours: u64, code: &str) -> Vec<u8> {
    let date = crate::utc::http_date(SystemTime::now() + Duration::from_secs(hours * 3600));
    let body = format!(r#"{{"__type":"{code}","message":"no"}}"#);
    let head = format!(
        "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nDate: {date}\r\nx-amzn-requestid: 1"
    );
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn a_call_that_may_be_refused_for_its_date_is_made_again_dated_by_the_services_clock() {
    for code in ["AccessDeniedException", "InvalidSignatureException"] {
        let (results, requests) = answered_in_turn(1, vec![dated(5, code); 2]).await;
        let mut errors = results.into_iter().map(Result::unwrap_err);
        let (first, second) = (errors.next().unwrap(), errors.next().unwrap());
        assert!(first.retryable, "{first}");
        let told = "this device's clock is 5 h behind: no";
        assert_eq!(first.error, ServiceError::new(code, told));
        // The second was dated as it should be, so it is refused for something else.
        assert_eq!(second.retryable, code == "InvalidSignatureException");
        assert_eq!(second.error, ServiceError::new(code, "no"));
        let date = |request: &str| {
            let line = request
                .lines()
                .find_map(|line| line.strip_prefix("x-amz-date: "));
            line.unwrap().to_owned()
        };
        let (first, second) = (date(&requests[0]), date(&requests[1]));
        assert!(second > first, "{second} is not later than {first}");
    }
}

#[tokio::test]
async fn an_error_that_says_nothing_of_dates_is_not_blamed_on_the_clock() {
    let (result, _) = answered(1, dated(5, "ResourceNotFoundException")).await;
    let error = result.unwrap_err();
    assert!(!error.retryable);
    assert_eq!(error.error.message, "no");
}

#[tokio::test]
async fn an_error_that_does_not_end_is_not_read_to_its_end() {
    let endless = vec![b' '; 17 * 1024];
    let head = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 1000000000\r\n\r\n";
    let (result, _) = answered(1, [&head[..], &endless].concat()).await;
    let error = result.unwrap_err();
    assert!(error.retryable);
    let told = "HTTP status 500: the answer is longer than 16384 bytes";
    assert_eq!(error.error, ServiceError::new("UnreadableResponse", told));
}
