//! From an address to an accepted connection: TCP, TLS where asked for, CONNECT and its answer.

use std::future::Future;
use std::io;
use std::pin::Pin;
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
use crate::dial;
use crate::tls::rustls_error;

/// What a connection runs over.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The way to the broker on its way.
pub type Opening<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn Io>, ConnectError>> + Send + 'a>>;

/// The way to the broker, up to where MQTT begins. An interface, so that a test can be the network.
pub trait Dial: Send + Sync {
    /// Opens a connection.
    fn open<'a>(&'a self, settings: &'a SessionSettings) -> Opening<'a>;
}

/// The network: TCP, and TLS where it is asked for.
pub struct Network;

impl Dial for Network {
    fn open<'a>(&'a self, settings: &'a SessionSettings) -> Opening<'a> {
        Box::pin(open(settings))
    }
}

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
    dial: Arc<dyn Dial>,
    settings: Arc<SessionSettings>,
    protocol: Protocol,
) -> Result<Connection, ConnectError> {
    tokio::time::timeout(CONNECT_TIMEOUT, attempt(&*dial, &settings, protocol))
        .await
        .unwrap_or(Err(ConnectError::Timeout))
}

async fn attempt(
    dial: &dyn Dial,
    settings: &SessionSettings,
    protocol: Protocol,
) -> Result<Connection, ConnectError> {
    let mut io = dial.open(settings).await?;
    let mut out = BytesMut::new();
    wire::write_connect(protocol, settings, &mut out)
        .map_err(|error| ConnectError::Protocol(error.to_string()))?;
    send(&mut io, &out).await?;
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

/// Sends CONNECT. Some brokers close before they have read it: on a version they do not know, or, in TLS 1.3, on a
/// certificate. Writing may then fail as well as reading, and why they did stands in what is there to read.
async fn send(io: &mut Box<dyn Io>, connect: &[u8]) -> Result<(), ConnectError> {
    let written = async {
        io.write_all(connect).await?;
        io.flush().await
    };
    let Err(error) = written.await else {
        return Ok(());
    };
    Err(match io.read_u8().await {
        Err(refusal) if rustls_error(&refusal).is_some() => ConnectError::Io(refusal),
        _ => closed_unanswered(error),
    })
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
    let tcp = dial::connect((settings.host.as_str(), settings.port)).await?;
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

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::ReadBuf;
    use tokio_rustls::rustls::{AlertDescription, Error as RustlsError};

    use super::*;

    /// What was to be read when the other side closed.
    struct Closed(fn() -> io::Error);

    impl AsyncRead for Closed {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Ready(Err((self.0)()))
        }
    }

    impl AsyncWrite for Closed {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn error_of(read: fn() -> io::Error) -> ConnectError {
        let mut io: Box<dyn Io> = Box::new(Closed(read));
        send(&mut io, b"CONNECT")
            .await
            .expect_err("nothing can be written")
    }

    #[tokio::test]
    async fn why_a_broker_closed_is_heard_although_nothing_can_be_written_any_more() {
        let alert = || {
            let alert = RustlsError::AlertReceived(AlertDescription::CertificateExpired);
            io::Error::new(io::ErrorKind::InvalidData, alert)
        };
        let error = error_of(alert).await;
        assert!(error.to_string().contains("CertificateExpired"), "{error}");
        let error = error_of(|| io::ErrorKind::ConnectionReset.into()).await;
        assert!(matches!(error, ConnectError::ClosedUnanswered), "{error}");
    }
}
