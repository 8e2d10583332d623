//! The MQTT session: connect, subscribe, re-subscribe, receive, acknowledge, publish. The only
//! user of rumqttc.
//!
//! Of rumqttc it takes the packets; the session itself is ours, because what the connector
//! promises is decided in it: a message too large to hold is skipped instead of ending the
//! session (which a persistent session would repeat for ever), acknowledgements go out in order
//! and grouped, one written for all that a read brought, one from an old connection never reaches
//! a new one, and a reconnect neither forgets subscriptions nor drops statuses under way.
//!
//! [`Session`] is polled by one task and owns its socket: no channel and no lock on the way in.
//! [`Visit`] is for whoever wants to know what a session would meet.

mod acks;
mod connect;
mod error;
mod frame;
mod link;
mod outbox;
mod probe;
mod refusals;
mod rest;
mod retry;
mod session;
mod settings;
mod tls;
mod tls_fault;
mod unsent;
mod view;
mod wire;

pub use acks::AckToken;
pub use connect::{Dial, Io, Network, Opening};
pub use error::ConnectError;
pub use frame::Message;
pub use link::Parting;
pub use probe::{Unreachable, Visit, reach};
pub use session::{Event, Session};
pub use settings::{Credentials, Protocol, ProtocolChoice, SessionSettings, Will, host_and_port};
pub use tls::client_config;
pub use tls_fault::{TlsFault, advice};
pub use view::{SessionState, SessionView};
