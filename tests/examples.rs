//! Each program in `examples/` does what its first lines say, against a real broker and a running
//! connector: it prints the status of its own record and ends with 0, or with 1 where that failed or
//! never came, or with 2 on a faulty command line. And `examples/scale-out` shows what it says.

#![cfg(feature = "local")]

mod common;

use std::path::{Path, PathBuf};

use common::{
    Mosquitto, RunningConnector, endpoint_with, finish, parameters, python, quick_firehose, stderr,
    stdout,
};
use kinesis_edge::local::Endpoint;
use serde_json::Value;
use tokio::process::Command;

const EXAMPLES: [&str; 3] = ["publish.py", "publish.sh", "publish.rs"];

/// The command that runs an example.
fn example(name: &str) -> Command {
    match name {
        "publish.py" => {
            let mut command = Command::new(python());
            command.arg("examples/publish.py");
            command
        }
        "publish.sh" => Command::new("examples/publish.sh"),
        _ => Command::new(built_example()),
    }
}

/// Examples are beside the tests: target/<profile>/examples, target/<profile>/deps.
fn built_example() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let profile = test.ancestors().nth(2).expect("it is two folders deep");
    let program = profile.join("examples/publish");
    assert!(
        program.exists(),
        "there is no {}; `cargo test` builds it, and so does `cargo build --example publish`",
        program.display()
    );
    program
}

/// Broker, connector and endpoint.
struct Surroundings {
    broker: Mosquitto,
    endpoint: Endpoint,
    _connector: RunningConnector,
}

impl Surroundings {
    async fn start(streams: &[&str]) -> Self {
        let broker = Mosquitto::start();
        let endpoint = endpoint_with(streams).await;
        let parameters = parameters(&[("MQTT_URL", &broker.url()), ("PUBLISH_INTERVAL", "1")]);
        let connector = RunningConnector::start(&parameters, quick_firehose(&endpoint.url()).await);
        common::App::connect(broker.port)
            .await
            .until_answered()
            .await;
        Surroundings {
            broker,
            endpoint,
            _connector: connector,
        }
    }

