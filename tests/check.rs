//! `kinesis-edge check`: each set-up that is broken is named in its own line with the cause, while the other
//! lines are as they should be; one that is well is told so, also beside a connector that runs, which loses
//! nothing; and nothing that is secret is shown.

#![cfg(feature = "local")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::{
    App, ConnectorProcess, Mosquitto, MosquittoOptions, STREAM, SmallDisk, endpoint_with,
    eventually, finish, free_port, program, stderr, stdout, stream_arn,
};
use kinesis_edge::local::{CallFault, Endpoint, Faults};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;

const ID: &str = "checked";

/// What is not asked for, unless it is.
const NO_SEND: (&str, &str) = ("send", "skipped");

/// A set-up that is well; tests break one thing of it.
struct Site {
    broker: Mosquitto,
    endpoint: Endpoint,
    folder: tempfile::TempDir,
    /// Beside the usual ones, and instead of them.
    variables: BTreeMap<&'static str, String>,
    /// What starts the program where it can see its directories, if that takes something.
    wrapper: Vec<String>,
}

impl Site {
    async fn new() -> Self {
        Self::with_broker(Mosquitto::start()).await
    }

    async fn with_broker(broker: Mosquitto) -> Self {
        let endpoint = endpoint_with(&["test"]).await;
        let folder = tempfile::tempdir().expect("a folder for the directories");
        let path = |name| folder.path().join(name).display().to_string();
        let variables = BTreeMap::from([
            ("DEFAULT_DELIVERY_STREAM_ARN", STREAM.to_owned()),
            ("MQTT_URL", broker.url()),
            ("MQTT_CLIENT_ID", ID.to_owned()),
            ("PUBLISH_INTERVAL", "1".to_owned()),
            ("QUEUE_DIR", path("queue")),
            ("DEAD_LETTER_DIR", path("letters")),
            // So that the default fits the small disks of tests.
            ("QUEUE_DIR_MAX_BYTES", "8388608".to_owned()),
            ("DEAD_LETTER_MAX_BYTES", "1048576".to_owned()),
            ("AWS_ENDPOINT_URL", endpoint.url()),
            ("AWS_ACCESS_KEY_ID", "AKIAABCDEFGHIJKLMNOP".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "made-up".to_owned()),
        ]);
        Site {
            broker,
            endpoint,
            folder,
            variables,
            wrapper: Vec::new(),
        }
    }

    fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.variables.insert(name, value.into());
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut words = self.wrapper.clone();
        words.push(program().display().to_string());
        words.push("check".to_owned());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("AWS_EC2_METADATA_DISABLED", "true")
            // For the wrapper.
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(&self.variables);
        finish(&mut command).await
    }

    async fn check(&self, arguments: &[&str]) -> Report {
        Report::of(&self.run(&[arguments, &["--json"]].concat()).await)
    }

    /// A connector with the same parameters.
    fn connector(&self, more: &[(&str, &str)]) -> ConnectorProcess {
        let mut variables: Vec<(&str, &str)> = self
            .variables
            .iter()
            .map(|(&name, value)| (name, value.as_str()))
            .collect();
        variables.extend(more);
        ConnectorProcess::start(&variables)
    }
}

/// What `check` said.
struct Report {
    steps: BTreeMap<String, Value>,
    status: Option<i32>,
}

impl Report {
    fn of(output: &Output) -> Self {
        assert_eq!(stderr(output), "", "there is nothing to say beside");
        let steps = stdout(output)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .map(|step: Value| (step["step"].as_str().unwrap().to_owned(), step))
            .collect();
        Report {
            steps,
            status: output.status.code(),
        }
    }

    /// These steps have these results, and all others are `ok`; the exit status fits.
    fn is(&self, expected: &[(&str, &str)]) -> &Self {
        assert_eq!(self.steps.len(), 14, "{:#?}", self.steps);
        for (name, step) in &self.steps {
            let expected = expected.iter().find(|(expected, _)| expected == name);
            let expected = expected.map_or("ok", |(_, result)| result);
            assert_eq!(step["result"], expected, "{:#?}", self.steps);
        }
        let failed = expected.iter().any(|(_, result)| *result == "failed");
        assert_eq!(self.status, Some(i32::from(failed)));
        self
    }

