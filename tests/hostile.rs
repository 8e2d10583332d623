//! Who may publish may publish anything: records of the largest size, messages beyond it, streams that nobody has, ids
//! of 64 KB, thousands of topics, retained messages, nonsense, all of it as fast as the connector reads it. Beside
//! that an honest app publishes to the default stream and waits for its statuses. Each of its records is delivered
//! and reported once, the program stays below MEMORY_SIZE, and the status topic carries less than was published.
//!
//! Of the hostile messages those to other streams come without a bound, and these streams hang. Those to the default
//! stream fill less than half of its queue at a time: MQTT does not tell who published a message, so nobody can be
//! served before others in the same queue, and who fills that keeps the next one out whoever it is (WHEN_FULL).
//!
//! Counts of messages decide when it ends: `HOSTILE_ROUNDS` of each kind (4 by default), and with `HOSTILE_SECONDS` more
//! until the time is over (`make hostile SECONDS=300`). `-- --nocapture` shows the figures.

#![cfg(feature = "local")]

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{
    ConnectorProcess, Mosquitto, MosquittoOptions, PATIENCE, STREAM, eventually, free_port,
    stream_arn,
};
use kinesis_edge::local::{CallFault, Endpoint, EndpointConfig, Faults};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::sleep;

/// The contract's default, in KB.
const MEMORY_SIZE_KB: u64 = 65_535;

/// What 128 calls under way take more in a program that is built for tests, in KB (measured: 13,700 beside 9,700).
const UNOPTIMISED_CALLS_KB: u64 = if cfg!(debug_assertions) { 4_000 } else { 0 };

/// Records of the honest app that wait for their status at a time.
const HONEST_WINDOW: usize = 50;

/// Records that the hostile app has under way to the default stream at a time: its queue holds 5000.
const DEFAULT_STREAM_WINDOW: u64 = 2000;

/// What a status takes beside its id, at the most: a code, a message, and the document around them.
const STATUS_MAX_BYTES: u64 = 700;

/// A client of the broker that keeps to no window: whatever it has is written at once.
struct Client {
    out: OwnedWriteHalf,
    /// Written and not sent yet.
    unsent: Vec<u8>,
    last_packet_id: u16,
    sent: Arc<Sent>,
}

/// What was published, all together.
#[derive(Default)]
struct Sent {
    messages: AtomicU64,
    /// Topics and payloads.
    bytes: AtomicU64,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

fn packet_of(first: u8, body: &[&[u8]]) -> Vec<u8> {
    let mut rest: usize = body.iter().map(|part| part.len()).sum();
    let mut packet = vec![first];
    while rest >= 128 {
        packet.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    packet.push(rest as u8);
    body.iter().for_each(|part| packet.extend_from_slice(part));
    packet
}

/// Connects without a session, MQTT 3.1.1.
async fn connect(port: u16, name: &str) -> (OwnedReadHalf, OwnedWriteHalf) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let packet = packet_of(0x10, &[b"\x00\x04MQTT\x04\x02\x00\x00", &text(name)]);
    socket.write_all(&packet).await.unwrap();
    assert_eq!(
        common::packet(&mut socket).await.unwrap(),
        (0x20, vec![0, 0])
    );
    socket.into_split()
}

impl Client {
    async fn connect(port: u16, name: &str, sent: &Arc<Sent>) -> Self {
        let (mut read, out) = connect(port, name).await;
        // Nobody looks at what the broker has acknowledged.
        tokio::spawn(async move {
            let mut ignored = vec![0; 64 * 1024];
            while matches!(read.read(&mut ignored).await, Ok(1..)) {}
        });
        Client {
            out,
            unsent: Vec::new(),
            last_packet_id: 0,
            sent: Arc::clone(sent),
        }
    }

    async fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.publish_as(0x32, topic, payload).await;
    }

    /// `first` says of which quality of service, and whether it is retained.
    async fn publish_as(&mut self, first: u8, topic: &str, payload: &[u8]) {
        self.last_packet_id = self.last_packet_id % u16::MAX + 1;
        let packet_id = self.last_packet_id.to_be_bytes();
        let packet_id = if first & 6 == 0 { &[][..] } else { &packet_id };
        self.unsent
            .extend(packet_of(first, &[&text(topic), packet_id, payload]));
        self.sent.messages.fetch_add(1, Ordering::Relaxed);
        self.sent
            .bytes
            .fetch_add((topic.len() + payload.len()) as u64, Ordering::Relaxed);
        if self.unsent.len() > 256 * 1024 {
            self.flush().await;
        }
    }

