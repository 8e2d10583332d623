//! `kinesis-edge queue` as an operator meets it, on the directory of a connector that does not run: what
//! waits is listed and shown, a drain delivers each record once however often it is ended and run again,
//! and damage costs nothing that is whole.

#![cfg(feature = "local")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::{
    STREAM, endpoint, endpoint_with, eventually, finish, program, stderr, stdout, stream_arn,
};
use kinesis_edge::arn::{DeliveryStreamArn, Partitions};
use kinesis_edge::blocking::Blocking;
use kinesis_edge::files::Directory;
use kinesis_edge::local::{Endpoint, Faults};
use kinesis_edge::queue::Id;
use kinesis_edge::queue::disk::{Clock, DiskQueue, DiskQueueSettings};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::Instant;

/// Puts records into a queue, as a connector leaves them.
async fn fill(path: &Path, streams: &[&str], numbers: Range<usize>) {
    let settings = DiskQueueSettings {
        queue_size: 1_000_000,
        max_bytes: 1 << 30,
        commit_interval: Duration::ZERO,
    };
    let files = Arc::new(Directory::hold(path).unwrap());
    let clock = Clock::new(Instant::now(), SystemTime::now());
    let started = DiskQueue::start(
        files,
        settings,
        &Blocking::Threads,
        clock,
        Arc::default(),
        &mut |_, _| {},
    );
    let (queue, _) = started.unwrap();
    for name in streams {
        let arn = DeliveryStreamArn::parse(name, &Partitions::ALL).unwrap();
        let stream = queue.stream(&arn);
        let mut door = stream.door(&arn, Instant::now());
        for number in numbers.clone() {
            let id = Id::from(number.to_string().as_str());
            let taken = door.push(id, format!("record {number}").into(), false);
            assert!(taken.is_ok());
        }
    }
    let closed = queue.close().await;
    assert!(closed.lost.is_empty());
}

/// Runs `kinesis-edge queue`, with a stand-in for Firehose.
fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .arg("queue")
        .args(arguments)
        .env_clear()
        .env("AWS_ENDPOINT_URL_FIREHOSE", url)
        .env("AWS_ACCESS_KEY_ID", "made-up")
        .env("AWS_SECRET_ACCESS_KEY", "made-up")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

async fn run(arguments: &[&str]) -> Output {
    finish(&mut command("http://127.0.0.1:9", arguments)).await
}

