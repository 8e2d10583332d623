//! `kinesis-edge config-file`: the configuration file that a package installs, with every parameter of the table
//! commented out.

use std::fmt::Write;
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use kinesis_edge::parameters::{DefaultValue, PARAMETERS, Parameter, Topic};

use super::text::to_stdout;

/// How long its lines are at most, where words allow it.
const WIDTH: usize = 100;

const EXAMPLES: &str = "\
Examples:
  kinesis-edge config-file > /etc/kinesis-edge/kinesis-edge.toml";

const HEAD: &str = "\
# The configuration of kinesis-edge. A line that begins with #NAME is a parameter that is not set: it shows the
# default, or an example where there is none. To set it, remove the # and write your value. Texts stand in quotes;
# in single quotes a backslash is a backslash.
#
#     sudo kinesis-edge config --config /etc/kinesis-edge/kinesis-edge.toml    which values hold, and what is wrong
#     sudo kinesis-edge check --config /etc/kinesis-edge/kinesis-edge.toml     tries them: broker, credentials, Amazon
#     sudo systemctl restart kinesis-edge                                      makes them count
#
# The service may read this file, and write in /var/lib/kinesis-edge. It runs as a user of its own, who cannot read
# other files that belong to root alone: for keys and passwords see LoadCredential= in the unit (systemctl cat
# kinesis-edge). AWS_ACCESS_KEY_ID and the like, and RUST_LOG, are not parameters: they stand in
# /etc/kinesis-edge/kinesis-edge.env, a NAME=value on each line (chmod 600: systemd reads it as root).
";

pub fn command() -> Command {
    Command::new("config-file")
        .about("Prints a configuration file with every parameter commented out")
        .long_about(
            "Prints a configuration file to begin with, for a package to install: every parameter with what it does, \
             what is valid and its default, commented out.",
        )
        .after_long_help(EXAMPLES)
}

pub fn execute(_: &ArgMatches) -> anyhow::Result<ExitCode> {
    let file = file()?;
    to_stdout(|out| out.write_all(file.as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}

fn file() -> Result<String, std::fmt::Error> {
    let mut file = HEAD.to_owned();
    let mut group: Option<Topic> = None;
    for parameter in PARAMETERS {
        if group.replace(parameter.topic) != Some(parameter.topic) {
            let heading = format!("# --- {} ", parameter.topic.heading());
            writeln!(file, "\n\n{heading:-<WIDTH$}")?;
        }
        writeln!(file)?;
        comment(parameter.help, &mut file)?;
        comment(&format!("Valid: {}.", parameter.valid), &mut file)?;
        let (note, shown) = note_and_value(parameter);
        if let Some(note) = note {
            comment(&note, &mut file)?;
        }
        writeln!(file, "#{} = {}", parameter.env, toml(shown))?;
    }
    Ok(file)
}

/// What the line of a parameter shows, and what that is if it is not the default.
fn note_and_value(parameter: &Parameter) -> (Option<String>, &'static str) {
    let example = parameter.example;
    match parameter.default {
        DefaultValue::Value(default) => (None, default),
        DefaultValue::Required => (Some("Required; an example:".to_owned()), example),
        DefaultValue::Unset => (
            Some("Not set unless you do; an example:".to_owned()),
            example,
        ),
        DefaultValue::Derived(default) => {
            let note = format!("Default: {default}; an example:");
            (Some(note), example)
        }
    }
}

/// A text as lines of comment.
fn comment(text: &str, file: &mut String) -> std::fmt::Result {
    let mut line = "#".to_owned();
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH && line != "#" {
            writeln!(file, "{line}")?;
            "#".clone_into(&mut line);
        }
        line += " ";
        line += word;
    }
    writeln!(file, "{line}")
}

/// A value as TOML has it. None of the table's has a quote in it.
fn toml(value: &str) -> String {
    let is_bare = value.parse::<u64>().is_ok() || value.parse::<bool>().is_ok();
    match value {
        bare if is_bare => bare.to_owned(),
        with_backslash if with_backslash.contains('\\') => format!("'{with_backslash}'"),
        text => format!("\"{text}\""),
    }
}