    async fn flush(&mut self) {
        self.out.write_all(&self.unsent).await.unwrap();
        self.unsent.clear();
    }

    async fn request(&mut self, stream: &str, id: &str, data: &str) {
        let arn = stream_arn(stream);
        let request = format!(
            r#"{{"request":{{"data":"{data}","delivery_stream_arn":"{arn}"}},"id":"{id}"}}"#
        );
        self.publish(MESSAGE, request.as_bytes()).await;
    }
}

const MESSAGE: &str = "kinesisfirehose/message";

/// What was seen on the status topic.
#[derive(Default)]
struct Seen {
    statuses: AtomicU64,
    bytes: AtomicU64,
    /// Of the hostile app's records to the default stream.
    bulk: AtomicU64,
    /// Of the honest app, by id; the code, or "success".
    honest: Mutex<HashMap<String, Vec<String>>>,
    /// The hostile app's own marks.
    marks: Mutex<HashMap<String, usize>>,
    longest_id: AtomicU64,
}

impl Seen {
    fn document(&self, document: &[u8]) {
        let json: serde_json::Value = serde_json::from_slice(document).expect("JSON");
        self.bytes
            .fetch_add(document.len() as u64, Ordering::Relaxed);
        for status in json["response"].as_array().expect("a list") {
            self.statuses.fetch_add(1, Ordering::Relaxed);
            let id = status["id"].as_str().expect("an id");
            self.longest_id
                .fetch_max(id.len() as u64, Ordering::Relaxed);
            if id.starts_with("bulk/") {
                self.bulk.fetch_add(1, Ordering::Relaxed);
            } else if id.starts_with("mark-") {
                *self.marks.lock().unwrap().entry(id.to_owned()).or_default() += 1;
            } else if id.starts_with("honest-") {
                let code = status["ErrorCode"].as_str().unwrap_or("success");
                let mut honest = self.honest.lock().unwrap();
                honest
                    .entry(id.to_owned())
                    .or_default()
                    .push(code.to_owned());
            }
        }
    }

    /// Watches the topic, for as long as the broker lives.
    async fn watch(port: u16) -> Arc<Self> {
        let seen = Arc::new(Seen::default());
        let (mut read, mut write) = connect(port, "watcher").await;
        let topic = text(&format!("{MESSAGE}/status"));
        let subscribe = packet_of(0x82, &[&[0, 1], &topic, &[0]]);
        write.write_all(&subscribe).await.unwrap();
        assert_eq!(common::packet(&mut read).await.unwrap().0, 0x90);
        let watching = Arc::clone(&seen);
        tokio::spawn(async move {
            let _stays = write;
            let mut read = tokio::io::BufReader::with_capacity(256 * 1024, read);
            while let Ok((_, body)) = common::packet(&mut read).await {
                let topic_bytes = usize::from(u16::from_be_bytes([body[0], body[1]]));
                watching.document(&body[2 + topic_bytes..]);
            }
        });
        seen
    }

    fn honest_count(&self) -> usize {
        self.honest.lock().unwrap().len()
    }
}

/// A broker, an endpoint and the program between them.
struct Site {
    broker: Mosquitto,
    endpoint: Endpoint,
    connector: ConnectorProcess,
    seen: Arc<Seen>,
    sent: Arc<Sent>,
}

