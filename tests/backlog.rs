//! A long outage: records of 200 bytes pile up on disk, the connector is started again, and the
//! endpoint takes them all. Measured are the memory of the process, the bytes it writes to the disk,
//! and how long it takes to know its queue again.
//!
//! `BACKLOG_RECORDS` says how many (default 100,000; `make backlog RECORDS=2000000` is the long run,
//! optimised). `-- --nocapture` shows the numbers.

#![cfg(feature = "local")]

mod common;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{
    App, ConnectorProcess, Mosquitto, MosquittoOptions, PATIENCE, Publisher, STREAM, endpoint,
    eventually, stream_arn,
};
use kinesis_edge::local::{CallFault, Endpoint, Faults};

/// Data of each record.
const RECORD_BYTES: usize = 200;

/// The bar for what is resident at the most, in KB.
const MEMORY_KB: u64 = 32_000;

/// What the program's code takes of memory as it is built for use, in KB. Built for tests it takes
/// more than twice that; the difference is not held against the bar.
const OPTIMISED_CODE_KB: u64 = 11_000;

/// The bar for recovery, of 2,000,000 records.
const RECOVERY: Duration = Duration::from_secs(5);

/// What the log says once the queue is known again.
const RECOVERED: &str = "the queue on disk is open";

/// A relation of written bytes to records: 1.3 times their data, and 24 bytes for each.
fn most_written(records: u64) -> u64 {
    records * (RECORD_BYTES as u64 * 13 / 10 + 24)
}

