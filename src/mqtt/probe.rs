//! Short visits to the broker, for whoever wants to know beforehand what a session would meet: one
//! question at a time, and nothing is tried again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::connect::{Connection, Io, Network, connect, secure};
use super::error::ConnectError;
use super::frame::{Frame, Framer};
use super::settings::{Protocol, ProtocolChoice, SessionSettings};
use super::wire::{self, Packet};
use crate::dial;

/// The packet id of whatever a visit asks; it asks one thing at a time.
const PACKET_ID: u16 = 1;

/// How long the broker may take to let go of a visitor.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why the broker is not reached.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// Its name leads to no address.
    #[error("the host name cannot be resolved: {0}")]
    Name(io::Error),
    /// Nobody takes a connection at its address.
    #[error("nobody takes a connection there: {0}")]
    Tcp(io::Error),
    /// There is somebody, and no TLS with them.
    #[error(transparent)]
    Tls(ConnectError),
}

/// Finds the broker, connects, makes TLS where it is asked for, and hangs up. The addresses that its name
/// leads to.
///
/// # Errors
/// Says how far it came.
pub async fn reach(settings: &SessionSettings) -> Result<Vec<SocketAddr>, Unreachable> {
    let found = lookup_host((settings.host.as_str(), settings.port)).await;
    let addresses: Vec<SocketAddr> = found.map_err(Unreachable::Name)?.collect();
    let tcp = dial::connect(&addresses[..])
        .await
        .map_err(Unreachable::Tcp)?;
    secure(settings, tcp).await.map_err(Unreachable::Tls)?;
    Ok(addresses)
}

/// A connection that the broker accepted.
pub struct Visit {
    /// What it runs over.
    io: Box<dyn Io>,
    /// Cuts what was read.
    framer: Framer,
    /// What it speaks.
    protocol: Protocol,
    /// Whether the broker had a session under this client id.
    resumed: bool,
    /// Whether messages are acknowledged: those of a session that is another's are not.
    acknowledges: bool,
    /// How many filters it subscribed to last.
    filters: usize,
    /// What was published and may come back.
    published: Option<Vec<u8>>,
    /// Whether it did.
    came_back: bool,
}

impl Visit {
    /// Connects and logs in, as a session would: with the other version of MQTT too where that is left open.
    /// Subscribes to nothing. A visit that is not `clean` acknowledges nothing.
    ///
    /// # Errors
    /// As for a session.
    pub async fn begin(settings: &SessionSettings) -> Result<Self, ConnectError> {
        let shared = Arc::new(settings.clone());
        let connect = |protocol| connect(Arc::new(Network), Arc::clone(&shared), protocol);
        let connection = match settings.protocol {
            ProtocolChoice::Only(protocol) => connect(protocol).await?,
            ProtocolChoice::Auto => match connect(Protocol::V5).await {
                // Some brokers of 3.1.1 just close.
                Err(
                    ConnectError::UnsupportedVersion(_)
                    | ConnectError::ClosedUnanswered
                    | ConnectError::Protocol(_),
                ) => connect(Protocol::V311).await?,
                connected => connected?,
            },
        };
        let Connection {
            io,
            protocol,
            framer,
            accepted,
        } = connection;
        Ok(Visit {
            io,
            framer,
            protocol,
            resumed: accepted.session_present,
            acknowledges: settings.clean,
            filters: 0,
            published: None,
            came_back: false,
        })
    }

    /// What it speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Subscribes: for each filter why it was refused, if it was.
    ///
    /// # Errors
    /// Where the connection ends instead.
    pub async fn subscribe(
        &mut self,
        filters: &[String],
    ) -> Result<Vec<Option<String>>, ConnectError> {
        let mut out = BytesMut::new();
        wire::write_subscribe(self.protocol, filters, PACKET_ID, &mut out).map_err(unwritable)?;
        self.filters = filters.len();
        self.write(&out).await?;
        loop {
            if let Some(Packet::SubAck { refused }) = self.next().await? {
                return Ok(refused);
            }
        }
    }

    /// Publishes at QoS 1. Why it was refused, if the broker says that it was: only MQTT 5 has words for it.
    ///
    /// # Errors
    /// Where the connection ends instead.
    pub async fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
    ) -> Result<Option<String>, ConnectError> {
        let mut out = BytesMut::new();
        let bytes = payload.len();
        wire::write_publish_head(
            self.protocol,
            &mut out,
            topic,
            PACKET_ID,
            bytes,
            false,
            false,
        )
        .map_err(unwritable)?;
        out.put_slice(payload);
        (self.published, self.came_back) = (Some(payload.to_vec()), false);
        self.write(&out).await?;
        loop {
            if let Some(Packet::PubAck { refused, .. }) = self.next().await? {
                return Ok(refused);
            }
        }
    }

    /// Waits until what was published comes back.
    ///
    /// # Errors
    /// Where the connection ends instead.
    pub async fn until_back(&mut self) -> Result<(), ConnectError> {
        while !self.came_back {
            self.next().await?;
        }
        Ok(())
    }

    /// Stays until the broker ends the connection. Says why.
    pub async fn until_ended(&mut self) -> ConnectError {
        loop {
            if let Err(error) = self.next().await {
                return error;
            }
        }
    }

    /// Says goodbye. A session that the visit itself has made does not stay, where the protocol can say so.
    pub async fn end(mut self) {
        let mut out = BytesMut::new();
        let made_here = !self.resumed && self.protocol == Protocol::V5;
        let written = if made_here {
            wire::write_disconnect_for_good(&mut out);
            Ok(())
        } else {
            wire::write_disconnect(&mut out)
        };
        if written.is_ok() {
            // Who does not listen to a goodbye cannot be helped.
            let _ = timeout(GOODBYE, async {
                self.write(&out).await?;
                self.io.shutdown().await.map_err(ConnectError::from)
            })
            .await;
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), ConnectError> {
        self.io.write_all(bytes).await?;
        self.io.flush().await?;
        Ok(())
    }

    /// The next packet; `None`: it was a message, which is noted.
    async fn next(&mut self) -> Result<Option<Packet>, ConnectError> {
        let protocol = |error: String| ConnectError::Protocol(error);
        loop {
            let frame = self.framer.next().map_err(|e| protocol(e.to_string()))?;
            match frame {
                Some(Frame::Publish(message, packet_id)) => {
                    self.came_back |= self.published.as_deref() == Some(message.payload());
                    if packet_id != 0 && self.acknowledges {
                        let mut out = BytesMut::new();
                        wire::write_puback(packet_id, &mut out).map_err(unwritable)?;
                        self.write(&out).await?;
                    }
                    return Ok(None);
                }
                Some(Frame::Other(frame)) => {
                    let packet =
                        wire::read(self.protocol, frame, self.filters).map_err(protocol)?;
                    return match packet {
                        Packet::Disconnect(reason) if reason == wire::SESSION_TAKEN_OVER => {
                            Err(ConnectError::TakenOver)
                        }
                        Packet::Disconnect(reason) => Err(ConnectError::Ended(reason)),
                        packet => Ok(Some(packet)),
                    };
                }
                None => {}
            }
            if self.io.read_buf(&mut self.framer.space()).await? == 0 {
                return Err(ConnectError::Closed);
            }
        }
    }
}

fn unwritable(error: wire::WriteError) -> ConnectError {
    ConnectError::Protocol(error.to_string())
}
