//! Tests of the embedded Firehose endpoint: each fault knob and each limit over a bare socket, and
//! all of it through the real AWS SDK.

use std::path::Path;
use std::time::SystemTime;

use aws_sdk_firehose::config::retry::RetryConfig;
use aws_sdk_firehose::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_firehose::error::ProvideErrorMetadata;
use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types::Record;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::{CallFault, Faults, MAX_RECORDS, MAX_REQUEST_BYTES};
use super::*;

const BATCH: &str = "Firehose_20150804.PutRecordBatch";
const SINGLE: &str = "Firehose_20150804.PutRecord";

/// An endpoint with a journal, for which every stream exists.
async fn endpoint() -> Endpoint {
    start(None, None).await
}

async fn start(storage: Option<&Path>, streams: Option<&[&str]>) -> Endpoint {
    let streams = streams.map(|streams| streams.iter().map(ToString::to_string).collect());
    let addr = "127.0.0.1:0".parse().unwrap();
    Endpoint::start(EndpointConfig {
        addr,
        storage: storage.map(Path::to_owned),
        journal: true,
        streams,
    })
    .await
    .unwrap()
}

fn every_call(call: CallFault) -> Faults {
    Faults {
        call,
        ..Faults::default()
    }
}

fn batch(stream: &str, records: &[&str]) -> String {
    let records: Vec<Value> = records
        .iter()
        .map(|record| json!({ "Data": STANDARD.encode(record) }))
        .collect();
    json!({ "DeliveryStreamName": stream, "Records": records }).to_string()
}

/// Sends one request; the connection is asked to close after the answer.
async fn send(endpoint: &Endpoint, target: &str, signed: bool, body: &str) -> TcpStream {
    let mut socket = TcpStream::connect(endpoint.addr()).await.unwrap();
    let authorization = if signed {
        "Authorization: AWS4-HMAC-SHA256 unchecked\r\n"
    } else {
        ""
    };
    let head = format!(
        "POST / HTTP/1.1\r\nHost: local\r\nX-Amz-Target: {target}\r\n{authorization}Connection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(body.as_bytes()).await.unwrap();
    socket
}

/// Everything that comes until the other side closes or resets.
async fn receive(mut socket: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// Status, head and body of an answer.
async fn ask(endpoint: &Endpoint, target: &str, body: &str) -> (u16, String, String) {
    let answer = receive(send(endpoint, target, true, body).await).await;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {answer:?}"));
    (
        head[9..12].parse().unwrap(),
        head.to_ascii_lowercase(),
        body.to_owned(),
    )
}

/// Asks and expects an error, given back as status and code; header and body must agree.
async fn refused(endpoint: &Endpoint, target: &str, body: &str) -> (u16, String) {
    let (status, head, body) = ask(endpoint, target, body).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    let code = body["__type"].as_str().unwrap().to_owned();
    assert!(body["message"].is_string());
    assert!(
        head.contains(&format!("x-amzn-errortype: {}", code.to_ascii_lowercase())),
        "{head}"
    );
    assert!(
        head.contains("content-type: application/x-amz-json-1.1"),
        "{head}"
    );
    (status, code)
}

fn data(endpoint: &Endpoint, stream: &str) -> Vec<String> {
    endpoint
        .accepted(stream)
        .iter()
        .map(|record| String::from_utf8(record.data.to_vec()).unwrap())
        .collect()
}

/// Waits for what is certain to come, however long a busy machine takes.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_batch_and_a_single_record_are_accepted_counted_and_known() {
    let endpoint = endpoint().await;
    let (status, _, body) = ask(&endpoint, BATCH, &batch("s", &["a", "b"])).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &answer["FailedPutCount"], &answer["Encrypted"]),
        (200, &json!(0), &json!(false))
    );

    let single = json!({ "DeliveryStreamName": "s", "Record": { "Data": STANDARD.encode("c") } })
        .to_string();
    let (status, _, single_answer) = ask(&endpoint, SINGLE, &single).await;
    assert_eq!(status, 200);
    let single_answer: Value = serde_json::from_str(&single_answer).unwrap();

    until(|| endpoint.accepted("s").iter().all(|record| record.known)).await;
    let accepted = endpoint.accepted("s");
    let ids: Vec<&str> = accepted
        .iter()
        .map(|record| record.record_id.as_str())
        .collect();
    let told = [
        &answer["RequestResponses"][0],
        &answer["RequestResponses"][1],
        &single_answer,
    ];
    assert_eq!(ids, told.map(|entry| entry["RecordId"].as_str().unwrap()));
    assert_eq!(data(&endpoint, "s"), ["a", "b", "c"]);

    let largest_call_bytes = batch("s", &["a", "b"]).len();
    let expected = StreamStats {
        calls: 2,
        batch_calls: 1,
        records: 3,
        bytes: 3,
        largest_call_records: 2,
        largest_call_bytes,
        empty_calls: 0,
    };
    assert_eq!(
        endpoint.stats(),
        BTreeMap::from([("s".to_owned(), expected)])
    );
    assert_eq!(endpoint.calls(), 2);
}

