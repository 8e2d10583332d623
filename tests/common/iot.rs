//! A stand-in for AWS IoT's credentials provider: a real TLS server that wants a certificate of the device's, and
//! answers as the service does.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kinesis_edge::utc::Utc;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::Authority;

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Method and path.
    pub line: String,
    /// The header `x-amzn-iot-thingname`.
    pub thing: Option<String>,
    /// The certificate of whoever asked, in DER form.
    pub certificate: Vec<u8>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Credentials with this access key id, for so long, and the date of a clock that is ahead by so many seconds.
    Granted(&'static str, Duration, i64),
    /// Something else: a status and a body.
    Other(u16, String),
    /// Nothing, for ever.
    Silence,
}

impl Reply {
    /// A refusal in the words of the service.
    pub fn refused(status: u16, message: &str) -> Self {
        Reply::Other(status, format!(r#"{{"message":"{message}"}}"#))
    }
}

/// The provider, its authority and the device's files.
pub struct IotProvider {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    /// Has signed the provider's certificate and the device's.
    pub authority: Authority,
    folder: tempfile::TempDir,
    asked: Arc<Mutex<Vec<Asked>>>,
    reply: Arc<Mutex<Reply>>,
}

impl IotProvider {
    /// One that grants credentials under this access key id for an hour, to `device.pem` with `device.key`.
    pub async fn start(key_id: &'static str) -> Self {
        Self::start_with(key_id, &TLS13).await
    }

    /// One that speaks this version of TLS alone.
    pub async fn start_with(
        key_id: &'static str,
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        Self::certified(key_id, version, &["localhost", "127.0.0.1"], 1975..4096).await
    }

    /// One whose certificate is for these hosts and years.
    pub async fn certified(
        key_id: &'static str,
        version: &'static SupportedProtocolVersion,
        hosts: &[&str],
        years: Range<i32>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("authority");
        std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
        authority.issue_for(folder.path(), "provider", hosts, years);
        authority.issue(folder.path(), "device", &["device"]);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let provider = IotProvider {
            port: listener.local_addr().unwrap().port(),
            authority,
            asked: Arc::default(),
            reply: Arc::new(Mutex::new(Reply::Granted(
                key_id,
                Duration::from_secs(3600),
                0,
            ))),
            folder,
        };
        let acceptor = TlsAcceptor::from(Arc::new(tls(provider.folder.path(), version)));
        let (asked, reply) = (Arc::clone(&provider.asked), Arc::clone(&provider.reply));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let answering = answer(acceptor.clone(), tcp, asked.clone(), reply.clone());
                tokio::spawn(answering);
            }
        });
        provider
    }

    /// What it answers from now on.
    pub fn reply(&self, reply: Reply) {
        *self.reply.lock().unwrap_or_else(PoisonError::into_inner) = reply;
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }

    /// A file of its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder with all files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The parameters with which the device gets credentials.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let file = |name| self.path(name).display().to_string();
        vec![
            (
                "IOT_CREDENTIAL_ENDPOINT",
                format!("localhost:{}", self.port),
            ),
            ("IOT_ROLE_ALIAS", "edge-alias".to_owned()),
            ("IOT_CERT_FILE", file("device.pem")),
            ("IOT_KEY_FILE", file("device.key")),
            ("IOT_CA_FILE", file("ca.pem")),
        ]
    }
}

/// The server's side of TLS, for clients with a certificate of the authority.
fn tls(folder: &Path, version: &'static SupportedProtocolVersion) -> ServerConfig {
    let certificates = |name: &str| -> Vec<_> {
        let found = CertificateDer::pem_file_iter(folder.join(name)).unwrap();
        found.map(Result::unwrap).collect()
    };
    let crypto = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in certificates("ca.pem") {
        roots.add(root).unwrap();
    }
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), crypto.clone());
    ServerConfig::builder_with_provider(crypto)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(
            certificates("provider.pem"),
            PrivateKeyDer::from_pem_file(folder.join("provider.key")).unwrap(),
        )
        .unwrap()
}

async fn answer(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    asked: Arc<Mutex<Vec<Asked>>>,
    reply: Arc<Mutex<Reply>>,
) {
    // Whoever is refused learns of it by an alert.
    let Ok(tls) = acceptor.accept(tcp).await else {
        return;
    };
    let shown = tls.get_ref().1.peer_certificates().unwrap_or_default();
    let certificate = shown.first().map(|first| first.to_vec());
    let service = service_fn(|request: Request<Incoming>| {
        let thing = request.headers().get("x-amzn-iot-thingname");
        asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Asked {
                line: format!("{} {}", request.method(), request.uri()),
                thing: thing.map(|thing| thing.to_str().unwrap().to_owned()),
                certificate: certificate.clone().unwrap_or_default(),
            });
        let reply = reply.lock().unwrap_or_else(PoisonError::into_inner).clone();
        async move { response(reply).await }
    });
    let server = hyper::server::conn::http1::Builder::new();
    // A client that ends the connection is no matter.
    let _ = server.serve_connection(TokioIo::new(tls), service).await;
}

async fn response(reply: Reply) -> hyper::http::Result<Response<String>> {
    let response = Response::builder().header("content-type", "application/json");
    match reply {
        Reply::Granted(key_id, lifetime, ahead_s) => {
            let ahead = Duration::from_secs(ahead_s.unsigned_abs());
            let now = match ahead_s {
                0.. => SystemTime::now() + ahead,
                _ => SystemTime::now() - ahead,
            };
            let end = Utc::from(now + lifetime);
            response
                .header("date", kinesis_edge::utc::http_date(now))
                .body(format!(
                    r#"{{"credentials":{{"accessKeyId":"{key_id}","secretAccessKey":"hidden-secret",
                        "sessionToken":"hidden-token","expiration":"{end}"}}}}"#
                ))
        }
        Reply::Other(status, body) => response.status(status).body(body),
        Reply::Silence => std::future::pending().await,
    }
}
