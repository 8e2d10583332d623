//! Publish interval 0: each record is sent at once, in a call of its own. How long from publishing a
//! request until the endpoint has its record, at 1,000 a second; beside it, on the same path, how long
//! until the floor's acknowledgement is back.

use std::io;
use std::time::{Duration, Instant};

use super::{Context, start_connector, stop, with_log};
use crate::endpoint::{Endpoint, EndpointOptions};
use crate::feeder::Feeder;
use crate::floor::Floor;
use crate::packets::Version;
use crate::payload::Payload;
use crate::results::{Latency, Results};
use crate::statuses::Statuses;

/// Whose latency.
pub const TO_ENDPOINT: &str = "kinesis-edge, publish to endpoint";
pub const FLOOR_ROUND_TRIP: &str = "rumqttc that only acks, publish to acknowledgement";

/// One message in this time.
const PAUSE: Duration = Duration::from_millis(1);

/// Messages before the measurement.
const WARM_UP: u64 = 1_000;

/// Messages that are measured.
const MESSAGES: u64 = 5_000;

/// Both in turn.
pub fn run(context: &Context, results: &mut Results) {
    for _ in 0..context.runs {
        for measured in [floor(), connector(context)] {
            match measured {
                Ok(latency) => {
                    println!(
                        "interval-0 {:<50} p50 {:.3} ms  p99 {:.3} ms  most {:.1} ms",
                        latency.subject, latency.p50_ms, latency.p99_ms, latency.most_ms
                    );
                    results.latency.push(latency);
                }
                Err(error) => results.fault(format!("interval-0: {error}")),
            }
        }
    }
}

fn floor() -> io::Result<Latency> {
    let payload = Payload::new(200);
    let feeder = Feeder::start()?;
    let _floor = Floor::start(feeder.port()?, Version::V5, &[])?;
    let mut client = feeder.accept(None)?;
    let clock = Instant::now();
    client.feed(0..WARM_UP, &payload)?;
    let all = WARM_UP + MESSAGES;
    let paced = client.feed_paced(WARM_UP..all, &payload, PAUSE, clock)?;
    let both = paced.sent.iter().zip(&paced.acknowledged);
    let round_trips = both.map(|(sent, back)| back - sent).collect();
    Ok(Latency::new(FLOOR_ROUND_TRIP, round_trips))
}

fn connector(context: &Context) -> io::Result<Latency> {
    let payload = Payload::new(200);
    let all = WARM_UP + MESSAGES;
    let clock = Instant::now();
    let endpoint = Endpoint::start(EndpointOptions {
        payload: payload.clone(),
        records: all,
        latency: Duration::ZERO,
        clock: Some(clock),
    })?;
    let feeder = Feeder::start()?;
    let url = format!("mqtt://127.0.0.1:{}", feeder.port()?);
    let variables = [("PUBLISH_INTERVAL", "0")];
    let mut connector = start_connector(context, &url, &endpoint, &variables);
    let measure = || {
        let mut client = feeder.accept(Some(Statuses::new(all)))?;
        client.feed(0..WARM_UP, &payload)?;
        let paced = client.feed_paced(WARM_UP..all, &payload, PAUSE, clock)?;
        endpoint.check()?;
        client.check(all)?;
        Ok((paced, client))
    };
    let measured: io::Result<_> = measure();
    let (paced, _client) = measured.map_err(|error| with_log(&connector, &error))?;
    stop(&mut connector)?;
    let arrivals = endpoint.arrivals();
    let both = paced.sent.iter().zip(&arrivals[WARM_UP as usize..]);
    let took = both.map(|(sent, arrived)| arrived - sent).collect();
    Ok(Latency::new(TO_ENDPOINT, took))
}