#[tokio::test]
async fn the_limits_are_enforced_over_the_wire() {
    let endpoint = endpoint().await;
    let invalid = (400, "InvalidArgumentException".to_owned());
    assert_eq!(refused(&endpoint, BATCH, &batch("s", &[])).await, invalid);
    assert_eq!(
        refused(&endpoint, BATCH, &batch("s", &["a"; MAX_RECORDS + 1])).await,
        invalid
    );
    assert_eq!(
        refused(&endpoint, BATCH, &batch("../s", &["a"])).await,
        invalid
    );
    // Each record is within its limit, the request is not.
    let record = "x".repeat(800_000);
    assert_eq!(
        refused(&endpoint, BATCH, &batch("s", &[record.as_str(); 4])).await,
        invalid
    );

    let stats = endpoint.stats()["s"];
    assert_eq!(
        (
            stats.calls,
            stats.empty_calls,
            stats.records,
            stats.largest_call_records
        ),
        (3, 1, 0, MAX_RECORDS + 1)
    );
    assert!(stats.largest_call_bytes > MAX_REQUEST_BYTES);
}

#[tokio::test]
async fn a_request_that_no_stream_can_be_read_from_is_refused_too() {
    let endpoint = endpoint().await;
    assert_eq!(
        refused(&endpoint, BATCH, "{").await,
        (400, "SerializationException".to_owned())
    );
    let unknown = (400, "UnknownOperationException".to_owned());
    assert_eq!(
        refused(&endpoint, "Firehose_20150804.DescribeDeliveryStream", "{}").await,
        unknown
    );

    let unsigned = receive(send(&endpoint, BATCH, false, &batch("s", &["a"])).await).await;
    assert!(
        unsigned.starts_with("HTTP/1.1 403")
            && unsigned.contains("MissingAuthenticationTokenException"),
        "{unsigned}"
    );
    assert_eq!((endpoint.calls(), endpoint.stats().len()), (3, 0));
}

#[tokio::test]
async fn a_stream_that_does_not_exist_is_not_found() {
    let endpoint = start(None, Some(&["here"])).await;
    assert_eq!(ask(&endpoint, BATCH, &batch("here", &["a"])).await.0, 200);
    let (status, _, body) = ask(&endpoint, BATCH, &batch("elsewhere", &["a"])).await;
    assert_eq!(status, 400);
    assert_eq!(
        body,
        r#"{"__type":"ResourceNotFoundException","message":"Firehose elsewhere not found under account 123456789012."}"#
    );
}

#[tokio::test]
async fn faults_with_an_error_answer_commit_nothing() {
    let endpoint = endpoint().await;
    let call = batch("s", &["a"]);
    for (fault, status, code) in [
        (CallFault::Throttled, 400, "ThrottlingException"),
        (CallFault::NotRetryable, 400, "InvalidArgumentException"),
        (CallFault::AccessDenied, 400, "AccessDeniedException"),
    ] {
        endpoint.faults().set("s", every_call(fault));
        assert_eq!(
            refused(&endpoint, BATCH, &call).await,
            (status, code.to_owned())
        );
    }
    endpoint
        .faults()
        .set("s", every_call(CallFault::ServerError));
    assert_eq!(
        refused(&endpoint, BATCH, &call).await,
        (500, "InternalFailure".to_owned())
    );
    assert_eq!(
        refused(&endpoint, BATCH, &call).await,
        (503, "ServiceUnavailableException".to_owned())
    );

    endpoint.faults().set("s", every_call(CallFault::Garbage));
    let (status, _, body) = ask(&endpoint, BATCH, &call).await;
    assert_eq!(status, 200);
    serde_json::from_str::<Value>(&body).unwrap_err();

    assert!(endpoint.accepted("s").is_empty());
    endpoint.faults().clear();
    assert_eq!(ask(&endpoint, BATCH, &call).await.0, 200);
}