impl Site {
    async fn start(mqtt: &str) -> Self {
        // What the broker itself drops never reaches the connector.
        let broker = Mosquitto::start_with(MosquittoOptions {
            lines: vec!["max_queued_messages 0".to_owned()],
            ..MosquittoOptions::default()
        });
        // Without a journal, as it would hold all that is published.
        let config = EndpointConfig {
            addr: ([127, 0, 0, 1], free_port()).into(),
            storage: None,
            journal: false,
            streams: None,
        };
        let endpoint = Endpoint::start(config).await.unwrap();
        let connector = ConnectorProcess::start(&[
            ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
            ("MQTT_URL", &broker.url()),
            ("MQTT_VERSION", mqtt),
            ("MQTT_CLIENT_ID", "kinesis"),
            ("MEMORY_SIZE", &MEMORY_SIZE_KB.to_string()),
            ("PUBLISH_INTERVAL", "1"),
            ("AWS_ENDPOINT_URL", &endpoint.url()),
            ("AWS_ACCESS_KEY_ID", "made-up"),
            ("AWS_SECRET_ACCESS_KEY", "made-up"),
        ]);
        let seen = Seen::watch(broker.port).await;
        let site = Site {
            broker,
            endpoint,
            connector,
            seen,
            sent: Arc::default(),
        };
        let mut probe = site.client("probe").await;
        let start = Instant::now();
        while site.seen.marks.lock().unwrap().is_empty() {
            assert!(start.elapsed() < PATIENCE, "no connector answers");
            probe.publish(MESSAGE, br#"{"id":"mark-probe"}"#).await;
            probe.flush().await;
            sleep(Duration::from_millis(100)).await;
        }
        site
    }

    async fn client(&self, name: &str) -> Client {
        Client::connect(self.broker.port, name, &self.sent).await
    }
}

/// Publishes to the default stream, waiting for statuses, until told to stop. Says how many records it published.
async fn honest(mut client: Client, seen: Arc<Seen>, stop: Arc<AtomicBool>) -> usize {
    let mut published = 0;
    while !stop.load(Ordering::Relaxed) {
        while published < seen.honest_count() + HONEST_WINDOW {
            let data = "an honest record ".repeat(12);
            let request = format!(r#"{{"request":{{"data":"{data}"}},"id":"honest-{published}"}}"#);
            client.publish(MESSAGE, request.as_bytes()).await;
            published += 1;
        }
        client.flush().await;
        sleep(Duration::from_millis(5)).await;
    }
    published
}

/// One hostile app; two of them take turns at what the connector reads.
struct Hostile {
    client: Client,
    name: &'static str,
    seen: Arc<Seen>,
    marks: usize,
    /// Records to the default stream so far.
    bulk: u64,
    /// Numbers what has to differ.
    number: usize,
    dice: fastrand::Rng,
}

impl Hostile {
    fn next(&mut self) -> usize {
        self.number += 1;
        self.number
    }

    /// Waits until the connector has read all that was published: what is not read piles up in the broker, whose
    /// memory is not the question here.
    async fn until_read(&mut self) {
        self.marks += 1;
        let mark = format!("mark-{}-{}", self.name, self.marks);
        let request = format!(r#"{{"id":"{mark}"}}"#);
        self.client.publish(MESSAGE, request.as_bytes()).await;
        self.client.flush().await;
        eventually(&format!("{mark} is answered"), || {
            self.seen.marks.lock().unwrap().contains_key(&mark)
        })
        .await;
    }

    /// A record to the default stream, once there is a place for it.
    async fn bulk(&mut self, first: u8, id: &str, data: &[u8], window: u64) {
        if self.bulk >= self.seen.bulk.load(Ordering::Relaxed) + window {
            self.client.flush().await;
            eventually("the default stream's records are reported", || {
                self.bulk < self.seen.bulk.load(Ordering::Relaxed) + window
            })
            .await;
        }
        self.bulk += 1;
        let topic = format!("{MESSAGE}/binary/bulk/{id}");
        self.client.publish_as(first, &topic, data).await;
    }

    /// Other streams: very many, very large, with very long ids.
    async fn other_streams(&mut self) {
        // Records to new streams, smaller and smaller, until there is no room for the least.
        for bytes in [
            1_024_000, 300_000, 100_000, 30_000, 10_000, 3_000, 1_000, 300, 1,
        ] {
            let data = "y".repeat(bytes);
            for _ in 0..14 {
                let number = self.next();
                self.client.request(&format!("s{number}"), "", &data).await;
            }
        }
        self.until_read().await;
        for _ in 0..2_500 {
            let number = self.next();
            self.client.request(&format!("s{number}"), "", "x").await;
        }
        self.until_read().await;
        let large = "y".repeat(1_024_000);
        for _ in 0..20 {
            let stream = format!("s{}", self.number - self.dice.usize(..2_600));
            self.client.request(&stream, "large", &large).await;
        }
        self.until_read().await;
        let long = "i".repeat(64 * 1024);
        for _ in 0..300 {
            let stream = format!("s{}", self.number - self.dice.usize(..2_600));
            self.client.request(&stream, &long, "x").await;
        }
        self.until_read().await;
    }

    /// The default stream, and what is no record.
    async fn the_default_stream(&mut self) {
        for _ in 0..3_000 {
            let topic = format!("topic-{}", self.next() % 10_000);
            self.bulk(0x32, &topic, b"small", DEFAULT_STREAM_WINDOW)
                .await;
        }
        let long = "i".repeat(60_000);
        for _ in 0..400 {
            self.bulk(0x32, &long, b"x", DEFAULT_STREAM_WINDOW).await;
        }
        for _ in 0..1_000 {
            let topic = format!("retained-{}", self.next());
            self.bulk(0x33, &topic, &[0; 1000], DEFAULT_STREAM_WINDOW)
                .await;
        }
        self.bulk(0x32, "large", &vec![7; 1_024_000], 1).await;
        self.until_read().await;
        let nonsense = format!(r#"{{"id":"{long}"}}"#);
        for _ in 0..200 {
            self.client.publish(MESSAGE, nonsense.as_bytes()).await;
        }
        for _ in 0..3_000 {
            self.client.publish(MESSAGE, b"nonsense").await;
        }
        self.until_read().await;
        // Nothing holds these back.
        for _ in 0..20_000 {
            self.client.publish_as(0x30, MESSAGE, b"nonsense").await;
        }
        self.until_read().await;
        for megabytes in [2, 7, 20] {
            let topic = format!("{MESSAGE}/binary/oversize");
            self.client.publish(&topic, &vec![0; megabytes << 20]).await;
        }
        self.until_read().await;
    }
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a whole number")),
        Err(_) => otherwise,
    }
}

async fn beside_a_hostile_app(mqtt: &'static str) {
    let rounds = from_environment("HOSTILE_ROUNDS", 4);
    let least = Duration::from_secs(from_environment("HOSTILE_SECONDS", 0));
    let site = Site::start(mqtt).await;
    let stop = Arc::new(AtomicBool::new(false));
    let honest = tokio::spawn(honest(
        site.client("honest").await,
        Arc::clone(&site.seen),
        Arc::clone(&stop),
    ));
    let start = Instant::now();
    let faults = site.endpoint.faults();
    faults.set("test", Faults::default());
    let mut tasks = Vec::new();
    for (name, is_about_streams) in [("streams", true), ("default", false)] {
        let mut hostile = Hostile {
            client: site.client(name).await,
            name,
            seen: Arc::clone(&site.seen),
            marks: 0,
            bulk: 0,
            number: 0,
            dice: fastrand::Rng::with_seed(1),
        };
        let faults = faults.clone();
        tasks.push(tokio::spawn(async move {
            for round in 0.. {
                if round >= rounds && start.elapsed() >= least {
                    return;
                }
                if is_about_streams {
                    // Other streams hold on to what they have, or refuse it and make room for the next.
                    let call = match round % 2 {
                        0 => CallFault::Hang,
                        _ => CallFault::NotRetryable,
                    };
                    faults.set_all(Faults {
                        call,
                        ..Faults::default()
                    });
                    hostile.other_streams().await;
                } else {
                    hostile.the_default_stream().await;
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let elapsed = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    let published = honest.await.unwrap();
    let seen = &site.seen;
    eventually("the honest records are reported", || {
        seen.honest_count() >= published
    })
    .await;
    let peak = site.connector.peak_memory_as_optimised_kb() - UNOPTIMISED_CALLS_KB;
    let (messages, bytes) = (&site.sent.messages, &site.sent.bytes);
    let (messages, bytes) = (
        messages.load(Ordering::Relaxed),
        bytes.load(Ordering::Relaxed),
    );
    let (statuses, status_bytes) = (
        seen.statuses.load(Ordering::Relaxed),
        seen.bytes.load(Ordering::Relaxed),
    );
    let honest = seen.honest.lock().unwrap().clone();
    let mut codes: HashMap<&str, usize> = HashMap::new();
    for code in honest.values().flatten() {
        *codes.entry(code).or_default() += 1;
    }
    let log_bytes = site.connector.stderr().len();
    println!(
        "MQTT {mqtt}, {:.0} s: {messages} messages with {bytes} bytes published, {statuses} statuses with {status_bytes} \
         bytes; of the honest app's {published}: {codes:?}; peak {peak} KB of {MEMORY_SIZE_KB}; log {log_bytes} bytes",
        elapsed.as_secs_f64()
    );
    assert_eq!(codes, HashMap::from([("success", published)]));
    assert!(
        honest.values().all(|of_one| of_one.len() == 1),
        "one status each"
    );
    assert!(peak < MEMORY_SIZE_KB, "{peak} KB resident");
    assert!(status_bytes < bytes, "the status topic is amplified");
    assert!(status_bytes <= bytes + messages * STATUS_MAX_BYTES);
    assert!(seen.longest_id.load(Ordering::Relaxed) <= 1024);
    let log = site.connector.stderr();
    assert_eq!(
        log.matches("connected to the MQTT broker").count(),
        1,
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_app_beside_a_hostile_one() {
    beside_a_hostile_app("5").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_app_beside_a_hostile_one_with_mqtt_3_1_1() {
    beside_a_hostile_app("3.1.1").await;
}
