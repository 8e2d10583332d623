//! One GET over TLS with a certificate of ours, through a proxy where the environment names one. What comes back is
//! bounded; how long it may take is for the caller to bound.
//!
//! The SDK's HTTP client shows no certificates, and one of the HTTP library for one more kind of connection is a lot of
//! code for one request an hour, on a connection of its own.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::ANSWER_MAX_BYTES;
use crate::dial;
use crate::tls::{TlsError, TlsFiles, client_config, rustls_error};

/// The longest head of an answer that is read, the proxy's too, and the most headers in it.
const HEAD_MAX_BYTES: usize = 8 * 1024;
const HEADERS_MAX: usize = 64;

/// The port that `https` has, and so does not say.
const HTTPS_PORT: u16 = 443;

/// What is asked for.
pub(super) struct Place<'a> {
    /// Name or address; an IPv6 address without brackets.
    pub host: &'a str,
    pub port: u16,
    /// From the first slash on.
    pub path: &'a str,
}

/// What was answered.
pub(super) struct Answer {
    pub status: u16,
    /// What the other side's clock showed.
    pub date: Option<SystemTime>,
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum GetError {
    /// Files of ours.
    #[error("{0}")]
    Files(#[from] TlsError),
    /// No certificate can have this name.
    #[error("{0:?} is no host name that a certificate can have")]
    Name(String),
    /// The network, or who listens there.
    #[error("{0}")]
    Connect(io::Error),
    /// The proxy.
    #[error("the proxy {proxy} {problem}")]
    Proxy { proxy: String, problem: String },
    /// There is no TLS with whoever answers.
    #[error("the TLS handshake fails: {0}")]
    Tls(#[source] io::Error),
    /// The connection ended before an answer.
    #[error("the connection was closed without an answer")]
    Closed,
    /// It ended in another way.
    #[error("the connection broke: {0}")]
    Broken(#[source] io::Error),
    /// Something else than HTTP.
    #[error("what answers does not speak HTTP")]
    NotHttp,
    /// More than is read.
    #[error("the answer is longer than {ANSWER_MAX_BYTES} bytes")]
    TooLong,
    /// Nothing for so long.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
}

/// Asks for `place`, with a header of ours beside those that HTTP has.
///
/// # Errors
/// Why there is no answer; any status is one.
pub(super) async fn get(
    files: &TlsFiles,
    place: &Place<'_>,
    header: Option<(&'static str, &str)>,
) -> Result<Answer, GetError> {
    let config = client_config(files)?;
    let name = ServerName::try_from(place.host.to_owned())
        .map_err(|_| GetError::Name(place.host.to_owned()))?;
    let tcp = connect(place).await?;
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .map_err(closed_or(GetError::Tls))?;
    exchange(tls, place, header).await
}

/// The host as it stands in a URL: an IPv6 address in brackets.
fn host_in_url(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// A connection, at whose other end is whoever `place` names.
async fn connect(place: &Place<'_>) -> Result<TcpStream, GetError> {
    let to = format!("{}:{}", host_in_url(place.host), place.port);
    let uri: Option<Uri> = format!("https://{to}/").parse().ok();
    let proxy = uri.and_then(|uri| Matcher::from_env().intercept(&uri));
    match proxy {
        None => dial::connect((place.host, place.port))
            .await
            .map_err(GetError::Connect),
        Some(proxy) => through(&proxy, &to).await,
    }
}

/// A connection through a proxy (RFC 9110 section 9.3.6).
async fn through(proxy: &Intercept, to: &str) -> Result<TcpStream, GetError> {
    let uri = proxy.uri();
    let host = uri.host().unwrap_or_default();
    let name = format!("{host}:{}", uri.port_u16().unwrap_or(80));
    let problem = |problem: String| GetError::Proxy {
        proxy: name.clone(),
        problem,
    };
    if uri.scheme_str() != Some("http") {
        return Err(problem(
            "is not one of http://, which is all that is known here".to_owned(),
        ));
    }
    let failed = |error: io::Error| problem(format!("cannot be asked: {error}"));
    let mut tcp = dial::connect(&name).await.map_err(failed)?;
    let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n").into_bytes();
    if let Some(secret) = proxy.basic_auth().map(HeaderValue::as_bytes) {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(secret);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    tcp.write_all(&request).await.map_err(failed)?;
    let mut head = Vec::new();
    // Byte by byte, since what follows is TLS's; it is read once an hour.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_MAX_BYTES {
            return Err(problem("does not answer as a proxy does".to_owned()));
        }
        head.push(tcp.read_u8().await.map_err(failed)?);
    }
    // `HTTP/1.1 200 …`
    let status = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    match status {
        [b'2', _, _] => Ok(tcp),
        status => {
            let status = String::from_utf8_lossy(&status[..status.len().min(3)]).into_owned();
            Err(problem(format!(
                "refuses the way to {to}: HTTP status {status}"
            )))
        }
    }
}

/// Sends a request, and reads what is answered. The connection is for this alone.
async fn exchange(
    mut tls: TlsStream<TcpStream>,
    place: &Place<'_>,
    header: Option<(&str, &str)>,
) -> Result<Answer, GetError> {
    let host = host_in_url(place.host);
    let host = match place.port {
        HTTPS_PORT => host,
        port => format!("{host}:{port}"),
    };
    let header = header.map(|(name, value)| format!("{name}: {value}\r\n"));
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{}\r\n",
        place.path,
        header.unwrap_or_default()
    );
    // Who is refused by an alert may learn that only from reading.
    let sent = async {
        tls.write_all(request.as_bytes()).await?;
        tls.flush().await
    };
    let sent = sent.await;
    let mut bytes = Vec::new();
    loop {
        if let Some(answer) = read(&bytes, false)? {
            return Ok(answer);
        }
        if bytes.len() >= HEAD_MAX_BYTES + ANSWER_MAX_BYTES {
            return Err(GetError::TooLong);
        }
        match tls.read_buf(&mut bytes).await {
            Ok(0) => return read(&bytes, true)?.ok_or(GetError::Closed),
            Ok(_) => {}
            // Some say no goodbye.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return read(&bytes, true)?.ok_or(GetError::Closed);
            }
            Err(error) => {
                // What could not be sent says less than what could not be read.
                let error = match sent {
                    Err(unsent) if rustls_error(&error).is_none() => unsent,
                    _ => error,
                };
                return Err(closed_or(GetError::Broken)(error));
            }
        }
    }
}

/// Reads an answer as far as it is there; `None` where more has to come. `at_end`: nothing more will.
fn read(bytes: &[u8], at_end: bool) -> Result<Option<Answer>, GetError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let parsed = head.parse(bytes).map_err(|_| GetError::NotHttp)?;
    let httparse::Status::Complete(length) = parsed else {
        return match bytes.len() {
            HEAD_MAX_BYTES.. => Err(GetError::TooLong),
            _ => Ok(None),
        };
    };
    let value = |name: &str| {
        let header = head
            .headers
            .iter()
            .find(|it| it.name.eq_ignore_ascii_case(name));
        header.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let rest = &bytes[length..];
    let is_chunked = value("transfer-encoding").is_some();
    let expected = value("content-length").map(|length| length.trim().parse::<usize>());
    let body = match expected {
        _ if is_chunked => unchunked(rest)?,
        Some(Ok(length)) if length > ANSWER_MAX_BYTES => return Err(GetError::TooLong),
        Some(Ok(length)) => rest.get(..length).map(<[u8]>::to_vec),
        Some(Err(_)) => return Err(GetError::NotHttp),
        // It goes on to the end of the connection.
        None => at_end.then(|| rest.to_vec()),
    };
    let date = value("date").and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
    let status = head.code.unwrap_or_default();
    Ok(body.map(|body| Answer {
        status,
        date: date.and_then(|date| SystemTime::try_from(date).ok()),
        body,
    }))
}

/// A body in chunks (RFC 9112 section 7.1); `None` where more has to come.
fn unchunked(mut rest: &[u8]) -> Result<Option<Vec<u8>>, GetError> {
    let mut body = Vec::new();
    loop {
        let size = httparse::parse_chunk_size(rest).map_err(|_| GetError::NotHttp)?;
        let httparse::Status::Complete((begin, size)) = size else {
            return Ok(None);
        };
        if size == 0 {
            return Ok(Some(body));
        }
        // More than is read can never come.
        let size = usize::try_from(size)
            .unwrap_or(usize::MAX)
            .min(2 * ANSWER_MAX_BYTES);
        let Some(data) = rest.get(begin..begin + size) else {
            return Ok(None);
        };
        body.extend_from_slice(data);
        // Behind it stands the end of a line.
        rest = rest.get(begin + size + 2..).unwrap_or_default();
    }
}

fn closed_or(other: fn(io::Error) -> GetError) -> impl Fn(io::Error) -> GetError {
    move |error| match is_end(error.kind()) && rustls_error(&error).is_none() {
        true => GetError::Closed,
        false => other(error),
    }
}

fn is_end(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer byte by byte: nothing is known before its end, and then this body.
    fn body_of(answer: &str, ends_with_connection: bool) -> String {
        for end in 0..answer.len() {
            let read = read(&answer.as_bytes()[..end], false).unwrap();
            assert!(read.is_none(), "{end} of {answer:?}");
        }
        let answer = read(answer.as_bytes(), ends_with_connection)
            .unwrap()
            .unwrap();
        assert_eq!(answer.status, 403);
        String::from_utf8(answer.body).unwrap()
    }

    #[test]
    fn bodies_end_by_length_by_chunks_or_with_the_connection() {
        let head = "HTTP/1.1 403 Forbidden\r\nDate: Thu, 01 Jan 1970 00:00:07 GMT\r\n";
        let bodies = [
            ("Content-Length: 4\r\n\r\nbody", false),
            (
                "transfer-encoding: chunked\r\n\r\n1\r\nb\r\n3;x=y\r\nody\r\n0\r\n",
                false,
            ),
            ("\r\nbody", true),
        ];
        for (body, ends_with_connection) in bodies {
            assert_eq!(
                body_of(&format!("{head}{body}"), ends_with_connection),
                "body"
            );
        }
        let answer = read(format!("{head}Content-Length: 0\r\n\r\n").as_bytes(), false);
        let date = answer.unwrap().unwrap().date;
        assert_eq!(date, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(7)));
    }

    #[test]
    fn what_is_no_answer_or_too_long_is_an_error() {
        let long = "x".repeat(HEAD_MAX_BYTES);
        for (bytes, too_long) in [
            ("220 smtp.example ESMTP\r\n", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", false),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno\r\n",
                false,
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n", true),
            (&*format!("HTTP/1.1 200 OK\r\nX: {long}"), true),
        ] {
            let error = read(bytes.as_bytes(), false).err().unwrap();
            assert_eq!(matches!(error, GetError::TooLong), too_long, "{bytes:?}");
        }
        // Half of one, and then the end.
        assert!(
            read(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbo", true)
                .unwrap()
                .is_none()
        );
        assert!(read(b"", true).unwrap().is_none());
    }
}