#[tokio::test]
async fn a_failing_share_is_answered_record_by_record() {
    let endpoint = endpoint().await;
    endpoint.faults().set_all(Faults {
        failing_share: 0.5,
        ..Faults::default()
    });
    let records: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let names: Vec<&str> = records.iter().map(String::as_str).collect();
    let answer: Value =
        serde_json::from_str(&ask(&endpoint, BATCH, &batch("s", &names)).await.2).unwrap();

    let entries = answer["RequestResponses"].as_array().unwrap();
    let accepted: Vec<&str> = names
        .iter()
        .zip(entries)
        .filter(|(_, entry)| entry["RecordId"].is_string())
        .map(|(name, _)| *name)
        .collect();
    let failed = entries
        .iter()
        .filter(|entry| entry["ErrorCode"] == "ServiceUnavailableException")
        .count();
    assert_eq!(data(&endpoint, "s"), accepted);
    assert_eq!(accepted.len() + failed, 100);
    assert_eq!(answer["FailedPutCount"], json!(failed));
    assert!(!accepted.is_empty() && failed > 0);
}

#[tokio::test]
async fn a_short_answer_lacks_its_last_record() {
    let endpoint = endpoint().await;
    endpoint
        .faults()
        .set_all(every_call(CallFault::ShortAnswer));
    let answer: Value =
        serde_json::from_str(&ask(&endpoint, BATCH, &batch("s", &["a", "b", "c"])).await.2)
            .unwrap();
    assert_eq!(answer["RequestResponses"].as_array().unwrap().len(), 2);
    assert_eq!(answer["FailedPutCount"], json!(0));
    assert_eq!(data(&endpoint, "s"), ["a", "b"]);
}

#[tokio::test]
async fn a_connection_dies_before_or_after_the_commit() {
    let endpoint = endpoint().await;
    let call = batch("s", &["a"]);
    endpoint
        .faults()
        .set_all(every_call(CallFault::ResetBeforeCommit));
    assert_eq!(receive(send(&endpoint, BATCH, true, &call).await).await, "");
    assert!(endpoint.accepted("s").is_empty());

    endpoint
        .faults()
        .set_all(every_call(CallFault::ResetAfterCommit));
    assert_eq!(receive(send(&endpoint, BATCH, true, &call).await).await, "");
    let accepted = endpoint.accepted("s");
    assert_eq!(
        accepted
            .iter()
            .map(|record| record.known)
            .collect::<Vec<_>>(),
        [false]
    );
}

#[tokio::test]
async fn a_hanging_call_ends_with_the_client_or_with_the_endpoint_and_delays_no_other_stream() {
    let endpoint = endpoint().await;
    endpoint.faults().set("stuck", every_call(CallFault::Hang));
    let service = Arc::clone(&endpoint.service);
    // Each connection holds on to the service, so their number shows in its owners.
    let idle = Arc::strong_count(&service);
    let gone = send(&endpoint, BATCH, true, &batch("stuck", &["a"])).await;
    let waiting = send(&endpoint, BATCH, true, &batch("stuck", &["a"])).await;
    until(|| {
        endpoint
            .stats()
            .get("stuck")
            .is_some_and(|stats| stats.calls == 2)
    })
    .await;
    let hanging = Arc::strong_count(&service) - idle;

    drop(gone);
    until(|| Arc::strong_count(&service) == idle + hanging / 2).await;
    assert_eq!(ask(&endpoint, BATCH, &batch("fine", &["a"])).await.0, 200);

    endpoint.stop().await;
    assert_eq!(receive(waiting).await, "");
    assert!(service.journal.accepted("stuck").is_empty());
    assert_eq!(
        Arc::strong_count(&service),
        1,
        "a connection outlived the endpoint"
    );
}

#[tokio::test]
async fn a_client_that_gives_up_during_the_latency_leaves_nothing_committed() {
    let endpoint = endpoint().await;
    endpoint.faults().set_all(Faults {
        latency: Duration::from_secs(3_600),
        ..Faults::default()
    });
    let idle = Arc::strong_count(&endpoint.service);
    let impatient = send(&endpoint, BATCH, true, &batch("s", &["a"])).await;
    until(|| endpoint.stats().contains_key("s")).await;
    drop(impatient);
    until(|| Arc::strong_count(&endpoint.service) == idle).await;
    assert!(endpoint.accepted("s").is_empty());
}