/// Watches how far the files of a folder grow, whatever becomes of them. What is written over again
/// in place would escape it; that is in `wchar`.
struct Growth {
    /// Inode to the largest size seen.
    sizes: Arc<Mutex<HashMap<u64, u64>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Growth {
    fn watch(folder: &Path) -> Self {
        let (sizes, ended) = (Arc::<Mutex<HashMap<u64, u64>>>::default(), Arc::default());
        let (kept, end, folder) = (Arc::clone(&sizes), Arc::clone(&ended), folder.to_owned());
        let thread = std::thread::spawn(move || {
            let end: Arc<AtomicBool> = end;
            while !end.load(Ordering::Relaxed) {
                look(&folder, &mut kept.lock().unwrap());
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Growth {
            sizes,
            ended,
            thread: Some(thread),
        }
    }

    /// Bytes in all files there ever were.
    fn bytes(&self) -> u64 {
        self.sizes.lock().unwrap().values().sum()
    }
}

impl Drop for Growth {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn look(folder: &Path, sizes: &mut HashMap<u64, u64>) {
    // What goes while it is looked at was seen before.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(data) if data.is_dir() => look(&entry.path(), sizes),
            Ok(data) => {
                let size = sizes.entry(data.ino()).or_default();
                *size = data.len().max(*size);
            }
            Err(_) => {}
        }
    }
}

/// A line of `/proc/PID/io`.
fn io(process: &ConnectorProcess, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/io", process.pid())).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let bytes = line.and_then(|rest| rest.strip_prefix(": ")?.parse().ok());
    bytes.expect("Linux tells")
}

/// The most that was resident, with the code as it is built for use.
fn peak_kb(process: &ConnectorProcess) -> u64 {
    let resident = process.peak_memory_kb();
    if !cfg!(debug_assertions) {
        return resident;
    }
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("RssFile:"));
    let code = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    resident.saturating_sub(code.expect("Linux tells")) + OPTIMISED_CODE_KB
}

fn start(broker: &Mosquitto, endpoint: &Endpoint, queue: &Path, records: u32) -> ConnectorProcess {
    ConnectorProcess::start(&[
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("MQTT_URL", &broker.url()),
        ("MQTT_VERSION", "5"),
        ("MQTT_CLIENT_ID", "connector"),
        ("MEMORY_SIZE", "32768"),
        ("PUBLISH_INTERVAL", "1"),
        ("SHUTDOWN_TIMEOUT", "0"),
        ("DELIVERY_STREAM_QUEUE_SIZE", &records.max(2000).to_string()),
        ("QUEUE_DIR", &queue.display().to_string()),
        ("QUEUE_DIR_MAX_BYTES", "10000000000"),
        ("AWS_ENDPOINT_URL_FIREHOSE", &endpoint.url()),
        ("AWS_ACCESS_KEY_ID", "none"),
        ("AWS_SECRET_ACCESS_KEY", "none"),
    ])
}

/// The data of a number.
fn record(number: u32) -> Vec<u8> {
    let mut data = format!("{number:010}").into_bytes();
    data.resize(RECORD_BYTES, b'.');
    data
}

/// All numbers below `records` were accepted, once each and as they were published.
fn check_each_once(endpoint: &Endpoint, records: u32) {
    let mut seen = vec![false; records as usize];
    for accepted in endpoint.accepted("test") {
        let digits = std::str::from_utf8(&accepted.data[..10]).expect("digits");
        let number: u32 = digits.parse().expect("a number");
        assert!(accepted.data == record(number), "{number} has changed");
        assert!(!seen[number as usize], "{number} came twice");
        seen[number as usize] = true;
    }
    let missing = seen.iter().filter(|seen| !**seen).count();
    assert_eq!(missing, 0, "of {records}");
}

fn records() -> u32 {
    std::env::var("BACKLOG_RECORDS").map_or(100_000, |records| {
        records.parse().expect("BACKLOG_RECORDS is a whole number")
    })
}

/// Waits until this many records are accepted.
async fn delivered(endpoint: &Endpoint, records: u32, process: &ConnectorProcess) {
    let arrived = || {
        endpoint
            .stats()
            .get("test")
            .map_or(0, |stats| stats.records)
    };
    let (mut last, mut last_change) = (0, Instant::now());
    while arrived() < u64::from(records) {
        if arrived() != last {
            (last, last_change) = (arrived(), Instant::now());
        }
        assert!(
            last_change.elapsed() < PATIENCE,
            "{last} of {records} are delivered, and none for {PATIENCE:?}:\n{}",
            process.stderr()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_is_held_and_delivered() {
    let records = records();
    let broker = Mosquitto::start_with(MosquittoOptions {
        lines: vec!["max_queued_messages 10000000".into()],
        ..MosquittoOptions::default()
    });
    let endpoint = endpoint().await;
    let folder = tempfile::tempdir().expect("a folder for the queue");
    let queue: PathBuf = folder.path().join("queue");
    let growth = Growth::watch(folder.path());

    // The outage of one stream; another one works.
    endpoint.faults().set(
        "test",
        Faults {
            call: CallFault::ServerError,
            ..Faults::default()
        },
    );
    let mut process = start(&broker, &endpoint, &queue, records);
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    let begun = Instant::now();
    let mut publisher = Publisher::connect(broker.port).await.expect("it connects");
    let published = publisher.publish_all(records, |number| {
        let topic = format!("kinesisfirehose/message/binary/{number}");
        (topic, record(number))
    });
    published.await.expect("the broker takes them");
    // One that is delivered, behind all others: by then they are held.
    let marker = |number: usize| format!("marker-{number}");
    for number in 0.. {
        let id = marker(number);
        app.request_to(&stream_arn("marker"), &id, "data").await;
        let wait = Instant::now();
        while wait.elapsed() < PATIENCE && !app.statuses().iter().any(|s| s.id() == id) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if app
            .statuses()
            .iter()
            .any(|s| s.id() == id && s.is_success())
        {
            break;
        }
        // 2,000,000 records may take longer than our patience with a single one.
        assert!(
            number < 20,
            "the marker does not come back:\n{}",
            process.stderr()
        );
    }
    let queued_in = begun.elapsed();
    assert!(app.statuses().iter().all(|status| status.is_success()));
    assert_eq!(endpoint.accepted("test").len(), 0);
    let (queueing_kb, wchar) = (peak_kb(&process), io(&process, "wchar"));
    let write_bytes = io(&process, "write_bytes");
    let queued_bytes = growth.bytes();
    drop(app);
    process.signal("TERM");
    assert!(process.wait().success(), "{}", process.stderr());

    endpoint.faults().clear();
    let begun = Instant::now();
    let mut process = start(&broker, &endpoint, &queue, records);
    eventually("the queue is recovered", || {
        process.stderr().contains(RECOVERED)
    })
    .await;
    let recovered_in = begun.elapsed();
    delivered(&endpoint, records, &process).await;
    let delivered_in = begun.elapsed() - recovered_in;
    let delivering_kb = peak_kb(&process);
    let noted_wchar = io(&process, "wchar");
    let noted_write_bytes = io(&process, "write_bytes");
    process.signal("TERM");
    assert!(process.wait().success(), "{}", process.stderr());
    check_each_once(&endpoint, records);
    let noted_bytes = growth.bytes() - queued_bytes;

    // Of the first process all that went out through write(2) counts: nearly all of it went to files.
    // Of the second only the growth of files does, as its `wchar` has the calls to the endpoint in it.
    // `write_bytes` counts whole pages, and a page again for each sync that finds it changed: it says
    // more about the file system than about the format, and is shown beside.
    let written = wchar.max(queued_bytes) + noted_bytes;
    println!(
        "{records} records of {RECORD_BYTES} bytes: queued in {queued_in:.1?}, {queueing_kb} KB resident; \
         recovered in {recovered_in:.2?}; delivered in {delivered_in:.1?}, {delivering_kb} KB resident; \
         written {written} bytes, {:.3} per byte of data ({:.1} per record beside its data); files grew \
         by {queued_bytes} and {noted_bytes}, wchar {wchar} and {noted_wchar}, write_bytes {write_bytes} \
         and {noted_write_bytes}",
        written as f64 / (f64::from(records) * RECORD_BYTES as f64),
        written as f64 / f64::from(records) - RECORD_BYTES as f64,
    );
    assert!(queueing_kb < MEMORY_KB, "{queueing_kb} KB while queueing");
    assert!(
        delivering_kb < MEMORY_KB,
        "{delivering_kb} KB while delivering"
    );
    assert!(
        written <= most_written(u64::from(records)),
        "{written} bytes"
    );
    // An optimised program has to keep the bar; one built for tests only has to come to an end.
    assert!(
        cfg!(debug_assertions) || recovered_in < RECOVERY,
        "{recovered_in:?}"
    );
}
