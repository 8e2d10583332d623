//! Reading values: where a value comes from, what counts as unset, and the rules that more than one
//! parameter follows. A rule answers with the value or with what is wrong, in words.

use std::ops::RangeInclusive;

use super::fault::{Fault, Faults, Problem};
use super::parameter::{DefaultValue, Parameter};

/// Where values come from: the text of a parameter as it was set, if it was.
pub type Lookup<'a> = &'a dyn Fn(&Parameter) -> Option<Result<String, NotText>>;

/// A value that is set and cannot be read as the text of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotText {
    /// The value as far as it is text, for the fault to show.
    pub shown: String,
    /// What is wrong with it: what follows "MQTT_URL is …:" in a sentence.
    pub problem: String,
}

impl NotText {
    /// Bytes that are not UTF-8; `lossy` has replacement characters for them.
    pub fn not_utf8(lossy: String) -> Self {
        NotText {
            shown: lossy,
            problem: "it is not valid UTF-8".to_owned(),
        }
    }
}

/// Stands for a value that is missing because of a fault that has already been noted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted;

/// Reads one parameter after the other and notes what is wrong instead of stopping there.
pub(super) struct Reader<'a> {
    /// The only way to a value, so that tests need no environment.
    lookup: Lookup<'a>,
    /// What was wrong so far.
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(lookup: Lookup<'a>) -> Self {
        Reader {
            lookup,
            faults: Vec::new(),
        }
    }

    /// The text of a parameter; an empty one counts as unset.
    pub(super) fn text(&mut self, parameter: &Parameter) -> Result<Option<String>, Noted> {
        match (self.lookup)(parameter) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(Err(NotText { shown, problem })) => {
                Err(self.fault(parameter, Some(&shown), problem))
            }
        }
    }

    /// The value of a parameter that may be unset.
    pub(super) fn optional<T, P: Into<Problem>>(
        &mut self,
        parameter: &Parameter,
        rule: impl FnOnce(&str) -> Result<T, P>,
    ) -> Result<Option<T>, Noted> {
        let Some(text) = self.text(parameter)? else {
            return Ok(None);
        };
        match rule(&text) {
            Ok(value) => Ok(Some(value)),
            Err(problem) => Err(self.fault(parameter, Some(&text), problem)),
        }
    }

    /// The value of a parameter that always has one: its default is read by the same rule.
    pub(super) fn value<T>(
        &mut self,
        parameter: &Parameter,
        rule: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Noted> {
        if let Some(value) = self.optional(parameter, &rule)? {
            return Ok(value);
        }
        match parameter.default {
            DefaultValue::Value(default) => {
                rule(default).map_err(|problem| self.fault(parameter, Some(default), problem))
            }
            _ => Err(self.fault(
                parameter,
                None,
                "it is not set, and there is no default".to_owned(),
            )),
        }
    }

    /// Notes a fault.
    pub(super) fn fault(
        &mut self,
        parameter: &Parameter,
        value: Option<&str>,
        problem: impl Into<Problem>,
    ) -> Noted {
        self.faults.push(Fault::new(parameter, value, problem));
        Noted
    }

    /// What was read if nothing was wrong, otherwise everything that was.
    pub(super) fn finish<T>(self, read: Result<T, Noted>) -> Result<T, Faults> {
        match read {
            Ok(read) if self.faults.is_empty() => Ok(read),
            _ => Err(Faults::in_table_order(self.faults)),
        }
    }
}

/// A whole number in decimal digits, without sign, spaces or leading zeros.
pub(super) fn whole_number(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("it is not a whole number in plain digits".to_owned());
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err("it has leading zeros".to_owned());
    }
    // Digits that overflow are too many digits: more than any range here ends with.
    let number = text.parse().unwrap_or(u64::MAX);
    if number < *range.start() {
        return Err(format!("it is less than {}", range.start()));
    }
    if number > *range.end() {
        return Err(format!("it is more than {}", range.end()));
    }
    Ok(number)
}

/// `true` or `false`, in any letter case.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    if text.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if text.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err("it is neither true nor false".to_owned())
    }
}

/// One of a few words, exactly as written.
pub(super) fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let nearly = words
            .iter()
            .find(|(word, _)| text.trim().eq_ignore_ascii_case(word));
        match nearly {
            Some((word, _)) => format!("it is not exactly \"{word}\""),
            None => "it is none of the words that are valid".to_owned(),
        }
    })
}

/// Text that fits in an MQTT string and that every broker takes: source, MQTT 5.0 section 1.5.4 (length
/// prefix of 16 bits, no NUL, control characters disallowed by brokers).
pub(super) fn mqtt_string(text: &str, most_bytes: usize) -> Result<String, String> {
    if text.len() > most_bytes {
        return Err(format!(
            "it has {} bytes, and at most {most_bytes} are valid",
            text.len()
        ));
    }
    if text.chars().any(char::is_control) {
        return Err("it has a control character in it (a newline, perhaps)".to_owned());
    }
    Ok(text.to_owned())
}
