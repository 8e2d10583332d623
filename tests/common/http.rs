//! Asking the connector's HTTP server, byte by byte: tests are about what is on the wire.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use flate2::read::GzDecoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers, in lower case.
    pub headers: HashMap<String, String>,
    /// What follows them, decompressed.
    pub body: String,
}

/// Asks for a path, naming the address as the host.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    request(
        address,
        &format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n"),
    )
    .await
}

/// Sends the head of a request, without the empty line, and reads the whole answer. Waits until somebody
/// listens.
pub async fn request(address: SocketAddr, head: &str) -> Answer {
    let answer = async {
        let mut stream = loop {
            match TcpStream::connect(address).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let head = format!("{head}connection: close\r\n\r\n");
        stream
            .write_all(head.as_bytes())
            .await
            .expect("it can be asked");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("it answers");
        parse(&answer)
    };
    tokio::time::timeout(PATIENCE, answer)
        .await
        .expect("an answer comes")
}

fn parse(answer: &[u8]) -> Answer {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.expect("a head and a body") + 4);
    let head = str::from_utf8(head).expect("text");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers: HashMap<_, _> = headers
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let body = match headers.get("content-encoding").map(String::as_str) {
        Some("gzip") => io::read_to_string(GzDecoder::new(body)),
        _ => io::read_to_string(body),
    };
    Answer {
        status: status
            .and_then(|status| status.parse().ok())
            .expect("a status"),
        headers,
        body: body.expect("text"),
    }
}

/// Waits until the connector is ready.
pub async fn until_ready(address: SocketAddr) {
    until_readiness_is(address, 200).await;
}

/// Waits until it is not; gives what it says of its parts.
pub async fn until_unready(address: SocketAddr) -> String {
    until_readiness_is(address, 503).await
}

async fn until_readiness_is(address: SocketAddr, status: u16) -> String {
    let answer = async {
        loop {
            let answer = get(address, "/readyz").await;
            if answer.status == status {
                return answer.body;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    answer.unwrap_or_else(|_| panic!("/readyz never says {status}"))
}

/// The samples of a scrape: name with its labels, and value.
pub fn samples(scrape: &str) -> HashMap<String, f64> {
    let lines = scrape.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.filter_map(|line| line.rsplit_once(' '));
    samples
        .map(|(name, value)| (name.to_owned(), value.parse().expect("a number")))
        .collect()
}

/// All samples of a name together, whatever their labels.
pub fn sum(samples: &HashMap<String, f64>, name: &str) -> f64 {
    let of_name = samples.iter().filter(|(sample, _)| {
        let rest = sample.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
    });
    of_name.map(|(_, value)| value).sum()
}
