//! `dead-letters ls`: what there is, by stream and code.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use kinesis_edge::arn::DeliveryStreamArn;
use kinesis_edge::dead_letters::{Damage, Letter, Letters};
use serde_json::json;

use super::super::text::{Table, count, excerpt, time, to_stdout};
use super::{for_each_segment, unusable};

/// The most characters of a code that a row shows.
const CODE_CHARACTERS: usize = 60;

pub fn command() -> Command {
    Command::new("ls").about("Lists how many letters there are, by stream and code")
}

/// Letters of one stream that failed with one code.
#[derive(Default)]
pub struct Pile {
    letters: u64,
    /// Of records.
    bytes: u64,
    /// Of failures.
    oldest_unix_ms: Option<u64>,
    newest_unix_ms: u64,
}

impl Pile {
    fn add(&mut self, letter: &Letter) {
        let failed = letter.failed_unix_ms;
        self.letters += 1;
        self.bytes += letter.data.len() as u64;
        self.oldest_unix_ms = Some(self.oldest_unix_ms.map_or(failed, |old| old.min(failed)));
        self.newest_unix_ms = self.newest_unix_ms.max(failed);
    }

    fn oldest(&self) -> String {
        time(self.oldest_unix_ms.unwrap_or_default())
    }
}

/// Letters by stream and code.
#[derive(Default)]
pub struct Piles(BTreeMap<(DeliveryStreamArn, String), Pile>);

impl Piles {
    pub fn add(&mut self, letter: &Letter) {
        let key = (letter.stream.clone(), letter.code.clone());
        self.0.entry(key).or_default().add(letter);
    }

    /// How many letters, and their bytes.
    pub fn total(&self) -> (u64, u64) {
        let piles = self.0.values();
        piles.fold((0, 0), |(letters, bytes), pile| {
            (letters + pile.letters, bytes + pile.bytes)
        })
    }

    /// A row for each, or an object for each.
    pub fn write(&self, json: bool, mut out: &mut dyn Write) -> io::Result<()> {
        if json {
            for ((stream, code), pile) in &self.0 {
                let object = json!({
                    "stream": stream.as_str(),
                    "code": code,
                    "letters": pile.letters,
                    "bytes": pile.bytes,
                    "oldest": pile.oldest(),
                    "newest": time(pile.newest_unix_ms),
                });
                writeln!(out, "{object}")?;
            }
            return Ok(());
        }
        let mut table = Table::new(&["STREAM", "CODE", "LETTERS", "BYTES", "OLDEST", "NEWEST"]);
        for ((stream, code), pile) in &self.0 {
            table.row([
                stream.to_string(),
                excerpt(code, CODE_CHARACTERS),
                pile.letters.to_string(),
                pile.bytes.to_string(),
                pile.oldest(),
                time(pile.newest_unix_ms),
            ]);
        }
        let (letters, bytes) = self.total();
        table.row([
            "total".to_owned(),
            String::new(),
            letters.to_string(),
            bytes.to_string(),
        ]);
        table.write(&mut out)
    }
}

pub fn execute(matches: &ArgMatches, path: &Path) -> anyhow::Result<ExitCode> {
    let letters = match Letters::look_into(path) {
        Ok(letters) => letters,
        Err(error) => return Ok(unusable(error)),
    };
    let json = matches.get_flag("json");
    let (mut piles, mut damages) = (Piles::default(), Vec::new());
    for_each_segment(&letters, |_, segment| {
        let unsent = segment.letters.iter().filter(|stored| !stored.done);
        unsent.for_each(|stored| piles.add(&stored.letter));
        damages.extend(segment.damage);
        Ok(true)
    })?;
    to_stdout(|out| {
        piles.write(json, out)?;
        damages
            .iter()
            .try_for_each(|damage| write_damage(damage, json, out))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn write_damage(damage: &Damage, json: bool, out: &mut dyn Write) -> io::Result<()> {
    let Damage {
        file,
        bytes,
        places,
        what,
    } = damage;
    if json {
        let object =
            json!({"damage": {"file": file, "bytes": bytes, "places": places, "what": what}});
        return writeln!(out, "{object}");
    }
    let places = count(*places as u64, "place");
    let bytes = count(*bytes, "byte");
    writeln!(
        out,
        "damaged: {file}, {bytes} in {places}: {what}. What is whole is counted above; the file stays until \
         its room is needed, or you remove it."
    )
}
