//! Why there is no connection, in words that say what to do.

use std::io;
use std::time::Duration;

use super::settings::Protocol;
use super::tls_fault::{TlsFault, in_words};
use crate::tls::{TlsError, rustls_error};

/// How long it may take until the broker has accepted the connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The network does not lead there, or leads no further.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// There is no TLS with whoever answers: another certificate than expected, or no TLS at all.
    #[error("the TLS handshake fails: {}", in_words(.0))]
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
        match self {
            ConnectError::Refused(_)
            | ConnectError::ServerName(_)
            | ConnectError::UnsupportedVersion(_)
            | ConnectError::TakenOver
            | ConnectError::TlsFiles(_)
            | ConnectError::SubscriptionRefused { .. } => true,
            // A connection that breaks in a handshake is no judgement; one that TLS ends is.
            ConnectError::Tls(error) => rustls_error(error).is_some(),
            // Some brokers judge our certificate when the handshake is done on our side.
            ConnectError::Io(_) => TlsFault::of(self).is_some(),
            _ => false,
        }
    }
}
