//! `kinesis-edge man`: the manual pages, one for each command.

use std::io;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use clap_mangen::Man;

use super::text::{excerpt, to_stdout};
use super::{EXIT_CONFIGURATION, command_line};

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
    let mut program = without_help(command_line());
    program.build();
    let mut command = &program;
    for word in matches.get_many::<String>("command").into_iter().flatten() {
        let Some(found) = command.find_subcommand(word) else {
            let names: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
            eprintln!(
                "kinesis-edge: {} has no command {}; there {}",
                command.get_bin_name().unwrap_or_default(),
                excerpt(word, SHOWN_CHARS),
                match &names[..] {
                    [] => "is none".to_owned(),
                    names => format!("are {}", names.join(", ")),
                }
            );
            return Ok(ExitCode::from(EXIT_CONFIGURATION));
        };
        command = found;
    }
    let page = page(command)?;
    to_stdout(|out| out.write_all(page.as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}

/// Without the commands `help` that clap adds: they have no page.
fn without_help(command: Command) -> Command {
    command
        .disable_help_subcommand(true)
        .mut_subcommands(without_help)
}

fn page(command: &Command) -> io::Result<String> {
    let source = concat!("kinesis-edge ", env!("CARGO_PKG_VERSION"));
    let mut page = Vec::new();
    Man::new(command.clone().version(env!("CARGO_PKG_VERSION")))
        .source(source)
        .render(&mut page)?;
    // All that follows a command's options are its examples.
    let page = String::from_utf8_lossy(&page);
    Ok(page.replace(".SH EXTRA\nExamples:\n", ".SH EXAMPLES\n"))
}
