//! `kinesis-edge config`: the parameters as `run` would take them, and where each was set.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use kinesis_edge::parameters::{self, Effective, Origin};
use serde_json::{Value, json};

use super::arg_json;
use super::report;
use super::text::{Table, excerpt, to_stdout};

const EXAMPLES: &str = "\
Examples:
  kinesis-edge config --config /etc/kinesis-edge/kinesis-edge.toml
  kinesis-edge config --config kinesis-edge.toml --json | jq 'select(.differs)'";

pub fn command() -> Command {
    Command::new("config")
        .about("Shows the value of each parameter, and where it was set")
        .long_about(
            "Shows the value of each parameter as `run` would take it with the same flags, environment and \
             configuration file, and where it was set. Values that differ from the default are marked with *, \
             faulty ones with !. Passwords are shown as ***. Nothing is started.\n\n\
             Exit status: 0 when `run` could start with them, 2 for a faulty configuration.",
        )
        .arg(arg_json())
        .args(parameters::args())
        .after_long_help(EXAMPLES)
}

pub fn execute(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (all, faults) = parameters::load_effective(matches);
    to_stdout(|out| match matches.get_flag("json") {
        true => write_objects(&all, out),
        false => write_table(&all, out),
    })?;
    Ok(match faults {
        None => ExitCode::SUCCESS,
        Some(faults) => {
            eprintln!();
            report(&faults)
        }
    })
}

fn write_table(all: &[Effective], mut out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::of_words(&[" ", "PARAMETER", "VALUE", "FROM"]);
    for one in all {
        let mark = match one {
            Effective {
                is_faulty: true, ..
            } => "!",
            Effective { differs: true, .. } => "*",
            _ => " ",
        };
        let value = match &one.value {
            Some(value) => excerpt(value, usize::MAX),
            None => "–".to_owned(),
        };
        let origin = match &one.origin {
            Origin::Flag => format!("flag --{}", one.parameter.flag),
            Origin::Environment => "environment".to_owned(),
            Origin::File(place) => place.to_string(),
            Origin::Default => "default".to_owned(),
        };
        table.row([mark.to_owned(), one.parameter.env.to_owned(), value, origin]);
    }
    table.write(&mut out)
}

fn write_objects(all: &[Effective], out: &mut dyn Write) -> io::Result<()> {
    for one in all {
        let mut object = json!({
            "parameter": one.parameter.env,
            "value": one.value,
            "from": match one.origin {
                Origin::Flag => "flag",
                Origin::Environment => "environment",
                Origin::File(_) => "file",
                Origin::Default => "default",
            },
            "differs": one.differs,
            "faulty": one.is_faulty,
        });
        if let Origin::File(place) = &one.origin {
            object["file"] = Value::from(place.file.as_str());
            object["line"] = Value::from(place.line);
        }
        writeln!(out, "{object}")?;
    }
    Ok(())
}
