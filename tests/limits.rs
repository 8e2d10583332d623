//! Bad input, and the bound on memory (promise 5): whatever is published, each request gets its
//! status, the session goes on, and the program, as a process of its own, stays below the memory
//! size it was given, at the contract's default and at the least there may be.
//!
//! `cargo test --test limits -- --nocapture` prints the peak of each case.

#![cfg(feature = "local")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use common::{
    App, ConnectorProcess, Mosquitto, STREAM, endpoint, endpoint_at, eventually, stream_arn,
};
use kinesis_edge::local::{CallFault, Endpoint, Faults};
use kinesis_edge::memory::{LEAST_MEMORY_SIZE_KB, least_memory_size_kb};
use serde_json::json;

/// The contract's default, in KB.
const DEFAULT: u64 = 65_535;
const LEAST: u64 = LEAST_MEMORY_SIZE_KB;

/// A broker, an endpoint, the program as a process between them, and an app.
struct Site {
    broker: Mosquitto,
    endpoint: Endpoint,
    connector: ConnectorProcess,
    app: App,
    memory_kb: u64,
}

impl Site {
    async fn start(mqtt: &str, memory_kb: u64, set: &[(&str, &str)]) -> Self {
        Self::start_on(Mosquitto::start(), mqtt, memory_kb, set).await
    }

    async fn start_on(broker: Mosquitto, mqtt: &str, memory_kb: u64, set: &[(&str, &str)]) -> Self {
        let endpoint = endpoint().await;
        let connector = connector(&broker, &endpoint, mqtt, memory_kb, set);
        let app = App::connect(broker.port).await;
        app.until_answered().await;
        Site {
            broker,
            endpoint,
            connector,
            app,
            memory_kb,
        }
    }

    fn hang(&self) {
        self.endpoint.faults().set_all(Faults {
            call: CallFault::Hang,
            ..Faults::default()
        });
    }

    /// Ends calls that hang: the endpoint goes and comes back on the same port, well.
    async fn recover(&mut self) {
        let port = self.endpoint.addr().port();
        let placeholder = endpoint().await;
        std::mem::replace(&mut self.endpoint, placeholder)
            .stop()
            .await;
        self.endpoint = endpoint_at(port).await;
    }

    /// The bar: what was resident at the most is below the memory size.
    fn check_memory(&self, case: &str) {
        let (resident, limit) = (self.connector.peak_memory_kb(), self.memory_kb);
        let peak = self.connector.peak_memory_as_optimised_kb();
        println!("peak {peak:>6} KB ({resident} resident) of {limit:>6}  {case}");
        assert!(
            peak < limit,
            "{case}: {peak} KB resident, of a memory size of {limit} KB"
        );
    }

    /// Every id of `ids` got exactly one status and nothing else did; how many had which code.
    fn codes(&self, ids: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
        let statuses = self.app.by_id();
        let expected: BTreeSet<String> = ids.into_iter().collect();
        assert_eq!(statuses.len(), expected.len());
        let mut codes = BTreeMap::new();
        for (id, of_id) in statuses {
            assert!(expected.contains(&id), "a status of nothing: {id:?}");
            assert_eq!(of_id.len(), 1, "{of_id:?}");
            let code = if of_id[0].is_success() {
                "success"
            } else {
                of_id[0].code()
            };
            *codes.entry(code.to_owned()).or_default() += 1;
        }
        codes
    }

    /// One connection from start to now.
    fn check_session_went_on(&self) {
        let log = self.connector.stderr();
        assert_eq!(
            log.matches("connected to the MQTT broker").count(),
            1,
            "{log}"
        );
    }
}

