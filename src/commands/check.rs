//! `kinesis-edge check`: what would go wrong, before it does.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use kinesis_edge::check::{self, Step, StepName, Verdict};
use kinesis_edge::parameters;

use super::arg_json;
use super::text::{excerpt, to_stdout};

/// The most characters of a message that are shown; the longest sentences of ours have half as many.
const CHARACTERS: usize = 1000;

pub fn command() -> Command {
    Command::new("check")
        .about("Says what would go wrong, before it does")
        .long_about(
            "Tries each thing that `run` needs with the same parameters: files, broker, rights, credentials, clock, endpoint, \
             directories. A connector may run meanwhile; its connection to the broker is interrupted for a tenth of a \
             second. Run it as the user that the connector runs as: root may read and write everywhere. It takes a few seconds, and half a minute where a connector runs.\n\n\
             Each line is ✓ for what works, ✗ for what does not, with the cause and what to do, and – for what was not \
             tried or cannot be told. Exit status: 0 where nothing failed, 1 otherwise, 2 for a faulty command line.",
        )
        .arg(
            Arg::new("send")
                .long("send")
                .action(ArgAction::SetTrue)
                .help("Put a test record into the default stream, too"),
        )
        .arg(arg_json())
        .args(parameters::args())
}

pub async fn execute(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (json, send) = (matches.get_flag("json"), matches.get_flag("send"));
    let colours = io::stdout().is_terminal();
    let mut written = Ok(());
    let loaded = parameters::load(matches);
    let config_file = parameters::config_file(matches);
    let well = check::run(loaded, config_file, send, |step| {
        let line = if json {
            step.to_json().to_string()
        } else {
            lines(step, colours)
        };
        // Each at once: the last one may take a while.
        let told = to_stdout(|out| writeln!(out, "{line}"));
        written = std::mem::replace(&mut written, Ok(())).and(told);
    })
    .await;
    written?;
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A step as people read it.
fn lines(step: &Step, colours: bool) -> String {
    let (sign, colour) = match step.verdict {
        Verdict::Well => ("✓", "32"),
        Verdict::Failed => ("✗", "31"),
        Verdict::Skipped => ("–", "2"),
    };
    let sign = if colours {
        format!("\u{1b}[{colour}m{sign}\u{1b}[0m")
    } else {
        sign.to_owned()
    };
    let width = StepName::ALL
        .map(|name| name.as_str().len())
        .into_iter()
        .max();
    let (name, width) = (step.name.as_str(), width.unwrap_or_default());
    let mut text = step.message.clone();
    if let Some(advice) = &step.advice {
        text = format!("{}. {}", text.trim_end_matches('.'), capitalized(advice));
    }
    let mut lines = format!("{sign} {name:<width$}  {}", excerpt(&text, CHARACTERS));
    for detail in &step.details {
        lines += &format!("\n    {}", excerpt(detail, CHARACTERS));
    }
    lines
}

/// With a capital letter at the beginning: what to do stands in a sentence of its own.
fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().into_iter();
    first
        .flat_map(char::to_uppercase)
        .chain(characters)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_and_what_to_do_are_two_sentences() {
        let shown = |message: &str, advice: &str| {
            let step = Step {
                name: StepName::Access,
                verdict: Verdict::Failed,
                message: message.to_owned(),
                advice: Some(advice.to_owned()),
                details: Vec::new(),
            };
            lines(&step, false)
        };
        let expected = "✗ access        AWS says no. Ask it why";
        assert_eq!(shown("AWS says no", "ask it why"), expected);
        assert_eq!(shown("AWS says no.", "Ask it why"), expected);
    }
}
