//! The log: with `LOG_FORMAT=json` each line on standard error is a JSON object, the last words of a process
//! included, and a fault is told once.
#![cfg(feature = "local")]

mod common;

use std::process::Command;

use common::{App, ConnectorProcess, Mosquitto, STREAM, endpoint, eventually, free_port, http};
use kinesis_edge::files::Directory;
use kinesis_edge::parameters::LogFormat;
use kinesis_edge::telemetry;
use serde_json::Value;

/// Set in a process that a test starts from its own program, to log something there.
const IS_CHILD: &str = "LOGS_TEST_IS_CHILD";

/// Every line, each of them a JSON object.
fn parsed(log: &str) -> Vec<Value> {
    let lines = log.lines();
    lines
        .map(|line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}:\n{log}"))
        })
        .collect()
}

/// The lines with these words.
fn with_words<'a>(lines: &'a [Value], words: &str) -> Vec<&'a Value> {
    let says = |line: &&Value| line["message"].as_str().unwrap().contains(words);
    lines.iter().filter(says).collect()
}

/// Runs a test of this program in a process of its own, as the child. What that writes to standard error.
fn log_of_child(test: &str, rust_log: &str) -> String {
    let program = std::env::current_exe().expect("the test has a program");
    let output = Command::new(program)
        .args([test, "--exact", "--nocapture"])
        .env(IS_CHILD, "1")
        .env("RUST_LOG", rust_log)
        .output()
        .expect("it starts again");
    String::from_utf8(output.stderr).expect("text")
}

fn is_child() -> bool {
    std::env::var_os(IS_CHILD).is_some()
}

#[test]
fn a_connector_that_cannot_start_says_so_as_json_whatever_is_filtered() {
    let folder = tempfile::tempdir().expect("a folder");
    let _held = Directory::hold(folder.path()).expect("nobody else has it");
    for rust_log in ["info", "off"] {
        let mut process = ConnectorProcess::start(&[
            ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
            ("QUEUE_DIR", folder.path().to_str().unwrap()),
            ("LOG_FORMAT", "json"),
            ("RUST_LOG", rust_log),
        ]);
        assert_eq!(process.wait().code(), Some(1), "{}", process.stderr());
        let lines = parsed(&process.stderr());
        let told = with_words(&lines, "kinesis-edge cannot start: the queue directory");
        assert_eq!(told.len(), 1, "{lines:?}");
        assert_eq!(told[0]["level"], "ERROR");
    }
}

#[test]
fn a_panic_is_a_line_of_json_with_its_place() {
    if is_child() {
        telemetry::init_logs(LogFormat::Json, &[]);
        let fault = std::thread::spawn(|| panic!("on command"));
        assert!(fault.join().is_err());
        return;
    }
    let log = log_of_child("a_panic_is_a_line_of_json_with_its_place", "off");
    let lines = parsed(&log);
    assert_eq!(lines.len(), 1, "{log}");
    assert_eq!(lines[0]["panic"], "on command");
    assert!(
        lines[0]["place"]
            .as_str()
            .unwrap()
            .contains("tests/logs.rs")
    );
    assert_eq!(lines[0]["level"], "ERROR");
}

#[test]
fn a_call_that_the_stand_in_refuses_has_one_message_and_that_of_the_error() {
    if is_child() {
        telemetry::init_logs(LogFormat::Json, &[]);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let port = free_port();
            let _endpoint = common::endpoint_at(port).await;
            http::get(([127, 0, 0, 1], port).into(), "/").await;
        });
        return;
    }
    let log = log_of_child(
        "a_call_that_the_stand_in_refuses_has_one_message_and_that_of_the_error",
        "kinesis_edge=debug",
    );
    let words = "the Firehose endpoint refused a call";
    let line = log.lines().find(|line| line.contains(words)).expect(&log);
    // A parser would take the last of two.
    assert_eq!(line.matches(r#""message":"#).count(), 1, "{line}");
    assert!(line.contains(r#""error.message":"#), "{line}");
}

/// Nobody answers at the endpoint, so every record expires: each fault is told once, and the stop claims no more
/// than is true.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_expire_are_told_once_and_not_called_delivered_at_the_stop() {
    let broker = Mosquitto::start();
    let mut process = ConnectorProcess::start(&[
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("PUBLISH_INTERVAL", "0"),
        ("RECORD_MAX_AGE", "1"),
        ("MQTT_URL", &broker.url()),
        ("LOG_FORMAT", "json"),
        (
            "AWS_ENDPOINT_URL",
            &format!("http://127.0.0.1:{}", free_port()),
        ),
        ("AWS_ACCESS_KEY_ID", "made-up"),
        ("AWS_SECRET_ACCESS_KEY", "made-up"),
    ]);
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    for round in 0..4 {
        let id = format!("late-{round}");
        app.request(&id, "data").await;
        assert_eq!(app.status_of(&id).await.code(), "Expired");
    }
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0), "{}", process.stderr());
    let lines = parsed(&process.stderr());
    let mut codes: Vec<_> = lines
        .iter()
        .filter_map(|line| line["error.code"].as_str())
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, ["ConnectionError", "Expired"], "{lines:?}");
    let trouble = with_words(&lines, "delivery is in trouble");
    assert!(trouble[0]["retry_in_ms"].is_u64(), "{trouble:?}");
    assert_eq!(with_words(&lines, "everything was delivered").len(), 0);
    assert_eq!(with_words(&lines, "stopped; nothing is left").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_with_an_ipv6_address_is_named_as_in_its_url() {
    let (endpoint, port, page) = (endpoint().await, free_port(), common::free_address());
    let broker = format!("[::1]:{port}");
    let process = ConnectorProcess::start(&[
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("MQTT_URL", &format!("mqtt://{broker}")),
        ("HTTP_LISTEN", &page.to_string()),
        ("LOG_FORMAT", "json"),
        ("AWS_ENDPOINT_URL_FIREHOSE", &endpoint.url()),
        ("AWS_ACCESS_KEY_ID", "made-up"),
        ("AWS_SECRET_ACCESS_KEY", "made-up"),
    ]);
    let ready = http::get(page, "/readyz").await.body;
    assert!(ready.contains(&format!(" {broker}")), "{ready}");
    let words = "no connection to the MQTT broker";
    eventually("that is told", || process.stderr().contains(words)).await;
    let lines = parsed(&process.stderr());
    assert_eq!(with_words(&lines, words)[0]["broker"], broker);
}
