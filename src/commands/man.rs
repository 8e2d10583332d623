//! `kinesis-edge man`: the manual pages, one for each command.

use std::process::ExitCode;
use std::{io, mem};

use clap::{Arg, ArgMatches, Command};
use clap_mangen::Man;

use super::text::{excerpt, to_stdout};
use super::{EXIT_CONFIGURATION, installed_command_line};

/// How much of a word that is no command an error shows.
const SHOWN_CHARS: usize = 60;

const EXAMPLES: &str = "\
Examples:
  kinesis-edge man > kinesis-edge.1
  kinesis-edge man run > kinesis-edge-run.1
  kinesis-edge man queue drain | man -l -";

pub fn command() -> Command {
    Command::new("man")
        .about("Prints the manual page of a command")
        .long_about(
            "Prints the manual page of a command, in roff, for a package to install: without an argument that of the \
             program, which lists the others.",
        )
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .num_args(0..)
                .help("The command and its subcommand, such as queue drain"),
        )
        .after_long_help(EXAMPLES)
}

pub fn execute(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut command = program();
    for word in matches.get_many::<String>("command").into_iter().flatten() {
        match command.find_subcommand_mut(word) {
            Some(found) => command = mem::take(found),
            None => {
                eprintln!("{}", no_such(word, &command));
                return Ok(ExitCode::from(EXIT_CONFIGURATION));
            }
        }
    }
    let page = page(command)?;
    to_stdout(|out| out.write_all(page.as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}

/// The command line without the commands `help` that clap adds, since they have no page.
fn program() -> Command {
    let mut program = installed_command_line().disable_help_subcommand(true);
    for command in program.get_subcommands_mut() {
        *command = mem::take(command).disable_help_subcommand(true);
    }
    program.build();
    program
}

fn no_such(word: &str, command: &Command) -> String {
    let mut names = String::new();
    for known in command.get_subcommands() {
        names += " ";
        names += known.get_name();
    }
    let shown = excerpt(word, SHOWN_CHARS);
    let command = command.get_bin_name().unwrap_or_default();
    match &*names {
        "" => format!("kinesis-edge: {command} has no command {shown}, nor any other"),
        names => format!("kinesis-edge: {command} has no command {shown}; there are:{names}"),
    }
}

fn page(command: Command) -> io::Result<String> {
    let source = concat!("kinesis-edge ", env!("CARGO_PKG_VERSION"));
    let mut page = Vec::new();
    Man::new(command.version(env!("CARGO_PKG_VERSION")))
        .source(source)
        .render(&mut page)?;
    // All that follows a command's options are its examples.
    let page = String::from_utf8_lossy(&page);
    Ok(page.replace(".SH EXTRA\nExamples:\n", ".SH EXAMPLES\n"))
}
