//! Speed, footprint and cost, everything in one run: the connector as it is packaged, fed directly and
//! through mosquitto, beside a subscriber that only acknowledges. `make bench` runs it; BENCHMARKS.md
//! says what the figures mean and holds the last ones.
//!
//! Arguments name the cases to run, all by default. `BENCH_PROGRAM` names the program to measure,
//! `BENCH_RUNS` how often each has its turn where medians are taken (default 3).

mod bars;
mod cases;
#[path = "../../tests/common/mod.rs"]
mod common;
mod endpoint;
mod feeder;
mod floor;
mod machine;
mod packets;
mod payload;
mod peers;
mod process;
mod publisher;
mod report;
mod results;
mod seen;
mod statuses;

use std::env;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use cases::{Case, Context};
use machine::{Busy, Machine};
use results::Results;

/// Where results go.
const FOLDER: &str = "target/bench";

/// Where `make bench` builds the program.
const PROGRAM: &str = "target/packaged/release/kinesis-edge";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [argument, rest @ ..] = &*arguments
        && argument == floor::ARGUMENT
    {
        floor::run(rest);
        return ExitCode::SUCCESS;
    }
    // Cargo says so where it is to measure; `cargo test --benches` runs it too.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("nothing is measured here; `make bench` does");
        return ExitCode::SUCCESS;
    }
    let names: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    match chosen(&names) {
        Ok(cases) => measure(&names, &cases),
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

/// The cases of these names, or all.
fn chosen(names: &[&str]) -> Result<Vec<&'static Case>, String> {
    if let Some(unknown) = names
        .iter()
        .find(|name| cases::ALL.iter().all(|case| case.name != **name))
    {
        let known = cases::ALL
            .iter()
            .map(|case| format!("  {:<10}  {}", case.name, case.about));
        let known: Vec<String> = known.collect();
        return Err(format!(
            "no case {unknown}; there are\n{}",
            known.join("\n")
        ));
    }
    Ok(cases::ALL
        .iter()
        .filter(|case| names.is_empty() || names.contains(&case.name))
        .collect())
}

fn measure(names: &[&str], cases: &[&Case]) -> ExitCode {
    let set = |name| env::var(name).ok().filter(|text| !text.is_empty());
    let runs = set("BENCH_RUNS").map_or(Some(3), |text| text.parse().ok());
    let Some(runs @ 1..) = runs else {
        eprintln!("BENCH_RUNS is a whole number, 1 or more");
        return ExitCode::from(2);
    };
    let context = Context {
        program: set("BENCH_PROGRAM").unwrap_or_else(|| PROGRAM.to_owned()),
        folder: FOLDER,
        runs,
    };
    if !Path::new(&context.program).exists() {
        eprintln!(
            "there is no {}; `make bench` builds it, BENCH_PROGRAM names another",
            context.program
        );
        return ExitCode::from(2);
    }
    fs::create_dir_all(FOLDER).expect("the folder for results can be made");
    let start = Instant::now();
    let busy = Busy::now();
    let mut results = Results::new(Machine::this(), runs);
    for case in cases {
        (case.run)(&context, &mut results);
    }
    results.taken_by_others = Busy::now().others_since(busy);
    println!("measured in {:.0} s\n", start.elapsed().as_secs_f64());
    let name = if names.is_empty() {
        "all".to_owned()
    } else {
        names.join("-")
    };
    write(&name, &results);
    if results.faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prints the tables, and writes them and the JSON.
fn write(name: &str, results: &Results) {
    let text = report::report(results);
    println!("{text}");
    let json = serde_json::to_string_pretty(results).expect("figures and names are JSON");
    for (ending, content) in [("md", &text), ("json", &json)] {
        let path = format!("{FOLDER}/{name}.{ending}");
        fs::write(&path, content).expect("results can be written");
        println!("written: {path}");
    }
}
