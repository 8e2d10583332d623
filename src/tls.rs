//! TLS towards whoever we connect to: rustls with certificates and keys from files, and with the crypto provider that
//! the AWS SDK uses too; and what is wrong where there is none.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error as RustlsError, RootCertStore,
};

use crate::certificate::Validity;

mod files;

use files::{certificates, private_key};

/// Files in PEM form.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Certificates that the other side's has to be signed by; the system's where `None`.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key, where the other side asks for one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// What is wrong with the TLS files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is nearly PEM.
    #[error(
        "{path}: this file is not PEM as it has to be: {problem}; -----BEGIN and -----END of each block stand on lines of \
         their own, and base64 between them"
    )]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Why. Without what is in the file: that may be a key.
        problem: &'static str,
    },
    /// A file has none of what it is there for.
    #[error(
        "{path}: there is no certificate in this file{instead}; PEM blocks with BEGIN CERTIFICATE are needed"
    )]
    NoCertificate {
        /// Which file.
        path: PathBuf,
        /// What it has instead, and what to do then.
        instead: String,
    },
    /// The same for a key.
    #[error(
        "{path}: there is no private key in this file{instead}; a PEM block with BEGIN PRIVATE KEY is needed (or BEGIN \
         RSA PRIVATE KEY, or BEGIN EC PRIVATE KEY)"
    )]
    NoPrivateKey {
        /// Which file.
        path: PathBuf,
        /// What it has instead, and what to do then.
        instead: String,
    },
    /// A key that takes a password.
    #[error(
        "{path}: the private key in this file is encrypted, and there is nobody here to type its password; write it \
         without (openssl pkey -in {path} -out NEW_FILE), and name that file"
    )]
    EncryptedKey {
        /// Which file.
        path: PathBuf,
    },
    /// The system has no certificates to trust.
    #[error(
        "the system has no CA certificates to check the other side's with; install ca-certificates, or name a file of \
         them (MQTT_CA_FILE for the broker, IOT_CA_FILE for AWS IoT)"
    )]
    NoSystemCertificates,
    /// The files are readable and yet do not fit.
    #[error("{path}: {source}")]
    Unusable {
        /// Which file, or which two.
        path: String,
        /// In rustls's words.
        source: RustlsError,
    },
}

/// Reads the files into a client configuration.
///
/// # Errors
/// Says which file cannot be used, and why.
pub fn client_config(files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    let unusable = |path: &str| {
        let path = path.to_owned();
        move |source| TlsError::Unusable { path, source }
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable("TLS"))?
        .with_root_certificates(roots(files.ca.as_deref())?);
    Ok(match &files.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(unusable(&format!(
                "{} with {}",
                certificate.display(),
                key.display()
            )))?,
    })
}

/// When the certificate in a file holds, the first one where there are several; `None` where it has none.
pub fn validity(path: &Path) -> Option<Validity> {
    Validity::of(certificates(path).ok()?.first()?)
}

/// What rustls says, wherever it stands in an error's causes; `None` where it says nothing.
pub fn rustls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a RustlsError> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|cause| {
        // An I/O error is not the cause of what it holds.
        let held = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        held.and_then(|held| held.downcast_ref::<RustlsError>())
            .or_else(|| cause.downcast_ref())
    })
}

/// What is wrong with the other side's certificate, where that is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateFault {
    /// It is signed by none of the authorities that are trusted.
    UnknownAuthority,
    /// It is for another host name.
    OtherName,
    /// Its time is over.
    Expired,
    /// Its time has not come yet.
    NotYetValid,
}

impl CertificateFault {
    /// What rustls says of it.
    pub fn of(error: &CertificateError) -> Option<Self> {
        match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Some(CertificateFault::UnknownAuthority)
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Some(CertificateFault::OtherName)
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Some(CertificateFault::Expired)
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Some(CertificateFault::NotYetValid)
            }
            _ => None,
        }
    }
}

/// Whether the other side says by this that it wants a certificate of ours, or another one.
pub fn is_about_our_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots
                    .add(certificate)
                    .map_err(|source| TlsError::Unusable {
                        path: path.display().to_string(),
                        source,
                    })?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TlsError::NoSystemCertificates);
            }
        }
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(files: &TlsFiles) -> String {
        client_config(files).unwrap_err().to_string()
    }

    #[test]
    fn faults_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (missing, empty) = (
            folder.path().join("missing.pem"),
            folder.path().join("empty.pem"),
        );
        std::fs::write(&empty, "nothing").unwrap();
        let text = message(&TlsFiles {
            ca: Some(missing),
            client: None,
        });
        assert!(text.contains("missing.pem"), "{text}");
        let text = message(&TlsFiles {
            ca: Some(empty.clone()),
            client: None,
        });
        assert!(
            text.contains("empty.pem") && text.contains("no certificate"),
            "{text}"
        );
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let good = folder.path().join("good.pem");
        std::fs::write(&good, signed.cert.pem()).unwrap();
        let text = message(&TlsFiles {
            ca: Some(good.clone()),
            client: Some((good.clone(), empty.clone())),
        });
        assert!(text.contains("empty.pem"), "{text}");
        assert!(
            client_config(&TlsFiles {
                ca: Some(good),
                client: None
            })
            .is_ok()
        );
    }
}
