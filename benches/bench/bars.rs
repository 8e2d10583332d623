//! The bars that the project has set itself, and whether what was measured is over them: as absolute
//! figures, and as ratios to the floor of the same run against the same ratio where the bars were set.

use super::cases::fed::{NOT_SLOW, SLOW};
use super::cases::interval_0::TO_ENDPOINT;
use super::cases::linear::BYTES_BOUND;
use super::cases::mosquitto::{CONNECTOR_V5, DISK_V5, FLOOR_V5};
use super::cases::watched::{UNWATCHED, WATCHED};
use super::cases::{CONNECTOR, FLOOR};
use super::peers;
use super::results::{Cell, Results, Row};

/// Which side of a bar is good.
#[derive(Debug, Clone, Copy)]
enum Good {
    AtLeast,
    AtMost,
}

/// A bar and what was measured.
pub struct Bar {
    /// What is measured.
    pub what: &'static str,
    good: Good,
    /// The absolute figure and its bar.
    pub figure: Option<Measured>,
    /// The ratio to the floor and its bar.
    pub ratio: Option<Measured>,
}

/// A figure beside its bar.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub bar: f64,
    pub here: f64,
}

impl Bar {
    fn new(what: &'static str, good: Good, bar: f64, here: f64) -> Self {
        Bar {
            what,
            good,
            figure: Some(Measured { bar, here }),
            ratio: None,
        }
    }

    /// The same as a ratio: to what the floor did where the bar was set, and to what it did here.
    fn beside_floor(mut self, there: Option<peers::Range>, here: f64) -> Self {
        if let (Some(there), Some(figure)) = (there, self.figure) {
            self.ratio = Some(Measured {
                bar: figure.bar / there.middle(),
                here: figure.here / here,
            });
        }
        self
    }

    /// A bar that is a ratio by itself.
    fn ratio(what: &'static str, good: Good, bar: f64, here: f64) -> Self {
        Bar {
            what,
            good,
            figure: None,
            ratio: Some(Measured { bar, here }),
        }
    }

    /// Whether a figure is over its bar.
    pub fn is_met(&self, measured: Measured) -> bool {
        match self.good {
            Good::AtLeast => measured.here >= measured.bar,
            Good::AtMost => measured.here <= measured.bar,
        }
    }

    /// `≥` or `≤`.
    pub fn sign(&self) -> char {
        match self.good {
            Good::AtLeast => '≥',
            Good::AtMost => '≤',
        }
    }
}

/// The bars for which there are figures.
pub fn bars(results: &Results) -> Vec<Bar> {
    let mut bars = Vec::new();
    fed(results, &mut bars);
    through_mosquitto(results, &mut bars);
    if let Some(row) = results.row("large", CONNECTOR) {
        let what = "fed, 1,000 bytes: CPU s per million";
        bars.push(Bar::new(what, Good::AtMost, 3.5, row.cpu()));
    }
    if let Some((without, with)) = both(results, "slow", NOT_SLOW, SLOW) {
        let what = "fed, rate with 50 ms of endpoint latency to without";
        let ratio = with.rate() / without.rate();
        bars.push(Bar::ratio(what, Good::AtLeast, 0.95, ratio));
    }
    if let Some((without, with)) = both(results, "watched", UNWATCHED, WATCHED) {
        let what = "page open, scraped every second: CPU to nobody looking";
        bars.push(Bar::ratio(
            what,
            Good::AtMost,
            1.03,
            with.cpu() / without.cpu(),
        ));
    }
    footprint(results, &mut bars);
    if let Some(worst) = worst_bytes_bound(results) {
        let what = "100 kB and 1 MB: CPU to base64 + SHA-256 + one copy, worst";
        bars.push(Bar::ratio(what, Good::AtMost, 2.0, worst));
    }
    for (what, bar, figure) in [
        (
            "interval 0, publish to endpoint: p50, ms",
            0.5,
            results.latency(TO_ENDPOINT, |run| run.p50_ms),
        ),
        (
            "interval 0, publish to endpoint: p99, ms",
            3.0,
            results.latency(TO_ENDPOINT, |run| run.p99_ms),
        ),
    ] {
        bars.extend(figure.map(|figure| Bar::new(what, Good::AtMost, bar, figure)));
    }
    bars
}

