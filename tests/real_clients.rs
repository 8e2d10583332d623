//! Clients and services that share no code with this project: paho-mqtt publishes through
//! Mosquitto, the connector runs as a process with nothing but the AWS variables of a user, boto3
//! makes the streams on moto, and what lies in the buckets in the end is exactly what was published.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Instant;

use common::{ConnectorProcess, Mosquitto, PATIENCE, finish, finish_with, free_port, python};
use common::{moto_server, stderr, stdout};
use serde_json::{Value, json};
use tokio::process::Command;

/// The largest record that Firehose takes.
const LARGEST: usize = 1_024_000;

/// moto, started for a test and ended with it.
struct Moto {
    port: u16,
    process: Child,
}

impl Moto {
    fn start() -> Self {
        let port = free_port();
        let process = std::process::Command::new(moto_server())
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto_server starts");
        let mut moto = Moto { port, process };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = moto.process.try_wait().expect("it can be waited for");
            assert!(ended.is_none(), "moto_server ended: {ended:?}");
            assert!(start.elapsed() < PATIENCE, "moto_server does not listen");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        moto
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Runs boto3 against it.
    async fn boto3(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(python());
        command.args(["tests/python/delivery_streams.py", &self.url()]);
        // boto3 would go through a proxy of the environment.
        command
            .env("NO_PROXY", "127.0.0.1")
            .env("no_proxy", "127.0.0.1");
        let output = finish(command.args(arguments)).await;
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    }

    /// What lies in the bucket of a stream, each object a run of whole records. moto names objects of one
    /// second at random, so their order is that of their places in `expected`.
    async fn bucket(&self, stream: &str, expected: &[u8]) -> Vec<u8> {
        let listed: Value = serde_json::from_str(&self.boto3(&["objects", stream]).await).unwrap();
        let objects = listed[stream].as_array().expect("a list of objects");
        let mut placed: Vec<(usize, Vec<u8>)> = objects
            .iter()
            .map(|object| from_hex(object.as_str().expect("hex")))
            .map(|object| {
                let head = &object[..object.len().min(40)];
                let place = expected
                    .windows(head.len())
                    .position(|window| window == head);
                (place.expect("an object that begins with a record"), object)
            })
            .collect();
        placed.sort();
        placed.into_iter().flat_map(|(_, object)| object).collect()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digit = |index| u8::from_str_radix(&text[index..index + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digit).collect()
}

/// One request as an app publishes it, and the record that it stands for.
struct Request {
    topic: String,
    payload: Vec<u8>,
    id: String,
    record: Vec<u8>,
}

impl Request {
    fn text(id: &str, data: &str) -> Self {
        Self::json(id, json!({"data": data}), data)
    }

    fn json(id: &str, request: Value, record: &str) -> Self {
        Request {
            topic: "message".to_owned(),
            payload: json!({"request": request, "id": id}).to_string().into(),
            id: id.to_owned(),
            record: record.as_bytes().to_vec(),
        }
    }

    fn binary(id: &str, data: Vec<u8>) -> Self {
        Request {
            topic: format!("message/binary/{id}"),
            payload: data.clone(),
            id: id.to_owned(),
            record: data,
        }
    }
}

/// Requests of every kind, in both ways to publish. Every record begins in its own way, so that it can be
/// found again in a run of records.
fn requests() -> Vec<Request> {
    let mut requests = vec![
        Request::text("text", "plain text\n"),
        Request::text(
            "unicode",
            "Grüße, \u{65e5}\u{672c}\u{8a9e} \u{1f680} \u{0}\u{1f}\"\\\n",
        ),
        Request::json(
            "object",
            json!({"data": {"t": 21.5, "on": true}}),
            r#"{"on":true,"t":21.5}"#,
        ),
        Request::binary("all/bytes", (0..=255).collect()),
        Request::binary("not/utf-8", vec![0xff, 0xfe, 0x00, 0x80, 0xc0]),
        Request::text("largest", &large("L", LARGEST)),
        Request::binary("largest/binary", large("B", LARGEST).into_bytes()),
    ];
    for number in 0..200 {
        requests.push(Request::text(
            &format!("many-{number}"),
            &format!("text {number};"),
        ));
        requests.push(Request::binary(
            &format!("many/{number}"),
            format!("bytes {number};").into(),
        ));
    }
    requests
}

fn large(head: &str, length: usize) -> String {
    format!("{head}{}", "x".repeat(length - head.len()))
}

fn records(requests: &[Request]) -> Vec<u8> {
    requests
        .iter()
        .flat_map(|request| request.record.clone())
        .collect()
}

/// A connector as a user starts it: the variables of the Greengrass connector, and AWS's own.
fn connector(
    moto: &Moto,
    broker: &Mosquitto,
    prefix: &str,
    version: &str,
    stream: &str,
) -> ConnectorProcess {
    ConnectorProcess::start(&[
        ("DEFAULT_DELIVERY_STREAM_ARN", stream),
        ("PUBLISH_INTERVAL", "1"),
        ("TOPIC_PREFIX", prefix),
        ("MQTT_URL", &broker.url()),
        ("MQTT_CLIENT_ID", prefix),
        ("MQTT_VERSION", version),
        ("AWS_ENDPOINT_URL", &moto.url()),
        ("AWS_ACCESS_KEY_ID", "made-up"),
        ("AWS_SECRET_ACCESS_KEY", "made-up"),
    ])
}

/// Publishes with paho and returns the status of each id; each must have exactly one.
async fn publish(
    broker: &Mosquitto,
    prefix: &str,
    version: &str,
    requests: &[Request],
) -> BTreeMap<String, Value> {
    let list: Vec<Value> = requests
        .iter()
        .map(|request| json!({"topic": request.topic, "payload": hex(&request.payload), "id": request.id}))
        .collect();
    let seconds = PATIENCE.as_secs().to_string();
    let mut command = Command::new(python());
    command.args([
        "tests/python/local_app.py",
        &broker.port.to_string(),
        version,
        prefix,
        &seconds,
    ]);
    let output = finish_with(&mut command, Value::from(list).to_string().as_bytes()).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let documents: Vec<Value> = serde_json::from_str(&stdout(&output)).unwrap();
    let mut statuses = BTreeMap::new();
    for document in &documents {
        for entry in document["response"].as_array().expect("a list") {
            let id = entry["id"]
                .as_str()
                .expect("every status has an id")
                .to_owned();
            assert!(
                statuses.insert(id, entry.clone()).is_none(),
                "two statuses: {entry}"
            );
        }
    }
    statuses
}

fn arn(region: &str, name: &str) -> String {
    format!("arn:aws:firehose:{region}:123456789012:deliverystream/{name}")
}

/// Waits until the connector has subscribed: what is published before is for nobody.
async fn connected(connector: &ConnectorProcess) {
    common::eventually("the connector is connected", || {
        connector.stderr().contains("connected to the MQTT broker")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_paho_publishes_is_what_the_bucket_holds() {
    let (moto, broker) = (Moto::start(), Mosquitto::start());
    let streams = [("3.1.1", "via-3"), ("5", "via-5")];
    moto.boto3(&[
        "create",
        &arn("us-east-1", "via-3"),
        &arn("us-east-1", "via-5"),
    ])
    .await;
    let requests = requests();
    let expected = records(&requests);
    for (version, name) in streams {
        let mut connector = connector(&moto, &broker, name, version, &arn("us-east-1", name));
        connected(&connector).await;

        let statuses = publish(&broker, name, version, &requests).await;
        let ids: BTreeSet<_> = requests.iter().map(|request| request.id.clone()).collect();
        assert_eq!(statuses.keys().cloned().collect::<BTreeSet<_>>(), ids);
        assert!(
            statuses
                .values()
                .all(|status| status["status"] == "success"),
            "{statuses:?}"
        );
        let record_ids: BTreeSet<_> = statuses
            .values()
            .map(|status| {
                status["firehose_record_id"]
                    .as_str()
                    .expect("moto gives ids")
            })
            .collect();
        assert_eq!(
            record_ids.len(),
            requests.len(),
            "each record has an id of its own"
        );

        let held = moto.bucket(name, &expected).await;
        assert_eq!(held.len(), expected.len(), "MQTT {version}");
        assert!(
            held == expected,
            "MQTT {version}: other bytes, or in another order"
        );

        connector.signal("TERM");
        assert!(connector.wait().success(), "{}", connector.stderr());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_may_name_its_stream_in_any_region() {
    let (moto, broker) = (Moto::start(), Mosquitto::start());
    let (default, other) = (arn("us-east-1", "default"), arn("eu-central-1", "other"));
    // Exists, but in another region than the request says.
    let elsewhere = arn("eu-west-1", "other");
    let missing = arn("us-east-1", "missing");
    moto.boto3(&["create", &default, &other]).await;
    let connector = connector(&moto, &broker, "kinesisfirehose", "auto", &default);
    connected(&connector).await;

    let to = |id: &str, stream: &str| {
        let request = json!({"data": id, "delivery_stream_arn": stream});
        Request::json(id, request, id)
    };
    let requests = [
        to("1-other;", &other),
        to("missing;", &missing),
        to("elsewhere;", &elsewhere),
        Request::text("default;", "default;"),
        to("2-other;", &other),
    ];
    let statuses = publish(&broker, "kinesisfirehose", "5", &requests).await;
    for id in ["1-other;", "2-other;", "default;"] {
        assert_eq!(statuses[id]["status"], "success", "{statuses:?}");
    }
    for (id, stream) in [("missing;", "missing"), ("elsewhere;", "other")] {
        assert_eq!(
            statuses[id],
            json!({
                "ErrorCode": "ResourceNotFoundException",
                "ErrorMessage": format!("Firehose {stream} under account 123456789012 not found."),
                "id": id,
                "status": "fail",
            })
        );
    }
    assert_eq!(
        moto.bucket("other", b"1-other;2-other;").await,
        b"1-other;2-other;"
    );
    assert_eq!(moto.bucket("default", b"default;").await, b"default;");
    let log = connector.stderr();
    assert!(
        log.contains("ResourceNotFoundException") && log.contains(&missing),
        "{log}"
    );
}
