//! From an address to an accepted connection: TCP, TLS where asked for, CONNECT and its answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::frame::{Frame, Framer};
use super::session::SessionSettings;
use super::tls::{TlsError, client_config};
use super::wire::{self, Accepted, Protocol};

/// How long it may take until the broker has accepted the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// User and password for the broker.
#[derive(Clone)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// May be empty.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The network does not lead there, or leads no further.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// There is no TLS with whoever answers: another certificate than expected, or no TLS at all.
    #[error("the TLS handshake fails: {0}")]
    Tls(io::Error),
    /// The host name cannot stand in a certificate.
    #[error("{0:?} is no host name that a certificate can have")]
    ServerName(String),
    /// Nobody answered in time.
    #[error("no answer within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    /// The broker closed the connection instead of answering CONNECT.
    #[error("the broker closed the connection without an answer")]
    ClosedUnanswered,
    /// The broker does not speak this version.
    #[error("the broker does not speak MQTT {0}")]
    UnsupportedVersion(Protocol),
    /// The broker does not want us.
    #[error("the broker refuses the connection: {0}")]
    Refused(String),
    /// The broker cannot take us at present: it starts, or has too much to do.
    #[error("the broker cannot take the connection at present: {0}")]
    Busy(String),
    /// The broker refuses to let us subscribe.
    #[error(
        "the broker refuses the subscription to {filter}: {reason}; allow this client to read it"
    )]
    SubscriptionRefused {
        /// Which topic filter.
        filter: String,
        /// In the words of the protocol.
        reason: String,
    },
    /// The broker said nothing for longer than the keep-alive allows.
    #[error("the broker has gone silent")]
    Silent,
    /// The broker closed the connection.
    #[error("the broker closed the connection")]
    Closed,
    /// The broker said that it ends the connection.
    #[error("the broker ended the connection: {0}")]
    Ended(String),
    /// Another client came with our client id.
    #[error(
        "another client with the same MQTT_CLIENT_ID took the session over; each client of a broker \
         needs one of its own"
    )]
    TakenOver,
    /// The TLS files cannot be used (any more).
    #[error("{0}")]
    TlsFiles(#[from] TlsError),
    /// The broker sent what no broker may.
    #[error("the broker does not keep to the protocol: {0}")]
    Protocol(String),
}

impl ConnectError {
    /// Whether it takes a person to change this: then trying often helps nobody.
    pub(super) fn needs_a_person(&self) -> bool {
        matches!(
            self,
            ConnectError::Refused(_)
                | ConnectError::ServerName(_)
                | ConnectError::UnsupportedVersion(_)
                | ConnectError::TakenOver
                | ConnectError::TlsFiles(_)
                | ConnectError::SubscriptionRefused { .. }
        )
    }
}

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
            .read_buf(framer.space())
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
