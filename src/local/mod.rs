//! The stand-ins that make one command enough: an MQTT broker and an Amazon Data Firehose endpoint,
//! both inside this process, both on loopback only. `kinesis-edge local` starts them so that
//! nothing has to be installed to see a message travel; the tests start the same ones and make the
//! endpoint misbehave through its fault knobs. Nothing in here is meant to carry real data.

mod broker;
mod connection;
mod endpoint;
mod faults;
mod journal;
mod protocol;
mod service;
mod storage;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use broker::{Broker, MAX_PACKET_BYTES};
pub use endpoint::{Endpoint, EndpointConfig};
pub use faults::{CallFault, FaultKnobs, Faults};
pub use journal::{Accepted, StreamStats};
pub use protocol::{MAX_RECORD_BYTES, MAX_RECORDS, MAX_REQUEST_BYTES};

/// Why a stand-in could not start.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The address is one that other machines could reach. Neither stand-in checks who is calling.
    #[error(
        "the {what} cannot listen on {addr}: it lets anyone in, so it stays on loopback; \
         use 127.0.0.1:{port} or [::1]:{port}",
        port = addr.port()
    )]
    NotLoopback {
        /// Which stand-in, as a person would call it.
        what: &'static str,
        /// The address that was asked for.
        addr: SocketAddr,
    },
    /// Something else listens on that address already.
    #[error(
        "the {what} cannot listen on {addr}: the address is in use; \
         stop what listens there, or choose another port (port 0 picks a free one)"
    )]
    AddressInUse {
        /// Which stand-in, as a person would call it.
        what: &'static str,
        /// The address that was asked for.
        addr: SocketAddr,
    },
    /// The operating system refused the address for another reason.
    #[error(
        "the {what} cannot listen on {addr}: {error}; \
         choose an address of this machine and a port this user may open"
    )]
    Listen {
        /// Which stand-in, as a person would call it.
        what: &'static str,
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the operating system said; in the message, so not the error's source as well.
        error: io::Error,
    },
    /// The broker ended before it was ready to take connections.
    #[error(
        "the MQTT broker on {addr} did not start: {reason}; \
         use a broker of your own instead, for example mosquitto"
    )]
    Broker {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the broker said.
        reason: String,
    },
    /// The folder for what the endpoint accepts cannot be made or written.
    #[error(
        "the Firehose endpoint cannot use the folder {}: {error}; \
         choose a folder this user may write",
        path.display()
    )]
    Storage {
        /// The folder that was asked for.
        path: PathBuf,
        /// What the operating system said; in the message, so not the error's source as well.
        error: io::Error,
    },
}

impl LocalError {
    /// Names the situation behind a failed `bind`.
    fn listening(what: &'static str, addr: SocketAddr, error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::AddrInUse {
            Self::AddressInUse { what, addr }
        } else {
            Self::Listen { what, addr, error }
        }
    }
}

/// Refuses an address that is not loopback: the stand-ins have no idea who is calling.
fn require_loopback(what: &'static str, addr: SocketAddr) -> Result<(), LocalError> {
    if addr.ip().is_loopback() {
        Ok(())
    } else {
        Err(LocalError::NotLoopback { what, addr })
    }
}

/// Something that looks like a UUID, for names that only have to differ.
fn random_id() -> String {
    let hex = format!("{:032x}", fastrand::u128(..));
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

/// Locks, also after another holder panicked: every critical section in this folder leaves its data
/// whole at each step, and a test that panicked should not bring down the ones that share its
/// process.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
