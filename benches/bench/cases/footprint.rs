//! What the connector takes while nothing happens: after its start, and some seconds after a load.

use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

use super::{Context, start_connector, stop, with_log};
use crate::endpoint::{Endpoint, EndpointOptions};
use crate::feeder::Feeder;
use crate::payload::Payload;
use crate::process;
use crate::results::{Footprint, Results};
use crate::statuses::Statuses;

/// How long it is left alone before a look.
const REST: Duration = Duration::from_secs(3);

/// How long its CPU is watched: longer than a publish interval.
const WATCH: Duration = Duration::from_secs(12);

/// The load between.
const RECORDS: u64 = 1_000_000;

/// One run.
pub fn run(context: &Context, results: &mut Results) {
    let footprint = match measure(context) {
        Ok(footprint) => footprint,
        Err(error) => return results.fault(format!("footprint: {error}")),
    };
    println!(
        "footprint  idle {:.1} MB, {:.4} % CPU; after a load {:.1} MB, {:.4} % CPU; program {:.1} MB",
        footprint.started_bytes as f64 / 1e6,
        footprint.started_cpu * 100.0,
        footprint.rested_bytes as f64 / 1e6,
        footprint.rested_cpu * 100.0,
        footprint.program_bytes as f64 / 1e6,
    );
    results.footprint = Some(footprint);
}

fn measure(context: &Context) -> io::Result<Footprint> {
    let payload = Payload::new(200);
    let endpoint = Endpoint::start(EndpointOptions {
        payload: payload.clone(),
        records: RECORDS,
        latency: Duration::ZERO,
        clock: None,
    })?;
    let feeder = Feeder::start()?;
    let url = format!("mqtt://127.0.0.1:{}", feeder.port()?);
    let mut connector = start_connector(context, &url, &endpoint, &[]);
    let pid = connector.pid();
    let measure = || {
        let mut client = feeder.accept(Some(Statuses::new(RECORDS)))?;
        let (started_bytes, started_cpu) = idle(pid)?;
        client.feed(0..RECORDS, &payload)?;
        let (rested_bytes, rested_cpu) = idle(pid)?;
        endpoint.check()?;
        client.check(RECORDS)?;
        let footprint = Footprint {
            program_bytes: fs::metadata(&context.program)?.len(),
            started_bytes,
            started_cpu,
            rested_bytes,
            rested_cpu,
        };
        Ok((footprint, client))
    };
    let measured: io::Result<_> = measure();
    let (footprint, _client) = measured.map_err(|error| with_log(&connector, &error))?;
    stop(&mut connector)?;
    Ok(footprint)
}

/// Resident memory in bytes, and CPU seconds per second.
fn idle(pid: u32) -> io::Result<(u64, f64)> {
    thread::sleep(REST);
    let resident_bytes = process::resident_bytes(pid)?;
    let before = process::fine_cpu(pid)?;
    thread::sleep(WATCH);
    // A thread that ended meanwhile took its share with it.
    let used = process::fine_cpu(pid)?.saturating_sub(before);
    Ok((resident_bytes, used.as_secs_f64() / WATCH.as_secs_f64()))
}