/// The clock is a pretended one: it jumps ahead when everybody waits.
#[tokio::test(start_paused = true)]
async fn latency_holds_an_answer_back() {
    let endpoint = endpoint().await;
    let hour = Duration::from_secs(3_600);
    endpoint.faults().set_all(Faults {
        latency: hour,
        ..Faults::default()
    });
    let before = tokio::time::Instant::now();
    assert_eq!(ask(&endpoint, BATCH, &batch("s", &["a"])).await.0, 200);
    assert!(before.elapsed() >= hour);
}

#[tokio::test]
async fn accepted_records_are_written_at_once_and_a_full_disk_is_answered_503() {
    let root = tempfile::tempdir().unwrap();
    let endpoint = start(Some(root.path()), None).await;
    assert_eq!(
        ask(&endpoint, BATCH, &batch("s", &["a\n", "b\n"])).await.0,
        200
    );
    assert_eq!(all_files(&root.path().join("s")), ["a\nb\n"]);

    // Stands for any write that fails: a file where the folder of the stream should be.
    std::fs::write(root.path().join("broken"), "").unwrap();
    let unavailable = (503, "ServiceUnavailableException".to_owned());
    assert_eq!(
        refused(&endpoint, BATCH, &batch("broken", &["a"])).await,
        unavailable
    );
    assert!(endpoint.accepted("broken").is_empty());
}

/// The contents of every file below a folder.
fn all_files(folder: &Path) -> Vec<String> {
    let mut contents = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            contents.extend(all_files(&path));
        } else {
            contents.push(std::fs::read_to_string(path).unwrap());
        }
    }
    contents
}

#[tokio::test]
async fn without_a_journal_only_numbers_are_kept() {
    let addr = "127.0.0.1:0".parse().unwrap();
    let endpoint = Endpoint::start(EndpointConfig {
        addr,
        storage: None,
        journal: false,
        streams: None,
    })
    .await
    .unwrap();
    assert_eq!(ask(&endpoint, BATCH, &batch("s", &["a"])).await.0, 200);
    assert!(endpoint.accepted("s").is_empty());
    assert_eq!(endpoint.stats()["s"].records, 1);
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_named() {
    let first = endpoint().await;
    let config = |addr| EndpointConfig {
        addr,
        storage: None,
        journal: false,
        streams: None,
    };
    let message = Endpoint::start(config(first.addr()))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        message.contains(&first.addr().to_string()) && message.contains("in use"),
        "{message}"
    );
    let error = Endpoint::start(config("0.0.0.0:0".parse().unwrap()))
        .await
        .unwrap_err();
    assert!(matches!(error, LocalError::NotLoopback { .. }), "{error}");

    let addr = first.addr();
    first.stop().await;
    Endpoint::start(config(addr)).await.unwrap().stop().await;
}

/// A client as an application would have it, without retries.
fn sdk(endpoint: &Endpoint) -> aws_sdk_firehose::Client {
    let config = aws_sdk_firehose::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(
            "AKIAEXAMPLE",
            "secret",
            None,
            None,
            "test",
        ))
        .endpoint_url(endpoint.url())
        .retry_config(RetryConfig::disabled())
        .build();
    aws_sdk_firehose::Client::from_conf(config)
}

fn sdk_record(data: &str) -> Record {
    Record::builder().data(Blob::new(data)).build().unwrap()
}

