//! What an OpenTelemetry collector gets: a span for each call and the metrics of Prometheus, and nothing where no
//! endpoint is set. A collector that is away, refuses or hangs disturbs nothing and is told once.

#![cfg(all(feature = "local", feature = "otlp"))]

mod common;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use common::{
    App, ConnectorProcess, Mosquitto, STREAM, endpoint, eventually, free_port, http, stream_arn,
};
use kinesis_edge::local::{CallFault, Endpoint, Faults};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Never answers, in place of a status.
const HANGS: u16 = 0;

/// What a collector was sent.
#[derive(Debug, Clone)]
struct Export {
    path: String,
    content_type: String,
    body: Vec<u8>,
}

impl Export {
    /// Text stands in protobuf as it is.
    fn says(&self, text: &str) -> bool {
        let mut windows = self.body.windows(text.len());
        windows.any(|window| window == text.as_bytes())
    }
}

/// A collector on loopback.
struct Collector {
    address: SocketAddr,
    exports: Arc<Mutex<Vec<Export>>>,
    /// What it answers.
    status: Arc<AtomicU16>,
}

impl Collector {
    async fn start(status: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("it binds");
        let collector = Collector {
            address: listener.local_addr().expect("it is bound"),
            exports: Arc::default(),
            status: Arc::new(AtomicU16::new(status)),
        };
        let (exports, status) = (
            Arc::clone(&collector.exports),
            Arc::clone(&collector.status),
        );
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (exports, status) = (Arc::clone(&exports), Arc::clone(&status));
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some(export) = read(&mut stream).await {
                        exports.lock().expect("no panic").push(export);
                        let status = status.load(Ordering::Relaxed);
                        if status == HANGS {
                            std::future::pending::<()>().await;
                        }
                        let answer = format!("HTTP/1.1 {status} so\r\ncontent-length: 0\r\n\r\n");
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        collector
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What came for a path.
    fn of(&self, path: &str) -> Vec<Export> {
        let exports = self.exports.lock().expect("no panic");
        let of_path = exports.iter().filter(|export| export.path == path);
        of_path.cloned().collect()
    }

    /// Waits for an export that says all of this.
    async fn until(&self, path: &str, texts: &[&str]) -> Export {
        let found = || {
            let mut exports = self.of(path).into_iter();
            exports.find(|export| texts.iter().all(|text| export.says(text)))
        };
        eventually(&format!("{texts:?} at {path}"), || found().is_some()).await;
        found().expect("it was there")
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Export> {
    let mut first = String::new();
    stream.read_line(&mut first).await.ok()?;
    let path = first.strip_prefix("POST ")?.split(' ').next()?.to_owned();
    let (mut length, mut content_type) = (0, String::new());
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            break;
        };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "content-type" => content_type = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Export {
        path,
        content_type,
        body,
    })
}

/// A connector as a process, which exports often, with all that it needs.
struct Site {
    _broker: Mosquitto,
    endpoint: Endpoint,
    app: App,
    connector: ConnectorProcess,
    /// Where it serves.
    address: SocketAddr,
}

impl Site {
    async fn start(more: &[(&str, &str)]) -> Self {
        let (broker, endpoint) = (Mosquitto::start(), endpoint().await);
        let (url, aws) = (broker.url(), endpoint.url());
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let listen = address.to_string();
        let mut variables = vec![
            ("HTTP_LISTEN", listen.as_str()),
            ("MQTT_URL", &url),
            ("MQTT_CLIENT_ID", "edge-7"),
            ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
            ("AWS_ENDPOINT_URL", &aws),
            ("AWS_ACCESS_KEY_ID", "made-up"),
            ("AWS_SECRET_ACCESS_KEY", "made-up"),
            ("PUBLISH_INTERVAL", "0"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "50"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ];
        variables.extend_from_slice(more);
        let connector = ConnectorProcess::start(&variables);
        let app = App::connect(broker.port).await;
        http::until_ready(address).await;
        Site {
            _broker: broker,
            endpoint,
            app,
            connector,
            address,
        }
    }

    /// Delivers a record.
    async fn deliver(&self, id: &str) {
        self.app.request(id, "hello").await;
        let status = self.app.status_of(id).await;
        assert!(status.is_success(), "{status:?}");
    }

    /// Whether the process has threads that export.
    fn has_export_threads(&self) -> bool {
        let tasks = format!("/proc/{}/task", self.connector.pid());
        let tasks = std::fs::read_dir(tasks).expect("it runs");
        let mut names = tasks.flatten().map(|task| {
            let name = std::fs::read_to_string(task.path().join("comm"));
            name.unwrap_or_default()
        });
        names.any(|name| name.starts_with("OpenTelemetry"))
    }

    /// Stops it; gives its log.
    fn stop(mut self) -> String {
        self.connector.signal("TERM");
        let status = self.connector.wait();
        let log = self.connector.stderr();
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_and_metrics_reach_the_collector() {
    let collector = Collector::start(200).await;
    let url = collector.url();
    // Without a line in the log for any of it.
    let site = Site::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url), ("RUST_LOG", "off")]).await;
    let denied = Faults {
        call: CallFault::AccessDenied,
        ..Faults::default()
    };
    site.endpoint.faults().set("denied", denied);
    site.deliver("1").await;
    let (traces, metrics) = ("/v1/traces", "/v1/metrics");
    let whose = [
        "service.name",
        "kinesis-edge",
        "service.instance.id",
        "edge-7",
    ];
    let call = collector
        .until(traces, &["call", "stream", STREAM, "records"])
        .await;
    assert!(whose.iter().all(|text| call.says(text)), "{call:?}");
    assert_eq!(call.content_type, "application/x-protobuf");
    assert!(!call.says("AccessDeniedException"), "{call:?}");
    // Neither events nor what the AWS library or the source knows.
    for text in ["calling", "code.file", "thread.id", "PutRecord"] {
        assert!(!call.says(text), "{text}: {call:?}");
    }
    let failing = stream_arn("denied");
    site.app.request_to(&failing, "2", "hello").await;
    let failed = ["call", &failing, "error.code", "AccessDeniedException"];
    let failed = collector.until(traces, &failed).await;
    // A status of its own, with code 2 (error): field 15, which nothing else in it looks like.
    assert!(has_error_status(&failed), "{failed:?}");
    assert!(!has_error_status(&call), "{call:?}");

    let text = http::get(site.address, "/metrics").await.body;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut names: Vec<String> = Vec::new();
    for (name, kind) in types.filter_map(|line| line.split_once(' ')) {
        match kind {
            "histogram" => {
                names.extend(["bucket", "sum", "count"].map(|of| format!("{name}_{of}")))
            }
            _ => names.push(name.to_owned()),
        }
    }
    assert!(names.len() > 30, "{names:?}");
    let mut all: Vec<&str> = names.iter().map(String::as_str).collect();
    all.extend(whose);
    all.extend(["stream", STREAM, "code", "AccessDeniedException", "+Inf"]);
    collector.until(metrics, &all).await;
    assert!(site.has_export_threads());
    let log = site.stop();
    assert_eq!(log, "");
}

/// Whether a span in it ends with the status "error".
fn has_error_status(export: &Export) -> bool {
    let mut windows = export.body.windows(4);
    windows.any(|window| window == [(15 << 3) | 2, 2, 3 << 3, 2])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_endpoint_nothing_is_exported() {
    let site = Site::start(&[
        ("OTEL_SERVICE_NAME", "plant"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
    ])
    .await;
    site.deliver("1").await;
    assert!(!site.has_export_threads());
    let log = site.stop();
    assert!(!log.contains("OpenTelemetry"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_signal_alone_with_a_name_of_ones_own() {
    let collector = Collector::start(200).await;
    let url = format!("{}/here", collector.url());
    let site = Site::start(&[
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &url),
        ("OTEL_SERVICE_NAME", "plant"),
        // What is left goes at the stop.
        ("OTEL_BSP_SCHEDULE_DELAY", "600000"),
    ])
    .await;
    site.deliver("1").await;
    let log = site.stop();
    let call = collector.until("/here", &["call", STREAM, "plant"]).await;
    assert!(!call.says("kinesis_edge_records"), "{call:?}");
    assert_eq!(collector.of("/v1/metrics").len(), 0);
    assert!(log.contains("traces=true metrics=false"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_refuses_is_told_once() {
    let collector = Collector::start(400).await;
    let url = collector.url();
    let site = Site::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]).await;
    let mut number = 0;
    while collector.of("/v1/traces").len() < 4 || collector.of("/v1/metrics").len() < 4 {
        number += 1;
        site.deliver(&number.to_string()).await;
    }
    let times = |text: &str| site.connector.stderr().matches(text).count();
    for signal in ["traces", "metrics"] {
        let told = format!("{signal} cannot be delivered to the OpenTelemetry collector");
        assert_eq!(times(&told), 1, "{}", site.connector.stderr());
    }
    collector.status.store(200, Ordering::Relaxed);
    site.deliver("last").await;
    for signal in ["traces", "metrics"] {
        let again = format!("{signal} are delivered to the OpenTelemetry collector again");
        eventually("it is told", || times(&again) == 1).await;
    }
    site.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_disturbs_nothing() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let site = Site::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]).await;
    site.deliver("1").await;
    let away = "cannot be delivered to the OpenTelemetry collector";
    eventually("it is told", || {
        site.connector.stderr().matches(away).count() == 2
    })
    .await;
    site.deliver("2").await;
    let log = site.stop();
    assert_eq!(log.matches(away).count(), 2, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_hangs_does_not_keep_a_stop_waiting() {
    let collector = Collector::start(HANGS).await;
    let url = collector.url();
    let site = Site::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000"),
    ])
    .await;
    site.deliver("1").await;
    collector.until("/v1/traces", &["call"]).await;
    site.deliver("2").await;
    // The SDK itself gives up after 5 s, which would be silent.
    let log = site.stop();
    let left = "did not take the last traces and metrics within 2 s";
    assert!(log.contains(left), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_faulty_endpoint_is_told_and_records_flow() {
    let site = Site::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a b")]).await;
    site.deliver("1").await;
    let log = site.stop();
    for signal in ["traces", "metrics"] {
        let told = format!("{signal} are not exported to OpenTelemetry: correct the OTEL_");
        assert!(log.contains(&told), "{log}");
    }
}
