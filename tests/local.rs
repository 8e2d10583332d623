//! `kinesis-edge local` and `kinesis-edge send` as a person uses them on a fresh machine: with the
//! Mosquitto clients, an empty home, and nothing but the program. What is published lands in the
//! folder, its status comes back, nobody else can reach it, and every way to go wrong says so.

#![cfg(feature = "local")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use common::{ConnectorProcess, Mosquitto, PATIENCE, eventually, finish, finish_with, free_port};
use common::{http, program, stderr, stdout};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// `kinesis-edge local` with its port known.
struct Local {
    process: ConnectorProcess,
    port: u16,
}

impl Local {
    /// Starts it on a free port; it answers when this returns.
    async fn start(arguments: &[&str]) -> Self {
        let all = [&["--port", "0", "--data-dir", "data"], arguments].concat();
        Self::started(ConnectorProcess::start_with("local", &all, &[])).await
    }

    async fn started(process: ConnectorProcess) -> Self {
        eventually("it says where it is and is connected", || {
            process.stdout().contains("Try in another terminal")
                && process.stderr().contains("connected to the MQTT broker")
        })
        .await;
        let welcome = process.stdout();
        let (_, url) = welcome
            .split_once("mqtt://127.0.0.1:")
            .expect("the broker's URL");
        let digits: String = url.chars().take_while(char::is_ascii_digit).collect();
        let port = digits.parse().expect("a port");
        Local { process, port }
    }

    fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Every object below the data folder: its path there and what is in it.
    fn objects(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let root = self.process.folder().join("data");
        let mut objects = Vec::new();
        files_below(&root, &mut objects);
        objects.sort();
        objects
            .into_iter()
            .map(|path| {
                let content = fs::read(&path).expect("an object can be read");
                (
                    path.strip_prefix(&root).expect("it is below").to_owned(),
                    content,
                )
            })
            .collect()
    }

    /// All that one stream received.
    fn received(&self, stream: &str) -> Vec<u8> {
        let objects = self.objects().into_iter();
        let of_stream = objects.filter(|(path, _)| path.starts_with(stream));
        of_stream.flat_map(|(_, content)| content).collect()
    }

    async fn send(&self, arguments: &[&str]) -> Output {
        finish(&mut send(&self.url(), arguments)).await
    }

    async fn send_input(&self, arguments: &[&str], input: &[u8]) -> Output {
        finish_with(&mut send(&self.url(), arguments), input).await
    }

    async fn mosquitto_pub(&self, version: &str, topic: &str, message: &str) {
        let port = self.port.to_string();
        let mut command = Command::new("mosquitto_pub");
        command.args(["-V", version, "-h", "127.0.0.1", "-p", &port, "-q", "1"]);
        let output = finish(command.args(["-t", topic, "-m", message])).await;
        assert!(output.status.success(), "{}", stderr(&output));
    }

