//! The parameters of what a Firehose record holds: the delimiter behind each request, and whether requests
//! are joined and compressed. Their checks against each other and against the rest are here.

use std::ops::RangeInclusive;

use super::read::{Noted, Reader, one_of, whole_number};
use super::table;
use crate::aggregate::{Aggregation, BILLED_BYTES, Compression};
use crate::delimiter::Delimiter;
use crate::memory::least_memory_size_kb;
use crate::request::RECORD_MAX_BYTES;

/// What requests may be joined up to: one unit of what is billed, to the largest record.
pub(super) const AGGREGATION_BYTES: RangeInclusive<u64> =
    BILLED_BYTES as u64..=RECORD_MAX_BYTES as u64;

/// What [`read`] found; each field is that of [`Parameters`](super::Parameters).
pub(super) struct Records {
    pub delimiter: Option<Delimiter>,
    pub aggregation: Option<Aggregation>,
}

/// What the rest of a configuration says, as far as it could be read.
#[derive(Clone, Copy)]
pub(super) struct Rest {
    /// Why there are no batches, in words that follow "as", where there are none.
    pub no_batches: Option<&'static str>,
    /// `MEMORY_SIZE` in bytes.
    pub memory_size_bytes: Option<usize>,
    /// Whether `QUEUE_DIR` is set.
    pub on_disk: bool,
}

impl Rest {
    /// A command that has batches of its own, and no bound on its memory.
    pub const NONE: Rest = Rest {
        no_batches: None,
        memory_size_bytes: None,
        on_disk: false,
    };
}

/// Reads and checks all of them.
pub(super) fn read(reader: &mut Reader<'_>, rest: Rest) -> Result<Records, Noted> {
    let delimiter = reader.optional(&table::RECORD_DELIMITER, Delimiter::parse);
    let aggregates = reader.value(&table::RECORD_AGGREGATION, |text| {
        let aggregates = one_of(text, &[("none", false), ("delimited", true)])?;
        match rest.no_batches {
            Some(why) if aggregates => Err(format!(
                "it joins the records of a batch, and there are none, as {why}"
            )),
            _ => Ok(aggregates),
        }
    });
    // What depends on a word that cannot be read is not a fault of its own.
    let is_off = aggregates.as_ref().is_ok_and(|aggregates| !aggregates);
    let alone = "it is of no use without RECORD_AGGREGATION=delimited";
    let max_bytes = reader.optional(&table::AGGREGATION_MAX_BYTES, |text| {
        let bytes = whole_number(text, AGGREGATION_BYTES)?;
        if is_off {
            return Err(alone.to_owned());
        }
        // The range ends below what 32 bits hold.
        Ok(bytes as usize)
    });
    let compression = reader.value(&table::RECORD_COMPRESSION, |text| {
        let words = [
            ("none", None),
            ("gzip", Some(Compression::Gzip)),
            ("zstd", Some(Compression::Zstd)),
        ];
        match one_of(text, &words)? {
            Some(_) if is_off => Err(alone.to_owned()),
            compression => Ok(compression),
        }
    });
    let memory = match compression {
        Ok(Some(_)) => enough_memory(reader, rest),
        _ => Ok(()),
    };
    let (delimiter, compression) = (delimiter?, compression?);
    let aggregation = Aggregation {
        delimiter: delimiter.unwrap_or(Delimiter::NEWLINE),
        max_bytes: max_bytes?.unwrap_or(Aggregation::default_max_bytes(compression)),
        compression,
    };
    memory?;
    Ok(Records {
        // Where records are joined each has one from the start.
        delimiter: delimiter.or(aggregates?.then_some(Delimiter::NEWLINE)),
        aggregation: aggregates?.then_some(aggregation),
    })
}

/// Notes a memory size that would do without compression and does not with it.
fn enough_memory(reader: &mut Reader<'_>, rest: Rest) -> Result<(), Noted> {
    let least = least_memory_size_kb(rest.on_disk, true);
    let enough_without = least_memory_size_kb(rest.on_disk, false)..least;
    // What could not be read, or is too small anyway, is a fault already.
    let kilobytes = rest.memory_size_bytes.map(|bytes| bytes as u64 / 1024);
    if !kilobytes.is_some_and(|kilobytes| enough_without.contains(&kilobytes)) {
        return Ok(());
    }
    let shown = reader.text(&table::MEMORY_SIZE)?;
    let problem = format!(
        "it is too small for compression (RECORD_COMPRESSION), which needs memory too: the least \
         then is {least} KB ({} MiB){}",
        least / 1024,
        if rest.on_disk { " with QUEUE_DIR" } else { "" }
    );
    Err(reader.fault(&table::MEMORY_SIZE, shown.as_deref(), problem))
}