    /// An example's run: exit status, status printed, what it said.
    async fn run(&self, name: &str, arguments: &[&str]) -> (Option<i32>, Value, String) {
        let mut command = example(name);
        command
            .args(arguments)
            .env("MQTT_PORT", self.broker.port.to_string())
            .env("STATUS_TIMEOUT", "60");
        let output = finish(&mut command).await;
        let text = stdout(&output);
        let lines: Vec<_> = text.lines().collect();
        let status = match lines[..] {
            [line] => {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {error}: {line}"))
            }
            [] => Value::Null,
            _ => panic!("{name} prints one line: {text}"),
        };
        (output.status.code(), status, stderr(&output))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_example_delivers_a_record_and_prints_its_status() {
    let surroundings = Surroundings::start(&["test"]).await;
    let awkward = "Grüße \"quoted\" \\ and a\ttab\nand a line, {\"id\":\"no\"},{}";
    // The ids contain each other and what ends an entry, and all runs are at once, so that statuses of
    // several share a document.
    let cases: [(&[&str], &str, &str); 4] = [
        (&[], "req_123", "Message from Firehose Connector Test"),
        (&["some data", "req"], "req", "some data"),
        (&[awkward, "\"req\"},{\\"], "\"req\"},{\\", awkward),
        (
            &["--binary", "as it is \"\\", "a/b"],
            "a/b",
            "as it is \"\\",
        ),
    ];
    let runs = EXAMPLES.iter().map(|name| {
        let surroundings = &surroundings;
        async move {
            for (arguments, id, data) in cases {
                // The same id in two programs at once would show either the other's status.
                let id = format!("{id}-{name}");
                let data = format!("{data} {name}");
                let mut arguments: Vec<&str> = arguments.to_vec();
                if arguments.len() < 2 {
                    arguments = vec![&data, &id];
                } else {
                    let last = arguments.len() - 1;
                    arguments[last] = &id;
                    arguments[last - 1] = &data;
                }
                let (code, status, said) = surroundings.run(name, &arguments).await;
                assert_eq!(code, Some(0), "{name}: {status} {said}");
                assert_eq!(
                    (&status["status"], &status["id"]),
                    (&"success".into(), &id.as_str().into())
                );
                let records = surroundings.endpoint.accepted("test");
                let ours: Vec<_> = records
                    .iter()
                    .filter(|record| record.data == data.as_bytes())
                    .collect();
                assert_eq!(ours.len(), 1, "{name}: {data}");
                assert_eq!(status["firehose_record_id"], ours[0].record_id);
            }
        }
    });
    let [python, shell, rust] = runs.collect::<Vec<_>>().try_into().ok().expect("three");
    tokio::join!(python, shell, rust);
    assert_eq!(
        surroundings.endpoint.accepted("test").len(),
        EXAMPLES.len() * cases.len()
    );

    // Without arguments, each sends what the original's example sent.
    for name in EXAMPLES {
        let (code, status, said) = surroundings.run(name, &[]).await;
        assert_eq!(
            (code, &status["id"]),
            (Some(0), &"req_123".into()),
            "{name}: {said}"
        );
        let last = surroundings
            .endpoint
            .accepted("test")
            .pop()
            .expect("it is there");
        assert_eq!(last.data, "Message from Firehose Connector Test");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_example_tells_when_its_record_failed() {
    let surroundings = Surroundings::start(&[]).await;
    for name in EXAMPLES {
        let (code, status, said) = surroundings.run(name, &["data", name]).await;
        assert_eq!(code, Some(1), "{name}: {status} {said}");
        assert_eq!(
            (&status["status"], &status["id"], &status["ErrorCode"]),
            (
                &"fail".into(),
                &name.into(),
                &"ResourceNotFoundException".into()
            ),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_example_tells_when_there_is_no_answer() {
    let broker = Mosquitto::start();
    let nowhere = common::free_port();
    for name in EXAMPLES {
        for (port, arguments, expected, words) in [
            (broker.port, &[][..], 1, "no status within 1 s"),
            (nowhere, &[], 1, ""),
            (broker.port, &["a", "b", "c"], 2, "usage: "),
        ] {
            let mut command = example(name);
            let port = port.to_string();
            command
                .args(arguments)
                .envs([("MQTT_PORT", port.as_str()), ("STATUS_TIMEOUT", "1")]);
            let output = finish(&mut command).await;
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(expected), "{name}: {said}");
            assert!(
                said.contains(words) && !said.trim().is_empty(),
                "{name}: {said}"
            );
            assert_eq!(
                stdout(&output),
                "",
                "{name}: standard output is for the status"
            );
        }
    }
}

/// Numbers behind a word in a text.
fn number_behind(text: &str, word: &str) -> u64 {
    let (_, behind) = text
        .split_once(word)
        .unwrap_or_else(|| panic!("{word:?} is in {text}"));
    let digits = behind.trim_start().split(|c: char| !c.is_ascii_digit());
    let first = digits
        .into_iter()
        .next()
        .and_then(|digits| digits.parse().ok());
    first.unwrap_or_else(|| panic!("a number behind {word:?} in {text}"))
}

/// With few messages; what it says is checked here once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_connectors_share_the_messages_and_one_that_is_killed_loses_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(python());
    command
        .env("TMPDIR", folder.path())
        .arg("examples/scale-out/scale_out.py")
        .args(["--messages", "300", "--program"])
        .arg(common::program());
    let output = finish(&mut command).await;
    let (said, complaints) = (stdout(&output), stderr(&output));
    println!("{said}{complaints}");
    assert_eq!(output.status.code(), Some(0), "{complaints}");
    let [split, killed, meanwhile, back, rates] = [
        "300 published",
        "2. 300 more",
        "meanwhile:",
        "edge-2 is back:",
        "as fast as",
    ]
    .map(|part| said.lines().find(|line| line.contains(part)).expect(part));
    let shares = ["edge-1", "edge-2", "edge-3"].map(|name| number_behind(split, name));
    assert_eq!(shares.iter().sum::<u64>(), 300, "{split}");
    assert!(shares.iter().all(|&share| share > 0), "{split}");
    assert!(
        split.contains("300 arrived, 0 of them more than once"),
        "{split}"
    );
    assert!(killed.contains("SIGKILL"), "{killed}");
    // What the broker keeps for the one that was killed.
    assert!(number_behind(meanwhile, "for edge-2:") > 0, "{meanwhile}");
    assert!(
        back.contains("600 arrived") && back.contains("600 have a status"),
        "{back}"
    );
    assert_eq!(
        rates.split(':').nth(1).expect("rates").split(',').count(),
        3,
        "{rates}"
    );
    assert!(!is_anybody_in(folder.path()), "processes are left");
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "files are left"
    );
}

/// Whether a process works in a folder below this one.
fn is_anybody_in(folder: &Path) -> bool {
    std::fs::read_dir("/proc").expect("Linux").any(|entry| {
        let directory = entry.and_then(|entry| std::fs::read_link(entry.path().join("cwd")));
        directory.is_ok_and(|directory| directory.starts_with(folder))
    })
}
