//! The local HTTP server: metrics, readiness and the page. It only reads. Requests that a web page of
//! somebody else made a browser send are refused by their Host; connections are bounded, and slow ones ended.

mod assets;
mod events;
mod host;
mod patient;
mod routes;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::observer::Observer;
use crate::parameters::HttpParameters;
use host::AllowedHosts;
use patient::Patient;

/// Connections at a time. A browser opens six, Prometheus one; who comes later waits.
const CONNECTIONS_MAX: usize = 32;

/// How long the head of a request may take, and a connection be silent between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is tried again to listen.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);

/// Pause after a connection could not be accepted: too many files are open, most likely.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    task: JoinHandle<()>,
}

impl Server {
    /// Starts a server that shows what `observer` sees. An address that cannot be listened on is tried again
    /// for ever: records are to flow meanwhile.
    pub fn start(parameters: &HttpParameters, observer: Observer) -> Self {
        Self::start_with(listen(parameters.listen), parameters, observer)
    }

    /// The same with a listener there is already, at the address of the parameters.
    ///
    /// # Errors
    /// What the operating system said of the listener.
    pub fn start_on(
        listener: std::net::TcpListener,
        parameters: &HttpParameters,
        observer: Observer,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        tell_served(parameters.listen);
        let listener = std::future::ready(listener);
        Ok(Self::start_with(listener, parameters, observer))
    }

    fn start_with(
        listener: impl Future<Output = TcpListener> + Send + 'static,
        parameters: &HttpParameters,
        observer: Observer,
    ) -> Self {
        let hosts = AllowedHosts::new(parameters.allowed_hosts.iter().cloned(), parameters.listen);
        Server {
            task: tokio::spawn(async move {
                let app = routes::app(observer, hosts);
                accept(listener.await, app).await;
            }),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn tell_served(address: SocketAddr) {
    tracing::info!(%address, "metrics and the page are served (HTTP_LISTEN)");
}

async fn listen(address: SocketAddr) -> TcpListener {
    let mut is_told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                tell_served(address);
                return listener;
            }
            Err(error) if !is_told => {
                tracing::error!(
                    %address,
                    %error,
                    "metrics and the page cannot be served (HTTP_LISTEN); records flow all the same, and it is tried again every {} s",
                    LISTEN_AGAIN.as_secs()
                );
                is_told = true;
            }
            Err(_) => {}
        }
        sleep(LISTEN_AGAIN).await;
    }
}

async fn accept(listener: TcpListener, app: axum::Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Ended with this task.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        // Nobody closes it.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match accept_one(&listener).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "an HTTP connection could not be accepted");
                sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let app = app.clone();
        connections.spawn(async move {
            serve(stream, app).await;
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn accept_one(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn serve(stream: TcpStream, app: axum::Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // Requests have no bodies, and their heads are small.
        .max_buf_size(16 * 1024)
        .serve_connection(
            TokioIo::new(Patient::new(stream)),
            TowerToHyperService::new(app),
        )
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP connection ended");
    }
}
