//! The tables, in Markdown that reads well in a terminal too. Ratios come first: they are what compares
//! fairly.

use super::bars::{self, Bar, Measured};
use super::cases::linear::{SIZES, STREAMS};
use super::cases::mosquitto::{CONNECTOR_V5, DISK_V5, FLOOR_V5};
use super::cases::{CONNECTOR, FLOOR, ON_DISK};
use super::peers::{self, PEERS, Peer, Range};
use super::results::{Cell, Results, Row};

/// Everything that was measured.
pub fn report(results: &Results) -> String {
    let machine = &results.machine;
    let mut parts = vec![format!(
        "{}, {} cores, {:.0} GB; Linux {}; {}; {}. Medians of {} runs; meanwhile others took {:.0} % of the machine.",
        machine.cpu,
        machine.cores,
        machine.memory_gb,
        machine.linux,
        machine.rustc,
        machine.mosquitto,
        results.runs,
        results.taken_by_others * 100.0,
    )];
    if !results.faults.is_empty() {
        parts.insert(
            0,
            format!("FAILED, {} runs went wrong:", results.faults.len()),
        );
        parts.insert(1, results.faults.join("\n\n"));
    }
    let lines = lines(results);
    if lines.iter().any(Line::is_measured) {
        parts.push(ratios(&lines));
    }
    parts.extend(bars_table(&bars::bars(results)));
    if lines.iter().any(Line::is_measured) {
        parts.push(absolute(&lines));
    }
    parts.extend(rows(results));
    parts.extend(linear(results));
    parts.extend(latency(results));
    parts.join("\n\n")
}

/// A line of the table that is compared with the peers'.
struct Line {
    /// Who.
    peer: Peer,
    /// Whose ratio is taken.
    floor: Peer,
}

impl Line {
    fn is_measured(&self) -> bool {
        self.peer.fed_rate.is_some() || self.peer.mosquitto_rate.is_some()
    }
}

/// What was measured here, and what is quoted.
fn lines(results: &Results) -> Vec<Line> {
    let mut ours = [
        measured(results, FLOOR, FLOOR_V5),
        measured(results, CONNECTOR, CONNECTOR_V5),
        measured(results, ON_DISK, DISK_V5),
    ];
    ours[1].idle_mb = results
        .footprint
        .as_ref()
        .map(|footprint| point(footprint.started_bytes as f64 / 1e6));
    let floor = ours[0];
    let here = ours.into_iter().map(|peer| Line { peer, floor });
    let here: Vec<Line> = here.filter(Line::is_measured).collect();
    if here.is_empty() {
        return here;
    }
    let quoted = [peers::FLOOR].into_iter().chain(PEERS).map(|peer| Line {
        peer,
        floor: peers::FLOOR,
    });
    here.into_iter().chain(quoted).collect()
}

fn measured(results: &Results, name: &'static str, through_mosquitto: &str) -> Peer {
    let fed = results.row("fed", name);
    let mosquitto = results.row("mosquitto", through_mosquitto);
    Peer {
        name,
        mosquitto_rate: mosquitto.map(|row| point(row.rate())),
        mosquitto_cpu: mosquitto.map(|row| point(row.cpu())),
        broker_cpu: mosquitto.map(|row| point(row.broker())),
        fed_rate: fed.map(|row| point(row.rate())),
        fed_cpu: fed.map(|row| point(row.cpu())),
        peak_mb: fed.map(|row| point(row.peak_mb())),
        idle_mb: None,
    }
}

fn point(figure: f64) -> Range {
    Range(figure, figure)
}

/// Where a line is from.
fn name(line: &Line, place: usize, lines: &[Line]) -> String {
    let quoted = lines.len() - PEERS.len() - 1;
    if place < quoted {
        format!("{} (this run)", line.peer.name)
    } else {
        format!("{} (quoted)", line.peer.name)
    }
}

