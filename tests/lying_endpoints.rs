//! Whatever answers in the place of Firehose, byte by byte, without an end, with something else or somewhere else:
//! a call ends within its time and its memory, its records are kept and arrive once the endpoint is honest again,
//! each with one status, and no other stream waits for it. So do they where the certificate is not the one it should
//! be, and where this device's clock is wrong.
//!
//! The liar is a bare socket that hands the calls of other streams on to the stand-in.

#![cfg(feature = "local")]

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{
    App, Authority, ConnectorProcess, Mosquitto, RunningConnector, STREAM, endpoint, eventually,
    parameters, stream_arn,
};
use kinesis_edge::destination::{Firehose, FirehoseSettings};
use kinesis_edge::local::{Accepted, Endpoint};
use kinesis_edge::memory::LEAST_MEMORY_SIZE_KB;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

/// What an endless answer may get rid of before the connector hangs up: what both sides' sockets buffer, and a
/// little. A connector that reads on takes as much in some milliseconds, and has a second.
const ENDLESS_MAX_BYTES: usize = 16 << 20;

/// How a call is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// Not at all, and nothing of it is read but its head.
    Deaf,
    /// A good answer, too slowly to end within the time of a call.
    BodyByteByByte,
    /// Headers likewise.
    HeadByteByByte,
    /// "Go on" without an end.
    EndlessContinue,
    /// Headers without an end.
    EndlessHead,
    /// A body without an end, under this status line.
    EndlessChunks(&'static str),
    /// A body of a length that is told, beyond all measure.
    HugeBody,
    /// The connection ends in the middle of the answer.
    HalfAnAnswer,
    /// These bytes, and the connection ends.
    Bytes(&'static str),
    /// To another place, where [`Trap`] waits.
    Elsewhere(&'static str),
}

/// Each lie with the code that the log and the page show.
const LIES: [(Lie, &str); 19] = [
    (Lie::Deaf, "Timeout"),
    (Lie::BodyByteByByte, "Timeout"),
    (Lie::HeadByteByByte, "Timeout"),
    (Lie::EndlessContinue, "Timeout"),
    (Lie::EndlessHead, "ConnectionError"),
    (Lie::EndlessChunks("200 OK"), "UnreadableResponse"),
    (Lie::EndlessChunks("400 Bad Request"), "UnreadableResponse"),
    (Lie::EndlessChunks("503 Busy"), "UnreadableResponse"),
    (Lie::HugeBody, "UnreadableResponse"),
    (Lie::HalfAnAnswer, "UnreadableResponse"),
    (Lie::Bytes(""), "ConnectionError"),
    (Lie::Bytes("SSH-2.0-dropbear\r\n"), "ConnectionError"),
    (
        Lie::Bytes(
            "HTTP/1.1 200 OK\r\nContent-Length: 38\r\n\r\n<html>Welcome! Please log in.</html>\r\n",
        ),
        "UnreadableResponse",
    ),
    (
        Lie::Bytes("HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\n<html>"),
        "UnreadableResponse",
    ),
    (
        Lie::Bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
        "MissingResponseEntry",
    ),
    (
        Lie::Elsewhere("301 Moved Permanently"),
        "UnreadableResponse",
    ),
    (Lie::Elsewhere("302 Found"), "UnreadableResponse"),
    (
        Lie::Elsewhere("307 Temporary Redirect"),
        "UnreadableResponse",
    ),
    (
        Lie::Elsewhere("308 Permanent Redirect"),
        "UnreadableResponse",
    ),
];

/// The streams that are lied about: this and the lie's number.
const LIED_TO: &str = "lied-to-";

fn lied_to(number: usize) -> String {
    format!("{LIED_TO}{number:02}")
}

/// Stands where Firehose should be.
#[derive(Clone)]
struct Liar {
    url: String,
    /// The stand-in that honest calls are handed on to.
    honest: SocketAddr,
    /// Where redirects lead to.
    elsewhere: String,
    state: Arc<LiarState>,
}

#[derive(Default)]
struct LiarState {
    /// Whether it has become honest.
    is_honest: AtomicBool,
    /// Calls that were answered with each lie.
    told: [AtomicUsize; LIES.len()],
    /// Most bytes that an endless answer got rid of.
    most_bytes: AtomicUsize,
    /// Connections to where redirects lead.
    trapped: AtomicUsize,
}

impl Liar {
    async fn start(honest: &Endpoint) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let liar = Liar {
            url: format!("http://{}", listener.local_addr().unwrap()),
            honest: honest.addr(),
            elsewhere: format!("http://{}/", trap.local_addr().unwrap()),
            state: Arc::default(),
        };
        let state = Arc::clone(&liar.state);
        tokio::spawn(async move {
            while trap.accept().await.is_ok() {
                state.trapped.fetch_add(1, Ordering::Relaxed);
            }
        });
        let answering = liar.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let liar = answering.clone();
                tokio::spawn(async move { liar.answer(socket).await });
            }
        });
        liar
    }

    /// Answers one call, and ends the connection.
    async fn answer(&self, mut socket: TcpStream) {
        let Some((mut request, body_at)) = beginning(&mut socket).await else {
            return;
        };
        let Some(number) = self.lie_about(&request[body_at..]) else {
            let mut upstream = TcpStream::connect(self.honest).await.unwrap();
            upstream.write_all(&closing(&request)).await.unwrap();
            let _ = copy_bidirectional(&mut socket, &mut upstream).await;
            return;
        };
        let (lie, _) = LIES[number];
        if lie != Lie::Deaf {
            read_on(&mut socket, &mut request, body_at).await;
        }
        self.state.told[number].fetch_add(1, Ordering::Relaxed);
        let bytes = tell(lie, &mut socket, &request, &self.elsewhere).await;
        self.state.most_bytes.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Which lie is told to a call with this body; `None`: none.
    fn lie_about(&self, body: &[u8]) -> Option<usize> {
        let body = String::from_utf8_lossy(body);
        let (_, number) = body.split_once(LIED_TO)?;
        let is_honest = self.state.is_honest.load(Ordering::Relaxed);
        number.get(..2)?.parse().ok().filter(|_| !is_honest)
    }

    /// Whether each lie was told this often.
    fn has_told_all(&self, times: usize) -> bool {
        let mut told = self.state.told.iter();
        told.all(|told| told.load(Ordering::Relaxed) >= times)
    }
}