#[tokio::test]
async fn the_real_sdk_reads_answers_and_errors() {
    let endpoint = start(None, Some(&["s"])).await;
    let client = sdk(&endpoint);
    let put = |stream: &str| {
        client
            .put_record_batch()
            .delivery_stream_name(stream)
            .records(sdk_record("a"))
            .records(sdk_record("b"))
    };

    let answer = put("s").send().await.unwrap();
    assert_eq!(
        (
            answer.failed_put_count(),
            answer.encrypted(),
            answer.request_responses().len()
        ),
        (0, Some(false), 2)
    );
    assert_eq!(
        answer.request_responses()[0].record_id().unwrap().len(),
        220
    );
    let single = client
        .put_record()
        .delivery_stream_name("s")
        .record(sdk_record("c"))
        .send()
        .await
        .unwrap();
    assert_eq!(single.record_id().len(), 220);
    assert_eq!(data(&endpoint, "s"), ["a", "b", "c"]);

    assert!(
        put("elsewhere")
            .send()
            .await
            .unwrap_err()
            .into_service_error()
            .is_resource_not_found_exception()
    );

    endpoint.faults().set_all(Faults {
        failing_share: 1.0,
        ..Faults::default()
    });
    let answer = put("s").send().await.unwrap();
    assert_eq!(answer.failed_put_count(), 2);
    assert_eq!(
        answer.request_responses()[1].error_code(),
        Some("ServiceUnavailableException")
    );
    let error = client
        .put_record()
        .delivery_stream_name("s")
        .record(sdk_record("c"))
        .send()
        .await
        .unwrap_err();
    assert!(
        error
            .into_service_error()
            .is_service_unavailable_exception()
    );

    for (fault, code) in [
        (CallFault::Throttled, "ThrottlingException"),
        (CallFault::AccessDenied, "AccessDeniedException"),
        (CallFault::NotRetryable, "InvalidArgumentException"),
        (CallFault::ServerError, "InternalFailure"),
    ] {
        endpoint.faults().set_all(every_call(fault));
        assert_eq!(put("s").send().await.unwrap_err().code(), Some(code));
    }
    for fault in [
        CallFault::ResetBeforeCommit,
        CallFault::ResetAfterCommit,
        CallFault::Garbage,
    ] {
        endpoint.faults().set_all(every_call(fault));
        assert!(
            put("s")
                .send()
                .await
                .unwrap_err()
                .as_service_error()
                .is_none_or(|error| error.code().is_none())
        );
    }
    // Only the calls that went through and the one whose connection died after the commit.
    assert_eq!(data(&endpoint, "s"), ["a", "b", "c", "a", "b"]);
}

#[tokio::test]
async fn who_calls_is_looked_at_before_what_they_want() {
    let endpoint = endpoint().await;
    let empty = batch("s", &[]);
    for (call, expected) in [
        (CallFault::ExpiredToken, (400, "ExpiredTokenException")),
        (CallFault::BadSignature, (403, "InvalidSignatureException")),
        (CallFault::AccessDenied, (400, "InvalidArgumentException")),
    ] {
        endpoint.faults().set_all(every_call(call));
        let (status, code) = refused(&endpoint, BATCH, &empty).await;
        assert_eq!((status, code.as_str()), expected);
    }
    endpoint
        .faults()
        .set_all(every_call(CallFault::ExpiredToken));
    let (_, code) = refused(&endpoint, BATCH, &batch("s", &["data"])).await;
    assert_eq!(code, "ExpiredTokenException");
    assert!(data(&endpoint, "s").is_empty());
}

#[tokio::test]
async fn its_clock_can_be_set() {
    let endpoint = endpoint().await;
    let year = async || {
        let (_, head, _) = ask(&endpoint, BATCH, &batch("s", &["data"])).await;
        let date = head.lines().find_map(|line| line.strip_prefix("date: "));
        let date = date.expect("answers are dated");
        date.split(' ').nth(3).unwrap().parse::<i32>().unwrap()
    };
    let now = year().await;
    let three_years_and_a_half = 1278 * 86_400;
    endpoint.faults().set_clock_ahead(three_years_and_a_half);
    assert!(year().await > now + 2);
    endpoint.faults().set_clock_ahead(-three_years_and_a_half);
    assert!(year().await < now - 2);
    endpoint.faults().clear();
    assert!(year().await <= now + 1);
}

#[tokio::test]
async fn a_signature_is_refused_for_its_date() {
    let endpoint = endpoint().await;
    let dated = |date: &str| format!("{BATCH}\r\nX-Amz-Date: {date}");
    let call = batch("s", &["x"]);
    for date in ["20200101T000000Z", "21000101T000000Z"] {
        let (status, code) = refused(&endpoint, &dated(date), &call).await;
        assert_eq!((status, &*code), (403, "InvalidSignatureException"));
    }
    // By its own clock, which may be wrong.
    let until_2020 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let ahead = 1_577_836_800 - until_2020.unwrap().as_secs() as i64;
    endpoint.faults().set_clock_ahead(ahead);
    let (status, ..) = ask(&endpoint, &dated("20200101T000001Z"), &call).await;
    assert_eq!(status, 200);
}
