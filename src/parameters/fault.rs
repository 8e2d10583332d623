//! What is wrong with a configuration: all of it at once, each fault with its parameter, the value, what
//! is valid and an example. Nothing here ever shows a secret.

use std::fmt;

use super::file::Place;
use super::mqtt_url;
use super::parameter::{Parameter, Secrecy};
use super::table::{DEFAULT_DELIVERY_STREAM_ARN, PARAMETERS};
use crate::arn::quoted;

/// How much of a value a fault shows: room for a path, and for an ARN that anybody would write.
const SHOWN_CHARS: usize = 200;

/// One thing that is wrong with one parameter, or with the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The parameter's variable, which is also its name. Empty where the file itself is wrong.
    pub parameter: &'static str,
    /// Its flag without dashes, since the value may have come from there.
    pub flag: &'static str,
    /// Where it stands in the configuration file, if it came from there.
    pub place: Option<Place>,
    /// The value, quoted, escaped and shortened, so that the mistake can be seen. Absent where nothing
    /// was set and where the value is a secret; a password in a URL is `***`.
    pub value: Option<String>,
    /// What is wrong: what follows "MQTT_URL is …:" in a sentence.
    pub problem: String,
    /// What would be right.
    pub valid: &'static str,
    /// A value that works.
    pub example: &'static str,
    /// Whether it may pass while the configuration stays as it is.
    pub may_pass: bool,
}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// What follows "MQTT_URL is …:" in a sentence.
    pub words: String,
    /// Whether it may pass while the value stays as it is: a file that is being replaced, a disk that is not mounted
    /// yet.
    pub may_pass: bool,
}

impl From<String> for Problem {
    fn from(words: String) -> Self {
        Problem {
            words,
            may_pass: false,
        }
    }
}

impl Problem {
    /// One of what a value names, and not of the value.
    pub fn of_file(words: String) -> Self {
        Problem {
            words,
            may_pass: true,
        }
    }
}

impl Fault {
    pub(super) fn new(
        parameter: &Parameter,
        value: Option<&str>,
        problem: impl Into<Problem>,
    ) -> Self {
        let problem = problem.into();
        let value = value.and_then(|value| without_secrets(parameter, value));
        Fault {
            parameter: parameter.env,
            flag: parameter.flag,
            place: None,
            value: value.map(|value| quoted(&value, SHOWN_CHARS)),
            problem: problem.words,
            valid: parameter.valid,
            example: parameter.example,
            may_pass: problem.may_pass,
        }
    }

    /// What is wrong where, without an end: "MQTT_URL (FILE:2) is …: …". What is right is left out.
    pub fn sentence(&self) -> String {
        let (name, flag) = (self.parameter, self.flag);
        let subject = match &self.place {
            None if name.is_empty() => format!("--{flag}"),
            Some(place) if name.is_empty() => place.to_string(),
            Some(place) => format!("{name} ({place})"),
            None => format!("{name} (--{flag})"),
        };
        match &self.value {
            Some(value) => format!("{subject} is {value}: {}", self.problem),
            None => format!("{subject}: {}", self.problem),
        }
    }

    /// The same of a value that stands there.
    pub(super) fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Whether a required parameter is not set: the one thing that somebody who starts the program for
    /// the first time has not done yet.
    pub(super) fn is_missing(&self) -> bool {
        self.parameter == DEFAULT_DELIVERY_STREAM_ARN.env && self.value.is_none()
    }
}

/// A value as far as it may be shown; `None` where nothing of it may.
pub(super) fn without_secrets(parameter: &Parameter, value: &str) -> Option<String> {
    match parameter.secrecy {
        Secrecy::Open => Some(value.to_owned()),
        Secrecy::UrlPassword => Some(mqtt_url::without_password(value)),
        Secrecy::Secret => None,
    }
}

/// A value as it is written in the configuration file.
fn in_toml(value: &str) -> String {
    let bare = value.bytes().all(|byte| byte.is_ascii_digit()) || matches!(value, "true" | "false");
    match bare {
        true => value.to_owned(),
        false if value.contains('\\') => format!("'{value}'"),
        false => format!("\"{value}\""),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.parameter;
        writeln!(f, "{}.", self.sentence())?;
        writeln!(f, "    valid:   {}", self.valid)?;
        let example = self.example;
        match &self.place {
            _ if name.is_empty() => write!(f, "    example: {example}"),
            Some(_) => write!(f, "    example: {name} = {}", in_toml(example)),
            None => write!(f, "    example: {name}={example}"),
        }
    }
}

/// Everything that is wrong with a configuration: first with its file, then in the order of the table. Never
/// empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    pub(super) fn in_table_order(mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| {
            let row = PARAMETERS
                .iter()
                .position(|parameter| parameter.env == fault.parameter);
            // The file's own are of no parameter, and stand in the order of its lines.
            let line = fault.place.as_ref().map(|place| place.line);
            (row, line.filter(|_| row.is_none()))
        });
        Faults(faults)
    }

    /// Whether all may pass while the configuration stays as it is.
    pub fn may_pass(&self) -> bool {
        self.0.iter().all(|fault| fault.may_pass)
    }

    /// Whether one of them is of this parameter.
    pub(super) fn concern(&self, parameter: &Parameter) -> bool {
        self.0.iter().any(|fault| fault.parameter == parameter.env)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "The configuration has a fault:")?,
            faults => write!(f, "The configuration has {faults} faults:")?,
        }
        for fault in &self.0 {
            write!(f, "\n\n{fault}")?;
        }
        if self.0.iter().any(Fault::is_missing) {
            write!(
                f,
                "\n\nEvery parameter is a flag, an environment variable, or a line of the file that --config names; \
                 --help lists them all."
            )?;
        }
        Ok(())
    }
}
