//! kinesis-edge: a message comes in from MQTT, becomes a record in a bounded queue, leaves in a
//! batch to Amazon Data Firehose, and its outcome goes back out on MQTT. The modules stand in
//! that order, and none reaches back upstream.

#![forbid(unsafe_code)]

pub mod arn;
pub mod blocking;
pub mod certificate;
pub mod code;
pub mod delimiter;
pub mod dial;
pub mod files;
pub mod framing;
pub mod json_text;
pub mod ledger;
pub mod memory;
pub mod parameters;
pub mod tls;
pub mod utc;

#[cfg(test)]
mod logged;

pub mod envelope;
pub mod mqtt;
pub mod request;

pub mod intake;
pub mod queue;

pub mod aggregate;
pub mod batch;
pub mod dead_letters;
pub mod delivery;
pub mod destination;

pub mod status;

pub mod connector;
pub mod telemetry;

pub mod check;

#[cfg(feature = "local")]
pub mod local;
