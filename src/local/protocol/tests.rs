//! Tests of the Firehose shapes and limits.

use std::collections::HashSet;

use super::*;

fn batch(stream: &str, records: &[usize]) -> Result<Call, Refusal> {
    let records: Vec<_> = records
        .iter()
        .map(|size| serde_json::json!({ "Data": STANDARD.encode(vec![7; *size]) }))
        .collect();
    let body = serde_json::json!({ "DeliveryStreamName": stream, "Records": records }).to_string();
    Call::parse(Operation::PutRecordBatch, body.as_bytes())
}

fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> &'static str {
    result.unwrap_err().code
}

#[test]
fn one_to_five_hundred_records() {
    assert_eq!(
        code(batch("s", &[]).unwrap().check()),
        "InvalidArgumentException"
    );
    batch("s", &[1; MAX_RECORDS]).unwrap().check().unwrap();
    assert_eq!(
        code(batch("s", &[1; MAX_RECORDS + 1]).unwrap().check()),
        "InvalidArgumentException"
    );
}

#[test]
fn a_record_is_at_most_1_024_000_bytes_before_base64() {
    batch("s", &[MAX_RECORD_BYTES]).unwrap().check().unwrap();
    let refusal = batch("s", &[1, MAX_RECORD_BYTES + 1])
        .unwrap()
        .check()
        .unwrap_err();
    assert_eq!(refusal.code, "InvalidArgumentException");
    assert!(
        refusal.message.contains("records.2.member.data"),
        "{}",
        refusal.message
    );
}

#[test]
fn a_request_is_at_most_4_mebibytes_as_it_travels() {
    let body_of = |size: usize| {
        let mut body = br#"{"DeliveryStreamName":"s","Records":[{"Data":"YQ=="}]"#.to_vec();
        body.resize(size - 1, b' ');
        body.push(b'}');
        Call::parse(Operation::PutRecordBatch, &body)
            .unwrap()
            .check()
    };
    body_of(MAX_REQUEST_BYTES).unwrap();
    assert_eq!(
        body_of(MAX_REQUEST_BYTES + 1).unwrap_err().message,
        "Records size exceeds 4 MB limit"
    );
}

#[test]
fn stream_names_keep_to_the_pattern_and_to_their_folder() {
    for name in ["a", "A-b_c.9", "...", &"x".repeat(64)] {
        batch(name, &[1]).unwrap();
    }
    for name in ["", ".", "..", "a/b", "../a", "a b", "ä", &"x".repeat(65)] {
        assert_eq!(
            code(batch(name, &[1])),
            "InvalidArgumentException",
            "{name}"
        );
    }
}

#[test]
fn what_cannot_be_read_is_a_serialization_exception_and_what_is_missing_is_named() {
    for body in [
        "",
        "{",
        "[]",
        r#"{"DeliveryStreamName":1}"#,
        r#"{"DeliveryStreamName":"s","Records":[{"Data":"?"}]}"#,
    ] {
        assert_eq!(
            code(Call::parse(Operation::PutRecordBatch, body.as_bytes())),
            "SerializationException",
            "{body}"
        );
    }
    for (operation, body, member) in [
        (
            Operation::PutRecordBatch,
            r#"{"DeliveryStreamName":"s"}"#,
            "'records'",
        ),
        (
            Operation::PutRecordBatch,
            r#"{"Records":[]}"#,
            "'deliveryStreamName'",
        ),
        (
            Operation::PutRecordBatch,
            r#"{"DeliveryStreamName":"s","Records":[{}]}"#,
            "'data'",
        ),
        (
            Operation::PutRecord,
            r#"{"DeliveryStreamName":"s"}"#,
            "'record'",
        ),
    ] {
        let refusal = Call::parse(operation, body.as_bytes()).unwrap_err();
        assert_eq!(refusal.code, "InvalidArgumentException");
        assert!(refusal.message.contains(member), "{}", refusal.message);
    }
}

#[test]
fn only_the_two_operations_are_known() {
    assert_eq!(
        Operation::from_target(Some("Firehose_20150804.PutRecord")).unwrap(),
        Operation::PutRecord
    );
    assert_eq!(
        Operation::from_target(Some("Firehose_20150804.PutRecordBatch")).unwrap(),
        Operation::PutRecordBatch
    );
    for target in [
        None,
        Some("Firehose_20150804.DescribeDeliveryStream"),
        Some("Kinesis_20131202.PutRecords"),
    ] {
        assert_eq!(
            code(Operation::from_target(target)),
            "UnknownOperationException"
        );
    }
}

#[test]
fn answers_have_the_shapes_of_the_api() {
    let accepted = RecordAnswer::Accepted {
        record_id: "id".into(),
    };
    let text = |operation, answers: &[RecordAnswer]| {
        String::from_utf8(answer(operation, answers).unwrap()).unwrap()
    };
    assert_eq!(
        text(
            Operation::PutRecordBatch,
            &[accepted.clone(), RecordAnswer::failed()]
        ),
        r#"{"Encrypted":false,"FailedPutCount":1,"RequestResponses":[{"RecordId":"id"},{"ErrorCode":"ServiceUnavailableException","ErrorMessage":"Slow down."}]}"#
    );
    assert_eq!(
        text(Operation::PutRecord, &[accepted]),
        r#"{"Encrypted":false,"RecordId":"id"}"#
    );
    assert_eq!(text(Operation::PutRecord, &[]), r#"{"Encrypted":false}"#);
    assert_eq!(
        code(answer(Operation::PutRecord, &[RecordAnswer::failed()])),
        "ServiceUnavailableException"
    );
}

#[test]
fn record_ids_are_long_and_never_repeat() {
    let ids = RecordIds::default();
    let issued: HashSet<String> = (0..10_000).map(|_| ids.next()).collect();
    assert_eq!(issued.len(), 10_000);
    assert!(issued.iter().all(|id| id.len() == 220));
}
