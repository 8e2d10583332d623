//! The configuration file that `--config` names: TOML, each line a parameter under the name of its
//! variable, or a JSON object of the same (`json`). What is wrong with the file is collected here, and told with all other faults; whether a
//! value is right is for the rules to say that read every value.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clap::{Arg, ValueHint, value_parser};
use toml::de::{DeTable, DeValue};

use super::fault::Fault;
use super::mqtt_url;
use super::parameter::{Parameter, Secrecy};
use super::read::NotText;
use super::table::PARAMETERS;
use super::topic::Topic;

mod json;

/// What is read of a file at most, in bytes. Chosen here: all parameters at their longest need a third
/// of it, and whoever names a device or a log by mistake is told so at once.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// How many letters a name may be off for another to be meant.
const MAX_TYPOS: usize = 3;

/// Bit of a file's mode: those who are neither its owner nor in its group may read it.
const OTHERS_READ: u32 = 0o004;

/// The flag that names the file. Not in the table: it is no parameter, and cannot stand in the file.
const CONFIG: Parameter = Parameter {
    env: "",
    flag: "config",
    topic: Topic::Operation,
    value_name: "FILE",
    default: super::DefaultValue::Unset,
    valid: "a readable file in TOML, or a JSON object, of at most 1 MiB",
    example: "--config /etc/kinesis-edge/kinesis-edge.toml",
    secrecy: Secrecy::Open,
    for_send: true,
    help: "",
};

/// A line of the file, for faults that are of no one parameter.
const LINE: Parameter = Parameter {
    valid: "NAME = value on each line: a parameter by the name of its variable; a text in quotes, a whole number, \
            true or false",
    example: "PUBLISH_INTERVAL = 30",
    ..CONFIG
};

/// The flag, for each command that reads parameters.
pub(super) fn arg() -> Arg {
    Arg::new(CONFIG.flag)
        .long(CONFIG.flag)
        .value_name(CONFIG.value_name)
        // A path may not be empty to clap, and an empty one is unset to us.
        .value_parser(value_parser!(OsString))
        .value_hint(ValueHint::FilePath)
        .help("A TOML file with parameters; flags and the environment win over it")
        .long_help(
            "A TOML file with parameters, each on a line of its own under the name of its variable: \
             PUBLISH_INTERVAL = 30. Flags and environment variables win over it. Texts stand in quotes; in single \
             quotes a backslash is a backslash. Without this flag no file is read.",
        )
}

/// Where something stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named, fit to be shown in one line.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What a configuration file says.
pub(super) struct ConfigFile {
    /// Its values, in no order.
    entries: Vec<Entry>,
    /// What is wrong with the file itself, in no order.
    pub faults: Vec<Fault>,
    /// Whether all of it could be read. Otherwise what is missing may stand where nobody could read it.
    pub is_whole: bool,
}

/// One parameter in the file.
pub(super) struct Entry {
    parameter: &'static Parameter,
    /// The value as the parameter's rule reads it.
    pub text: Result<String, NotText>,
    pub place: Place,
}

/// The file that values come from.
struct FileOrigin<'a> {
    /// It as it was named, fit to be shown in one line.
    shown: &'a str,
    /// Whether everyone on the machine may read it.
    open_to_others: bool,
}

impl FileOrigin<'_> {
    /// Where something stands that has these bytes before it.
    fn place(&self, before: &[u8]) -> Place {
        Place {
            file: self.shown.to_owned(),
            line: 1 + before.iter().filter(|&&byte| byte == b'\n').count(),
        }
    }
}

impl ConfigFile {
    /// Reads a file. One that cannot be read is empty, and has a fault that says why.
    pub(super) fn read(path: &Path) -> Self {
        match contents(path) {
            Ok((bytes, open_to_others)) => {
                let shown = path.to_string_lossy().escape_debug().to_string();
                Self::parse(&shown, &bytes, open_to_others)
            }
            Err(problem) => {
                let shown = path.to_string_lossy();
                ConfigFile {
                    entries: Vec::new(),
                    faults: vec![Fault::new(&CONFIG, Some(&shown), problem)],
                    is_whole: false,
                }
            }
        }
    }

    /// Reads the bytes of a file. `open_to_others`: everyone on the machine may read them too.
    fn parse(shown: &str, bytes: &[u8], open_to_others: bool) -> Self {
        let mut file = ConfigFile {
            entries: Vec::new(),
            faults: Vec::new(),
            is_whole: true,
        };
        let origin = FileOrigin {
            shown,
            open_to_others,
        };
        match std::str::from_utf8(bytes) {
            Ok(text) if json::is_meant(text) => file.take_json(text, &origin),
            Ok(text) => file.take_toml(text, &origin),
            Err(error) => {
                file.is_whole = false;
                let place = origin.place(&bytes[..error.valid_up_to()]);
                file.note(place, "it is not valid UTF-8".to_owned());
            }
        }
        file
    }