fn connector(
    broker: &Mosquitto,
    endpoint: &Endpoint,
    mqtt: &str,
    memory_kb: u64,
    set: &[(&str, &str)],
) -> ConnectorProcess {
    let (memory, broker_url, endpoint_url) = (memory_kb.to_string(), broker.url(), endpoint.url());
    let mut all = vec![
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("MQTT_URL", &broker_url),
        ("MQTT_VERSION", mqtt),
        ("MQTT_CLIENT_ID", "kinesis"),
        ("MEMORY_SIZE", &memory),
        ("PUBLISH_INTERVAL", "1"),
        ("AWS_ENDPOINT_URL", &endpoint_url),
        ("AWS_ACCESS_KEY_ID", "made-up"),
        ("AWS_SECRET_ACCESS_KEY", "made-up"),
    ];
    // The last of a name counts.
    all.extend_from_slice(set);
    ConnectorProcess::start(&all)
}

/// Publishes through mosquitto's own client, whose messages may be of any size.
fn publish_file(port: u16, topic: &str, payload: &[u8]) {
    let mut child = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1"])
        .args(["-t", topic, "-s"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("mosquitto_pub starts; `make setup` installs it");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(payload).expect("it reads");
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
}

/// Both versions, both sizes of memory.
const RUNS: [(&str, u64); 2] = [("3.1.1", LEAST), ("5", DEFAULT)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle() {
    for (mqtt, memory) in RUNS {
        let site = Site::start(mqtt, memory, &[]).await;
        site.app.request("1", "x").await;
        site.app.wait_for(1).await;
        site.check_memory("idle, after one record");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_gets_a_clear_status() {
    let deep = 100_000;
    let nested = |open: &str, close: &str| open.repeat(deep) + &close.repeat(deep);
    let rejected: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"not JSON".to_vec(),
        b"\xff\xfe\x00".to_vec(),
        b"{\"request\": {\"data\": \"\xff\xfe\"}}".to_vec(),
        br#"{"request": {"data": "\ud800"}}"#.to_vec(),
        br#"{"request": {"data": "open"#.to_vec(),
        br#"{"request": [1]}"#.to_vec(),
        b"17".to_vec(),
        nested("[", "]").into_bytes(),
        nested("{\"request\":", "}").into_bytes(),
        "[".repeat(deep).into_bytes(),
        format!("{{\"request\": {{\"data\": {}", "[".repeat(deep)).into_bytes(),
    ];
    // Nesting in a record, or beside one, is none of our business.
    let taken = [
        format!("{{\"request\": {{\"data\": {}}}}}", nested("[", "]")),
        format!(
            "{{\"x\": {}, \"request\": {{\"data\": 1}}}}",
            nested("[", "]")
        ),
    ];
    for (mqtt, memory) in RUNS {
        let site = Site::start(mqtt, memory, &[]).await;
        for payload in &rejected {
            site.app.raw(payload.clone()).await;
        }
        let statuses = site.app.wait_for(rejected.len()).await;
        for status in statuses {
            assert_eq!(status.code(), "InvalidRequest");
            assert!(status.message().len() > 10, "{status:?}");
        }
        for payload in &taken {
            site.app.raw(payload.clone()).await;
        }
        let statuses = site.app.wait_for(rejected.len() + taken.len()).await;
        assert!(statuses[rejected.len()..].iter().all(|s| s.is_success()));
        site.check_session_went_on();
        site.check_memory("what is no request");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_too_large_are_refused_and_the_session_goes_on() {
    for (mqtt, memory) in RUNS {
        let site = Site::start(mqtt, memory, &[]).await;
        let large = "x".repeat(2_000_000);
        site.app.request("json 2 MB", &large).await;
        site.app.binary("binary/2 MB", large).await;
        site.app.binary("one more", vec![0; 1_024_001]).await;
        let mut ids = vec![
            "json 2 MB".to_owned(),
            "binary/2 MB".into(),
            "one more".into(),
        ];
        for megabytes in [6, 7, 15, 30] {
            let payload = vec![b'x'; megabytes * 1_000_000];
            let id = format!("{megabytes}/MB");
            let topic = format!("kinesisfirehose/message/binary/{id}");
            publish_file(site.broker.port, &topic, &payload);
            ids.push(id);
        }
        // Of one that is too large to be held only the topic is known, so it has no id.
        let request = json!({"request": {"data": "x".repeat(7_000_000)}, "id": "lost"});
        publish_file(
            site.broker.port,
            "kinesisfirehose/message",
            request.to_string().as_bytes(),
        );
        ids.push(String::new());
        site.app.wait_for(ids.len()).await;
        let codes = site.codes(ids.clone());
        assert_eq!(codes, [("RecordTooLarge".to_owned(), ids.len())].into());

        site.app.binary("largest", vec![7; 1_024_000]).await;
        assert!(site.app.status_of("largest").await.is_success());
        // Each byte takes six in JSON. At the least there is memory for one record of this size.
        site.app
            .raw(format!(
                r#"{{"request": {{"data": "{}"}}, "id": "escaped"}}"#,
                r"\u0001".repeat(1_024_000)
            ))
            .await;
        assert!(site.app.status_of("escaped").await.is_success());
        let arrived = site.endpoint.accepted("test");
        assert_eq!(arrived.len(), 2);
        assert!(arrived[0].data == vec![7; 1_024_000] && arrived[1].data == vec![1; 1_024_000]);
        site.check_session_went_on();
        site.check_memory("too large, up to 30 MB");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_bounded_in_number() {
    for (mqtt, memory) in RUNS {
        // Nothing leaves before the stop: every stream that was opened has its record.
        let mut site = Site::start(mqtt, memory, &[("PUBLISH_INTERVAL", "900")]).await;
        for number in 0..10_000 {
            let arn = stream_arn(&format!("s{number}"));
            site.app.request_to(&arn, &number.to_string(), "x").await;
        }
        site.app.wait_for(10_000 - BESIDE).await;
        site.check_memory("10,000 streams at a time");
        site.connector.signal("TERM");
        site.app.wait_for(10_000).await;
        let codes = site.codes((0..10_000).map(|number| number.to_string()));
        check_opened(&codes, memory);
        assert!(site.connector.wait().success());
    }
}

/// As many calls as there are streams, each a connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_all_hang() {
    for (mqtt, memory) in RUNS {
        let mut site = Site::start(mqtt, memory, &[]).await;
        site.hang();
        for number in 0..BESIDE {
            let arn = stream_arn(&format!("s{number}"));
            site.app.request_to(&arn, &number.to_string(), "x").await;
        }
        eventually("all hang, or were refused", || {
            site.endpoint.calls() as usize + site.app.count() >= BESIDE
        })
        .await;
        site.check_memory("as many streams as there may be, whose calls hang");
        site.recover().await;
        site.app.wait_for(BESIDE).await;
        let codes = site.codes((0..BESIDE).map(|number| number.to_string()));
        check_opened(&codes, memory);
        site.check_memory("as many streams as there may be, whose calls hung");
    }
}

/// Most streams that may hold records beside the default one.
const BESIDE: usize = 127;

/// Each record had a stream, or was refused one: as many were opened as there may be, or, at the least, as there was
/// memory for.
fn check_opened(codes: &BTreeMap<String, usize>, memory_kb: u64) {
    let opened = codes["success"];
    let at_the_least = ["success", "TooManyStreams", "MemoryLimitExceeded"];
    let expected = if memory_kb == LEAST {
        assert!(opened >= 25, "{codes:?}");
        &at_the_least[..]
    } else {
        assert_eq!(opened, BESIDE, "{codes:?}");
        &at_the_least[..2]
    };
    let mut codes = codes.keys();
    assert!(codes.all(|code| expected.contains(&code.as_str())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_come_and_go() {
    // Not faster than at the least memory can hold the statuses of those that find no place.
    const WAVE: usize = 500;
    for (mqtt, memory) in RUNS {
        let site = Site::start(mqtt, memory, &[("PUBLISH_INTERVAL", "0")]).await;
        for number in 0..40 * WAVE {
            let arn = stream_arn(&format!("s{number}"));
            site.app.request_to(&arn, &number.to_string(), "x").await;
            if (number + 1).is_multiple_of(WAVE) {
                site.app.wait_for(number + 1).await;
            }
        }
        let codes = site.codes((0..40 * WAVE).map(|number| number.to_string()));
        assert!(codes["success"] > 128, "{codes:?}");
        site.check_memory("20,000 streams one after the other");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_records_that_cannot_leave() {
    for (mqtt, memory) in RUNS {
        let mut site = Site::start(mqtt, memory, &[]).await;
        site.hang();
        let (mut ids, mut sizes) = (Vec::new(), BTreeMap::new());
        for number in 0..700 {
            let size = match number % 7 {
                0 => 1_000_000,
                1 => 33_000,
                _ => 100_000,
            };
            let id = number.to_string();
            site.app.binary(&id, vec![b'a'; size]).await;
            sizes.insert(id.clone(), size);
            ids.push(id);
        }
        site.app.flush().await;
        eventually("memory is full", || site.app.count() > 500).await;
        site.check_memory("large records that hang");
        site.recover().await;
        site.app.wait_for(700).await;
        let codes = site.codes(ids);
        assert_eq!(codes.len(), 2);
        assert!(codes["MemoryLimitExceeded"] > 500, "{codes:?}");
        assert_eq!(site.endpoint.accepted("test").len(), codes["success"]);
        site.check_memory("large records, delivered after all");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_records_beside_much_that_nobody_reads() {
    for (mqtt, memory) in RUNS {
        let mut site = Site::start(mqtt, memory, &[]).await;
        site.hang();
        let (junk, data) = ("j".repeat(2_000_000), "d".repeat(40_000));
        let mut ids = Vec::new();
        for number in 0..60 {
            let request =
                json!({"id": format!("{number}a"), "junk": junk, "request": {"data": data}});
            site.app.raw(request.to_string()).await;
            // Read right behind a large one.
            site.app.binary(&format!("{number}b"), data.clone()).await;
            ids.extend([format!("{number}a"), format!("{number}b")]);
        }
        site.app.flush().await;
        // The last is refused or held; a marker tells that all before it are taken in.
        site.app.raw(r#"{"id": "marker"}"#).await;
        site.app.status_of("marker").await;
        ids.push("marker".into());
        site.check_memory("small records in large packets, hanging");
        site.recover().await;
        site.app.wait_for(121).await;
        let codes = site.codes(ids);
        assert!(codes["success"] >= 10, "{codes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_small_records() {
    for (mqtt, memory, count) in [("3.1.1", LEAST, 20_000), ("5", DEFAULT, 80_000)] {
        let set = [("DELIVERY_STREAM_QUEUE_SIZE", "1000000")];
        let mut site = Site::start(mqtt, memory, &set).await;
        site.hang();
        for number in 0..count {
            let id = number.to_string();
            site.app.binary(&id, "12345678901234567890").await;
        }
        site.app.flush().await;
        eventually("memory is full", || site.app.count() > 1000).await;
        site.check_memory("a flood of 20-byte records, hanging");
        site.recover().await;
        site.app.wait_for(count).await;
        let codes = site.codes((0..count).map(|number| number.to_string()));
        assert_eq!(codes.len(), 2, "{codes:?}");
        assert!(codes.contains_key("MemoryLimitExceeded"));
        assert_eq!(site.endpoint.accepted("test").len(), codes["success"]);
        site.check_memory("a flood of 20-byte records, delivered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_records_that_wait_at_the_broker() {
    for (mqtt, memory) in RUNS {
        let set = [("WHEN_FULL", "wait"), ("PUBLISH_INTERVAL", "0")];
        let mut site = Site::start(mqtt, memory, &set).await;
        // The connector is away while the first half comes: all of it is there at its next start,
        // before it is subscribed.
        site.connector.signal("TERM");
        assert!(site.connector.wait().success());
        for number in 0..10 {
            site.app
                .binary(&number.to_string(), vec![b'a'; 1_000_000])
                .await;
        }
        site.app.flush().await;
        site.hang();
        site.connector = connector(&site.broker, &site.endpoint, mqtt, memory, &set);
        eventually("a call hangs", || site.endpoint.calls() > 0).await;
        for number in 10..20 {
            site.app
                .binary(&number.to_string(), vec![b'a'; 1_000_000])
                .await;
        }
        site.app.flush().await;
        assert_eq!(site.app.count(), 0);
        site.recover().await;
        site.app.wait_for(20).await;
        let codes = site.codes((0..20).map(|number| number.to_string()));
        assert_eq!(codes, [("success".to_owned(), 20)].into());
        site.check_memory("1 MB records that wait at the broker");
    }
}

/// Nothing here can be made smaller: the compressed form of each record is as large as the record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joined_records_that_cannot_leave() {
    let least = least_memory_size_kb(false, true);
    for (mqtt, memory, compression) in [
        ("3.1.1", LEAST, "none"),
        ("5", DEFAULT, "none"),
        ("3.1.1", least, "zstd"),
        ("5", DEFAULT, "zstd"),
        ("5", DEFAULT, "gzip"),
    ] {
        let set = [
            ("RECORD_AGGREGATION", "delimited"),
            ("AGGREGATION_MAX_BYTES", "1024000"),
            ("RECORD_COMPRESSION", compression),
        ];
        let mut site = Site::start(mqtt, memory, &set).await;
        site.hang();
        let mut dice = fastrand::Rng::with_seed(memory);
        for number in 0..2_000 {
            let size = match number % 50 {
                49 => 1_000_000,
                40.. => 40_000,
                _ => 2_000,
            };
            let mut data = vec![0; size];
            dice.fill(&mut data);
            site.app.binary(&number.to_string(), data).await;
        }
        site.app.flush().await;
        eventually("memory is full", || site.app.count() > 100).await;
        eventually("calls hang", || site.endpoint.calls() > 0).await;
        site.check_memory(&format!(
            "joined records that hang, compression {compression}"
        ));
        site.recover().await;
        site.app.wait_for(2_000).await;
        let codes = site.codes((0..2_000).map(|number| number.to_string()));
        assert_eq!(codes.len(), 2, "{codes:?}");
        assert!(
            codes["success"] > 20 && codes["MemoryLimitExceeded"] > 100,
            "{codes:?}"
        );
        let joined = site.endpoint.accepted("test").len();
        assert!(joined < codes["success"], "{joined} records");
        site.check_memory(&format!(
            "joined records, delivered, compression {compression}"
        ));
    }
}

/// Stops (or lets go on) the broker's process as the kernel would a stuck one.
fn signal_broker(broker: &Mosquitto, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &broker.pid().to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stops_reading() {
    // The first may have more statuses than can wait, and then loses some to a broker that takes
    // none; the second has them all in the end.
    for (mqtt, memory, count, all) in [("3.1.1", LEAST, 2_000, false), ("5", DEFAULT, 4_000, true)]
    {
        let mut site = Site::start(mqtt, memory, &[]).await;
        site.hang();
        let id = |number: usize| format!("{number}{}", "i".repeat(150));
        for number in 0..count {
            site.app.binary(&id(number), "x").await;
        }
        site.app.flush().await;
        eventually("calls hang", || site.endpoint.calls() > 0).await;
        site.app.raw(r#"{"id": "marker"}"#).await;
        site.app.status_of("marker").await;
        signal_broker(&site.broker, "STOP");
        site.recover().await;
        eventually("all is delivered", || {
            site.endpoint.accepted("test").len() >= count
        })
        .await;
        site.check_memory("a broker that stops reading");
        signal_broker(&site.broker, "CONT");
        if all {
            site.app.wait_for(count + 1).await;
            let ids = (0..count).map(id).chain(["marker".to_owned()]);
            let codes = site.codes(ids);
            assert_eq!(codes["success"], count);
        }
        site.app.request("after", "x").await;
        assert!(site.app.status_of("after").await.is_success());
        for (id, of_id) in site.app.by_id() {
            assert_eq!(of_id.len(), 1, "{id}");
        }
        site.check_memory("a broker that stops reading and goes on");
    }
}
