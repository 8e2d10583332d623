//! `kinesis-edge completions`: what a shell needs to complete the command line.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use clap_complete::Generator;
use clap_complete::shells::{Bash, Fish, Zsh};

use super::installed_command_line;
use super::text::to_stdout;

const EXAMPLES: &str = "\
Examples:
  kinesis-edge completions bash > /usr/share/bash-completion/completions/kinesis-edge
  kinesis-edge completions zsh > /usr/share/zsh/site-functions/_kinesis-edge
  kinesis-edge completions fish > /usr/share/fish/vendor_completions.d/kinesis-edge.fish";

pub fn command() -> Command {
    Command::new("completions")
        .about("Prints the completions of the command line for a shell")
        .arg(
            Arg::new("shell")
                .value_name("SHELL")
                .required(true)
                .value_parser(["bash", "zsh", "fish"])
                .help("The shell that is to complete"),
        )
        .after_long_help(EXAMPLES)
}

pub fn execute(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut command = installed_command_line();
    command.set_bin_name("kinesis-edge");
    command.build();
    let mut script = Vec::new();
    // Each by itself: the shells that are not offered stay out of the program.
    match matches.get_one::<String>("shell").map(String::as_str) {
        Some("bash") => Bash.try_generate(&command, &mut script)?,
        Some("zsh") => Zsh.try_generate(&command, &mut script)?,
        _ => Fish.try_generate(&command, &mut script)?,
    }
    // clap_complete names a command in two ways where the program's name has a dash, and bash then completes nothing
    // behind it (clap-rs/clap#6421). Without effect once that is mended.
    let script = String::from_utf8_lossy(&script).replace("kinesis__subcmd__edge", "kinesis__edge");
    to_stdout(|out| out.write_all(script.as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}
