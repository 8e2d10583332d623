//! What is wrong where there is no TLS with the broker, and what to do about it.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error as RustlsError};

use super::error::ConnectError;
use super::settings::SessionSettings;
use crate::tls::{self, CertificateFault, is_about_our_certificate, rustls_error};
use crate::utc::Utc;

/// What is wrong, where an error says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFault {
    /// Something is wrong with the broker's certificate.
    OfTheBrokers(CertificateFault),
    /// The broker wants a certificate of ours, or another one.
    Ours,
    /// The broker says only that there is nothing to agree on. With TLS 1.2 also where it wants a certificate.
    NothingInCommon,
    /// The broker speaks another version of TLS.
    Version,
    /// The broker does not know the name under which MQTT is asked for on port 443.
    NoMqttOn443,
}

impl TlsFault {
    /// What an error of a connection says.
    pub fn of(error: &ConnectError) -> Option<Self> {
        let (ConnectError::Tls(error) | ConnectError::Io(error)) = error else {
            return None;
        };
        match rustls_error(error)? {
            RustlsError::InvalidCertificate(fault) => {
                CertificateFault::of(fault).map(TlsFault::OfTheBrokers)
            }
            RustlsError::AlertReceived(alert) => Self::of_an_alert(*alert),
            RustlsError::PeerIncompatible(_) => Some(TlsFault::NothingInCommon),
            RustlsError::NoApplicationProtocol => Some(TlsFault::NoMqttOn443),
            _ => None,
        }
    }

    fn of_an_alert(alert: AlertDescription) -> Option<Self> {
        use AlertDescription as Alert;
        match alert {
            alert if is_about_our_certificate(alert) => Some(TlsFault::Ours),
            Alert::HandshakeFailure => Some(TlsFault::NothingInCommon),
            Alert::ProtocolVersion => Some(TlsFault::Version),
            Alert::NoApplicationProtocol => Some(TlsFault::NoMqttOn443),
            _ => None,
        }
    }
}

/// An error of TLS in words that are the same at each attempt: rustls counts the seconds.
pub(super) fn in_words(error: &io::Error) -> String {
    let date = |seconds: u64| Utc::from(UNIX_EPOCH + Duration::from_secs(seconds));
    match rustls_error(error) {
        Some(RustlsError::InvalidCertificate(CertificateError::ExpiredContext {
            not_after,
            ..
        })) => format!(
            "the broker's certificate has expired, on {}",
            date(not_after.as_secs())
        ),
        Some(RustlsError::InvalidCertificate(CertificateError::NotValidYetContext {
            not_before,
            ..
        })) => format!(
            "the broker's certificate is not valid before {}",
            date(not_before.as_secs())
        ),
        _ => error.to_string(),
    }
}

/// What to do about an error, where more is to be said than it says itself.
pub fn advice(error: &ConnectError, settings: &SessionSettings) -> Option<String> {
    settings.tls.as_ref()?;
    let ours = settings.certificate();
    let Some(fault) = TlsFault::of(error) else {
        return may_be_about(ours?, error);
    };
    let fixed = match fault {
        TlsFault::OfTheBrokers(CertificateFault::UnknownAuthority) => {
            "the broker's certificate is not signed by an authority that is trusted here: set MQTT_CA_FILE to the \
             certificate of the one that signed it"
        }
        TlsFault::OfTheBrokers(CertificateFault::OtherName) => {
            "the broker's certificate is for another name: put one of its names into MQTT_URL, or \
             have one issued for this host"
        }
        TlsFault::OfTheBrokers(CertificateFault::Expired) => {
            "the broker's certificate has expired: renew it there, or set this device's clock right"
        }
        TlsFault::OfTheBrokers(CertificateFault::NotYetValid) => {
            "the broker's certificate is not valid yet: set this device's clock right"
        }
        TlsFault::Ours => return Some(about_ours(ours)),
        TlsFault::NothingInCommon => match ours {
            None => {
                "the broker may want a certificate of this device (MQTT_CERT_FILE and MQTT_KEY_FILE), or has no cipher \
                 in common with TLS 1.2 and 1.3 as spoken here"
            }
            Some(_) => return Some(about_ours(ours)),
        },
        TlsFault::Version => "the broker must speak TLS 1.2 or 1.3",
        TlsFault::NoMqttOn443 => {
            "on port 443 MQTT is asked for as AWS IoT Core has it (ALPN x-amzn-mqtt-ca): take another port of this broker"
        }
    };
    Some(fixed.to_owned())
}

/// Some brokers just hang up where they do not like a certificate, or what it is used for.
fn may_be_about(certificate: &Path, error: &ConnectError) -> Option<String> {
    match error {
        ConnectError::Tls(_) => fault_of_ours(certificate),
        ConnectError::ClosedUnanswered | ConnectError::Closed => {
            let other = || {
                format!(
                    "if this goes on: some brokers, AWS IoT Core for one, say no more where the certificate in {} \
                     (MQTT_CERT_FILE) is not active there, or its policy does not let it connect as MQTT_CLIENT_ID or \
                     subscribe to these topics",
                    certificate.display()
                )
            };
            Some(fault_of_ours(certificate).unwrap_or_else(other))
        }
        _ => None,
    }
}

/// The broker refuses our certificate, or the lack of one.
fn about_ours(certificate: Option<&Path>) -> String {
    let Some(path) = certificate else {
        return "the broker wants a certificate of this device: set MQTT_CERT_FILE and MQTT_KEY_FILE".to_owned();
    };
    fault_of_ours(path).unwrap_or_else(|| {
        format!(
            "the broker does not accept {} (MQTT_CERT_FILE), whose time is right: see whether it trusts the authority \
             that signed it, and whether the certificate is active there",
            path.display()
        )
    })
}

/// What is wrong with our certificate by itself.
fn fault_of_ours(path: &Path) -> Option<String> {
    let fault = tls::validity(path)?.fault(SystemTime::now())?;
    Some(format!(
        "{} (MQTT_CERT_FILE) {fault}: put a new one there, which is read at the next attempt, or set the clock right",
        path.display()
    ))
}