    /// Ends it with a signal; it must end well, and let its port go.
    fn stop(mut self, signal: &str) -> (ConnectorProcess, Vec<(PathBuf, Vec<u8>)>) {
        self.process.signal(signal);
        let status = self.process.wait();
        assert_eq!(status.code(), Some(0), "{}", self.process.stderr());
        assert!(TcpStream::connect(("127.0.0.1", self.port)).is_err());
        let objects = self.objects();
        (self.process, objects)
    }
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_below(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// `kinesis-edge send`, with no other environment than it is given.
fn send(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .arg("send")
        .env_clear()
        .env("MQTT_URL", url)
        .args(arguments);
    command
}

/// The one status that `send` printed.
fn printed(output: &Output) -> Value {
    let text = stdout(output);
    assert_eq!(text.lines().count(), 1, "{text} {}", stderr(output));
    serde_json::from_str(&text).expect("a status is JSON")
}

/// mosquitto_sub on the statuses.
struct Subscriber {
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Subscriber {
    /// Starts it; it is subscribed when this returns.
    async fn start(version: &str, port: u16) -> Self {
        // mosquitto_sub would hold its lines back while it writes into a pipe.
        let mut process = Command::new("stdbuf")
            .args([
                "-oL",
                "mosquitto_sub",
                "-d",
                "-V",
                version,
                "-h",
                "127.0.0.1",
                "-q",
                "1",
            ])
            .args([
                "-p",
                &port.to_string(),
                "-t",
                "kinesisfirehose/message/status",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("mosquitto_sub starts; `make setup` installs it");
        let lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let mut subscriber = Subscriber {
            lines,
            _process: process,
        };
        subscriber.line("Subscribed").await;
        subscriber
    }

    async fn line(&mut self, head: &str) -> String {
        let found = async {
            while let Some(line) = self.lines.next_line().await.expect("it writes text") {
                if line.starts_with(head) {
                    return line;
                }
            }
            panic!("mosquitto_sub ended before {head:?}");
        };
        tokio::time::timeout(PATIENCE, found)
            .await
            .unwrap_or_else(|_| panic!("mosquitto_sub does not say {head:?}"))
    }

    /// The next status document.
    async fn document(&mut self) -> Value {
        serde_json::from_str(&self.line("{").await).expect("a status document is JSON")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_mosquitto_pub_publishes_lands_in_the_folder_and_its_status_comes_back() {
    let local = Local::start(&[]).await;
    for (version, id) in [("mqttv311", "three"), ("mqttv5", "five")] {
        let mut subscriber = Subscriber::start(version, local.port).await;
        let request = json!({"request": {"data": format!("hello {id}\n")}, "id": id}).to_string();
        local
            .mosquitto_pub(version, "kinesisfirehose/message", &request)
            .await;
        let document = subscriber.document().await;
        let entry = &document["response"][0];
        assert_eq!(
            (&entry["status"], &entry["id"]),
            (&"success".into(), &id.into()),
            "{document}"
        );

        let topic = format!("kinesisfirehose/message/binary/{id}/binary");
        local.mosquitto_pub(version, &topic, "as it is\n").await;
        let entry = &subscriber.document().await["response"][0];
        assert_eq!(entry["id"], format!("{id}/binary"));

        local
            .mosquitto_pub(version, "kinesisfirehose/message", "not JSON")
            .await;
        let entry = &subscriber.document().await["response"][0];
        assert_eq!(
            (&entry["status"], &entry["ErrorCode"]),
            (&"fail".into(), &"InvalidRequest".into())
        );
    }
    let (_, objects) = local.stop("INT");
    let all: Vec<u8> = objects
        .iter()
        .flat_map(|(_, content)| content.clone())
        .collect();
    assert_eq!(
        String::from_utf8_lossy(&all),
        "hello three\nas it is\nhello five\nas it is\n"
    );
    for (path, _) in objects {
        let path = path.to_str().expect("a path is text");
        // local/2026/11/20/23/local-1-2026-11-20-23-…
        let parts: Vec<_> = path.split('/').collect();
        let [stream, year, month, day, hour, name] = parts[..] else {
            panic!("{path}");
        };
        assert_eq!(
            (stream, year.len(), month.len(), day.len(), hour.len()),
            ("local", 4, 2, 2, 2)
        );
        assert!(
            name.starts_with(&format!("local-1-{year}-{month}-{day}-{hour}-")),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_delivers_what_it_is_given_and_prints_the_status() {
    let local = Local::start(&[]).await;
    let ok = |output: &Output, id: &str| {
        assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
        let status = printed(output);
        assert_eq!(
            (&status["status"], &status["id"]),
            (&"success".into(), &id.into())
        );
        assert_eq!(stderr(output), "", "nothing else to say");
    };
    ok(&local.send(&["from an argument,", "--id", "a"]).await, "a");
    ok(
        &local
            .send_input(&["-", "--id=b"], "from \"stdin\" ü\n".as_bytes())
            .await,
        "b",
    );
    ok(
        &local.send(&["--binary", "--id", "c/d", "{raw}"]).await,
        "c/d",
    );
    let bytes: Vec<u8> = (0..=255).collect();
    ok(
        &local
            .send_input(&["--binary", "-", "--id", "bytes"], &bytes)
            .await,
        "bytes",
    );
    let expected = [
        "from an argument,from \"stdin\" ü\n{raw}".as_bytes(),
        &bytes,
    ]
    .concat();
    assert_eq!(local.received("local"), expected);

    let other = common::stream_arn("another");
    ok(
        &local
            .send(&["--stream", &other, "to another", "--id", "e"])
            .await,
        "e",
    );
    assert_eq!(local.received("another"), b"to another");

    // Without an id it finds its own status all the same.
    let first = printed(&local.send(&["no id"]).await);
    let second = printed(&local.send(&["no id"]).await);
    assert_ne!(first["id"], second["id"]);
    local.stop("TERM");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_says_what_went_wrong() {
    let local = Local::start(&[]).await;
    let output = local
        .send(&["--stream", "firehose", "data", "--id", "x"])
        .await;
    assert_eq!(output.status.code(), Some(1));
    let status = printed(&output);
    assert_eq!(
        (&status["status"], &status["id"]),
        (&"fail".into(), &"x".into())
    );
    assert_eq!(status["ErrorCode"], "InvalidDeliveryStreamArn");

    for (arguments, input, code, words) in [
        // A faulty command line.
        (&[][..], "", 2, "<DATA>"),
        (&["a", "b"], "", 2, "unexpected argument 'b'"),
        (&["--binary", "--stream", "x", "a"], "", 2, "--binary"),
        (&["--timeout", "0", "a"], "", 2, "1..=86400"),
        (
            &["--mqtt-url", "http://x", "a"],
            "",
            2,
            "MQTT_URL (--mqtt-url) is \"http://x\"",
        ),
        (&["--topic-prefix", "#", "a"], "", 2, "TOPIC_PREFIX"),
        // Data that cannot be sent in this way.
        (
            &["--binary", "--id", "a/#", "a"],
            "",
            1,
            "cannot stand in a topic",
        ),
        (&["--id", "", "a"], "", 1, "leave --id out"),
    ] {
        let output = local.send_input(arguments, input.as_bytes()).await;
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert_eq!(stdout(&output), "");
    }
    let output = local.send_input(&["-"], b"\xff").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("use --binary"),
        "{}",
        stderr(&output)
    );
    assert!(local.objects().is_empty());

    // A broker, but nobody who answers; then not even a broker.
    let broker = Mosquitto::start();
    for (url, words) in [
        (
            broker.url(),
            "no status within 1 s; is the connector running on this broker",
        ),
        (
            format!("mqtt://127.0.0.1:{}", free_port()),
            "no connection to the MQTT broker 127.0.0.1:",
        ),
    ] {
        let output = finish(&mut send(&url, &["--timeout", "1", "data"])).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_the_welcome_work_as_they_stand() {
    // Everything that changes them: another port, topics, stream, and shape of statuses.
    let arn = common::stream_arn("mine");
    let local = Local::start(&[
        "--topic-prefix",
        "my/topics",
        "--default-delivery-stream-arn",
        &arn,
        "--connector-version",
        "1",
    ])
    .await;
    let welcome = local.process.stdout();
    assert!(
        welcome.contains(&arn) && welcome.contains("at once"),
        "{welcome}"
    );
    let commands: Vec<_> = welcome
        .lines()
        .skip_while(|line| !line.starts_with("Try in another terminal"))
        .map(str::trim)
        .collect();
    let run = |head: &str| {
        let commands: Vec<_> = commands.iter().filter(|line| line.contains(head)).collect();
        assert!(!commands.is_empty(), "{head}: {welcome}");
        let mut shell = Command::new("sh");
        shell.arg("-ec").current_dir(local.process.folder());
        shell.arg(
            commands
                .iter()
                .map(|line| format!("{line}\n"))
                .collect::<String>(),
        );
        shell
    };
    let output = finish(&mut run(" send ")).await;
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(printed(&output)["response"]["status"], "success");
    let output = finish(&mut run("mosquitto_pub")).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let expected = "hello from the edgehelloas it is".len();
    eventually("all records are there", || {
        local.received("mine").len() == expected
    })
    .await;
    let output = finish(&mut run("cat ")).await;
    assert_eq!(output.stdout, local.received("mine"), "{}", stderr(&output));
    local.stop("INT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_welcome_says_how_records_are_joined_and_shows_them() {
    let settings = [
        (
            &["--record-delimiter", "\\n"][..],
            "RECORD_DELIMITER behind each",
        ),
        (
            &[
                "--record-aggregation",
                "delimited",
                "--record-compression",
                "gzip",
            ],
            "compressed with gzip",
        ),
    ];
    for (flags, words) in settings {
        let local = Local::start(flags).await;
        let welcome = local.process.stdout();
        assert!(welcome.contains(words), "{welcome}");
        let output = local.send(&["one"]).await;
        assert!(output.status.success(), "{}", stderr(&output));
        let show = welcome.lines().find(|line| line.contains(" cat "));
        let mut shell = Command::new("sh");
        shell.arg("-ec").arg(show.expect("it says how to see them"));
        let output = finish(shell.current_dir(local.process.folder())).await;
        assert_eq!(stdout(&output), "one\n", "{}", stderr(&output));
        local.stop("INT");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_set_up_for_the_real_thing_does_not_reach_in() {
    // Nothing listens there: whatever is sent to it does not arrive.
    let nowhere = "http://127.0.0.1:1";
    let process = ConnectorProcess::start_with(
        "local",
        &["--port", "0", "--data-dir", "data"],
        &[
            ("DEFAULT_DELIVERY_STREAM_ARN", "bogus"),
            ("PUBLISH_INTERVAL", "900"),
            ("MQTT_URL", "mqtt://127.0.0.1:1"),
            ("MQTT_PASSWORD", "without a user"),
            ("QUEUE_DIR", "/nonexistent/queue"),
            ("DEAD_LETTER_DIR", "/nonexistent/dead-letters"),
            ("RECORD_ENVELOPE", "true"),
            ("AWS_ENDPOINT_URL", nowhere),
            ("AWS_ENDPOINT_URL_FIREHOSE", nowhere),
            ("AWS_PROFILE", "no-such-profile"),
            ("AWS_REGION", "bogus"),
            ("HTTP_PROXY", nowhere),
            ("http_proxy", nowhere),
            ("ALL_PROXY", nowhere),
        ],
    );
    let local = Local::started(process).await;
    let output = local.send(&["data"]).await;
    let log = local.process.stderr();
    assert!(output.status.success(), "{} {log}", stderr(&output));
    assert_eq!(local.received("local"), b"data");
    assert!(!log.contains("WARN"), "{log}");
    local.stop("INT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_help_says_what_holds_for_each_command() {
    let help = async |arguments: &[&str]| {
        let output = finish(Command::new(program()).args(arguments)).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        stdout(&output)
    };
    let all = help(&["--help"]).await;
    for command in ["run", "local", "send"] {
        assert!(all.contains(&format!("\n  {command} ")), "{all}");
        for flag in ["-h", "--help"] {
            let page = help(&[command, flag]).await;
            assert!(
                page.contains(&format!("Usage: kinesis-edge {command}")),
                "{page}"
            );
            // `local` does not read the environment, and has defaults for what `run` requires.
            let (env, required) = (page.contains("[env:"), page.contains("[required]"));
            assert_eq!(
                (env, required),
                (command != "local", command == "run"),
                "{page}"
            );
        }
    }
    let local = help(&["local", "-h"]).await;
    assert!(
        local.contains("deliverystream/local]") && local.contains("[default: 1]"),
        "{local}"
    );
    // Without a subcommand, the help is the error.
    let output = finish(&mut Command::new(program())).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("Usage: kinesis-edge <COMMAND>"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_listens_on_loopback_only_and_writes_nothing_but_the_data() {
    let local = Local::start(&[]).await;
    let home = tempfile::tempdir().unwrap();
    let mut command = send(&local.url(), &["data"]);
    let output = finish(command.env("HOME", home.path()).current_dir(home.path())).await;
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        fs::read_dir(home.path()).unwrap().count(),
        0,
        "send writes no files"
    );

    let addresses = listening_addresses(local.process.pid());
    // In the notation of /proc/net/tcp, 127.0.0.1 is 0100007F on little-endian machines.
    let loopback = format!("{:08X}", u32::from_ne_bytes([127, 0, 0, 1]));
    assert_eq!(
        addresses.len(),
        3,
        "broker, endpoint and page: {addresses:?}"
    );
    assert!(
        addresses
            .iter()
            .all(|address| address.split(':').next() == Some(&loopback)),
        "{addresses:?}"
    );

    let (process, _) = local.stop("INT");
    let names: BTreeSet<_> = fs::read_dir(process.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    // The test has its output written there.
    assert_eq!(
        names,
        BTreeSet::from(["data", "stderr", "stdout"].map(str::to_owned))
    );
}

/// The local addresses of the TCP sockets that a process listens on.
fn listening_addresses(pid: u32) -> Vec<String> {
    let sockets: BTreeSet<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("it runs")
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            let inode = link
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?
                .to_owned();
            Some(inode)
        })
        .collect();
    let tables = ["tcp", "tcp6"]
        .map(|name| fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default());
    tables
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        // 0A is the state LISTEN; the tenth column is the inode.
        .filter(|columns| columns[3] == "0A" && sockets.contains(columns[9]))
        .map(|columns| columns[1].to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_waits_is_delivered_before_it_ends() {
    for signal in ["INT", "TERM"] {
        // The interval would be over in a quarter of an hour.
        let page = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let listen = page.to_string();
        let local = Local::start(&["--publish-interval", "900", "--http-listen", &listen]).await;
        let mut subscriber = Subscriber::start("mqttv5", local.port).await;
        local
            .mosquitto_pub(
                "mqttv5",
                "kinesisfirehose/message/binary/last",
                "last words",
            )
            .await;
        // The broker has it; what the connector has not read by its end stays there.
        while http::samples(&http::get(page, "/metrics").await.body)["kinesis_edge_records_held"]
            != 1.0
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        local.process.signal(signal);
        let document = subscriber.document().await;
        assert_eq!(document["response"][0]["id"], "last");
        assert_eq!(document["response"][0]["status"], "success");
        let mut process = local.process;
        assert_eq!(process.wait().code(), Some(0), "{}", process.stderr());
        let mut files = Vec::new();
        files_below(&process.folder().join("data"), &mut files);
        assert_eq!(files.len(), 1);
        assert_eq!(fs::read(&files[0]).unwrap(), b"last words");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_usual_port_is_taken_it_picks_a_free_one() {
    // If another program has it, it is taken as well.
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 1883));
    let process = ConnectorProcess::start_with("local", &["--data-dir", "data"], &[]);
    let local = Local::started(process).await;
    assert_ne!(local.port, 1883);
    let welcome = local.process.stdout();
    assert!(welcome.contains("port 1883 is taken"), "{welcome}");
    let output = local.send(&["data"]).await;
    assert!(output.status.success(), "{}", stderr(&output));
    local.stop("INT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_cannot_start_with_is_said() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = taken.local_addr().unwrap().port().to_string();
    let file = tempfile::NamedTempFile::new().unwrap();
    let file = file.path().to_str().unwrap();
    for (arguments, code, words) in [
        (
            &["--port", &taken][..],
            1,
            &[taken.as_str(), "in use", "another port"][..],
        ),
        (&["--port", "0", "--data-dir", file], 1, &[file, "folder"]),
        (&["--port", "65536"], 2, &["65536", "0..=65535"]),
        (&["--port", "-1"], 2, &["-1"]),
        (&["--port", "mqtt"], 2, &["mqtt", "--port"]),
        (&["--mqtt-url", "mqtt://x"], 2, &["--mqtt-url"]),
        (
            &[
                "--port",
                "0",
                "--publish-interval",
                "901",
                "--when-full",
                "x",
            ],
            2,
            &["2 faults", "901", "\"x\""],
        ),
    ] {
        let mut process = ConnectorProcess::start_with("local", arguments, &[]);
        let status = process.wait();
        let said = process.stderr();
        assert_eq!(status.code(), Some(code), "{arguments:?}: {said}");
        assert!(
            words.iter().all(|word| said.contains(word)),
            "{arguments:?}: {said}"
        );
        assert_eq!(process.stdout(), "", "{arguments:?}");
        assert!(said.matches("(os error").count() <= 1, "said once: {said}");
        assert!(!process.folder().join("local-data").exists());
    }
}
