//! What was measured, as it goes into the JSON file. Figures of several runs stand side by side; what
//! is shown of them is the median.

use serde::Serialize;

use super::machine::Machine;
use super::process::Cpu;

/// Everything of one run of the benchmark.
#[derive(Debug, Serialize)]
pub struct Results {
    /// Where.
    pub machine: Machine,
    /// How much of the machine others took meanwhile, from 0 to 1: the more, the less rates say.
    pub taken_by_others: f64,
    /// How often each was measured where medians are taken.
    pub runs: usize,
    /// Runs that went wrong. Where there are any, the figures are not to be believed.
    pub faults: Vec<String>,
    /// Rates, CPU and memory of everything that was taken in turn.
    pub rows: Vec<Row>,
    /// What the connector takes while nothing happens.
    pub footprint: Option<Footprint>,
    /// How cost grows with streams and sizes.
    pub linear: Vec<Cell>,
    /// How long a record takes where each is sent at once.
    pub latency: Vec<Latency>,
}

/// A case and who was measured in it, several times.
#[derive(Debug, Serialize)]
pub struct Row {
    /// As `CASES` names it.
    pub case: &'static str,
    /// Who, and how.
    pub subject: &'static str,
    /// In the order in which they were taken.
    pub runs: Vec<Run>,
}

/// One run, after its warm-up.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Requests that went through.
    pub records: u64,
    /// How long that took, in seconds.
    pub seconds: f64,
    /// CPU time of the process, its own, in seconds.
    pub user_seconds: f64,
    /// CPU time of the kernel on its behalf, in seconds.
    pub system_seconds: f64,
    /// The most memory that it had resident up to then, in bytes.
    pub peak_bytes: u64,
    /// CPU time of the broker, in seconds, where there was one.
    pub broker_seconds: Option<f64>,
}

impl Run {
    /// From what was used.
    pub fn new(records: u64, seconds: f64, cpu: Cpu, peak_bytes: u64) -> Self {
        Run {
            records,
            seconds,
            user_seconds: cpu.user,
            system_seconds: cpu.system,
            peak_bytes,
            broker_seconds: None,
        }
    }

    /// Records per second.
    pub fn rate(&self) -> f64 {
        self.records as f64 / self.seconds
    }

    /// CPU seconds per million records.
    pub fn cpu_per_million(&self) -> f64 {
        (self.user_seconds + self.system_seconds) / self.records as f64 * 1e6
    }

    /// The broker's CPU seconds per million records.
    pub fn broker_per_million(&self) -> f64 {
        self.broker_seconds.unwrap_or(f64::NAN) / self.records as f64 * 1e6
    }

    /// How much of the time the broker's one thread was busy.
    pub fn broker_busy(&self) -> f64 {
        self.broker_seconds.unwrap_or(f64::NAN) / self.seconds
    }
}

impl Row {
    /// The median of a figure of its runs.
    pub fn median(&self, figure: impl Fn(&Run) -> f64) -> f64 {
        median(self.runs.iter().map(figure).collect())
    }

    /// Records per second.
    pub fn rate(&self) -> f64 {
        self.median(Run::rate)
    }

    /// CPU seconds per million records.
    pub fn cpu(&self) -> f64 {
        self.median(Run::cpu_per_million)
    }

    /// The broker's CPU seconds per million records.
    pub fn broker(&self) -> f64 {
        self.median(Run::broker_per_million)
    }

    /// Peak memory in MB.
    pub fn peak_mb(&self) -> f64 {
        self.median(|run| run.peak_bytes as f64 / 1e6)
    }
}

/// What the connector takes while nothing happens.
#[derive(Debug, Serialize)]
pub struct Footprint {
    /// Bytes of the program's file.
    pub program_bytes: u64,
    /// Memory resident after the start, connected and subscribed, in bytes.
    pub started_bytes: u64,
    /// CPU after the start, in CPU seconds per second.
    pub started_cpu: f64,
    /// Memory resident some seconds after a load, in bytes.
    pub rested_bytes: u64,
    /// CPU after a load, in CPU seconds per second.
    pub rested_cpu: f64,
}

/// What records of one size cost for so many streams.
#[derive(Debug, Serialize)]
pub struct Cell {
    /// Streams that the requests name in turn.
    pub streams: usize,
    /// Bytes of a record.
    pub record_bytes: usize,
    /// In the order in which they were taken.
    pub runs: Vec<CellRun>,
}

/// One run of a cell, and what was measured right before it.
#[derive(Debug, Serialize)]
pub struct CellRun {
    /// What went through.
    pub run: Run,
    /// CPU seconds per GB of records for base64, SHA-256 and one copy of the same bytes.
    pub least_per_gb: f64,
}

impl Cell {
    /// The median of a figure of its runs.
    pub fn median(&self, figure: impl Fn(&CellRun) -> f64) -> f64 {
        median(self.runs.iter().map(figure).collect())
    }

    /// CPU seconds per GB of records.
    pub fn cpu_per_gb(&self) -> f64 {
        self.median(|run| self.run_per_gb(run))
    }

    /// The same, to what these bytes cost at the least.
    pub fn to_least(&self) -> f64 {
        self.median(|run| self.run_per_gb(run) / run.least_per_gb)
    }

    /// The same of one run.
    pub fn run_per_gb(&self, run: &CellRun) -> f64 {
        run.run.cpu_per_million() / self.record_bytes as f64 * 1e3
    }
}

/// How long it took from publishing a request, one run.
#[derive(Debug, Serialize)]
pub struct Latency {
    /// Whose, and until what.
    pub subject: &'static str,
    /// In milliseconds.
    pub p50_ms: f64,
    /// In milliseconds.
    pub p99_ms: f64,
    /// In milliseconds.
    pub most_ms: f64,
}

impl Latency {
    /// From differences in nanoseconds.
    pub fn new(subject: &'static str, mut nanoseconds: Vec<u64>) -> Self {
        nanoseconds.sort_unstable();
        let part = |part: f64| {
            let place = (nanoseconds.len() as f64 * part) as usize;
            nanoseconds[place.min(nanoseconds.len() - 1)] as f64 / 1e6
        };
        Latency {
            subject,
            p50_ms: part(0.5),
            p99_ms: part(0.99),
            most_ms: part(1.0),
        }
    }
}

impl Results {
    /// Nothing measured yet.
    pub fn new(machine: Machine, runs: usize) -> Self {
        Results {
            machine,
            taken_by_others: 0.0,
            runs,
            faults: Vec::new(),
            rows: Vec::new(),
            footprint: None,
            linear: Vec::new(),
            latency: Vec::new(),
        }
    }

    /// Notes a run that went wrong: a record or a status is wrong, missing or too many, say.
    pub fn fault(&mut self, fault: String) {
        println!("FAULT      {fault}");
        self.faults.push(fault);
    }

    /// A row, if that was measured.
    pub fn row(&self, case: &str, subject: &str) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| row.case == case && row.subject == subject)
    }

    /// The median of a figure of latency, if that was measured.
    pub fn latency(&self, subject: &str, figure: impl Fn(&Latency) -> f64) -> Option<f64> {
        let of_subject = self.latency.iter().filter(|run| run.subject == subject);
        let figures: Vec<f64> = of_subject.map(figure).collect();
        (!figures.is_empty()).then(|| median(figures))
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