/// Every line as ratios to its own floor.
fn ratios(lines: &[Line]) -> String {
    let figures: [fn(&Peer) -> Option<Range>; 6] = [
        |peer| peer.mosquitto_rate,
        |peer| peer.mosquitto_cpu,
        |peer| peer.broker_cpu,
        |peer| peer.fed_rate,
        |peer| peer.fed_cpu,
        |peer| peer.peak_mb,
    ];
    let rows = lines.iter().enumerate().map(|(place, line)| {
        let mut row = vec![name(line, place, lines)];
        row.extend(figures.iter().map(|figure| {
            let ratio = figure(&line.peer).zip(figure(&line.floor));
            ratio.map_or("–".into(), |(here, floor)| {
                format!("{:.2}", here.middle() / floor.middle())
            })
        }));
        row
    });
    titled(
        "As ratios to the floor of the same run",
        &table(
            &[
                "",
                "through mosquitto: rate",
                "CPU",
                "mosquitto's CPU",
                "fed: rate",
                "CPU",
                "peak memory",
            ],
            rows.collect(),
        ),
    )
}

/// Every line as it was measured.
fn absolute(lines: &[Line]) -> String {
    let rows = lines.iter().enumerate().map(|(place, line)| {
        let peer = &line.peer;
        let show = |figure: Option<Range>, unit: f64, digits: usize| match figure {
            None => "–".to_owned(),
            Some(Range(low, high)) if low < high => {
                format!("{:.digits$}–{:.digits$}", low / unit, high / unit)
            }
            Some(Range(figure, _)) => format!("{:.digits$}", figure / unit),
        };
        vec![
            name(line, place, lines),
            show(peer.mosquitto_rate, 1e3, 0),
            show(peer.mosquitto_cpu, 1.0, 1),
            show(peer.broker_cpu, 1.0, 1),
            show(peer.fed_rate, 1e3, 0),
            show(peer.fed_cpu, 1.0, 2),
            show(peer.peak_mb, 1.0, 1),
            show(peer.idle_mb, 1.0, 1),
        ]
    });
    titled(
        "As measured (k/s: thousand records per second; CPU: seconds per million records)",
        &table(
            &[
                "",
                "through mosquitto: k/s",
                "CPU",
                "mosquitto's CPU",
                "fed: k/s",
                "CPU",
                "peak MB",
                "idle MB",
            ],
            rows.collect(),
        ),
    )
}

fn bars_table(bars: &[Bar]) -> Option<String> {
    let rows = bars.iter().map(|bar| {
        let cells = |measured: Option<Measured>| match measured {
            None => ["–".to_owned(), "–".to_owned(), "–".to_owned()],
            Some(measured) => [
                format!("{} {}", bar.sign(), figure(measured.bar)),
                figure(measured.here),
                if bar.is_met(measured) { "yes" } else { "NO" }.to_owned(),
            ],
        };
        let mut row = vec![bar.what.to_owned()];
        row.extend(cells(bar.figure));
        row.extend(cells(bar.ratio));
        row
    });
    (!bars.is_empty()).then(|| {
        titled(
            "The bars",
            &table(
                &["", "bar", "here", "met", "as a ratio: bar", "here", "met"],
                rows.collect(),
            ),
        )
    })
}

