//! Dead letters as an operator meets them: what the commands show, that a replay delivers each letter
//! once however often it is ended and run again, and that what fails again stays.

#![cfg(feature = "local")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use common::{
    App, ConnectorProcess, Mosquitto, RunningConnector, STREAM, endpoint, endpoint_at, eventually,
    finish, parameters, program, quick_firehose, stderr, stdout, stream_arn,
};
use kinesis_edge::arn::{DeliveryStreamArn, Partitions};
use kinesis_edge::dead_letters::{DeadLetters, Letter, Replay};
use kinesis_edge::local::{CallFault, Endpoint, Faults};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

fn letter(stream: &str, id: &str, data: impl Into<Vec<u8>>) -> Letter {
    Letter {
        stream: DeliveryStreamArn::parse(stream, &Partitions::ALL).unwrap(),
        id: id.to_owned(),
        data: data.into().into(),
        code: "AccessDeniedException".to_owned(),
        message: "no rights for \u{1b}[31mthis".to_owned(),
        received_unix_ms: 1_795_165_687_000,
        failed_unix_ms: 1_795_165_697_123,
    }
}

/// Writes letters, as many segments as slices.
fn bury(path: &Path, segments: &[&[Letter]]) {
    for letters in segments {
        DeadLetters::open(path, 64 << 20).unwrap().bury(letters);
    }
}

/// What the program's environment is, with a stand-in for Firehose.
fn variables<'a>(url: &'a str, directory: &'a str) -> [(&'static str, &'a str); 5] {
    [
        ("DEAD_LETTER_DIR", directory),
        ("AWS_ENDPOINT_URL_FIREHOSE", url),
        ("AWS_ACCESS_KEY_ID", "made-up"),
        ("AWS_SECRET_ACCESS_KEY", "made-up"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]
}

/// Runs `kinesis-edge dead-letters` to its end.
async fn command(url: &str, directory: &Path, arguments: &[&str]) -> Output {
    let directory = directory.to_str().unwrap();
    let mut command = Command::new(program());
    command
        .arg("dead-letters")
        .args(arguments)
        .env_clear()
        .envs(variables(url, directory));
    finish(&mut command).await
}

/// Runs a command with `--json` and gives its lines.
async fn lines(directory: &Path, arguments: &[&str]) -> Vec<Value> {
    let output = command(
        "http://127.0.0.1:9",
        directory,
        &[arguments, &["--json"]].concat(),
    )
    .await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    parsed(&output)
}

fn parsed(output: &Output) -> Vec<Value> {
    let text = stdout(output);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// How often each record was accepted by these streams.
fn accepted(endpoints: &[&Endpoint], streams: &[&str]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (endpoint, stream) in endpoints
        .iter()
        .flat_map(|endpoint| streams.iter().map(move |stream| (endpoint, stream)))
    {
        for record in endpoint.accepted(stream) {
            *counts
                .entry(String::from_utf8(record.data.to_vec()).unwrap())
                .or_default() += 1;
        }
    }
    counts
}

fn once(records: &[&str]) -> BTreeMap<String, usize> {
    records
        .iter()
        .map(|&record| (record.to_owned(), 1))
        .collect()
}

#[tokio::test]
async fn letters_are_listed_shown_and_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let other = stream_arn("other");
    bury(
        folder.path(),
        &[
            &[
                letter(STREAM, "one", *b"first"),
                letter(&other, "two", *b"second"),
            ],
            &[letter(STREAM, "", [0, 255, 27])],
        ],
    );
    let rows = lines(folder.path(), &["ls"]).await;
    let row = |stream: &str| rows.iter().find(|row| row["stream"] == stream).unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(row(STREAM)["letters"], 2);
    assert_eq!(row(STREAM)["bytes"], 8);
    assert_eq!(row(&other)["code"], "AccessDeniedException");
    assert_eq!(row(&other)["oldest"], "2026-11-20T09:08:17.123Z");

    let shown = lines(folder.path(), &["show", "--stream", STREAM]).await;
    assert_eq!(shown.len(), 2);
    assert_eq!(
        (&shown[0]["id"], &shown[0]["data"]),
        (&"one".into(), &"first".into())
    );
    assert_eq!(shown[0]["received"], "2026-11-20T09:08:07.000Z");
    assert_eq!(
        (&shown[1]["data"], &shown[1]["data_base64"]),
        (&Value::Null, &"AP8b".into())
    );

    // For people: a table with a total, and nothing that a terminal would obey.
    let text = stdout(&command("", folder.path(), &["ls"]).await);
    assert!(text.lines().last().unwrap().starts_with("total"), "{text}");
    let text = stdout(&command("", folder.path(), &["show", "--limit", "2"]).await);
    assert!(
        text.contains("record    first") && text.contains("1 letter more"),
        "{text}"
    );
    assert!(
        text.contains("\\u{1b}[31m") && !text.contains('\u{1b}'),
        "{text}"
    );

    let endpoint = endpoint().await;
    let dry = command(&endpoint.url(), folder.path(), &["replay", "--dry-run"]).await;
    assert!(stdout(&dry).contains("total"), "{}", stdout(&dry));
    assert_eq!((dry.status.code(), endpoint.calls()), (Some(0), 0));

    // One stream, then the rest, then nothing.
    let output = command(
        &endpoint.url(),
        folder.path(),
        &["replay", "--stream", &other],
    )
    .await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        accepted(&[&endpoint], &["test", "other"]),
        once(&["second"])
    );
    let output = command(&endpoint.url(), folder.path(), &["replay", "--json"]).await;
    assert_eq!(parsed(&output)[0]["delivered"], 2);
    let test: Vec<_> = endpoint
        .accepted("test")
        .into_iter()
        .map(|record| record.data)
        .collect();
    assert_eq!(test, [&b"first"[..], &[0, 255, 27]]);
    let calls = endpoint.calls();
    let output = command(&endpoint.url(), folder.path(), &["replay"]).await;
    assert!(
        stdout(&output).contains("delivered  0 letters"),
        "{}",
        stdout(&output)
    );
    assert_eq!(endpoint.calls(), calls);
    assert_eq!(lines(folder.path(), &["ls"]).await, [Value::Null; 0]);
    // The first segment was done with.
    assert!(!folder.path().join("letters-0000000001.log").exists());
}

