//! The page as the connector serves it, in a browser: its numbers are those of the metrics, a fault shows
//! while one looks, and nothing is said on the console. Leaves screenshots of three states in `target/page`,
//! for a person to look at.

#![cfg(feature = "local")]

mod common;

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use common::http::{self, samples, sum};
use common::{PATIENCE, STREAM, Watched, eventually, finish, python, stderr, stdout};
use kinesis_edge::local::{CallFault, Faults};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// The least queue that there is.
const QUEUE: [(&str, &str); 1] = [("DELIVERY_STREAM_QUEUE_SIZE", "2000")];

/// What a browser makes of the page now, and a screenshot of it.
async fn look(site: &Watched, name: &str, more: &[&str]) -> Value {
    std::fs::create_dir_all("target/page").expect("a folder for screenshots");
    let screenshot = format!("target/page/{name}.png");
    let mut look = page("look", site.address);
    look.args(["--screenshot", &screenshot, "--settle", "1.5"]);
    let looked = finish(look.args(more)).await;
    assert!(looked.status.success(), "{}", stderr(&looked));
    let looked: Value = serde_json::from_str(&stdout(&looked)).expect("JSON");
    for what in ["errors", "violations", "doubled"] {
        assert_eq!(
            looked[what].as_array().map(Vec::len),
            Some(0),
            "{what}: {looked}"
        );
    }
    let width = &looked["width"];
    // A scroll bar down its side takes some of the window.
    let (content, window) = (width["content"].as_u64(), width["window"].as_u64());
    assert!(content <= window, "it scrolls sideways: {width}");
    looked
}

fn page(command: &str, address: SocketAddr) -> Command {
    let mut page = Command::new(python());
    page.args(["tests/page/page.py", command, &format!("http://{address}/")]);
    page.kill_on_drop(true);
    page
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_numbers_are_those_of_the_metrics() {
    let site = Watched::start(&QUEUE).await;
    let denied = Faults {
        call: CallFault::AccessDenied,
        ..Faults::default()
    };
    site.endpoint.faults().set("denied", denied);
    for number in 0..250 {
        site.app.request(&format!("{number}"), "a record").await;
    }
    site.app.wait_for(250).await;
    let looked = look(&site, "healthy", &[]).await;
    assert_eq!(looked["level"], "well", "{looked}");
    let stream = common::stream_arn("denied");
    site.app.request_to(&stream, "denied", "no").await;
    site.app.raw("not a request").await;
    site.app.wait_for(252).await;

    let looked = look(
        &site,
        "refused-phone-dark",
        &["--size", "390x844", "--scheme", "dark"],
    )
    .await;
    let metrics = samples(&http::get(site.address, "/metrics").await.body);
    let of_stream = |name: &str| format!("{name}{{stream=\"{STREAM}\"}}");
    for (figure, metric) in [
        ("totals.received", "kinesis_edge_records_received_total"),
        ("totals.delivered", "kinesis_edge_records_delivered_total"),
        ("totals.failed", "kinesis_edge_records_failed_total"),
        ("totals.rejected", "kinesis_edge_requests_rejected_total"),
        ("totals.held", "kinesis_edge_records_held"),
        ("totals.retried", "kinesis_edge_records_retried_total"),
        (
            "totals.delivered_bytes",
            "kinesis_edge_delivered_bytes_total",
        ),
        ("totals.billed_bytes", "kinesis_edge_billed_bytes_total"),
        ("totals.calls", "kinesis_edge_calls_total"),
        (
            "totals.statuses_published",
            "kinesis_edge_statuses_published_total",
        ),
        (
            "totals.statuses_dropped",
            "kinesis_edge_statuses_dropped_total",
        ),
        ("memory.limit_bytes", "kinesis_edge_memory_limit_bytes"),
        ("broker.reconnects", "kinesis_edge_mqtt_reconnects_total"),
        ("streams.0.queued", &of_stream("kinesis_edge_queue_records")),
    ] {
        let shown = looked["figures"][figure].as_f64();
        assert_eq!(shown, Some(sum(&metrics, metric)), "{figure}");
    }
    assert_eq!(looked["figures"]["totals.delivered"], 250);
    assert_eq!(looked["figures"]["streams.0.delivered"], 250);
    site.connector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_shows_while_one_looks_and_so_does_its_end() {
    let site = Watched::start(&[QUEUE[0], ("PUBLISH_INTERVAL", "0")]).await;
    let mut wait = page("wait", site.address);
    wait.args([
        "--headline",
        "Firehose throttles or fails: records are kept",
    ])
    .args(["--headline", "All is well"])
    .stdout(Stdio::piped());
    let mut wait = wait.spawn().expect("the page can be opened");
    let mut lines = BufReader::new(wait.stdout.take().expect("it is piped")).lines();
    let mut next = async || {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let line = line
            .expect("it shows")
            .expect("it can be read")
            .expect("a line");
        serde_json::from_str::<Value>(&line).expect("JSON")
    };
    assert_eq!(next().await["open"], true);

    site.endpoint.faults().set_all(Faults {
        call: CallFault::ServerError,
        ..Faults::default()
    });
    let injected = unix_now();
    site.app.request("1", "a record").await;
    let shown = next().await;
    let after = shown["at"].as_f64().expect("an instant") - injected;
    println!("the fault shows after {after:.2} s");
    let looked = look(&site, "endpoint-down", &[]).await;
    assert_eq!(looked["level"], "bad", "{looked}");
    assert_eq!(looked["figures"]["totals.held"], 1);

    site.endpoint.faults().clear();
    next().await;
    assert!(wait.wait().await.expect("it ends").success());
    site.connector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_shows_with_what_to_do() {
    let site = Watched::start(&[QUEUE[0], ("PUBLISH_INTERVAL", "900")]).await;
    site.endpoint.faults().set_all(Faults {
        call: CallFault::Hang,
        ..Faults::default()
    });
    for number in 0..2100 {
        site.app.request(&format!("{number}"), "x").await;
    }
    eventually("the queue is full", || site.connector.look().held == 2000).await;
    let looked = look(&site, "queue-full", &[]).await;
    let headline = looked["headline"].as_str().expect("a headline");
    assert!(headline.contains("queue is full"), "{headline}");
    assert_eq!(looked["figures"]["streams.0.queued"], 2000);
    assert_eq!(looked["figures"]["streams.0.bound"], 2000);
    // What hangs is not waited for.
    site.endpoint.faults().clear();
    drop(site);
}

fn unix_now() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or(Duration::ZERO).as_secs_f64()
}