/// Three digits that matter.
fn figure(figure: f64) -> String {
    match figure.abs() {
        1000.0.. => format!("{figure:.0}"),
        100.0.. => format!("{figure:.1}"),
        1.0.. => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}

/// All rows with the spread of their runs.
fn rows(results: &Results) -> Option<String> {
    let spread = |row: &Row| {
        let rates = || row.runs.iter().map(|run| run.rate() / 1e3);
        format!(
            "{:.0}–{:.0}",
            rates().fold(f64::INFINITY, f64::min),
            rates().fold(0.0, f64::max)
        )
    };
    let rows = results.rows.iter().map(|row| {
        let has_broker = row.runs.iter().all(|run| run.broker_seconds.is_some());
        let of_broker = |figure: String| if has_broker { figure } else { "–".to_owned() };
        vec![
            format!("{}: {}", row.case, row.subject),
            format!("{:.0}", row.rate() / 1e3),
            spread(row),
            format!("{:.2}", row.cpu()),
            format!(
                "{:.0}",
                row.median(
                    |run| 100.0 * run.system_seconds / (run.user_seconds + run.system_seconds)
                )
            ),
            of_broker(format!("{:.2}", row.broker())),
            of_broker(format!(
                "{:.0}",
                row.median(|run| run.broker_busy() * 100.0)
            )),
            format!("{:.1}", row.peak_mb()),
        ]
    });
    (!results.rows.is_empty()).then(|| {
        titled(
            "Everything that was taken in turn (medians)",
            &table(
                &[
                    "",
                    "k/s",
                    "of the runs",
                    "CPU s/M",
                    "of it system, %",
                    "mosquitto CPU s/M",
                    "busy, %",
                    "peak MB",
                ],
                rows.collect(),
            ),
        )
    })
}

fn linear(results: &Results) -> Option<String> {
    if results.linear.is_empty() {
        return None;
    }
    let rows = SIZES.iter().map(|&size| {
        let cells = |of: fn(&Cell) -> f64| {
            STREAMS.map(|streams| {
                let mut all = results.linear.iter();
                let cell = all.find(|cell| (cell.record_bytes, cell.streams) == (size, streams));
                cell.map_or("–".to_owned(), |cell| figure(of(cell)))
            })
        };
        let mut row = vec![format!("{size}")];
        row.extend(cells(|cell| cell.median(|run| run.run.cpu_per_million())));
        row.extend(cells(Cell::cpu_per_gb));
        let least = cells(|cell| cell.median(|run| run.least_per_gb));
        row.extend(least.into_iter().take(1));
        row.extend(cells(Cell::to_least));
        row
    });
    let mut head = vec!["bytes".to_owned()];
    for unit in ["s/M", "s/GB"] {
        head.extend(
            STREAMS
                .iter()
                .map(|streams| format!("{unit}, {streams} streams")),
        );
    }
    head.push("base64 + SHA-256 + copy, s/GB".to_owned());
    head.extend(STREAMS.iter().map(|streams| format!("ratio, {streams}")));
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    Some(titled(
        "CPU by streams and size of the records",
        &table(&head, rows.collect()),
    ))
}

fn latency(results: &Results) -> Option<String> {
    let mut subjects: Vec<&str> = results.latency.iter().map(|run| run.subject).collect();
    subjects.sort_unstable();
    subjects.dedup();
    let rows = subjects.iter().map(|subject| {
        let milliseconds = |figure: fn(&super::results::Latency) -> f64| {
            results
                .latency(subject, figure)
                .map_or(String::new(), |figure| format!("{figure:.3}"))
        };
        vec![
            (*subject).to_owned(),
            milliseconds(|run| run.p50_ms),
            milliseconds(|run| run.p99_ms),
            milliseconds(|run| run.most_ms),
        ]
    });
    (!subjects.is_empty()).then(|| {
        titled(
            "Publish interval 0, 1,000 messages a second, in ms (medians)",
            &table(&["", "p50", "p99", "most"], rows.collect()),
        )
    })
}

fn titled(title: &str, table: &str) -> String {
    format!("### {title}\n\n{table}")
}

/// A Markdown table with its columns in line.
fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let head: Vec<String> = head.iter().map(|&text| text.to_owned()).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = [&head].into_iter().chain(&rows);
            let widths = cells.map(|row| row.get(column).map_or(0, |text| text.chars().count()));
            widths.max().unwrap_or(0)
        })
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells: Vec<String> = cells
            .map(|(column, (text, width))| {
                if column == 0 {
                    format!("{text:<width$}")
                } else {
                    format!("{text:>width$}")
                }
            })
            .collect();
        format!("| {} |", cells.join(" | "))
    };
    let rule: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(column, width)| {
            if column == 0 {
                "-".repeat(*width)
            } else {
                format!("{}:", "-".repeat(width.saturating_sub(1)))
            }
        })
        .collect();
    let rule = format!("| {} |", rule.join(" | "));
    let mut lines = vec![line(&head), rule];
    lines.extend(rows.iter().map(line));
    lines.join("\n")
}
