//! The embedded Firehose endpoint: `PutRecord` and `PutRecordBatch` over plain HTTP/1.1 on
//! loopback, with the documented limits enforced and faults on command. It never checks a
//! signature, only that there is one, and of what date. What it accepts goes to the journal, and to a folder if one
//! is given; the faults decide what the client hears about it.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::connection::{Told, WatchedSocket};
use super::faults::FaultKnobs;
use super::journal::{Accepted, StreamStats};
use super::service::Service;
use super::{LocalError, require_loopback};

#[cfg(test)]
mod tests;

/// What error messages call this stand-in.
const WHAT: &str = "Firehose endpoint";

/// How long to leave a failing `accept` alone: it fails when the process is out of file handles,
/// and trying at once burns a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How an endpoint is to be.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// Where to listen: loopback only; port 0 picks a free port.
    pub addr: SocketAddr,
    /// A folder that accepted records are written under, as Firehose writes them to S3; `None`
    /// writes nothing.
    pub storage: Option<PathBuf>,
    /// Whether to keep every accepted record in memory for [`Endpoint::accepted`]. For tests:
    /// memory grows with each record.
    pub journal: bool,
    /// The streams that exist; any other is answered `ResourceNotFoundException`. `None` means that
    /// every stream exists.
    pub streams: Option<HashSet<String>>,
}

/// A running endpoint. Dropping it stops it as well, only without waiting.
#[derive(Debug)]
pub struct Endpoint {
    /// The address that was really bound, which is news when port 0 was asked for.
    addr: SocketAddr,
    /// Shared with every connection.
    service: Arc<Service>,
    /// Its end, by `stop` or by drop, ends the listener and every connection.
    running: watch::Sender<()>,
    /// Ends when every connection is closed, so `stop` can wait for it.
    task: JoinHandle<()>,
}

impl Endpoint {
    /// Starts an endpoint; it takes connections when this returns.
    ///
    /// # Errors
    /// [`LocalError::NotLoopback`], [`LocalError::AddressInUse`], [`LocalError::Listen`] or
    /// [`LocalError::Storage`].
    pub async fn start(config: EndpointConfig) -> Result<Self, LocalError> {
        let EndpointConfig {
            addr,
            storage,
            journal,
            streams,
        } = config;
        require_loopback(WHAT, addr)?;
        let listening = |error| LocalError::listening(WHAT, addr, error);
        let listener = TcpListener::bind(addr).await.map_err(listening)?;
        let addr = listener.local_addr().map_err(listening)?;
        let service = Arc::new(Service::new(storage, journal, streams)?);
        let (running, stopped) = watch::channel(());
        let task = tokio::spawn(accept(listener, Arc::clone(&service), stopped));
        Ok(Self {
            addr,
            service,
            running,
            task,
        })
    }

    /// The address the endpoint listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The same as an SDK takes it for an endpoint: `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The knobs that make calls fail, from now on and without a restart.
    #[must_use]
    pub fn faults(&self) -> FaultKnobs {
        self.service.faults.clone()
    }

    /// HTTP requests received, readable or not.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.service.calls()
    }

    /// What each stream has seen, by name.
    #[must_use]
    pub fn stats(&self) -> BTreeMap<String, StreamStats> {
        self.service.journal.stats()
    }

    /// The records a stream accepted, in order; empty without [`EndpointConfig::journal`].
    #[must_use]
    pub fn accepted(&self, stream: &str) -> Vec<Accepted> {
        self.service.journal.accepted(stream)
    }

    /// Closes every connection, hanging ones too, and frees the port. A call that is being written
    /// may still be committed.
    pub async fn stop(self) {
        let Self { running, task, .. } = self;
        drop(running);
        if let Err(error) = task.await {
            tracing::error!(%error, "the Firehose endpoint did not end cleanly");
        }
    }
}

/// Takes connections until the endpoint is gone, then closes them all.
async fn accept(listener: TcpListener, service: Arc<Service>, mut stopped: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Nothing is ever sent: this resolves when the sender is dropped.
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(serve(socket, Arc::clone(&service)));
                }
                Err(error) => {
                    tracing::warn!(%error, "the Firehose endpoint cannot take a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// Answers the calls of one connection until either side ends it.
async fn serve(socket: TcpStream, service: Arc<Service>) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "answers may be slow");
    }
    let told = Told::new(Arc::clone(&service.journal));
    let io = WatchedSocket::new(socket, Arc::clone(&told));
    let answer = service_fn(move |request| {
        let (service, told) = (Arc::clone(&service), Arc::clone(&told));
        async move { service.answer(request, told).await }
    });
    if let Err(error) = hyper::server::conn::http1::Builder::new()
        .serve_connection(io, answer)
        .await
    {
        tracing::debug!(%error, "a connection of the Firehose endpoint ended");
    }
}
