//! How cost grows: streams by sizes, CPU only. Where bytes decide, it is compared with what no
//! connector can do without: base64, SHA-256 of that (the signature covers the body) and one copy of it.

use std::hint::black_box;
use std::io;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Context;
use super::fed::{Feed, connector};
use crate::payload::Payload;
use crate::process;
use crate::results::{Cell, CellRun, Results};

/// How many streams.
pub const STREAMS: [usize; 3] = [1, 10, 100];

/// Bytes of a record. The largest that Firehose takes is a little above.
pub const SIZES: [usize; 4] = [100, 1_000, 100_000, 1_000_000];

/// From this size on bytes decide.
pub const BYTES_BOUND: usize = 100_000;

/// Bytes of records that go through for a figure, at the most.
const BYTES: usize = 1_200_000_000;

/// Records that go through for a figure, at the most: full batches of all streams.
const RECORDS: usize = 400_000;

/// Room for a full batch of each of 100 streams, which the default has not; and where a batch does not get full, as
/// with the largest records, it need not wait long.
const VARIABLES: [(&str, &str); 2] = [("MEMORY_SIZE", "262144"), ("PUBLISH_INTERVAL", "1")];

/// The whole table, as often as asked.
pub fn run(context: &Context, results: &mut Results) {
    let sizes = SIZES.iter();
    let mut cells: Vec<Cell> = sizes
        .flat_map(|&record_bytes| {
            STREAMS.map(|streams| Cell {
                streams,
                record_bytes,
                runs: Vec::new(),
            })
        })
        .collect();
    for _ in 0..context.runs {
        for cell in &mut cells {
            match measure(context, cell) {
                Ok(run) => cell.runs.push(run),
                Err(error) => results.fault(format!(
                    "{} streams, {} B: {error}",
                    cell.streams, cell.record_bytes
                )),
            }
        }
    }
    cells.retain(|cell| !cell.runs.is_empty());
    results.linear = cells;
}

/// One run of a cell. What the bytes cost at the least is measured with it: the machine is not always the same.
fn measure(context: &Context, cell: &Cell) -> io::Result<CellRun> {
    let (streams, record_bytes) = (cell.streams, cell.record_bytes);
    let least_per_gb = least_per_gb(record_bytes)?;
    let records = RECORDS.min(BYTES / record_bytes);
    let feed = Feed {
        payload: &Payload::new(record_bytes).for_streams(streams),
        warm_up: (records / 8) as u64,
        records: records as u64,
        latency: Duration::ZERO,
        variables: &VARIABLES,
    };
    let run = CellRun {
        run: connector(context, &feed)?,
        least_per_gb,
    };
    println!(
        "linear     {streams:>3} streams {record_bytes:>9} B {:>12.2} CPU s/M {:>8.2} CPU s/GB, least {least_per_gb:.2}",
        run.run.cpu_per_million(),
        cell.run_per_gb(&run),
    );
    Ok(run)
}

/// CPU seconds per GB of records for base64, SHA-256 of the text and one copy of it, record by record.
fn least_per_gb(record_bytes: usize) -> io::Result<f64> {
    let record = vec![b'x'; record_bytes];
    let mut text = vec![0; record_bytes.div_ceil(3) * 4];
    let mut copy = text.clone();
    let times = BYTES / record_bytes;
    let before = process::own_cpu()?;
    for _ in 0..times {
        let written = STANDARD.encode_slice(black_box(&record), &mut text);
        written.map_err(io::Error::other)?;
        black_box(digest(&SHA256, &text));
        copy.copy_from_slice(black_box(&text));
        black_box(&copy);
    }
    let used = process::own_cpu()? - before;
    Ok(used.as_secs_f64() / (times * record_bytes) as f64 * 1e9)
}
