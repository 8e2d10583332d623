//! What is wrong with a configuration: all of it at once, each fault with its parameter, the value, what
//! is valid and an example. Nothing here ever shows a secret.

use std::fmt;

use super::mqtt_url;
use super::table::{DEFAULT_DELIVERY_STREAM_ARN, PARAMETERS, Parameter, Secrecy};
use crate::arn::quoted;

/// How much of a value a fault shows: room for a path, and for an ARN that anybody would write.
const SHOWN_CHARS: usize = 200;

/// One thing that is wrong with one parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The parameter's variable, which is also its name.
    pub parameter: &'static str,
    /// Its flag without dashes, since the value may have come from there.
    pub flag: &'static str,
    /// The value, quoted, escaped and shortened, so that the mistake can be seen. Absent where nothing
    /// was set and where the value is a secret; a password in a URL is `***`.
    pub value: Option<String>,
    /// What is wrong: what follows "MQTT_URL is …:" in a sentence.
    pub problem: String,
    /// What would be right.
    pub valid: &'static str,
    /// A value that works.
    pub example: &'static str,
}

impl Fault {
    pub(super) fn new(parameter: &Parameter, value: Option<&str>, problem: String) -> Self {
        let value = value.and_then(|value| match parameter.secrecy {
            Secrecy::Open => Some(quoted(value, SHOWN_CHARS)),
            Secrecy::UrlPassword => Some(quoted(&mqtt_url::without_password(value), SHOWN_CHARS)),
            Secrecy::Secret => None,
        });
        Fault {
            parameter: parameter.env,
            flag: parameter.flag,
            value,
            problem,
            valid: parameter.valid,
            example: parameter.example,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (--{})", self.parameter, self.flag)?;
        if let Some(value) = &self.value {
            write!(f, " is {value}")?;
        }
        writeln!(f, ": {}.", self.problem)?;
        writeln!(f, "    valid:   {}", self.valid)?;
        write!(f, "    example: {}={}", self.parameter, self.example)
    }
}

/// Everything that is wrong with a configuration, in the order of the table. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    pub(super) fn in_table_order(mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| {
            PARAMETERS
                .iter()
                .position(|parameter| parameter.env == fault.parameter)
        });
        Faults(faults)
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
        // The one thing that somebody who starts the program for the first time has not done yet.
        let unset = |fault: &Fault| {
            fault.parameter == DEFAULT_DELIVERY_STREAM_ARN.env && fault.value.is_none()
        };
        if self.0.iter().any(unset) {
            write!(
                f,
                "\n\nEvery parameter is an environment variable or a flag; --help lists them all."
            )?;
        }
        Ok(())
    }
}
