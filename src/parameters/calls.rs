//! The parameters that decide which calls are made to Firehose, and on which stream: what `policy` needs
//! to know, and a part of what `run` reads.

use std::time::Duration;

use clap::{Arg, ArgMatches};

use super::read::{Noted, Reader};
use super::{ConnectorVersion, Faults, table};
use super::{connector_version, from_sources, number, with_config};
use crate::arn::{AllowedStreams, DeliveryStreamArn, Partitions};

/// What decides which calls are made; each field is that of [`Parameters`](super::Parameters).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallParameters {
    /// Where records go whose request names no stream.
    pub default_delivery_stream_arn: DeliveryStreamArn,
    /// Which streams a request may name.
    pub partitions: Partitions,
    /// Those of them that it may; none allows all.
    pub allowed_streams: Option<AllowedStreams>,
    /// How often batches leave. Zero: no batches.
    pub publish_interval: Duration,
    /// Whose behaviour to show.
    pub connector_version: ConnectorVersion,
}

impl CallParameters {
    /// Whether records leave in batches; otherwise each has a call of its own.
    pub fn batches(&self) -> bool {
        self.connector_version.batches_every(self.publish_interval)
    }
}

/// The flags of `policy`: `--config`, and the parameters that [`load_calls`] reads.
pub fn args_calls() -> Vec<Arg> {
    with_config([
        &table::DEFAULT_DELIVERY_STREAM_ARN,
        &table::PUBLISH_INTERVAL,
        &table::CONNECTOR_VERSION,
        &table::AWS_PARTITIONS,
        &table::ALLOWED_DELIVERY_STREAM_ARNS,
    ])
}

/// Reads them from flags, environment and configuration file. Faults of other parameters do not matter:
/// a policy may be made on another machine than the connector's.
pub fn load_calls(matches: &ArgMatches) -> Result<CallParameters, Faults> {
    from_sources(matches, |lookup| {
        let mut reader = Reader::new(lookup);
        let streams = streams(&mut reader);
        let publish_interval = publish_interval(&mut reader);
        let connector_version = connector_version(&mut reader);
        let parameters = (|| {
            Ok(CallParameters {
                default_delivery_stream_arn: streams.default?,
                partitions: streams.partitions?,
                allowed_streams: streams.allowed?,
                publish_interval: Duration::from_secs(publish_interval?),
                connector_version: connector_version?,
            })
        })();
        reader.finish(parameters)
    })
}

/// Which streams there are to be.
pub(super) struct StreamParameters {
    /// The partitions that are accepted.
    pub partitions: Result<Partitions, Noted>,
    /// The default stream, which is of one of them.
    pub default: Result<DeliveryStreamArn, Noted>,
    /// What requests may name beside it, likewise.
    pub allowed: Result<Option<AllowedStreams>, Noted>,
}

/// Reads them.
pub(super) fn streams(reader: &mut Reader<'_>) -> StreamParameters {
    let partitions = reader.value(&table::AWS_PARTITIONS, |text| {
        Partitions::parse(text).map_err(|problem| format!("it {problem}"))
    });
    // If the list itself is wrong, that is one fault, not two.
    let allowed = partitions.unwrap_or(Partitions::ALL);
    let default = reader.value(&table::DEFAULT_DELIVERY_STREAM_ARN, |text| {
        DeliveryStreamArn::parse(text, &allowed).map_err(|error| error.problem.to_string())
    });
    let allowed_streams = reader.optional(&table::ALLOWED_DELIVERY_STREAM_ARNS, |text| {
        AllowedStreams::parse(text, &allowed).map_err(|problem| format!("it {problem}"))
    });
    StreamParameters {
        partitions,
        default,
        allowed: allowed_streams,
    }
}

/// `PUBLISH_INTERVAL` in seconds. The documented pattern lets 901 to 999 through; the documented range is
/// what counts.
pub(super) fn publish_interval(reader: &mut Reader<'_>) -> Result<u64, Noted> {
    number(reader, &table::PUBLISH_INTERVAL, 0..=900)
}
