//! The credentials provider of AWS IoT: who has the device's certificate and its key gets credentials for the role
//! behind a role alias. The files are read at each request, so they can be renewed in place.

use std::time::{Duration, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Provided;
use aws_sdk_firehose::config::{Credentials, ProvideCredentials};
use tokio::time::timeout;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error as RustlsError};

use super::https::{self, GetError, Place};
use super::{Unavailable, answer};
use crate::parameters::IotParameters;
use crate::tls::{self, CertificateFault, TlsFiles, is_about_our_certificate, rustls_error};

/// How long a request may take, from the first packet to the last.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Asks AWS IoT each time it is asked.
#[derive(Debug)]
pub(super) struct DeviceCertificate {
    iot: IotParameters,
}

impl DeviceCertificate {
    /// With the certificate and for the role alias of these.
    pub fn new(iot: IotParameters) -> Self {
        DeviceCertificate { iot }
    }

    async fn ask(&self) -> Result<Credentials, Unavailable> {
        let iot = &self.iot;
        let files = TlsFiles {
            ca: iot.ca_file.clone(),
            client: Some((iot.cert_file.clone(), iot.key_file.clone())),
        };
        let place = Place {
            host: &iot.host,
            port: iot.port,
            // The characters of an alias mean nothing in a path.
            path: &format!("/role-aliases/{}/credentials", iot.role_alias),
        };
        let thing = iot.thing_name.as_deref();
        let header = thing.map(|thing| ("x-amzn-iot-thingname", thing));
        let answered = timeout(TIMEOUT, https::get(&files, &place, header)).await;
        let answered = answered.unwrap_or(Err(GetError::Timeout(TIMEOUT)));
        let answer = answered.map_err(|error| self.unanswered(&error))?;
        answer::credentials(iot, &answer, SystemTime::now())
    }

    /// What keeps us from an answer.
    fn unanswered(&self, error: &GetError) -> Unavailable {
        let iot = &self.iot;
        let (code, words) = match rustls_error(error) {
            Some(RustlsError::AlertReceived(alert)) if is_refusal(*alert) => (
                "IotCertificateRefused",
                format!(
                    "does not accept the certificate ({alert:?}): {}",
                    self.ours()
                ),
            ),
            Some(RustlsError::InvalidCertificate(fault)) => (
                "IotEndpointNotTrusted",
                format!(
                    "has a certificate that is not accepted here: {}",
                    of_theirs(fault)
                ),
            ),
            _ => match error {
                GetError::Files(error) => return Unavailable::new("IotFiles", error.to_string()),
                GetError::Closed => (
                    "IotCertificateRefused",
                    format!(
                        "closed the connection without an answer, as AWS IoT does where it does not know the \
                         certificate: {}",
                        self.ours()
                    ),
                ),
                error => ("IotUnreachable", format!("cannot be asked: {error}")),
            },
        };
        let message = format!("AWS IoT's credentials provider {} {words}", iot.host);
        Unavailable::new(code, message)
    }

    /// Our certificate, and what is wrong with it by itself.
    fn ours(&self) -> String {
        let path = self.iot.cert_file.display();
        match tls::validity(&self.iot.cert_file).and_then(|it| it.fault(SystemTime::now())) {
            Some(fault) => format!("{path} {fault}"),
            None => path.to_string(),
        }
    }
}

impl ProvideCredentials for DeviceCertificate {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::new(async { self.ask().await.map_err(CredentialsError::provider_error) })
    }
}

/// Whether the provider says by this that it does not want our certificate, or what was signed with its key.
fn is_refusal(alert: AlertDescription) -> bool {
    is_about_our_certificate(alert) || alert == AlertDescription::DecryptError
}

/// What is wrong with the provider's certificate, in words that are the same at each attempt: rustls counts seconds.
fn of_theirs(error: &CertificateError) -> String {
    let words = match CertificateFault::of(error) {
        Some(CertificateFault::Expired) => "it has expired by this device's clock",
        Some(CertificateFault::NotYetValid) => "it is not valid yet by this device's clock",
        Some(CertificateFault::UnknownAuthority) => {
            "no authority that is trusted here has signed it"
        }
        Some(CertificateFault::OtherName) => "it is for another name",
        None => return error.to_string(),
    };
    words.to_owned()
}
