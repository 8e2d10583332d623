//! TLS to the broker, through rustls with the crypto provider that the AWS SDK uses too.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, Error as RustlsError, RootCertStore};

/// Port 443 of AWS IoT Core tells MQTT from HTTPS by this protocol name (AWS IoT developer guide).
const IOT_CORE_PORT: u16 = 443;
const IOT_CORE_ALPN: &[u8] = b"x-amzn-mqtt-ca";

/// Files in PEM form.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Certificates that the broker's has to be signed by; the system's where `None`.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key, where the broker asks for one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// What is wrong with the TLS files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or is not PEM.
    #[error("{path}: {source}")]
    Pem {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// A file has none of what it is there for.
    #[error(
        "{path}: there is no certificate in this file; PEM blocks with BEGIN CERTIFICATE are needed"
    )]
    NoCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// The system has no certificates to trust.
    #[error(
        "the system has no CA certificates to check the broker's with; set MQTT_CA_FILE or install ca-certificates"
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

/// Reads the files into a client configuration for a broker on `port`.
///
/// # Errors
/// Says which file cannot be used, and why.
pub fn client_config(files: &TlsFiles, port: u16) -> Result<Arc<ClientConfig>, TlsError> {
    let unusable = |path: &str| {
        let path = path.to_owned();
        move |source| TlsError::Unusable { path, source }
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable("TLS"))?
        .with_root_certificates(roots(files.ca.as_deref())?);
    let mut config = match &files.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(unusable(&format!(
                "{} with {}",
                certificate.display(),
                key.display()
            )))?,
    };
    if port == IOT_CORE_PORT {
        config.alpn_protocols.push(IOT_CORE_ALPN.to_vec());
    }
    Ok(Arc::new(config))
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

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |source| TlsError::Pem {
        path: path.to_owned(),
        source,
    };
    let found = CertificateDer::pem_file_iter(path)
        .map_err(pem)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(pem)?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::Pem {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(files: &TlsFiles) -> String {
        client_config(files, 8883).unwrap_err().to_string()
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
            client_config(
                &TlsFiles {
                    ca: Some(good),
                    client: None
                },
                8883
            )
            .is_ok()
        );
    }

    #[test]
    fn port_443_asks_for_mqtt() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&ca, signed.cert.pem()).unwrap();
        let files = TlsFiles {
            ca: Some(ca),
            client: None,
        };
        assert_eq!(
            client_config(&files, 443).unwrap().alpn_protocols,
            [IOT_CORE_ALPN.to_vec()]
        );
        assert!(
            client_config(&files, 8883)
                .unwrap()
                .alpn_protocols
                .is_empty()
        );
    }
}