fn both<'a>(
    results: &'a Results,
    case: &str,
    one: &str,
    other: &str,
) -> Option<(&'a Row, &'a Row)> {
    results.row(case, one).zip(results.row(case, other))
}

fn fed(results: &Results, bars: &mut Vec<Bar>) {
    let Some((floor, ours)) = both(results, "fed", FLOOR, CONNECTOR) else {
        return;
    };
    let there = peers::FLOOR;
    bars.extend([
        Bar::new(
            "fed, 200 bytes: records/s",
            Good::AtLeast,
            500_000.0,
            ours.rate(),
        )
        .beside_floor(there.fed_rate, floor.rate()),
        Bar::new(
            "fed, 200 bytes: CPU s per million",
            Good::AtMost,
            2.0,
            ours.cpu(),
        )
        .beside_floor(there.fed_cpu, floor.cpu()),
        Bar::new(
            "fed, 200 bytes: CPU s per million (stretch)",
            Good::AtMost,
            1.5,
            ours.cpu(),
        )
        .beside_floor(there.fed_cpu, floor.cpu()),
        Bar::new(
            "fed, 200 bytes: peak memory, MB",
            Good::AtMost,
            24.0,
            ours.peak_mb(),
        ),
    ]);
}

fn through_mosquitto(results: &Results, bars: &mut Vec<Bar>) {
    let Some((floor, ours)) = both(results, "mosquitto", FLOOR_V5, CONNECTOR_V5) else {
        return;
    };
    let there = peers::FLOOR;
    let vector = peers::PEERS[0].broker_cpu.map_or(0.0, peers::Range::middle);
    bars.extend([
        Bar::ratio(
            "through mosquitto: rate to the floor's",
            Good::AtLeast,
            1.0,
            ours.rate() / floor.rate(),
        ),
        Bar::new(
            "through mosquitto: CPU s per million",
            Good::AtMost,
            4.5,
            ours.cpu(),
        )
        .beside_floor(there.mosquitto_cpu, floor.cpu()),
        Bar::new(
            "through mosquitto: mosquitto's CPU s per million",
            Good::AtMost,
            vector,
            ours.broker(),
        )
        .beside_floor(there.broker_cpu, floor.broker()),
    ]);
    if let Some(disk) = results.row("mosquitto", DISK_V5) {
        let what = "through mosquitto: rate with the queue on disk to that in memory";
        let ratio = disk.rate() / ours.rate();
        bars.push(Bar::ratio(what, Good::AtLeast, 0.5, ratio));
    }
}

fn footprint(results: &Results, bars: &mut Vec<Bar>) {
    let Some(footprint) = &results.footprint else {
        return;
    };
    for (what, bar, here) in [
        (
            "idle after the start: resident, MB",
            8.0,
            footprint.started_bytes as f64 / 1e6,
        ),
        (
            "idle after the start: CPU, %",
            0.1,
            footprint.started_cpu * 100.0,
        ),
        (
            "idle after a load: resident, MB",
            8.0,
            footprint.rested_bytes as f64 / 1e6,
        ),
        (
            "idle after a load: CPU, %",
            0.1,
            footprint.rested_cpu * 100.0,
        ),
        (
            "stripped packaged program, MB",
            12.0,
            footprint.program_bytes as f64 / 1e6,
        ),
    ] {
        bars.push(Bar::new(what, Good::AtMost, bar, here));
    }
}

/// The largest of the ratios of CPU to what bytes cost at the least.
fn worst_bytes_bound(results: &Results) -> Option<f64> {
    let bound = results
        .linear
        .iter()
        .filter(|cell| cell.record_bytes >= BYTES_BOUND);
    bound.map(Cell::to_least).max_by(f64::total_cmp)
}