/// A call as far as it takes to know the stream: its head, and the beginning of its body. `None`: there is none.
async fn beginning(socket: &mut TcpStream) -> Option<(Vec<u8>, usize)> {
    let mut request = Vec::new();
    loop {
        let head = request.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(head) = head
            && request.len() > head + 4 + 40
        {
            return Some((request, head + 4));
        }
        if socket.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
}

/// Reads the rest of a call.
async fn read_on(socket: &mut TcpStream, request: &mut Vec<u8>, body_at: usize) -> Option<()> {
    let head = String::from_utf8_lossy(&request[..body_at]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))?;
    let length: usize = length.trim().parse().ok()?;
    while request.len() < body_at + length {
        if socket.read_buf(request).await.ok()? == 0 {
            return None;
        }
    }
    Some(())
}

/// A call after which the endpoint ends the connection, so that the next one comes on a new one.
fn closing(request: &[u8]) -> Vec<u8> {
    let line = request.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    [&request[..line], b"connection: close\r\n", &request[line..]].concat()
}

/// An answer that the service could give to a call with one record.
fn good_answer(request: &[u8]) -> String {
    let is_batch = String::from_utf8_lossy(request).contains("PutRecordBatch");
    let body = match is_batch {
        true => r#"{"FailedPutCount":0,"RequestResponses":[{"RecordId":"a lie"}]}"#,
        false => r#"{"RecordId":"a lie"}"#,
    };
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Writes the same without an end, until the other side has hung up: how many bytes it got rid of.
async fn endless(socket: &mut TcpStream, part: &[u8]) -> usize {
    let mut bytes = 0;
    while let Ok(written @ 1..) = socket.write(part).await {
        bytes += written;
    }
    bytes
}

/// Gives a lie for an answer. Says how many bytes of an endless one went out.
async fn tell(lie: Lie, socket: &mut TcpStream, request: &[u8], elsewhere: &str) -> usize {
    const SLOWLY: Duration = Duration::from_millis(100);
    let answer = good_answer(request);
    let body_at = answer.find("\r\n\r\n").unwrap() + 4;
    let (at_once, slowly) = match lie {
        Lie::Deaf => (0, 0..0),
        Lie::BodyByteByByte => (body_at, body_at..answer.len()),
        Lie::HeadByteByByte => (0, 0..answer.len()),
        Lie::HalfAnAnswer => (answer.len() - 5, 0..0),
        _ => (0, 0..0),
    };
    let _ = socket.write_all(&answer.as_bytes()[..at_once]).await;
    for byte in &answer.as_bytes()[slowly] {
        if socket.write_all(&[*byte]).await.is_err() {
            return 0;
        }
        sleep(SLOWLY).await;
    }
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    let head = match lie {
        Lie::Deaf => {
            // Until the other side has had enough.
            while socket.peek(&mut [0]).await.is_ok() && socket.write(b"").await.is_ok() {
                sleep(SLOWLY).await;
                if socket.take_error().is_ok_and(|error| error.is_some()) {
                    break;
                }
            }
            return 0;
        }
        Lie::EndlessContinue | Lie::EndlessHead => String::new(),
        Lie::EndlessChunks(status) => {
            format!("HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n")
        }
        Lie::HugeBody => "HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n".to_owned(),
        Lie::Bytes(bytes) => bytes.to_owned(),
        Lie::Elsewhere(status) => {
            format!("HTTP/1.1 {status}\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n")
        }
        _ => return 0,
    };
    let _ = socket.write_all(head.as_bytes()).await;
    match lie {
        Lie::EndlessContinue => {
            // It is read until the time is over, and nothing of it is kept.
            endless(socket, b"HTTP/1.1 100 Continue\r\n\r\n").await;
            0
        }
        Lie::EndlessHead => {
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n").await;
            endless(socket, format!("x: {}\r\n", "x".repeat(1000)).as_bytes()).await
        }
        Lie::EndlessChunks(_) => endless(socket, chunk.as_bytes()).await,
        Lie::HugeBody => endless(socket, &[b' '; 0x1000]).await,
        _ => 0,
    }
}

/// A broker, an app, the stand-in behind a liar, and a connector in this process whose calls get two seconds.
async fn beside_lies(interval: &str) {
    let (broker, honest) = (Mosquitto::start(), endpoint().await);
    let liar = Liar::start(&honest).await;
    let url = broker.url();
    let parameters = parameters(&[("MQTT_URL", &url), ("PUBLISH_INTERVAL", interval)]);
    // Whatever their size.
    let firehose = Firehose::new(FirehoseSettings {
        call_timeout: Duration::from_secs(2),
        slowest_link: usize::MAX,
        stand_in: Some(liar.url.clone()),
        ..FirehoseSettings::default()
    });
    let connector = RunningConnector::start(&parameters, firehose.await);
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    // More than sockets buffer, so that it is noticed in the middle of the call who does not read.
    let large = "x".repeat(400_000);
    for number in 0..LIES.len() {
        let stream = stream_arn(&lied_to(number));
        app.request_to(&stream, &lied_to(number), &large).await;
    }
    eventually("every lie was told again", || liar.has_told_all(2)).await;
    // Meanwhile others are none the worse.
    for other in 0..20 {
        app.request(&format!("other {other}"), "x").await;
    }
    let others = app.wait_for(20).await;
    for status in &others {
        assert!(
            status.id().starts_with("other") && status.is_success(),
            "{status:?}"
        );
    }
    let mut seen = BTreeSet::new();
    eventually("each lie is told as what it is", || {
        for stream in connector.look().streams {
            let trouble = stream
                .trouble
                .map(|trouble| (trouble.code, trouble.message));
            // On a slow machine the time of a call may be over before the lie is seen through.
            seen.extend(trouble.map(|told| (stream.arn.stream_name().to_owned(), told)));
        }
        LIES.iter().enumerate().all(|(number, (_, code))| {
            let mut seen = seen.iter();
            seen.any(|(stream, told)| *stream == lied_to(number) && told.0 == *code)
        })
    })
    .await;
    for (stream, (code, message)) in seen {
        println!("{stream}: {code}: {message}");
    }
    for stream in connector.look().streams.iter().skip(1) {
        assert_eq!(stream.queued, 1, "it is kept");
    }
    liar.state.is_honest.store(true, Ordering::Relaxed);
    let all = app.wait_for(20 + LIES.len()).await;
    assert!(all.iter().all(|status| status.is_success()));
    assert!(app.by_id().values().all(|statuses| statuses.len() == 1));
    for (number, (lie, _)) in LIES.into_iter().enumerate() {
        // One whose call took too long on a slow machine comes twice.
        let arrived = honest.accepted(&lied_to(number));
        let is_it = |record: &Accepted| record.data == large.as_bytes();
        assert!(!arrived.is_empty() && arrived.iter().all(is_it), "{lie:?}");
    }
    assert!(honest.accepted("test").len() >= 20);
    let LiarState {
        most_bytes,
        trapped,
        ..
    } = &*liar.state;
    let most_bytes = most_bytes.load(Ordering::Relaxed);
    println!("{most_bytes} bytes of an endless answer went out");
    assert!(
        most_bytes < ENDLESS_MAX_BYTES,
        "{most_bytes} bytes were read"
    );
    assert_eq!(
        trapped.load(Ordering::Relaxed),
        0,
        "a redirect was followed"
    );
    connector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_answers_records_are_kept_and_others_do_not_wait() {
    beside_lies("1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_answers_single_records_are_kept_and_others_do_not_wait() {
    beside_lies("0").await;
}

/// As a process, with the least memory there may be: nothing of an answer without an end is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_without_an_end_take_no_memory() {
    let (broker, honest) = (Mosquitto::start(), endpoint().await);
    let liar = Liar::start(&honest).await;
    let connector = ConnectorProcess::start(&[
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("MQTT_URL", &broker.url()),
        ("MEMORY_SIZE", &LEAST_MEMORY_SIZE_KB.to_string()),
        ("PUBLISH_INTERVAL", "1"),
        ("AWS_ENDPOINT_URL", &liar.url),
        ("AWS_ACCESS_KEY_ID", "made-up"),
        ("AWS_SECRET_ACCESS_KEY", "made-up"),
    ]);
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    let endless = |(_, (lie, _)): &(usize, (Lie, &str))| {
        matches!(
            lie,
            Lie::EndlessHead | Lie::EndlessChunks(_) | Lie::HugeBody
        )
    };
    let endless: Vec<usize> = LIES
        .into_iter()
        .enumerate()
        .filter(endless)
        .map(|(number, _)| number)
        .collect();
    for &number in &endless {
        for record in 0..100 {
            let id = format!("{number} {record}");
            app.request_to(&stream_arn(&lied_to(number)), &id, "x")
                .await;
        }
    }
    let told = |number: usize| liar.state.told[number].load(Ordering::Relaxed);
    eventually("every one was given again and again", || {
        endless.iter().all(|&number| told(number) >= 4)
    })
    .await;
    let peak = connector.peak_memory_as_optimised_kb();
    println!("peak {peak} KB of {LEAST_MEMORY_SIZE_KB}");
    assert!(peak < LEAST_MEMORY_SIZE_KB, "{peak} KB resident");
    liar.state.is_honest.store(true, Ordering::Relaxed);
    app.wait_for(100 * endless.len()).await;
    let by_id = app.by_id();
    assert_eq!(by_id.len(), 100 * endless.len());
    assert!(
        by_id
            .values()
            .all(|of_one| of_one.len() == 1 && of_one[0].is_success())
    );
}

/// Stands before an endpoint with the certificate that is set at the time; without one it answers in plain text.
async fn tls_before(honest: &Endpoint, acceptor: Arc<Mutex<Option<TlsAcceptor>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    let honest = honest.addr();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let acceptor = acceptor.lock().unwrap().clone();
            tokio::spawn(async move {
                let Some(acceptor) = acceptor else {
                    let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
                    return;
                };
                // Who does not trust us ends it here.
                let Ok(mut socket) = acceptor.accept(socket).await else {
                    return;
                };
                let mut upstream = TcpStream::connect(honest).await.unwrap();
                let _ = copy_bidirectional(&mut socket, &mut upstream).await;
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_not_the_services_is_not_sent_to() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let valid = 1975..4096;
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("trusted.pem");
    std::fs::write(&trusted, &ours.pem).unwrap();
    let (broker, honest) = (Mosquitto::start(), endpoint().await);
    let app = App::connect(broker.port).await;
    for (number, (wrong, code, told)) in [
        (
            Some(others.acceptor("localhost", valid.clone())),
            "CertificateError",
            "UnknownIssuer",
        ),
        (
            Some(ours.acceptor("localhost", 2020..2021)),
            "CertificateError",
            "expired",
        ),
        (
            Some(ours.acceptor("other.example", valid.clone())),
            "CertificateError",
            "not valid for name",
        ),
        (None, "ConnectionError", "corrupt message"),
    ]
    .into_iter()
    .enumerate()
    {
        let certified = Arc::new(Mutex::new(wrong));
        let url = tls_before(&honest, Arc::clone(&certified)).await;
        let connector = ConnectorProcess::start(&[
            ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
            ("MQTT_URL", &broker.url()),
            ("PUBLISH_INTERVAL", "0"),
            ("AWS_ENDPOINT_URL", &url),
            ("AWS_ACCESS_KEY_ID", "made-up"),
            ("AWS_SECRET_ACCESS_KEY", "made-up"),
            ("SSL_CERT_FILE", trusted.to_str().unwrap()),
            ("MQTT_CLIENT_ID", &format!("kinesis-{number}")),
        ]);
        app.until_answered().await;
        let id = number.to_string();
        app.request(&id, &id).await;
        eventually("the log says what is wrong", || {
            connector.stderr().contains(told)
        })
        .await;
        let log = connector.stderr();
        assert!(log.contains(&format!("error.code={code}")), "{log}");
        assert_eq!(honest.calls(), number as u64, "{told}");
        *certified.lock().unwrap() = Some(ours.acceptor("localhost", valid.clone()));
        assert!(app.status_of(&id).await.is_success(), "{told}");
        assert_eq!(app.by_id()[&id].len(), 1);
        assert_eq!(honest.accepted("test").len(), number + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_five_hours_off_delays_one_call_and_is_told() {
    const HOURS: i64 = 5;
    for (number, (ahead, interval, told)) in
        [(HOURS, "1", "5 h behind"), (-HOURS, "0", "5 h ahead")]
            .into_iter()
            .enumerate()
    {
        let (broker, honest) = (Mosquitto::start(), endpoint().await);
        honest.faults().set_clock_ahead(ahead * 3600);
        let connector = ConnectorProcess::start(&[
            ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
            ("MQTT_URL", &broker.url()),
            ("PUBLISH_INTERVAL", interval),
            ("AWS_ENDPOINT_URL", &honest.url()),
            ("AWS_ACCESS_KEY_ID", "made-up"),
            ("AWS_SECRET_ACCESS_KEY", "made-up"),
        ]);
        let app = App::connect(broker.port).await;
        app.until_answered().await;
        for id in ["1", "2", "3"] {
            app.request(id, id).await;
            assert!(app.status_of(id).await.is_success());
        }
        assert_eq!(honest.accepted("test").len(), 3);
        assert_eq!(honest.calls(), 4, "one was refused");
        let log = connector.stderr();
        let clock = format!("this device's clock is {told}: Signature");
        assert_eq!(log.matches(&clock).count(), 1, "{number}: {log}");
        let wrong = log
            .lines()
            .filter(|line| line.contains("this device's clock is wrong"));
        let wrong: Vec<_> = wrong.collect();
        assert!(
            wrong.len() == 1 && wrong[0].contains(&format!("clock={told}")),
            "{log}"
        );
        // Somebody sets it right: a call is dated as the last answer was, and the next one is not.
        honest.faults().set_clock_ahead(0);
        app.request("4", "4").await;
        assert!(app.status_of("4").await.is_success());
        eventually("that is told too", || {
            connector.stderr().contains("right again")
        })
        .await;
        assert_eq!(honest.calls(), 6);
        assert!(app.by_id().values().all(|statuses| statuses.len() == 1));
    }
}