    fn take_toml(&mut self, text: &str, origin: &FileOrigin<'_>) {
        let bytes = text.as_bytes();
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let at = error.span().map_or(0, |span| span.start.min(bytes.len()));
            let place = origin.place(&bytes[..at]);
            // What follows the first error of a line is of its making.
            if !self.has_fault_at(&place) {
                self.note(place, format!("it is not TOML: {}", error.message()));
            }
        }
        self.is_whole = self.faults.is_empty();
        for (key, value) in table.get_ref() {
            let place = origin.place(&bytes[..key.span().start]);
            // What was made of a line with an error is a guess.
            if self.has_fault_at(&place) {
                continue;
            }
            let written = text.get(value.span()).unwrap_or_default();
            let is_table = matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_));
            let text = text_of(value.get_ref(), written);
            self.take(key.get_ref(), text, is_table, place, origin);
        }
    }

    fn take_json(&mut self, text: &str, origin: &FileOrigin<'_>) {
        let place = |line| Place {
            file: origin.shown.to_owned(),
            line,
        };
        match json::members(text) {
            Ok(members) => {
                for member in members {
                    let place = place(member.line);
                    self.take(&member.name, member.text, member.is_table, place, origin);
                }
            }
            Err(error) => {
                self.is_whole = false;
                self.note(place(error.line()), format!("it is not JSON: {error}"));
            }
        }
    }

    /// Takes one value, under the name that it has in the file.
    fn take(
        &mut self,
        name: &str,
        text: Result<String, NotText>,
        is_table: bool,
        place: Place,
        origin: &FileOrigin<'_>,
    ) {
        let Some(parameter) = PARAMETERS.iter().find(|parameter| parameter.env == name) else {
            self.note(place, not_a_parameter(name, is_table));
            return;
        };
        let text = text.and_then(|text| {
            if origin.open_to_others && has_password(parameter, &text) {
                return Err(not_for_others(text, origin.shown));
            }
            Ok(text)
        });
        self.entries.push(Entry {
            parameter,
            text,
            place,
        });
    }

    /// What the file says of a parameter; an empty text is unset.
    pub(super) fn get(&self, parameter: &Parameter) -> Option<&Entry> {
        let is_set = |entry: &&Entry| !matches!(&entry.text, Ok(text) if text.is_empty());
        let found = self
            .entries
            .iter()
            .find(|entry| entry.parameter.env == parameter.env);
        found.filter(is_set)
    }

    fn note(&mut self, place: Place, problem: String) {
        let fault = Fault::new(&LINE, None, problem).at(place);
        self.faults.push(fault);
    }

    fn has_fault_at(&self, place: &Place) -> bool {
        self.faults
            .iter()
            .any(|fault| fault.place.as_ref() == Some(place))
    }
}

/// The bytes of a file, and whether everyone on the machine may read them.
fn contents(path: &Path) -> Result<(Vec<u8>, bool), String> {
    let cannot = |error: io::Error| format!("the file cannot be read: {error}");
    let file = File::open(path).map_err(cannot)?;
    let mode = file.metadata().map_err(cannot)?.permissions().mode();
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err("it is larger than 1 MiB, so it is hardly a configuration".to_owned());
    }
    Ok((bytes, mode & OTHERS_READ != 0))
}

/// A value as the environment would have it. `written` is how it stands in the file.
fn text_of(value: &DeValue<'_>, written: &str) -> Result<String, NotText> {
    let kind = match value {
        DeValue::String(text) => return Ok(text.to_string()),
        DeValue::Boolean(truth) => return Ok(truth.to_string()),
        DeValue::Integer(number) => {
            // Digits beyond what this holds are more than any rule allows, however they are written.
            let plain = i128::from_str_radix(number.as_str(), number.radix());
            return Ok(plain.map_or_else(|_| number.to_string(), |number| number.to_string()));
        }
        DeValue::Float(_) => "a number with a fraction or an exponent",
        DeValue::Datetime(_) => "a date or a time without quotes",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    Err(not_text(kind, written))
}

fn not_text(kind: &str, written: &str) -> NotText {
    NotText {
        shown: written.to_owned(),
        problem: format!(
            "it is {kind}; the file takes a text in quotes, a whole number, true or false"
        ),
    }
}

fn has_password(parameter: &Parameter, text: &str) -> bool {
    match parameter.secrecy {
        Secrecy::Open => false,
        Secrecy::UrlPassword => mqtt_url::parse(text).is_ok_and(|url| url.password.is_some()),
        Secrecy::Secret => !text.is_empty(),
    }
}

fn not_for_others(shown: String, file: &str) -> NotText {
    let problem = format!(
        "there is a password in it, and every user of the machine can read the file: chmod o-r {file}, or put the \
         password into a file of its own (MQTT_PASSWORD_FILE)"
    );
    NotText { shown, problem }
}

/// What to tell of a name that is none, in words that follow a colon.
fn not_a_parameter(name: &str, is_table: bool) -> String {
    let shown = crate::arn::quoted(name, 60);
    let as_variable = name.to_uppercase().replace('-', "_");
    let near = PARAMETERS.iter().map(|parameter| {
        let typos = strsim::damerau_levenshtein(&as_variable, parameter.env);
        (typos, parameter.env)
    });
    match near.min() {
        Some((0, meant)) => format!("{shown} is written {meant} here"),
        Some((typos, meant)) if typos <= MAX_TYPOS => {
            format!("there is no parameter {shown}; {meant} is the nearest")
        }
        _ if is_table => format!("{shown} is a table or a list, and the file has none"),
        _ if as_variable.starts_with("AWS_") => format!(
            "{shown} is not a parameter: the AWS SDK reads it, from the environment or from AWS's own files"
        ),
        _ if as_variable == "RUST_LOG" => {
            format!("{shown} is not a parameter: it is read from the environment only")
        }
        _ => format!("there is no parameter {shown}; --help lists them all"),
    }
}

#[cfg(test)]
mod tests;
