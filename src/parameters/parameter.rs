//! A parameter as the table has it: what a person reads about it, and the flag that is made of that.

use clap::{Arg, ValueHint};

use super::topic::Topic;

/// One parameter, as a person reads about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Name of the environment variable: the Greengrass name where the connector had one.
    pub env: &'static str,
    /// Name of the flag without its dashes: the variable in kebab case.
    pub flag: &'static str,
    /// What it is about: help and README stand in groups.
    pub topic: Topic,
    /// What the help calls the value: its kind or its unit.
    pub value_name: &'static str,
    /// What holds when nothing is set.
    pub default: DefaultValue,
    /// What is valid, in words that fit after "valid:".
    pub valid: &'static str,
    /// One valid value that somebody might really want.
    pub example: &'static str,
    /// How much of a value may be shown in a fault.
    pub secrecy: Secrecy,
    /// Whether `send` takes it as well: what it needs to reach the broker and find its topics.
    pub for_send: bool,
    /// What the parameter does and when to change it; the first sentence alone is the short help.
    pub help: &'static str,
}

/// What a parameter is when nothing is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// There is no default: the program does not start without a value.
    Required,
    /// This value, read by the same rules as one that was given.
    Value(&'static str),
    /// Worked out on the device, as described here.
    Derived(&'static str),
    /// Nothing: what the parameter controls is left out.
    Unset,
}

/// How much of a parameter's value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// All of it.
    Open,
    /// All but the password that the URL may hold.
    UrlPassword,
    /// Nothing.
    Secret,
}

impl Parameter {
    /// The default as help and README show it.
    pub fn default_text(&self) -> &'static str {
        match self.default {
            DefaultValue::Required => "required",
            DefaultValue::Value(text) | DefaultValue::Derived(text) => text,
            DefaultValue::Unset => "–",
        }
    }

    /// The flag of this parameter. It takes any text: what is wrong with a value is reported with
    /// all other faults, not by the command line's parser one at a time.
    pub fn arg(&self) -> Arg {
        let env = self.env;
        self.described(
            &format!("[env: {env}] {}", self.default_note()),
            &format!("[env: {env}]\n{}", self.default_note()),
        )
    }

    /// The same for a command that does not read the environment, and may have a default of its own.
    pub fn arg_without_env(&self, default: Option<&str>) -> Arg {
        let default = match default {
            Some(text) => format!("[default: {text}]"),
            None => self.default_note(),
        };
        self.described(&default, &default)
    }

    fn default_note(&self) -> String {
        match self.default {
            DefaultValue::Required => "[required]".to_owned(),
            DefaultValue::Unset => "[default: none]".to_owned(),
            _ => format!("[default: {}]", self.default_text()),
        }
    }

    fn described(&self, short_note: &str, long_note: &str) -> Arg {
        let short = self.help.split_inclusive(". ").next().unwrap_or(self.help);
        let valid = self.valid;
        Arg::new(self.flag)
            .long(self.flag)
            .value_name(self.value_name)
            .value_hint(match self.value_name {
                "FILE" => ValueHint::FilePath,
                "DIR" => ValueHint::DirPath,
                _ => ValueHint::Other,
            })
            .allow_negative_numbers(true)
            .help_heading(self.topic.heading())
            .help(format!("{}\n{short_note}", short.trim_end()))
            .long_help(format!("{}\n\n{long_note}\n[valid: {valid}]", self.help))
    }
}

/// What most parameters have in common: shown in faults, and of no use to `send`.
pub(super) const PLAIN: Parameter = Parameter {
    env: "",
    flag: "",
    topic: Topic::Operation,
    value_name: "TEXT",
    default: DefaultValue::Unset,
    valid: "",
    example: "",
    secrecy: Secrecy::Open,
    for_send: false,
    help: "",
};
