//! The configuration file as a JSON object, which is how Greengrass hands a component its configuration: the same names
//! and values. A number may have a fraction of zero there, since the nucleus makes 30 into 30.0.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Error, Value};

use super::NotText;

/// What a member of the object says.
pub(super) struct Member {
    pub name: String,
    /// Its value as the environment would have it.
    pub text: Result<String, NotText>,
    /// Whether it is an object or a list, so that its name stands for what the file does not have.
    pub is_table: bool,
    /// Where its name stands, counted from 1.
    pub line: usize,
}

/// Whether a file is meant as JSON. No TOML begins with a brace.
pub(super) fn is_meant(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// The members of an object; of those with one name the last.
pub(super) fn members(text: &str) -> Result<Vec<Member>, Error> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
    let members = members.into_iter().map(|(name, written)| {
        let written = written.get();
        let value: Value = serde_json::from_str(written)?;
        Ok(Member {
            line: line_of(&name, text),
            is_table: matches!(value, Value::Object(_) | Value::Array(_)),
            text: text_of(&value, written),
            name,
        })
    });
    members.collect()
}

fn line_of(name: &str, text: &str) -> usize {
    let at = text.find(&format!("\"{name}\"")).unwrap_or_default();
    1 + text[..at].matches('\n').count()
}

fn text_of(value: &Value, written: &str) -> Result<String, NotText> {
    let kind = match value {
        Value::String(text) => return Ok(text.clone()),
        Value::Bool(truth) => return Ok(truth.to_string()),
        // Unset, as if it were not there.
        Value::Null => return Ok(String::new()),
        Value::Number(_) => {
            let whole = written.trim_end_matches('0').strip_suffix('.');
            let digits = whole.unwrap_or(written);
            if digits
                .bytes()
                .all(|byte| byte == b'-' || byte.is_ascii_digit())
            {
                return Ok(digits.to_owned());
            }
            "a number with a fraction or an exponent"
        }
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Err(super::not_text(kind, written))
}