#[tokio::test]
async fn what_fails_again_stays_and_arrives_once_mended() {
    let folder = tempfile::tempdir().unwrap();
    let (denied, flaky) = (stream_arn("denied"), stream_arn("flaky"));
    bury(
        folder.path(),
        &[&[
            letter(&denied, "d", *b"denied"),
            letter(&flaky, "f", *b"flaky"),
            letter(STREAM, "t", *b"fine"),
            letter(STREAM, "l", vec![b'x'; 1_024_001]),
        ]],
    );
    let endpoint = endpoint().await;
    let knobs = endpoint.faults();
    let fault = |call, every| Faults {
        call,
        every,
        ..Faults::default()
    };
    knobs.set("denied", fault(CallFault::AccessDenied, 1));
    // The second call of the stream fails, and so would the first be if it were not tried again.
    knobs.set(
        "flaky",
        Faults {
            failing_share: 0.5,
            ..fault(CallFault::Throttled, 2)
        },
    );
    let output = command(&endpoint.url(), folder.path(), &["replay", "--json"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let rows = parsed(&output);
    assert_eq!(rows.last().unwrap()["delivered"], 2);
    assert_eq!(rows.last().unwrap()["left"], 2);
    let left = |stream: &str| rows.iter().find(|row| row["stream"] == stream).unwrap();
    assert_eq!(left(&denied)["code"], "AccessDeniedException");
    assert_eq!(left(STREAM)["code"], "RecordTooLarge");
    let streams = ["denied", "flaky", "test"];
    assert_eq!(accepted(&[&endpoint], &streams), once(&["flaky", "fine"]));
    knobs.set_all(Faults::default());
    knobs.set("denied", Faults::default());
    let output = command(&endpoint.url(), folder.path(), &["replay"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout(&output).contains("RecordTooLarge"),
        "{}",
        stdout(&output)
    );
    assert_eq!(
        accepted(&[&endpoint], &streams),
        once(&["flaky", "fine", "denied"])
    );
    assert_eq!(lines(folder.path(), &["show"]).await.len(), 1);
}

/// A replay that hangs in its second call, and all it needs.
struct Hanging {
    folder: TempDir,
    endpoint: Endpoint,
    replay: ConnectorProcess,
}

impl Hanging {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (stream_arn("first"), stream_arn("second"));
        bury(
            folder.path(),
            &[
                &[letter(&first, "1", *b"one"), letter(&second, "2", *b"two")],
                &[letter(&first, "3", *b"three")],
            ],
        );
        let endpoint = endpoint().await;
        let hang = Faults {
            call: CallFault::Hang,
            ..Faults::default()
        };
        endpoint.faults().set("second", hang);
        let (url, path) = (endpoint.url(), folder.path().to_str().unwrap().to_owned());
        let replay =
            ConnectorProcess::start_with("dead-letters", &["replay"], &variables(&url, &path));
        let hanging = Hanging {
            folder,
            endpoint,
            replay,
        };
        eventually("the second call is under way", || {
            hanging
                .endpoint
                .stats()
                .get("second")
                .is_some_and(|stats| stats.calls > 0)
        })
        .await;
        hanging
    }

    /// Runs the replay again on a healthy endpoint: each letter arrived once by then.
    async fn finish(self) {
        let port = self.endpoint.addr().port();
        let before = accepted(&[&self.endpoint], &["first", "second"]);
        assert_eq!(before, once(&["one"]));
        self.endpoint.stop().await;
        let healthy = endpoint_at(port).await;
        let output = command(&healthy.url(), self.folder.path(), &["replay"]).await;
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(
            accepted(&[&healthy], &["first", "second"]),
            once(&["two", "three"])
        );
    }
}

#[tokio::test]
async fn a_replay_that_is_interrupted_ends_after_its_call_and_goes_on_when_run_again() {
    let mut hanging = Hanging::start().await;
    hanging.replay.signal("INT");
    // The call under way has no answer yet: it is waited for, and nothing else is begun after it.
    eventually("it says so", || {
        hanging
            .replay
            .stderr()
            .contains("as soon as the call under way is answered")
    })
    .await;
    assert!(hanging.replay.is_running());
    let Hanging {
        folder,
        endpoint,
        mut replay,
    } = hanging;
    let before = accepted(&[&endpoint], &["first", "second"]);
    let port = endpoint.addr().port();
    endpoint.stop().await;
    let healthy = endpoint_at(port).await;
    assert_eq!(replay.wait().code(), Some(1));
    assert!(
        replay
            .stdout()
            .contains("Interrupted, with 2 letters not tried"),
        "{}",
        replay.stdout()
    );
    assert_eq!((before, healthy.calls()), (once(&["one"]), 0));
    let output = command(&healthy.url(), folder.path(), &["replay"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        accepted(&[&healthy], &["first", "second"]),
        once(&["two", "three"])
    );
}

#[tokio::test]
async fn a_replay_that_is_interrupted_twice_ends_at_once() {
    let mut hanging = Hanging::start().await;
    // Two that come together may be seen as one.
    while hanging.replay.is_running() {
        hanging.replay.signal("INT");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(hanging.replay.wait().code(), Some(1));
    hanging.finish().await;
}

#[tokio::test]
async fn a_replay_that_is_killed_goes_on_when_run_again() {
    let mut hanging = Hanging::start().await;
    hanging.replay.signal("KILL");
    hanging.replay.wait();
    hanging.finish().await;
}

#[tokio::test]
async fn damage_is_told_and_costs_no_other_letter() {
    let folder = tempfile::tempdir().unwrap();
    let letters = ["1", "2", "3"].map(|id| letter(STREAM, id, id));
    bury(folder.path(), &[&letters, &[letter(STREAM, "4", *b"4")]]);
    let name = folder.path().join("letters-0000000001.log");
    let mut bytes = fs::read(&name).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&name, bytes).unwrap();
    let rows = lines(folder.path(), &["ls"]).await;
    assert_eq!(
        (&rows[0]["letters"], &rows[1]["damage"]["places"]),
        (&3.into(), &1.into())
    );
    let text = stdout(&command("", folder.path(), &["ls"]).await);
    assert!(text.contains("damaged: letters-0000000001.log"), "{text}");
    let endpoint = endpoint().await;
    let output = command(&endpoint.url(), folder.path(), &["replay"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(accepted(&[&endpoint], &["test"]), once(&["1", "3", "4"]));
}

#[tokio::test]
async fn what_cannot_be_done_is_said_with_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let url = "http://127.0.0.1:9";
    for arguments in [
        &["ls"][..],
        &["show"],
        &["replay"],
        &["replay", "--dry-run"],
    ] {
        let output = command(url, &missing, arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            stderr(&output).contains("missing cannot be used"),
            "{}",
            stderr(&output)
        );
    }
    let mut bare = Command::new(program());
    let output = finish(bare.args(["dead-letters", "ls"]).env_clear()).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("DEAD_LETTER_DIR"),
        "{}",
        stderr(&output)
    );
    let output = command(url, folder.path(), &["show", "--stream", "bogus"]).await;
    assert_eq!(output.status.code(), Some(2));
    let _held = Replay::start(folder.path()).unwrap();
    let output = command(url, folder.path(), &["replay"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("under way"), "{}", stderr(&output));
    // The positional directory wins.
    let path = folder.path().to_str().unwrap();
    let output = command(url, &missing, &["ls", path]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[tokio::test]
async fn a_connector_buries_what_fails_while_a_replay_sends_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters");
    let (broker, endpoint) = (Mosquitto::start(), endpoint().await);
    let given = [
        ("MQTT_URL", &*format!("mqtt://127.0.0.1:{}", broker.port)),
        ("PUBLISH_INTERVAL", "0"),
        ("DEAD_LETTER_DIR", path.to_str().unwrap()),
    ];
    let connector =
        RunningConnector::start(&parameters(&given), quick_firehose(&endpoint.url()).await);
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    let denied = stream_arn("denied");
    let knobs = endpoint.faults();
    knobs.set(
        "denied",
        Faults {
            call: CallFault::AccessDenied,
            ..Faults::default()
        },
    );
    const RECORDS: usize = 300;
    let text = |number: usize| format!("record {number}");
    // A third fails before the first replay, and the others while replays come and go.
    let mut number = 0;
    let mut exit = Vec::new();
    while number < RECORDS {
        for _ in 0..RECORDS / 3 {
            app.request_to(&denied, &number.to_string(), &text(number))
                .await;
            number += 1;
        }
        if number == RECORDS / 3 {
            eventually("the first third failed", || {
                app.statuses().len() == RECORDS / 3
            })
            .await;
        }
        exit.push(
            command(&endpoint.url(), &path, &["replay"])
                .await
                .status
                .code(),
        );
    }
    assert_eq!(exit[0], Some(1));
    eventually("every record failed", || app.statuses().len() == RECORDS).await;
    assert!(
        app.statuses()
            .iter()
            .all(|status| status.code() == "AccessDeniedException")
    );
    assert_eq!(lines(&path, &["show"]).await.len(), RECORDS);

    // Mended. The connector goes on meanwhile.
    knobs.set("denied", Faults::default());
    app.request_to(&denied, "last", &text(RECORDS)).await;
    let output = command(&endpoint.url(), &path, &["replay"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    eventually("the last one arrived", || {
        app.statuses().len() == RECORDS + 1
    })
    .await;
    assert!(connector.stop().await.is_nothing());
    let texts: Vec<String> = (0..=RECORDS).map(text).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    assert_eq!(accepted(&[&endpoint], &["denied"]), once(&texts));
    assert_eq!(lines(&path, &["ls"]).await, [Value::Null; 0]);
}

#[tokio::test]
async fn a_directory_is_one_connectors_and_the_second_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let _held = DeadLetters::open(folder.path(), 1 << 20).unwrap();
    let mut second = Command::new(program());
    second
        .args(["run", "--default-delivery-stream-arn", STREAM])
        .env_clear()
        .env("DEAD_LETTER_DIR", folder.path());
    let output = finish(&mut second).await;
    // Not a faulty configuration: the first may be gone when it is started again.
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(
        message.contains("DEAD_LETTER_DIR") && message.contains("in use"),
        "{message}"
    );
}

#[tokio::test]
async fn a_record_that_is_too_large_is_kept_before_it_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters");
    let (broker, endpoint) = (Mosquitto::start(), endpoint().await);
    let given = [
        ("MQTT_URL", &*format!("mqtt://127.0.0.1:{}", broker.port)),
        ("PUBLISH_INTERVAL", "0"),
        ("DEAD_LETTER_DIR", path.to_str().unwrap()),
    ];
    let connector =
        RunningConnector::start(&parameters(&given), quick_firehose(&endpoint.url()).await);
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    let (large, other) = ("x".repeat(1_100_000), stream_arn("other"));
    // Several at once, with others between them that do not wait for long.
    for number in 0..3 {
        app.binary(&format!("binary-{number}"), large.clone()).await;
        app.request_to(&other, &format!("json-{number}"), &large)
            .await;
        app.request(&format!("small-{number}"), "small").await;
    }
    let statuses = app.wait_for(9).await;
    let kept = lines(&path, &["show"]).await;
    let (rejected, delivered): (Vec<_>, Vec<_>) =
        statuses.iter().partition(|status| !status.is_success());
    assert_eq!(delivered.len(), 3);
    assert_eq!((rejected.len(), kept.len()), (6, 6));
    for status in rejected {
        assert_eq!(status.code(), "RecordTooLarge");
        let letter = kept.iter().find(|letter| letter["id"] == status.id());
        let letter = letter.expect("a letter for each");
        assert_eq!(letter["code"], "RecordTooLarge");
        let is_binary = status.id().starts_with("binary");
        let (stream, data) = if is_binary {
            (STREAM, large.clone())
        } else {
            (&*other, letter["data"].as_str().unwrap().to_owned())
        };
        assert_eq!(letter["stream"], stream);
        assert_eq!(letter["data"], data);
        assert!(data.contains(&large));
    }
    assert!(connector.stop().await.is_nothing());
}