/// The lines of a command with `--json`.
async fn lines(arguments: &[&str]) -> Vec<Value> {
    let output = run(&[arguments, &["--json"]].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// How often each record was accepted.
fn accepted(endpoint: &Endpoint, stream: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in endpoint.accepted(stream) {
        let text = String::from_utf8(record.data.to_vec()).unwrap();
        *counts.entry(text).or_default() += 1;
    }
    counts
}

fn each_once(numbers: Range<usize>) -> BTreeMap<String, usize> {
    numbers
        .map(|number| (format!("record {number}"), 1))
        .collect()
}

/// The segment files of a queue.
fn files(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.collect();
    files.sort();
    files
}

#[tokio::test]
async fn what_waits_is_listed_and_shown_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let other = stream_arn("other");
    fill(folder.path(), &[STREAM, &other], 0..30).await;

    let rows = lines(&["ls", path]).await;
    assert_eq!(rows.len(), 3, "two streams and what is on disk: {rows:?}");
    let row = rows.iter().find(|row| row["stream"] == STREAM).unwrap();
    assert_eq!(row["records"], 30);
    assert!(row["oldest"].as_str().unwrap().starts_with("20"));

    let shown = lines(&["show", path, "--stream", &other]).await;
    assert_eq!(shown.len(), 30);
    assert_eq!(
        (&shown[7]["id"], &shown[7]["data"]),
        (&"7".into(), &"record 7".into())
    );

    // For people.
    let text = stdout(&run(&["ls", path]).await);
    assert!(text.contains("total") && text.contains("60"), "{text}");
    let text = stdout(&run(&["show", path, "--stream", STREAM, "--limit", "2"]).await);
    assert!(
        text.contains("record    record 1\n") && text.contains("28 more records"),
        "{text}"
    );

    // Nothing of that changed anything.
    assert_eq!(lines(&["ls", path]).await, rows);
}

#[tokio::test]
async fn a_drain_ended_and_run_again_delivers_each_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let endpoint = endpoint().await;
    fill(folder.path(), &[STREAM], 0..5000).await;
    endpoint.faults().set_all(Faults {
        failing_share: 0.1,
        latency: Duration::from_millis(100),
        ..Faults::default()
    });
    let mut draining = command(&endpoint.url(), &["drain", path])
        .kill_on_drop(true)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    eventually("some records arrive", || {
        !endpoint.accepted("test").is_empty()
    })
    .await;
    let pid = draining.id().unwrap().to_string();
    let interrupted = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(interrupted.unwrap().success());
    assert_eq!(draining.wait().await.unwrap().code(), Some(1));
    let first = endpoint.accepted("test").len();
    assert!(
        first < 5000,
        "all {first} records had arrived before it could be interrupted"
    );

    endpoint.faults().set_all(Faults::default());
    let output = finish(&mut command(&endpoint.url(), &["drain", path, "--json"])).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: Value = serde_json::from_str(stdout(&output).trim()).unwrap();
    assert_eq!(
        (&report["delivered"], &report["left"]),
        (&(5000 - first).into(), &0.into())
    );
    assert_eq!(accepted(&endpoint, "test"), each_once(0..5000));
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn what_a_drain_cannot_deliver_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let gone = stream_arn("gone");
    let endpoint = endpoint_with(&["test"]).await;
    fill(folder.path(), &[&gone, STREAM], 0..20).await;
    let output = finish(&mut command(&endpoint.url(), &["drain", path])).await;
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains("ResourceNotFoundException"), "{text}");
    assert!(
        text.contains("delivered  20 records") && text.contains("left       20 records"),
        "{text}"
    );
    assert_eq!(accepted(&endpoint, "test"), each_once(0..20));
    let rows = lines(&["ls", path]).await;
    assert_eq!(
        (&rows[0]["stream"], &rows[0]["records"]),
        (&gone.into(), &20.into())
    );
}

#[tokio::test]
async fn damage_is_told_set_aside_and_costs_nothing_that_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    fill(folder.path(), &[STREAM], 0..100).await;
    let file = files(folder.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let place = bytes
        .windows(9)
        .position(|part| part == b"record 42")
        .unwrap();
    bytes[place] ^= 1;
    fs::write(&file, &bytes).unwrap();

    let rows = lines(&["ls", path]).await;
    assert_eq!(rows[0]["records"], 99);
    assert_eq!(rows.last().unwrap()["damage"]["places"], 1);

    let text = stdout(&run(&["repair", path]).await);
    assert!(
        text.contains("set aside 1 file, 99 records moved"),
        "{text}"
    );
    let aside = PathBuf::from(format!("{}.damaged", file.display()));
    assert_eq!(fs::read(&aside).unwrap(), bytes, "set aside as it was");
    let text = stdout(&run(&["repair", path]).await);
    assert!(text.contains("nothing to repair; 99 records"), "{text}");
    let text = stdout(&run(&["ls", path]).await);
    assert!(
        text.contains("set aside: ") && !text.contains("damaged:"),
        "{text}"
    );

    let endpoint = endpoint().await;
    let output = finish(&mut command(&endpoint.url(), &["drain", path])).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let mut expected = each_once(0..100);
    expected.remove("record 42");
    assert_eq!(accepted(&endpoint, "test"), expected);
    assert_eq!(files(folder.path()), [aside]);
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let missing = folder.path().join("missing");
    let held = Directory::hold(folder.path()).unwrap();
    for subcommand in ["ls", "show", "drain", "repair"] {
        let output = run(&[subcommand, path]).await;
        assert_eq!(output.status.code(), Some(1), "{subcommand}");
        assert!(
            stderr(&output).contains("in use by another process"),
            "{subcommand}"
        );
        let output = run(&[subcommand, missing.to_str().unwrap()]).await;
        assert_eq!(output.status.code(), Some(2), "{subcommand}");
        let output = run(&[subcommand]).await;
        assert_eq!(output.status.code(), Some(2), "{subcommand}");
        assert!(stderr(&output).contains("QUEUE_DIR"), "{subcommand}");
    }
    drop(held);
    assert!(!missing.exists());
    let output = finish(command("", &["ls"]).env("QUEUE_DIR", path)).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}
