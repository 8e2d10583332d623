//! How to reach the broker, and what to ask of it.

use std::path::Path;

use crate::tls::TlsFiles;

/// Which version of MQTT a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.
    V5,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Protocol::V311 => "3.1.1",
            Protocol::V5 => "5",
        })
    }
}

/// Which version to connect with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolChoice {
    /// 5, falling back to 3.1.1 where the broker refuses.
    Auto,
    /// This one only.
    Only(Protocol),
}

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

/// A message that the broker publishes, retained, when a connection breaks without a goodbye.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: String,
}

/// How to reach the broker and what to ask of it.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// The broker's host name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// TLS where the broker wants it. The files are read at each connect, so a certificate may be
    /// renewed under a running connector.
    pub tls: Option<TlsFiles>,
    /// Whom the broker keeps the session for.
    pub client_id: String,
    /// User and password where the broker wants them.
    pub credentials: Option<Credentials>,
    /// Which version of MQTT.
    pub protocol: ProtocolChoice,
    /// Start without a session and leave none: for short visits.
    pub clean: bool,
    /// What to subscribe to, at QoS 1.
    pub filters: Vec<String>,
    /// Subscriptions to end that a session may have which the broker kept: those of an earlier configuration.
    pub former_filters: Vec<String>,
    /// What the broker publishes when the connection breaks.
    pub will: Option<Will>,
    /// Messages the broker may have under way to us un-acknowledged (MQTT 5 only; 3.1.1 brokers
    /// have a window of their own).
    pub receive_maximum: u16,
    /// Longest silence before the other side is asked whether it lives, in seconds.
    pub keep_alive_seconds: u16,
}

impl SessionSettings {
    /// The certificate of ours that the broker is shown.
    pub(super) fn certificate(&self) -> Option<&Path> {
        let client = self.tls.as_ref()?.client.as_ref();
        client.map(|(certificate, _)| certificate.as_path())
    }
}

/// Where a broker is, as it stands in a URL: an IPv6 address in brackets.
pub fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_ipv6_address_stands_in_brackets() {
        for (host, expected) in [
            ("broker.local", "broker.local:1883"),
            ("127.0.0.1", "127.0.0.1:1883"),
            ("::1", "[::1]:1883"),
            ("fe80::1%eth0", "[fe80::1%eth0]:1883"),
        ] {
            assert_eq!(host_and_port(host, 1883), expected);
        }
    }
}
