//! A request as anybody on the machine may send it: it is answered, or its connection ends, and the next one is
//! served. Over real connections on this machine, with a connector that does not run.

use std::net::SocketAddr;

use kinesis_edge::connector::Connector;
use kinesis_edge::destination::{Firehose, FirehoseSettings};
use kinesis_edge::parameters::{self, HttpParameters, Parameter};
use kinesis_edge::telemetry::{Server, ServiceManager};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};

/// What the head of an answer of events says.
const EVENTS: &[u8] = b"text/event-stream";

/// A server and the thread's runtime that it runs in.
struct Served {
    runtime: Runtime,
    _server: Server,
    address: SocketAddr,
}

thread_local! {
    static SERVED: Served = start();
}

/// Sends the bytes, and then asks whether the server lives.
pub fn check(bytes: &[u8]) {
    SERVED.with(|served| {
        served.runtime.block_on(async {
            let answer = exchange(served.address, bytes).await;
            let is_answer = answer.is_empty() || answer.starts_with(b"HTTP/1.");
            assert!(is_answer, "{}", String::from_utf8_lossy(&answer));
            let is_fault = answer.get(9).is_some_and(|&digit| digit == b'5');
            // 503 is readiness: this connector has no broker.
            assert!(!is_fault || answer[9..].starts_with(b"503"));
            let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", served.address);
            let lives = exchange(served.address, request.as_bytes()).await;
            assert!(lives.starts_with(b"HTTP/1.1 200"), "it lives");
        });
    });
}

fn start() -> Served {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (server, address) = runtime.block_on(async {
        let given = |parameter: &Parameter| {
            let arn = "arn:aws:firehose:eu-west-1:123456789012:deliverystream/telemetry";
            (parameter.env == "DEFAULT_DELIVERY_STREAM_ARN").then(|| Ok(arn.to_owned()))
        };
        let parameters = parameters::parse(&given).expect("they are right");
        let settings = FirehoseSettings {
            stand_in: Some("http://127.0.0.1:9".to_owned()),
            ..FirehoseSettings::default()
        };
        let destination = Firehose::new(settings).await;
        let connector = Connector::new(&parameters, destination, ServiceManager::none());
        let observer = connector.expect("it can be made").observer();
        let address = free_address().await;
        let http = HttpParameters {
            listen: address,
            allowed_hosts: Vec::new(),
        };
        let server = Server::start(&http, observer);
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::task::yield_now().await;
        }
        (server, address)
    });
    Served {
        runtime,
        _server: server,
        address,
    }
}

async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("it has an address")
}

/// What is answered until the server ends the connection, as it does once it has seen ours end; of events, which go on
/// where more follows the request, the beginning.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let socket = TcpSocket::new_v4().expect("a socket");
    // Ports are used up otherwise: thousands a second.
    socket.set_zero_linger().expect("it can be set");
    let mut stream = socket.connect(address).await.expect("it listens");
    let mut answer = Vec::new();
    // A server that has seen enough ends the connection while we write or read: that is an end as well.
    if stream.write_all(bytes).await.is_ok() && stream.shutdown().await.is_ok() {
        let mut looked_at = 0;
        while stream
            .read_buf(&mut answer)
            .await
            .is_ok_and(|count| count > 0)
        {
            // They may come behind answers to requests before.
            let new = &answer[looked_at..];
            if new.windows(EVENTS.len()).any(|part| part == EVENTS) {
                break;
            }
            looked_at = answer.len().saturating_sub(EVENTS.len());
        }
    }
    answer
}
