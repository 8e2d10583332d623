//! What the connector tells of itself by HTTP and MQTT is what happened: counts against what the broker was
//! given and the endpoint has, the conservation law across faults and a crash, readiness part by part, and
//! a server that answers nobody it should not.

#![cfg(feature = "local")]

mod common;

use std::collections::HashMap;
use std::net::SocketAddr;

use common::http::{self, samples, sum, until_ready};
use common::{
    App, ConnectorProcess, Mosquitto, PATIENCE, STREAM, Watched, endpoint, eventually, finish,
    finish_with, free_address, stdout, stream_arn,
};
use kinesis_edge::local::{CallFault, Faults};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

async fn scrape(address: SocketAddr) -> HashMap<String, f64> {
    let answer = http::get(address, "/metrics").await;
    assert_eq!(answer.status, 200);
    samples(&answer.body)
}

/// Received, and what became of it.
fn balance(samples: &HashMap<String, f64>) -> (f64, f64) {
    let ended = [
        "kinesis_edge_records_delivered_total",
        "kinesis_edge_records_failed_total",
        "kinesis_edge_requests_rejected_total",
        "kinesis_edge_records_held",
    ];
    let received = samples["kinesis_edge_records_received_total"];
    (received, ended.iter().map(|name| sum(samples, name)).sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_counted_is_what_happened() {
    let site = Watched::start(&[]).await;
    let half = Faults {
        failing_share: 0.5,
        ..Faults::default()
    };
    let denied = Faults {
        call: CallFault::AccessDenied,
        ..Faults::default()
    };
    site.endpoint.faults().set("test", half);
    site.endpoint.faults().set("denied", denied);
    for number in 0..300 {
        site.app.request(&format!("{number}"), "0123456789").await;
    }
    for number in 0..10 {
        let stream = stream_arn("denied");
        site.app
            .request_to(&stream, &format!("denied-{number}"), "no")
            .await;
    }
    for number in 0..20 {
        site.app.raw(format!("{{\"id\": \"bad-{number}\"}}")).await;
    }
    site.app.raw("not json").await;
    // The last has no id, and so no status of its own to tell it by; it is answered all the same.
    site.app.wait_for(331).await;

    let samples = scrape(site.address).await;
    let value = |name: &str| samples.get(name).copied().unwrap_or(f64::NAN);
    assert_eq!(value("kinesis_edge_records_received_total"), 331.0);
    assert_eq!(
        value("kinesis_edge_received_bytes_total"),
        300.0 * 10.0 + 10.0 * 2.0
    );
    assert_eq!(value("kinesis_edge_records_delivered_total"), 300.0);
    assert_eq!(site.endpoint.accepted("test").len(), 300);
    assert_eq!(value("kinesis_edge_delivered_bytes_total"), 3000.0);
    assert_eq!(value("kinesis_edge_billed_bytes_total"), 300.0 * 5120.0);
    let failed = "kinesis_edge_records_failed_total{code=\"AccessDeniedException\"}";
    assert_eq!(value(failed), 10.0);
    let rejected = "kinesis_edge_requests_rejected_total{code=\"InvalidRequest\"}";
    assert_eq!(value(rejected), 21.0);
    assert_eq!(value("kinesis_edge_records_held"), 0.0);
    assert_eq!(value("kinesis_edge_statuses_published_total"), 331.0);
    assert_eq!(
        sum(&samples, "kinesis_edge_calls_total"),
        site.endpoint.calls() as f64
    );
    assert_eq!(
        value("kinesis_edge_call_duration_seconds_count"),
        site.endpoint.calls() as f64
    );
    let sent = 310.0 + value("kinesis_edge_records_retried_total");
    assert_eq!(value("kinesis_edge_call_records_total"), sent);
    assert!(value("kinesis_edge_records_retried_total") > 0.0);
    assert_eq!(value("kinesis_edge_mqtt_connected"), 1.0);
    let since = "kinesis_edge_stream_failing_since_timestamp_seconds";
    let of = |stream: &str| format!("{since}{{stream=\"{stream}\"}}");
    assert!(value(&of(&stream_arn("denied"))) > 1e9);
    assert!(value(&of(STREAM)).is_nan(), "the last call went well");
    site.connector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_held_and_shown_with_its_age() {
    let site = Watched::start(&[("PUBLISH_INTERVAL", "900")]).await;
    for number in 0..50 {
        site.app.request(&format!("{number}"), "0123456789").await;
    }
    let queued = format!("kinesis_edge_queue_records{{stream=\"{STREAM}\"}}");
    let mut samples = scrape(site.address).await;
    while samples[&queued] < 50.0 {
        samples = scrape(site.address).await;
    }
    assert_eq!(samples["kinesis_edge_records_held"], 50.0);
    let of_stream = |name: &str| samples[&format!("{name}{{stream=\"{STREAM}\"}}")];
    assert_eq!(of_stream("kinesis_edge_queue_waiting_bytes"), 500.0);
    assert!(of_stream("kinesis_edge_queue_oldest_record_age_seconds") > 0.0);
    assert!(samples["kinesis_edge_memory_used_bytes"] > 500.0);
    assert_eq!(balance(&samples), (50.0, 50.0));
    // A start that changes reads like a restart.
    let started = "process_start_time_seconds";
    assert_eq!(scrape(site.address).await[started], samples[started]);
    site.connector.stop().await;
}

/// Publishes on a thread of its own until told to stop; gives how many were acknowledged.
async fn publish_some(app: &App, from: usize, count: usize) {
    for number in from..from + count {
        app.request(&format!("{number}"), "a record under way")
            .await;
    }
    app.flush().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_law_holds_at_any_scrape_through_faults_and_a_crash() {
    let (broker, endpoint, address) = (Mosquitto::start(), endpoint().await, free_address());
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("queue").display().to_string();
    let (url, aws, listen) = (broker.url(), endpoint.url(), address.to_string());
    let variables = [
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("MQTT_URL", url.as_str()),
        ("AWS_ENDPOINT_URL", &aws),
        ("AWS_ACCESS_KEY_ID", "made-up"),
        ("AWS_SECRET_ACCESS_KEY", "made-up"),
        ("PUBLISH_INTERVAL", "1"),
        ("QUEUE_DIR", &queue),
        ("HTTP_LISTEN", &listen),
    ];
    endpoint.faults().set_all(Faults {
        failing_share: 0.3,
        call: CallFault::ServerError,
        every: 3,
        ..Faults::default()
    });
    let mut connector = ConnectorProcess::start(&variables);
    let app = App::connect(broker.port).await;
    until_ready(address).await;
    let scraping = tokio::spawn(async move {
        let mut scrapes = 0;
        loop {
            let samples = scrape(address).await;
            let (received, accounted) = balance(&samples);
            assert_eq!(received, accounted, "{samples:?}");
            scrapes += 1;
            if samples["kinesis_edge_records_delivered_total"] >= 1000.0 {
                return scrapes;
            }
        }
    });
    publish_some(&app, 0, 2000).await;
    let scrapes = scraping
        .await
        .expect("received = delivered + failed + rejected + held");
    assert!(scrapes > 10, "{scrapes} scrapes");
    // From here on nothing is delivered, so what is held at the crash is known.
    endpoint.faults().set_all(Faults {
        call: CallFault::Hang,
        ..Faults::default()
    });
    publish_some(&app, 2000, 500).await;
    connector.kill();

    let mut connector = ConnectorProcess::start(&variables);
    until_ready(address).await;
    let samples = scrape(address).await;
    let (received, accounted) = balance(&samples);
    assert_eq!(received, accounted);
    assert!(
        received >= 500.0,
        "what was held before the crash: {received}"
    );
    assert_eq!(samples["kinesis_edge_records_held"], received);
    endpoint.faults().clear();
    let mut samples = samples;
    while samples["kinesis_edge_records_held"] > 0.0 {
        samples = scrape(address).await;
        let (received, accounted) = balance(&samples);
        assert_eq!(received, accounted);
    }
    eventually("each is told", || {
        let told = app.by_id();
        (0..2500).all(|number| told.contains_key(&number.to_string()))
    })
    .await;
    connector.signal("TERM");
    assert!(connector.wait().success(), "{}", connector.stderr());
    assert!(endpoint.accepted("test").len() >= 2500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_finds_nothing_to_say() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (queue, letters) = (path("queue"), path("letters"));
    let given = [("QUEUE_DIR", queue.as_str()), ("DEAD_LETTER_DIR", &letters)];
    let site = Watched::start(&given).await;
    let denied = Faults {
        call: CallFault::NotRetryable,
        ..Faults::default()
    };
    site.endpoint.faults().set("denied", denied);
    site.app.request("1", "a record").await;
    site.app.request_to(&stream_arn("denied"), "2", "no").await;
    site.app.raw("\"quoted \\ and\nbroken").await;
    site.app.wait_for(3).await;
    let scrape = http::get(site.address, "/metrics").await;
    assert_eq!(scrape.headers["content-type"], "text/plain; version=0.0.4");
    let families = scrape
        .body
        .lines()
        .filter(|line| line.starts_with("# TYPE "));
    assert!(families.count() > 40, "{}", scrape.body);

    let mut check = Command::new("target/promtool/promtool");
    check.args(["check", "metrics"]);
    let checked = finish_with(&mut check, scrape.body.as_bytes()).await;
    let said = stdout(&checked) + &common::stderr(&checked);
    assert!(checked.status.success(), "{said}\n{}", scrape.body);
    assert_eq!(said, "", "promtool has advice");
    site.connector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_names_the_part_that_is_not_and_why() {
    let mut site = Watched::start(&[
        ("DELIVERY_STREAM_QUEUE_SIZE", "2000"),
        ("PUBLISH_INTERVAL", "900"),
    ])
    .await;
    until_ready(site.address).await;
    let part = |body: &str, name: &str| {
        let answer: serde_json::Value = serde_json::from_str(body).unwrap();
        let parts = answer["parts"].as_array().unwrap().clone();
        let part = parts.into_iter().find(|part| part["name"] == name).unwrap();
        (
            part["ok"] == true,
            part["reason"].as_str().unwrap().to_owned(),
        )
    };
    let hang = Faults {
        call: CallFault::Hang,
        ..Faults::default()
    };
    site.endpoint.faults().set_all(hang);
    for number in 0..2000 {
        site.app.request(&format!("{number}"), "x").await;
    }
    let body = http::until_unready(site.address).await;
    let (ok, reason) = part(&body, "queue");
    assert!(!ok && reason.contains("2000 records"), "{reason}");
    assert!(part(&body, "mqtt").0 && part(&body, "disk").0, "{body}");

    site.broker.stop();
    let address = site.address;
    let without_broker = async {
        loop {
            let body = http::get(address, "/readyz").await.body;
            let (ok, reason) = part(&body, "mqtt");
            if !ok && reason.contains("refused") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, without_broker)
        .await
        .expect("a broker that is away shows");
    assert_eq!(http::get(address, "/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_full_by_whatever_bound_keeps_records_out() {
    let folder = tempfile::tempdir().unwrap();
    let queue_dir = folder.path().join("queue").display().to_string();
    let in_memory: &[_] = &[("MEMORY_SIZE", "28672")];
    let on_disk: &[_] = &[
        ("QUEUE_DIR", queue_dir.as_str()),
        ("QUEUE_DIR_MAX_BYTES", "8388608"),
    ];
    for (bounds, bound) in [(in_memory, "MEMORY_SIZE"), (on_disk, "QUEUE_DIR_MAX_BYTES")] {
        let site = Watched::start(&[bounds, &[("PUBLISH_INTERVAL", "900")]].concat()).await;
        until_ready(site.address).await;
        let hang = Faults {
            call: CallFault::Hang,
            ..Faults::default()
        };
        site.endpoint.faults().set_all(hang);
        let unready = async {
            loop {
                for _ in 0..10 {
                    site.app.binary("1", vec![b'x'; 50_000]).await;
                }
                site.app.flush().await;
                let answer = http::get(site.address, "/readyz").await;
                if answer.status == 503 {
                    return answer.body;
                }
            }
        };
        let reason = tokio::time::timeout(PATIENCE, unready)
            .await
            .expect("a full queue shows");
        assert!(
            reason.contains(&format!("{bound} allows no more")),
            "{reason}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_reads_for_hosts_of_this_device_are_answered() {
    let site = Watched::start(&[("HTTP_ALLOWED_HOSTS", "gateway.example")]).await;
    let ask = async |request: &str| http::request(site.address, request).await;
    for path in ["/", "/metrics", "/healthz", "/readyz", "/events"] {
        let foreign = ask(&format!(
            "GET {path} HTTP/1.1\r\nhost: attacker.example\r\n"
        ))
        .await;
        assert_eq!(foreign.status, 403, "{path}");
        assert!(foreign.body.contains("HTTP_ALLOWED_HOSTS"));
        assert!(!foreign.body.contains("kinesis_edge_"));
    }
    for mixed in [
        "GET http://attacker.example/metrics HTTP/1.1\r\nhost: localhost\r\n",
        "GET /metrics HTTP/1.1\r\nhost: localhost\r\nhost: attacker.example\r\n",
    ] {
        assert_eq!(ask(mixed).await.status, 403, "{mixed}");
    }
    // A page of somebody else may link here, and neither load nor frame anything.
    let from_elsewhere = |path: &str, mode: &str, dest: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nsec-fetch-site: cross-site\r\nsec-fetch-mode: {mode}\r\n\
             sec-fetch-dest: {dest}\r\n"
        )
    };
    for (path, mode, dest) in [
        ("/events", "cors", "empty"),
        ("/metrics", "no-cors", "image"),
        ("/", "navigate", "iframe"),
    ] {
        let refused = ask(&from_elsewhere(path, mode, dest)).await;
        assert_eq!(refused.status, 403, "{path} as {dest}");
    }
    let link = ask(&from_elsewhere("/", "navigate", "document")).await;
    assert_eq!(link.status, 200);
    let none = ask("GET /metrics HTTP/1.0\r\n").await;
    assert_eq!(none.status, 403);
    let listed = ask("GET /metrics HTTP/1.1\r\nhost: Gateway.example:80\r\n").await;
    assert_eq!(listed.status, 200);
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let refused = ask(&format!(
            "{method} /metrics HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n"
        ))
        .await;
        assert_eq!(refused.status, 405, "{method}");
    }
    let page = http::get(site.address, "/").await;
    assert_eq!(page.status, 200);
    let policy = &page.headers["content-security-policy"];
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    assert_eq!(page.headers["content-encoding"], "gzip");
    assert_eq!(page.body, include_str!("../src/telemetry/page/index.html"));
    assert_eq!(http::get(site.address, "/../secret").await.status, 404);
    site.connector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_do_not_keep_others_out() {
    let site = Watched::start(&[]).await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(site.address).await.unwrap();
        stream.write_all(b"GET / HT").await.unwrap();
        silent.push(stream);
    }
    // As many as are served at a time are ended first.
    assert_eq!(http::get(site.address, "/healthz").await.status, 200);
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, silent[0].read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "it was ended");
    site.connector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_bounded_and_one_too_many_is_told() {
    let site = Watched::start(&[]).await;
    let mut open = Vec::new();
    let request = format!("GET /events HTTP/1.1\r\nhost: {}\r\n\r\n", site.address);
    until_ready(site.address).await;
    for _ in 0..12 {
        let mut page = TcpStream::connect(site.address).await.unwrap();
        page.write_all(request.as_bytes()).await.unwrap();
        let mut first = [0; 1];
        page.read_exact(&mut first).await.unwrap();
        open.push(page);
    }
    let too_many = http::get(site.address, "/events").await;
    assert_eq!(too_many.body, "event: full\ndata: 12\n\n");
    // The place of one that is closed is free by and by.
    open.pop();
    let again = async {
        loop {
            let mut page = TcpStream::connect(site.address).await.unwrap();
            page.write_all(request.as_bytes()).await.unwrap();
            let mut text = String::new();
            while !["event: full", "event: history"]
                .iter()
                .any(|event| text.contains(event))
            {
                let mut part = [0; 256];
                let length = page.read(&mut part).await.unwrap();
                text += str::from_utf8(&part[..length]).unwrap();
            }
            if text.contains("event: history") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
}

/// What a subscriber finds on the connector's own topic.
async fn own_status(broker: &Mosquitto) -> serde_json::Value {
    let port = broker.port.to_string();
    let topic = "kinesisfirehose/connector/status";
    let mut subscribe = Command::new("mosquitto_sub");
    subscribe.args([
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-t",
        topic,
        "-C",
        "1",
        "-W",
        "5",
    ]);
    let found = stdout(&finish(&mut subscribe).await);
    serde_json::from_str(&found).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_own_status_is_retained_and_the_broker_says_offline() {
    for version in ["5", "3.1.1"] {
        let (broker, endpoint) = (Mosquitto::start(), endpoint().await);
        let (url, aws) = (broker.url(), endpoint.url());
        let variables = [
            ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
            ("MQTT_URL", url.as_str()),
            ("MQTT_VERSION", version),
            ("MQTT_CLIENT_ID", "edge-7"),
            ("AWS_ENDPOINT_URL", &aws),
            ("AWS_ACCESS_KEY_ID", "made-up"),
            ("AWS_SECRET_ACCESS_KEY", "made-up"),
            ("PUBLISH_INTERVAL", "0"),
            ("CONNECTOR_STATUS_INTERVAL", "1"),
        ];
        let until = async |state: &str, delivered: u64| {
            let found = async {
                loop {
                    let status = own_status(&broker).await;
                    let count = status["delivered"].as_u64().unwrap_or(0);
                    if status["state"] == state && count == delivered {
                        return;
                    }
                }
            };
            let found = tokio::time::timeout(PATIENCE, found).await;
            assert!(found.is_ok(), "{state}, {delivered} delivered");
        };
        let mut connector = ConnectorProcess::start(&variables);
        until("online", 0).await;
        let app = App::connect(broker.port).await;
        app.request("1", "a record").await;
        until("online", 1).await;
        let status = own_status(&broker).await;
        assert_eq!(status["client_id"], "edge-7");
        assert_eq!(
            (&status["received"], &status["held"]),
            (&1.into(), &0.into())
        );
        assert_eq!(status["ready"], true, "{status}");
        connector.kill();
        until("offline", 0).await;
        let mut connector = ConnectorProcess::start(&variables);
        until("online", 0).await;
        // More statuses than the broker takes at a time: the last word is the connector's own all the same.
        publish_some(&app, 2, 500).await;
        connector.signal("TERM");
        assert!(connector.wait().success(), "{}", connector.stderr());
        until("offline", 0).await;
    }
}