    /// The step says all of this, in its message, advice or details.
    fn says(&self, step: &str, words: &[&str]) -> &Self {
        let step = &self.steps[step];
        for word in words {
            assert!(step.to_string().contains(word), "{word}: {step:#}");
        }
        if step["result"] == "failed" {
            assert!(step["advice"].is_string(), "what to do: {step:#}");
        }
        self
    }
}

/// What follows from a broker that is not reached.
const NO_BROKER: [(&str, &str); 6] = [
    NO_SEND,
    ("broker", "failed"),
    ("login", "skipped"),
    ("subscribe", "skipped"),
    ("publish", "skipped"),
    ("client-id", "skipped"),
];

async fn all_is_well(version: &'static str) {
    let mut site = Site::new().await;
    site.set("MQTT_VERSION", version);
    let report = site.check(&["--send"]).await;
    report
        .is(&[])
        .says("login", &["without a user", &format!("MQTT {version}")])
        .says("publish", &["came back"])
        .says("credentials", &["the environment", "AKIA…MNOP"])
        .says("queue", &["can be made"])
        .says("client-id", &["nobody else"]);
    let sent = site.endpoint.accepted("test");
    assert_eq!(sent.len(), 1);
    let record: Value = serde_json::from_slice(&sent[0].data).unwrap();
    assert_eq!(record["kinesis_edge_check"]["client_id"], ID);
    // Whoever runs the connector makes them.
    assert_eq!(fs::read_dir(site.folder.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_well_is_told_so() {
    tokio::join!(all_is_well("5"), all_is_well("3.1.1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_gets_a_line_for_each_step_in_order() {
    let site = Site::new().await;
    let output = site.run(&[]).await;
    let text = stdout(&output);
    let names: Vec<&str> = text
        .lines()
        .map(|line| line.split_whitespace().nth(1).unwrap())
        .collect();
    assert_eq!(names[..3], ["parameters", "files", "broker"], "{text}");
    assert_eq!(names.len(), 14, "{text}");
    assert_eq!(names[13], "client-id", "{text}");
    assert!(
        !text.contains('\u{1b}'),
        "no colours where no terminal is: {text}"
    );
    for line in text.lines() {
        let sign = if line.contains(" send ") {
            '–'
        } else {
            '✓'
        };
        assert!(line.starts_with(sign), "{line}");
    }
    assert_eq!(output.status.code(), Some(0));
}

/// The connector's records go on, none is lost, and it stays connected.
async fn beside_a_running_connector(version: &'static str) {
    let mut site = Site::new().await;
    site.set("MQTT_VERSION", version);
    let mut connector = site.connector(&[]);
    let app = App::connect(site.broker.port).await;
    app.until_answered().await;
    let mut published = 0;
    let report = {
        let check = site.check(&[]);
        tokio::pin!(check);
        loop {
            tokio::select! {
                report = &mut check => break report,
                () = tokio::time::sleep(std::time::Duration::from_millis(10)) => {
                    app.request(&published.to_string(), &format!("record {published}")).await;
                    published += 1;
                }
            }
        }
    };
    report
        .is(&[NO_SEND])
        .says("client-id", &["on this device", "the running connector"])
        .says("queue", &["a running connector holds it"]);
    assert!(connector.is_running(), "{}", connector.stderr());
    assert!(published > 100, "{published} were published meanwhile");
    app.flush().await;
    for number in 0..published {
        assert!(app.status_of(&number.to_string()).await.is_success());
    }
    let accepted: std::collections::BTreeSet<Vec<u8>> = site
        .endpoint
        .accepted("test")
        .iter()
        .map(|record| record.data.to_vec())
        .collect();
    for number in 0..published {
        let record = format!("record {number}").into_bytes();
        assert!(accepted.contains(&record), "{number} is lost");
    }
    assert_eq!(accepted.len(), published);
    // An empty list of statuses, and no others than those of the requests.
    assert!(app.documents().contains(&br#"{"response":[]}"#.to_vec()));
    assert!(app.by_id().len() == published);
    connector.signal("TERM");
    assert!(connector.wait().success(), "{}", connector.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_that_runs_loses_nothing() {
    tokio::join!(
        beside_a_running_connector("5"),
        beside_a_running_connector("3.1.1")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_connectors_with_one_client_id_on_this_device_are_named() {
    let mut site = Site::new().await;
    site.variables.remove("QUEUE_DIR");
    site.variables.remove("DEAD_LETTER_DIR");
    let (one, other) = (site.connector(&[]), site.connector(&[]));
    for connector in [&one, &other] {
        eventually("each is connected once", || {
            connector.stderr().contains("connected to the MQTT broker")
        })
        .await;
    }
    let report = site.check(&[]).await;
    report
        .is(&[
            NO_SEND,
            ("queue", "skipped"),
            ("dead-letters", "skipped"),
            ("client-id", "failed"),
        ])
        .says(
            "client-id",
            &["was thrown out", "another one", ID, "MQTT_CLIENT_ID"],
        );
}

/// Shows the program a device without connections, or one that keeps no list of them: whoever has the client
/// id seems to be elsewhere then.
fn without_connections(listed: bool) -> Vec<String> {
    let script = r#"mount -t tmpfs tmpfs /proc && if "$1"; then mkdir /proc/net && echo head >/proc/net/tcp; fi
        shift && exec "$@""#;
    let mut words = vec!["unshare", "--mount", "--propagation", "private"];
    let id = std::process::Command::new("id").arg("-u").output();
    if id.expect("id starts").stdout != b"0\n" {
        words.extend(["--user", "--map-root-user"]);
    }
    words.extend([
        "sh",
        "-c",
        script,
        "sh",
        if listed { "true" } else { "false" },
    ]);
    words.into_iter().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_with_the_same_client_id_elsewhere_is_named() {
    let mut site = Site::new().await;
    site.wrapper = without_connections(true);
    let elsewhere = tempfile::tempdir().unwrap();
    let queue = elsewhere.path().join("queue").display().to_string();
    let letters = elsewhere.path().join("letters").display().to_string();
    let there = [("QUEUE_DIR", &*queue), ("DEAD_LETTER_DIR", &*letters)];
    for version in ["5", "3.1.1"] {
        site.set("MQTT_VERSION", version);
        let mut connector = site.connector(&there);
        let app = App::connect(site.broker.port).await;
        app.until_answered().await;
        let report = site.check(&[]).await;
        report.is(&[NO_SEND, ("client-id", "failed")]).says(
            "client-id",
            &[
                "another client is connected",
                ID,
                "MQTT_CLIENT_ID of its own",
            ],
        );
        connector.signal("TERM");
        assert!(connector.wait().success(), "{}", connector.stderr());
    }
    // The same beside a connector of this device, which holds its queue and is thrown out at present.
    let _connector = site.connector(&[]);
    let app = App::connect(site.broker.port).await;
    app.until_answered().await;
    let report = site.check(&[]).await;
    report.is(&[NO_SEND, ("client-id", "failed")]).says(
        "client-id",
        &["another client is connected", "holds QUEUE_DIR"],
    );
    // Where nothing lists connections, it is that connector most likely.
    site.wrapper = without_connections(false);
    let report = site.check(&[]).await;
    report.is(&[NO_SEND, ("client-id", "skipped")]).says(
        "client-id",
        &["holds QUEUE_DIR on this device", "cannot be told"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_port_is_named() {
    let mut site = Site::new().await;
    let port = free_port();
    site.set("MQTT_URL", format!("mqtt://127.0.0.1:{port}"));
    let report = site.check(&[]).await;
    report
        .is(&NO_BROKER)
        .says("broker", &["refused", &port.to_string(), "MQTT_URL"]);
    site.set("MQTT_URL", "mqtt://no-such-host.invalid");
    let report = site.check(&[]).await;
    report.is(&NO_BROKER).says(
        "broker",
        &["cannot be resolved", "no-such-host.invalid", "DNS"],
    );
}

/// A mosquitto that lets in one user, with further lines of its configuration.
fn with_password(lines: &[&str], files: &[(&str, &str)]) -> Mosquitto {
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("passwords");
    let made = std::process::Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["edge", "the right one"])
        .output();
    assert!(made.expect("mosquitto_passwd starts").status.success());
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let mut all = vec![
        "listener {port} 127.0.0.1".to_owned(),
        "allow_anonymous false".to_owned(),
        "password_file {dir}/passwords".to_owned(),
    ];
    all.extend(lines.iter().map(|&line| line.to_owned()));
    Mosquitto::start_in(
        folder,
        MosquittoOptions {
            own_listener: true,
            lines: all,
            ..MosquittoOptions::default()
        },
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_password_is_named() {
    let mut site = Site::with_broker(with_password(&[], &[])).await;
    site.set("MQTT_USERNAME", "edge");
    site.set("MQTT_PASSWORD", "the wrong one");
    for version in ["5", "3.1.1"] {
        site.set("MQTT_VERSION", version);
        let report = site.check(&[]).await;
        report
            .is(&[
                NO_SEND,
                ("login", "failed"),
                ("subscribe", "skipped"),
                ("publish", "skipped"),
                ("client-id", "skipped"),
            ])
            .says(
                "login",
                &["wrong user or password", "edge", "MQTT_USERNAME"],
            );
    }
    site.set("MQTT_PASSWORD", "the right one");
    let report = site.check(&[]).await;
    report.is(&[NO_SEND]).says("login", &["edge"]);
}

/// A mosquitto that refuses every subscription and takes whatever is published.
fn without_subscriptions() -> Mosquitto {
    let plugin = fs::read_dir("/usr/lib")
        .expect("there are libraries")
        .filter_map(|entry| Some(entry.ok()?.path().join("mosquitto_dynamic_security.so")))
        .chain([PathBuf::from("/usr/lib/mosquitto_dynamic_security.so")])
        .find(|path| path.exists())
        .expect("mosquitto brings its plugin along");
    let folder = tempfile::tempdir().unwrap();
    let rights = r#"{"defaultACLAccess": {"publishClientSend": true, "publishClientReceive": true,
        "subscribe": false, "unsubscribe": true}, "clients": [], "groups": [], "roles": []}"#;
    fs::write(folder.path().join("rights.json"), rights).unwrap();
    let lines = [
        "listener {port} 127.0.0.1",
        "allow_anonymous true",
        &format!("plugin {}", plugin.display()),
        "plugin_opt_config_file {dir}/rights.json",
    ];
    Mosquitto::start_in(
        folder,
        MosquittoOptions {
            own_listener: true,
            lines: lines.map(str::to_owned).to_vec(),
            ..MosquittoOptions::default()
        },
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_to_subscribe_is_named() {
    let mut site = Site::with_broker(without_subscriptions()).await;
    for version in ["5", "3.1.1"] {
        site.set("MQTT_VERSION", version);
        let report = site.check(&[]).await;
        report
            .is(&[NO_SEND, ("subscribe", "failed")])
            .says(
                "subscribe",
                &[
                    "kinesisfirehose/message (",
                    "kinesisfirehose/message/binary/# (",
                    "allow",
                ],
            )
            .says("publish", &["took a message"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_to_publish_is_named_with_either_version() {
    let rights = "user edge\ntopic read kinesisfirehose/message/#\n";
    let broker = with_password(&["acl_file {dir}/rights"], &[("rights", rights)]);
    let mut site = Site::with_broker(broker).await;
    site.set("MQTT_USERNAME", "edge");
    site.set("MQTT_PASSWORD", "the right one");
    for version in ["5", "3.1.1"] {
        site.set("MQTT_VERSION", version);
        let report = site.check(&[]).await;
        report.is(&[NO_SEND, ("publish", "failed")]).says(
            "publish",
            &["kinesisfirehose/message/status", "NotAuthorized", "allow"],
        );
    }
}

/// A broker of MQTT 3.1.1 that grants everything and passes nothing on.
async fn that_passes_nothing_on() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut packet = [0; 4096];
                loop {
                    // One packet at a time is asked and waited for.
                    let Ok(bytes @ 1..) = socket.read(&mut packet).await else {
                        return;
                    };
                    let answer = match packet[0] >> 4 {
                        1 if packet[8] == 4 => vec![0x20, 2, 0, 0],
                        1 => vec![0x20, 2, 0, 1],
                        3 => {
                            let topic = usize::from(packet[3]);
                            vec![0x40, 2, packet[4 + topic], packet[5 + topic]]
                        }
                        8 => {
                            let filters = if bytes > 60 { 2 } else { 1 };
                            let mut answer = vec![0x90, 2 + filters, packet[2], packet[3]];
                            answer.resize(answer.len() + usize::from(filters), 1);
                            answer
                        }
                        _ => continue,
                    };
                    if socket.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_broker_does_not_tell_is_not_guessed() {
    let mut site = Site::new().await;
    let port = that_passes_nothing_on().await;
    site.set("MQTT_URL", format!("mqtt://127.0.0.1:{port}"));
    let report = site.check(&[]).await;
    report
        .is(&[NO_SEND, ("publish", "skipped")])
        .says("publish", &["cannot be told", "3.1.1"]);
}

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
        .says(
            "access",
            &["ExpiredTokenException", "have expired", "renew"],
        );
}

/// A provider as a container or Greengrass has one, whose credentials end at this time.
async fn provider(expiration: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/credentials", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = socket.read(&mut request).await;
            let body = format!(
                r#"{{"AccessKeyId": "ASIAABCDEFGHIJKLMNOP", "SecretAccessKey": "hidden-secret",
                    "Token": "hidden-token", "Expiration": "{expiration}"}}"#
            );
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    url
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
        .is(&[
            NO_SEND,
            ("endpoint", "failed"),
            ("clock", "skipped"),
            ("access", "skipped"),
        ])
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
        ],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_test_record_is_as_other_records_are() {
    let mut site = Site::new().await;
    site.set("RECORD_ENVELOPE", "true");
    site.set("RECORD_AGGREGATION", "delimited");
    site.set("RECORD_COMPRESSION", "gzip");
    site.check(&["--send"]).await.is(&[]);
    let sent = site.endpoint.accepted("test");
    let lines = common::lines("gzip", &sent[0].data);
    assert_eq!(lines.len(), 1);
    let envelope: Value = serde_json::from_slice(&lines[0]).unwrap();
    assert_eq!(envelope["id"], "kinesis-edge-check");
    assert!(envelope["sequence"].as_str().unwrap().starts_with(ID));
    let told: Value = serde_json::from_str(envelope["data"].as_str().unwrap()).unwrap();
    assert!(told["kinesis_edge_check"]["sent"].is_string());
}

/// A site whose queue is on a small disk of its own.
async fn on_a_small_disk(kib: u32) -> (Site, SmallDisk, String) {
    let mut site = Site::new().await;
    let disk = SmallDisk::new(kib);
    site.wrapper = disk.enter();
    let queue = disk.path().join("queue").display().to_string();
    site.set("QUEUE_DIR", &*queue);
    let mut words = disk.enter();
    words.extend(["mkdir".to_owned(), queue.clone()]);
    run(&words);
    (site, disk, queue)
}

fn run(words: &[String]) {
    let status = std::process::Command::new(&words[0])
        .args(&words[1..])
        .status();
    assert!(status.expect("it starts").success(), "{words:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_named() {
    let (site, disk, queue) = on_a_small_disk(6 * 1024).await;
    // Less than the bound, and enough to begin with.
    let report = site.check(&[]).await;
    report.is(&[NO_SEND]).says(
        "queue",
        &["can be written", "QUEUE_DIR_MAX_BYTES", "full first"],
    );
    let mut fill = disk.enter();
    let file = disk.path().join("others").display().to_string();
    let fill_up = |mib: &str| {
        vec![
            "sh".to_owned(),
            "-c".to_owned(),
            format!("head -c {mib} /dev/zero >{file} 2>&1; true"),
        ]
    };
    let mut nearly = fill.clone();
    nearly.extend(fill_up("3M"));
    run(&nearly);
    let report = site.check(&[]).await;
    report
        .is(&[NO_SEND, ("queue", "failed")])
        .says("queue", &["KiB are free", "nearly full", "make room"]);
    fill.extend(fill_up("20M"));
    run(&fill);
    let report = site.check(&[]).await;
    report.is(&[NO_SEND, ("queue", "failed")]).says(
        "queue",
        &[&queue, "No space left", "the disk is full", "make room"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_cannot_be_written_is_named() {
    let (site, disk, queue) = on_a_small_disk(16 * 1024).await;
    site.check(&[])
        .await
        .is(&[NO_SEND])
        .says("queue", &["intact", "0 records"]);
    disk.set_read_only(true);
    let report = site.check(&[]).await;
    report
        .is(&[NO_SEND, ("queue", "failed")])
        .says("queue", &[&queue, "Read-only file system", "for writing"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_named_and_left_as_it_is() {
    let site = Site::new().await;
    let queue = site.folder.path().join("queue");
    let letters = site.folder.path().join("letters");
    let app = App::connect(site.broker.port).await;
    site.endpoint.faults().set_all(Faults {
        call: CallFault::ServerError,
        ..Faults::default()
    });
    let mut connector = site.connector(&[("SHUTDOWN_TIMEOUT", "0")]);
    app.until_answered().await;
    for number in 0..20 {
        app.request(
            &number.to_string(),
            "some data that is long enough to be hit",
        )
        .await;
    }
    app.flush().await;
    // It comes behind the others.
    app.until_answered().await;
    connector.signal("TERM");
    connector.wait();
    site.endpoint.faults().clear();
    fs::write(letters.join("letters-0000000007.log"), [7; 500]).unwrap();
    fs::write(letters.join("letters-0000000008.log"), b"").unwrap();
    let report = site.check(&[]).await;
    report
        .is(&[NO_SEND, ("dead-letters", "failed")])
        .says("queue", &["20 records wait"])
        .says(
            "dead-letters",
            &["letters-0000000007.log", "dead-letters ls"],
        );

    let segment = fs::read_dir(&queue)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|ending| ending == "log"))
        .expect("there is a file of the queue");
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&segment, &bytes).unwrap();
    let report = site.check(&[]).await;
    report
        .is(&[NO_SEND, ("queue", "failed"), ("dead-letters", "failed")])
        .says("queue", &["damaged", "queue ls", "queue repair"]);
    assert_eq!(fs::read(&segment).unwrap(), bytes);
}

/// Mosquitto with TLS under certificates of ours; the files are in its folder.
fn with_tls(hosts: &[&str], expired: bool) -> Mosquitto {
    let folder = tempfile::tempdir().unwrap();
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        fs::write(folder.path().join(name), pem).unwrap();
        Issuer::new(params, key)
    };
    authority("other-ca.pem");
    let issuer = authority("ca.pem");
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    if expired {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    fs::write(folder.path().join("broker.pem"), certificate.pem()).unwrap();
    fs::write(folder.path().join("broker.key"), key.serialize_pem()).unwrap();
    let lines = [
        "listener {port} 127.0.0.1",
        "allow_anonymous true",
        "cafile {dir}/ca.pem",
        "certfile {dir}/broker.pem",
        "keyfile {dir}/broker.key",
    ];
    Mosquitto::start_in(
        folder,
        MosquittoOptions {
            own_listener: true,
            lines: lines.map(str::to_owned).to_vec(),
            ..MosquittoOptions::default()
        },
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_do_not_fit_are_named() {
    for (hosts, expired, ca, words) in [
        (["127.0.0.1"], false, "ca.pem", None),
        (
            ["127.0.0.1"],
            false,
            "other-ca.pem",
            Some("set MQTT_CA_FILE"),
        ),
        (
            ["elsewhere.example"],
            false,
            "ca.pem",
            Some("is for another name"),
        ),
        (["127.0.0.1"], true, "ca.pem", Some("has expired")),
    ] {
        let mut site = Site::with_broker(with_tls(&hosts, expired)).await;
        let url = format!("mqtts://127.0.0.1:{}", site.broker.port);
        let ca = site.broker.folder().join(ca).display().to_string();
        site.set("MQTT_URL", url);
        site.set("MQTT_CA_FILE", ca);
        let report = site.check(&[]).await;
        match words {
            Some(words) => report.is(&NO_BROKER).says("broker", &[words]),
            None => report.is(&[NO_SEND]).says("broker", &["is trusted"]),
        };
    }
}

/// What follows where nothing is tried.
const NOTHING: [&str; 12] = [
    "broker",
    "login",
    "subscribe",
    "publish",
    "credentials",
    "endpoint",
    "clock",
    "access",
    "queue",
    "dead-letters",
    "send",
    "client-id",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_parameters_and_files_are_all_named() {
    let mut site = Site::new().await;
    site.set("PUBLISH_INTERVAL", "901");
    site.set("MEMORY_SIZE", "little");
    site.set("MQTT_USERNAME", "edge");
    site.set("MQTT_PASSWORD_FILE", "missing");
    let mut expected: Vec<(&str, &str)> = NOTHING.map(|name| (name, "skipped")).to_vec();
    expected.extend([("parameters", "failed"), ("files", "failed")]);
    let report = site.check(&[]).await;
    report
        .is(&expected)
        .says(
            "parameters",
            &["2 faults", "PUBLISH_INTERVAL", "MEMORY_SIZE", "0 to 900"],
        )
        .says("files", &["1 fault", "MQTT_PASSWORD_FILE", "missing"]);

    site.variables.remove("PUBLISH_INTERVAL");
    site.variables.remove("MEMORY_SIZE");
    site.variables.remove("MQTT_PASSWORD_FILE");
    site.variables.remove("MQTT_USERNAME");
    site.set("MQTT_URL", site.broker.url().replace("mqtt://", "mqtts://"));
    let empty = site.folder.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    site.set("MQTT_CA_FILE", empty.display().to_string());
    let mut expected: Vec<(&str, &str)> = NOTHING.map(|name| (name, "skipped")).to_vec();
    expected.push(("files", "failed"));
    let report = site.check(&[]).await;
    report
        .is(&expected)
        .says("files", &["empty.pem", "no certificate", "PEM"]);
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_others_can_read_is_told() {
    let mut site = Site::with_broker(with_password(&[], &[])).await;
    let file = site.folder.path().join("password");
    fs::write(&file, "the right one\n").unwrap();
    site.set("MQTT_USERNAME", "edge");
    site.set("MQTT_PASSWORD_FILE", file.display().to_string());
    allow(&file, 0o640);
    let report = site.check(&[]).await;
    report
        .is(&[NO_SEND])
        .says("files", &["can be read", "chmod 600", "password"]);
    allow(&file, 0o600);
    let report = site.check(&[]).await;
    assert_eq!(report.steps["files"]["message"], "it can be read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_secret_is_shown() {
    const SECRETS: [&str; 4] = [
        "hidden-password",
        "hidden-secret",
        "hidden-token",
        "AKIAABCDEFGHIJKLMNOP",
    ];
    let mut site = Site::with_broker(with_password(&[], &[])).await;
    let with_password = |site: &Site, port: u16| {
        assert_eq!(site.broker.port, port);
        format!("mqtt://edge:hidden-password@127.0.0.1:{port}")
    };
    site.set("MQTT_URL", with_password(&site, site.broker.port));
    site.set("AWS_SECRET_ACCESS_KEY", "hidden-secret");
    site.set("AWS_SESSION_TOKEN", "hidden-token");
    let shown = async |site: &Site, words: &str| {
        for arguments in [&["--send"][..], &["--json", "--send"]] {
            let output = site.run(arguments).await;
            let text = stdout(&output) + &stderr(&output);
            assert!(text.contains(words), "{text}");
            for secret in SECRETS {
                assert!(!text.contains(secret), "{secret}: {text}");
            }
        }
    };
    shown(&site, "the right to the stream").await;
    // As AWS does it, the refusal quotes what was signed, the token included.
    site.endpoint.faults().set_all(Faults {
        call: CallFault::BadSignature,
        ..Faults::default()
    });
    shown(&site, "InvalidSignatureException").await;
    site.set("PUBLISH_INTERVAL", "901");
    site.set("MQTT_URL", "mqtt://edge:hidden-password@/");
    shown(&site, "2 faults").await;
}

/// Takes connections and never says a word.
async fn silent() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            kept.push(socket);
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_answers_is_given_up() {
    let mut site = Site::new().await;
    site.set("MQTT_URL", format!("mqtt://127.0.0.1:{}", silent().await));
    site.set(
        "AWS_ENDPOINT_URL",
        format!("http://127.0.0.1:{}", silent().await),
    );
    let report = site.check(&[]).await;
    report
        .is(&[
            NO_SEND,
            ("login", "failed"),
            ("subscribe", "skipped"),
            ("publish", "skipped"),
            ("client-id", "skipped"),
            ("endpoint", "failed"),
            ("clock", "skipped"),
            ("access", "skipped"),
        ])
        .says("login", &["no answer within 10 s"])
        .says("endpoint", &["no answer within 10 s"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_faulty_command_line_has_a_status_of_its_own() {
    let site = Site::new().await;
    let output = site.run(&["--no-such-flag"]).await;
    assert_eq!(output.status.code(), Some(2));
}
