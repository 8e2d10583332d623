//! What commands show: tables for people, times, and records as text. Whatever comes from outside is
//! escaped, since a terminal obeys some characters.

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kinesis_edge::utc::Utc;
use serde_json::{Map, Value};

/// Rows in columns as wide as they need to be; a number stands at the right of its column.
pub struct Table {
    /// The heading first.
    rows: Vec<Vec<String>>,
    /// Whether its numbers are counts, to be compared with those above and below.
    counts: bool,
}

impl Table {
    /// A table with its heading.
    pub fn new(heading: &[&str]) -> Self {
        Table {
            rows: vec![heading.iter().map(|&name| name.to_owned()).collect()],
            counts: true,
        }
    }

    /// The same where numbers are words like any other, and stand at the left.
    pub fn of_words(heading: &[&str]) -> Self {
        Table {
            counts: false,
            ..Table::new(heading)
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Writes it, line by line.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, &width) in row.iter().zip(&widths) {
                if self.counts && is_number(cell) {
                    line += &format!("{cell:>width$}  ");
                } else {
                    line += &format!("{cell:<width$}  ");
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn is_number(cell: &str) -> bool {
    !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit())
}

/// A moment as people and programs read it.
pub fn time(unix_ms: u64) -> String {
    // Damage does not get here, but a clock that was wrong may: the end of time is as good as any.
    let moment = UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms));
    Utc::from(moment.unwrap_or(UNIX_EPOCH)).to_string()
}

/// The first `most` characters of a text in one line, with whatever does not print escaped.
pub fn excerpt(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for (place, character) in text.chars().enumerate() {
        if place == most {
            shown.push('…');
            break;
        }
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
}

/// Puts a record into a JSON object: as text under `data` where it is UTF-8, else as base64 under
/// `data_base64`.
pub fn insert_data(object: &mut Map<String, Value>, data: &[u8]) {
    match std::str::from_utf8(data) {
        Ok(text) => object.insert("data".to_owned(), Value::from(text)),
        Err(_) => object.insert("data_base64".to_owned(), STANDARD.encode(data).into()),
    };
}

/// `1 record`, `2 records`.
pub fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Writes to standard output. A reader that has seen enough, such as `head`, is no error.
///
/// # Errors
/// Where it cannot be written for another reason.
pub fn to_stdout(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let mut table = Table::new(&["STREAM", "LETTERS"]);
        table.row(["ü".to_owned(), "7".to_owned()]);
        table.row(["longer-name".to_owned(), "123".to_owned()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let expected = "STREAM       LETTERS\nü                  7\nlonger-name      123\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn no_text_commands_the_terminal() {
        assert_eq!(excerpt("a\u{1b}[2J\n\"ü\"", 20), "a\\u{1b}[2J\\n\"ü\"");
        assert_eq!(excerpt("abcdef", 3), "abc…");
        assert_eq!(excerpt("abc", 3), "abc");
    }

    #[test]
    fn records_are_text_where_they_can_be() {
        let mut object = Map::new();
        insert_data(&mut object, b"text");
        insert_data(&mut object, &[0xff, 0xfe]);
        let json = Value::from(object).to_string();
        assert_eq!(json, r#"{"data":"text","data_base64":"//4="}"#);
        assert_eq!(time(u64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
