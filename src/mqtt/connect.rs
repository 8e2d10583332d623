//! From an address to an accepted connection: TCP, TLS where asked for, CONNECT and its answer.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::error::{CONNECT_TIMEOUT, ConnectError};
use super::frame::{Frame, Framer};
use super::settings::{Protocol, SessionSettings};
use super::tls::client_config;
use super::wire::{self, Accepted};

/// What a connection runs over.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection that the broker accepted.
pub(super) struct Connection {
    /// What it runs over.
    pub io: Box<dyn Io>,
    /// What it speaks.
    pub protocol: Protocol,
    /// What came behind the broker's answer is in here already.
    pub framer: Framer,
    /// The broker's answer.
    pub accepted: Accepted,
}

/// Connects, within ten seconds.
pub(super) async fn connect(
    settings: Arc<SessionSettings>,
    protocol: Protocol,
) -> Result<Connection, ConnectError> {
    tokio::time::timeout(CONNECT_TIMEOUT, attempt(&settings, protocol))
        .await
        .unwrap_or(Err(ConnectError::Timeout))
}

async fn attempt(
    settings: &SessionSettings,
    protocol: Protocol,
) -> Result<Connection, ConnectError> {
    let mut io = open(settings).await?;
    let mut out = BytesMut::new();
    wire::write_connect(protocol, settings, &mut out)
        .map_err(|error| ConnectError::Protocol(error.to_string()))?;
    // Some brokers close on a version they do not know: writing may fail as well as reading.
    let written = async {
        io.write_all(&out).await?;
        io.flush().await
    };
    written.await.map_err(closed_unanswered)?;
    let mut framer = Framer::new(protocol);
    loop {
        if io
            .read_buf(&mut framer.space())
            .await
            .map_err(closed_unanswered)?
            == 0
        {
            return Err(ConnectError::ClosedUnanswered);
        }
        match framer
            .next()
            .map_err(|error| ConnectError::Protocol(error.to_string()))?
        {
            None => {}
            Some(Frame::Other(frame)) => {
                let accepted = wire::read_connack(protocol, frame)?;
                return Ok(Connection {
                    io,
                    protocol,
                    framer,
                    accepted,
                });
            }
            Some(Frame::Publish(..)) => {
                return Err(ConnectError::Protocol(
                    "it sent a message before its answer to CONNECT".into(),
                ));
            }
        }
    }
}

fn closed_unanswered(error: io::Error) -> ConnectError {
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => ConnectError::ClosedUnanswered,
        _ => ConnectError::Io(error),
    }
}

async fn open(settings: &SessionSettings) -> Result<Box<dyn Io>, ConnectError> {
    let tcp = TcpStream::connect((settings.host.as_str(), settings.port)).await?;
    // Acknowledgements are small and waited for: they must not wait for more to send.
    tcp.set_nodelay(true)?;
    secure(settings, tcp).await
}

/// Puts TLS on a connection where it is asked for.
pub(super) async fn secure(
    settings: &SessionSettings,
    tcp: TcpStream,
) -> Result<Box<dyn Io>, ConnectError> {
    let Some(files) = &settings.tls else {
        return Ok(Box::new(tcp));
    };
    let tls = client_config(files, settings.port)?;
    let name = ServerName::try_from(settings.host.clone())
        .map_err(|_| ConnectError::ServerName(settings.host.clone()))?;
    Ok(Box::new(
        TlsConnector::from(tls)
            .connect(name, tcp)
            .await
            .map_err(ConnectError::Tls)?,
    ))
}
