//! TCP to a name that may have several addresses: of broker, proxy, and AWS IoT. An address that answers nothing, such
//! as that of an IPv6 network that leads nowhere, delays the next one by a moment and takes no part of its time.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, ToSocketAddrs, lookup_host};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How long an address is tried alone before the next one is tried beside it (RFC 8305 section 5 has 250 ms, and lets
/// others do).
const HEAD_START: Duration = Duration::from_millis(300);

/// Connects to the first address that takes a connection. They are begun in the order in which the system gives them.
/// How long all of it may take is for the caller to bound.
///
/// # Errors
/// Where none does: that of an address where somebody refused, or else of the one that failed last.
pub async fn connect(to: impl ToSocketAddrs) -> io::Result<TcpStream> {
    first_of(lookup_host(to).await?.collect(), TcpStream::connect).await
}

async fn first_of<T, F>(addresses: Vec<SocketAddr>, open: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    let mut untried = addresses.into_iter();
    // Whoever is still on the way when this is dropped is dropped with it.
    let mut attempts = JoinSet::new();
    let mut fault = None;
    loop {
        if let Some(address) = untried.next() {
            attempts.spawn(open(address));
        }
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok(Ok(connection))) => return Ok(connection),
                Some(Ok(Err(error))) => fault = Some(more_telling(fault, error)),
                Some(Err(error)) => fault = Some(io::Error::other(error)),
                None => return Err(fault.unwrap_or_else(no_address)),
            },
            () = sleep(HEAD_START), if untried.len() > 0 => {}
        }
    }
}

/// Who refuses is there; all else may be about a network that this device does not have.
fn more_telling(before: Option<io::Error>, error: io::Error) -> io::Error {
    before
        .filter(|before| before.kind() == io::ErrorKind::ConnectionRefused)
        .unwrap_or(error)
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the name has no address")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::net::TcpListener;
    use tokio::time::{Instant, timeout};

    use super::*;

    /// What an address does.
    #[derive(Clone, Copy)]
    enum Host {
        Silent,
        /// It takes the connection after so many milliseconds.
        Takes(u64),
        /// It fails after so many milliseconds.
        Fails(u64, io::ErrorKind),
    }

    /// The number of the address that was connected to, or the kind of the error; which addresses were tried; after how
    /// many milliseconds all was over.
    async fn tried(hosts: &[Host]) -> (Result<usize, io::ErrorKind>, Vec<usize>, u128) {
        let (begun, tried) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
        let addresses = (0..hosts.len() as u16).map(|n| SocketAddr::from(([127, 0, 0, 1], n)));
        let open = |address: SocketAddr| {
            let number = usize::from(address.port());
            let host = hosts[number];
            tried.lock().unwrap().push(number);
            async move {
                let ms = match host {
                    Host::Silent => u64::MAX >> 24,
                    Host::Takes(ms) | Host::Fails(ms, _) => ms,
                };
                sleep(Duration::from_millis(ms)).await;
                match host {
                    Host::Fails(_, kind) => Err(kind.into()),
                    _ => Ok(number),
                }
            }
        };
        let first = timeout(Duration::from_secs(10), first_of(addresses.collect(), open));
        let first = first.await.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
        let order = tried.lock().unwrap().clone();
        (
            first.map_err(|e| e.kind()),
            order,
            begun.elapsed().as_millis(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_address_that_takes_a_connection_is_taken() {
        use Host::{Fails, Silent, Takes};
        use io::ErrorKind::{ConnectionRefused, NetworkUnreachable, NotFound, TimedOut};
        let refused = |ms| Fails(ms, ConnectionRefused);
        let unreachable = |ms| Fails(ms, NetworkUnreachable);
        for (hosts, first, tries, ms) in [
            (&[Takes(299), Takes(0)][..], Ok(0), 1, 299),
            // Silence costs a moment, once for each.
            (&[Silent, Takes(5)], Ok(1), 2, 305),
            (&[Silent, Silent, Takes(5), Takes(0)], Ok(2), 3, 605),
            // One that is slow has not lost its turn.
            (&[Takes(2000), Silent], Ok(0), 2, 2000),
            // After a failure nothing is waited for.
            (&[unreachable(7), Takes(5)], Ok(1), 2, 12),
            (&[Silent, refused(10), Takes(5)], Ok(2), 3, 315),
            (&[refused(10)], Err(ConnectionRefused), 1, 10),
            (&[unreachable(10)], Err(NetworkUnreachable), 1, 10),
            (&[unreachable(1), refused(1)], Err(ConnectionRefused), 2, 2),
            (&[refused(1), unreachable(1)], Err(ConnectionRefused), 2, 2),
            // As long as one may answer, it is waited for.
            (&[Silent, refused(1)], Err(TimedOut), 2, 10_000),
            (&[], Err(NotFound), 0, 0),
        ] {
            let order: Vec<usize> = (0..tries).collect();
            assert_eq!(tried(hosts).await, (first, order, ms));
        }
    }

    #[tokio::test]
    async fn an_address_where_nobody_listens_keeps_nobody_from_the_next() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let there = listener.local_addr().unwrap();
        let freed = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let nobody = freed.local_addr().unwrap();
        drop(freed);
        let connection = connect(&[nobody, there][..]).await.unwrap();
        assert_eq!(connection.peer_addr().unwrap(), there);
        let error = connect(nobody).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
