//! What was measured on: enough to judge the figures by, and nothing about where it stands.

use std::fs;
use std::process::Command;

use serde::Serialize;

/// A machine and the versions of what ran on it.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    /// In GB.
    pub memory_gb: f64,
    /// The version of Linux, without what a distributor adds.
    pub linux: String,
    pub rustc: String,
    pub mosquitto: String,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let kib: f64 = value(&read("/proc/meminfo"), "MemTotal")
            .trim_end_matches(" kB")
            .parse()
            .unwrap_or(0.0);
        let version: String = read("/proc/sys/kernel/osrelease")
            .chars()
            .take_while(|c| c.is_ascii_digit() || *c == '.')
            .collect();
        Machine {
            cpu: value(&cpuinfo, "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gb: (kib * 1024.0 / 1e8).round() / 10.0,
            linux: version,
            rustc: first_line("rustc", "--version"),
            mosquitto: first_line("mosquitto", "-h"),
        }
    }
}

/// How busy the machine was, and with what, since it started. In ticks.
#[derive(Debug, Clone, Copy)]
pub struct Busy {
    /// All processes and the kernel, and what other machines on the same hardware took.
    all: f64,
    /// This process and those it started that have ended.
    own: f64,
    /// What there was to take.
    total: f64,
}

impl Busy {
    /// Up to now.
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let fields: Vec<f64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            // Time of guests stands a second time behind these: user, nice, system, idle, iowait,
            // irq, softirq, steal.
            .take(8)
            .filter_map(|field| field.parse().ok())
            .collect();
        let total = fields.iter().sum();
        let idle: f64 = fields.iter().skip(3).take(2).sum();
        let own = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // Behind the name: utime, stime, and both of the children.
        let own = own.rsplit_once(") ").map_or(0.0, |(_, rest)| {
            let fields = rest.split(' ').skip(11).take(4);
            fields.filter_map(|field| field.parse::<f64>().ok()).sum()
        });
        Busy {
            all: total - idle,
            own,
            total,
        }
    }

    /// How much of the machine others took since an earlier reading, from 0 to 1.
    pub fn others_since(self, earlier: Busy) -> f64 {
        let others = (self.all - earlier.all) - (self.own - earlier.own);
        (others / (self.total - earlier.total)).max(0.0)
    }
}

fn value(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':'))
        .map_or(String::new(), |(_, value)| value.trim().to_owned())
}

fn first_line(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let text = output.map_or(String::new(), |output| {
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    text.lines().next().unwrap_or("unknown").to_owned()
}
