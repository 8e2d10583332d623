//! Sending records that lie in a directory straight to their streams: joined where that is asked for, in
//! calls within the limits, those that failed in passing again after a while, and what became of each
//! noted after every call. Used by commands; the connector has its workers for this.

mod parcel;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use indicatif::ProgressBar;
use kinesis_edge::aggregate::Aggregation;
use kinesis_edge::arn::DeliveryStreamArn;
use kinesis_edge::batch::{self, BatchLimits};
use kinesis_edge::code::Code;
use kinesis_edge::destination::{CallError, Destination, Outcome, ServiceError};
use kinesis_edge::request::RECORD_MAX_BYTES;
use serde_json::json;

use super::text::{Table, excerpt};
use parcel::{Parcel, pack};

/// How often records are sent that nothing becomes of. Whoever runs a command waits for it.
const TRIES: u32 = 5;

/// The most characters of a message that a row shows.
const MESSAGE_CHARACTERS: usize = 200;

/// The wait after the first of them; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The one call error that may be about one record only: the others of the call may be good.
const INVALID_ARGUMENT: &str = "InvalidArgumentException";

/// What is said to whoever asks for an end during a call.
const ENDING: &str =
    "ending as soon as the call under way is answered; to end at once, interrupt once more";

/// Where records come from, and where it is noted that they arrived.
pub trait Source {
    /// Names a record to its source.
    type Key;

    /// The next records. `None`: there are no more.
    ///
    /// # Errors
    /// Where they cannot be read.
    fn next(&mut self) -> anyhow::Result<Option<Group<Self::Key>>>;

    /// These arrived, and must not be sent again even if the machine stops as soon as this returns.
    ///
    /// # Errors
    /// Where that cannot be noted; then nothing more is sent.
    fn done(&mut self, keys: Vec<Self::Key>) -> anyhow::Result<()>;
}

/// Records of one stream.
pub struct Group<K> {
    /// Where they go.
    pub stream: DeliveryStreamArn,
    /// Any number of them, in order.
    pub records: Vec<Item<K>>,
}

/// One record.
pub struct Item<K> {
    /// Names it to its source.
    pub key: K,
    /// The record.
    pub data: Bytes,
}

/// What became of all records.
#[derive(Debug, Default)]
pub struct Report {
    /// Records that arrived.
    pub delivered: u64,
    /// Records that were not taken, by stream and code.
    pub left: BTreeMap<(DeliveryStreamArn, String), Left>,
    /// Whether it was ended early: then there are records that were not tried.
    pub interrupted: bool,
}

/// Records that were not taken for the same reason.
#[derive(Debug, Default)]
pub struct Left {
    /// How many.
    pub records: u64,
    /// What the service said of the last of them.
    pub message: String,
}

impl Report {
    /// Records that were not taken.
    pub fn left_records(&self) -> u64 {
        self.left.values().map(|left| left.records).sum()
    }

    /// An object for each reason why records were not taken.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_left_objects(&self, out: &mut dyn Write) -> io::Result<()> {
        self.left.iter().try_for_each(|((stream, code), left)| {
            let object = json!({"stream": stream.as_str(), "code": code, "left": left.records, "message": left.message});
            writeln!(out, "{object}")
        })
    }

    /// A table of the same; nothing where all were taken.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_left_table(&self, mut out: &mut dyn Write) -> io::Result<()> {
        if self.left.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(&["STREAM", "CODE", "LEFT", "WHY"]);
        for ((stream, code), left) in &self.left {
            table.row([
                stream.to_string(),
                excerpt(code, MESSAGE_CHARACTERS),
                left.records.to_string(),
                excerpt(&left.message, MESSAGE_CHARACTERS),
            ]);
        }
        writeln!(out)?;
        table.write(&mut out)
    }
}

/// Sends all that a source has, joined as `aggregation` says. `stop` ends it early, once the call under way is answered.
///
/// # Errors
/// Those of the source, and no memory to compress. What arrived and could not be noted will be sent again.
pub async fn send_out<D: Destination, S: Source>(
    destination: &D,
    source: &mut S,
    aggregation: Option<&Aggregation>,
    progress: &ProgressBar,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Report> {
    let mut sending = Sending {
        destination,
        source,
        aggregation,
        progress,
        stop: pin!(stop),
        refusing: HashMap::new(),
        report: Report::default(),
    };
    while !sending.is_interrupted().await {
        let Some(group) = sending.source.next()? else {
            break;
        };
        sending.group(group).await?;
    }
    Ok(sending.report)
}

struct Sending<'a, D, S, F> {
    /// Takes the records.
    destination: &'a D,
    /// Has them.
    source: &'a mut S,
    /// How they are joined; `None` sends each as it is.
    aggregation: Option<&'a Aggregation>,
    /// Shows how far it is.
    progress: &'a ProgressBar,
    /// Not to be polled again once it has completed: then `report.interrupted` is set.
    stop: Pin<&'a mut F>,
    /// Streams that take nothing now, and why. Their records are not tried one by one.
    refusing: HashMap<DeliveryStreamArn, ServiceError>,
    /// What came of it so far.
    report: Report,
}

impl<D: Destination, S: Source, F: Future<Output = ()>> Sending<'_, D, S, F> {
    async fn group(&mut self, group: Group<S::Key>) -> anyhow::Result<()> {
        let Group { stream, records } = group;
        let how = self.aggregation;
        let most = how.map_or(RECORD_MAX_BYTES, Aggregation::request_max_bytes);
        let bytes = |data: &Bytes| how.map_or(data.len(), |how| how.bytes_of(data));
        let (fitting, large): (Vec<_>, Vec<_>) = records
            .into_iter()
            .partition(|record| bytes(&record.data) <= most);
        let too_large = ServiceError::new(
            Code::RecordTooLarge.as_str(),
            format!("a record is at most {most} bytes"),
        );
        self.leave(&stream, large.len(), &too_large);
        let limits = BatchLimits::of_service(stream.stream_name().len());
        let mut rest = pack(fitting, how)?;
        while !rest.is_empty() {
            let sizes = rest.iter().map(|parcel| parcel.data.len());
            let later = rest.split_off(batch::next(sizes, limits).records);
            self.batch(&stream, rest).await?;
            rest = later;
        }
        Ok(())
    }

    /// Sends the records of one call. Where the service takes offence at the call because of one of
    /// them, the halves are sent by themselves.
    async fn batch(
        &mut self,
        stream: &DeliveryStreamArn,
        batch: Vec<Parcel<S::Key>>,
    ) -> anyhow::Result<()> {
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            if let Some(error) = self.refusing.get(stream).cloned() {
                self.leave(stream, records_in(&part), &error);
            } else if self.is_interrupted().await {
                return Ok(());
            } else if let Some((error, mut refused)) = self.part(stream, &mut part).await? {
                if error.code != INVALID_ARGUMENT {
                    self.leave(stream, records_in(&refused), &error);
                    self.refusing.insert(stream.clone(), error);
                } else if refused.len() > 1 {
                    let second = refused.split_off(refused.len() / 2);
                    parts.extend([second, refused]);
                } else {
                    self.leave(stream, records_in(&refused), &error);
                }
            }
        }
        Ok(())
    }

    /// Sends records until each has a final outcome or there is no use in more tries. Gives back those
    /// of a call that was refused as a whole.
    async fn part(
        &mut self,
        stream: &DeliveryStreamArn,
        part: &mut Vec<Parcel<S::Key>>,
    ) -> anyhow::Result<Option<(ServiceError, Vec<Parcel<S::Key>>)>> {
        let mut tries = 0;
        loop {
            let data = part.iter().map(|parcel| parcel.data.clone()).collect();
            let (outcomes, whole_call) = match self.call(stream, data).await {
                Ok(outcomes) => (outcomes, false),
                Err(CallError {
                    retryable: false,
                    error,
                }) => return Ok(Some((error, std::mem::take(part)))),
                Err(CallError { error, .. }) => (vec![Outcome::Retry(error); part.len()], true),
            };
            let (delivered, last_error) = self.settle(stream, part, outcomes)?;
            let Some(error) = last_error else {
                return Ok(None);
            };
            // Progress counts: half of a batch at a time gets through in the end.
            tries = if delivered { 1 } else { tries + 1 };
            if tries == TRIES {
                let message = format!("{} ({TRIES} tries)", error.message);
                let error = ServiceError::new(error.code, message);
                if whole_call {
                    return Ok(Some((error, std::mem::take(part))));
                }
                self.leave(stream, records_in(part), &error);
                return Ok(None);
            }
            if self.wait(tries).await {
                return Ok(None);
            }
        }
    }

    /// Notes what became of each Firehose record of a call, and keeps in `part` those to be sent again. Says
    /// whether any arrived, and what the last one to be sent again had.
    fn settle(
        &mut self,
        stream: &DeliveryStreamArn,
        part: &mut Vec<Parcel<S::Key>>,
        mut outcomes: Vec<Outcome>,
    ) -> anyhow::Result<(bool, Option<ServiceError>)> {
        outcomes.resize_with(part.len(), || {
            Outcome::Retry(ServiceError::new(
                "MissingResponseEntry",
                "the answer names no outcome for this record",
            ))
        });
        let (mut arrived, mut again, mut last_error) = (Vec::new(), Vec::new(), None);
        for (parcel, outcome) in part.drain(..).zip(outcomes) {
            match outcome {
                Outcome::Delivered { .. } => arrived.extend(parcel.keys),
                Outcome::Failed(error) => self.leave(stream, parcel.keys.len(), &error),
                Outcome::Retry(error) => {
                    again.push(parcel);
                    last_error = Some(error);
                }
            }
        }
        *part = again;
        let delivered = arrived.len() as u64;
        if delivered > 0 {
            self.source.done(arrived)?;
            self.report.delivered += delivered;
            self.progress.inc(delivered);
        }
        Ok((delivered > 0, last_error))
    }

    /// One call. It is not cut off: what became of it would not be known.
    async fn call(
        &mut self,
        stream: &DeliveryStreamArn,
        data: Vec<Bytes>,
    ) -> Result<Vec<Outcome>, CallError> {
        let mut call = pin!(self.destination.put_batch(stream, data));
        loop {
            tokio::select! {
                result = &mut call => return result,
                () = &mut self.stop, if !self.report.interrupted => {
                    self.report.interrupted = true;
                    self.tell(ENDING);
                }
            }
        }
    }

    /// A line on standard error, beside the bar where there is one.
    fn tell(&self, line: &str) {
        if self.progress.is_hidden() {
            eprintln!("{line}");
        } else {
            self.progress.println(line);
        }
    }

    /// Waits before another try. `true`: no, it is to end.
    async fn wait(&mut self, tries: u32) -> bool {
        let doubled = FIRST_WAIT * 2u32.pow(tries - 1);
        // Devices that failed together do not return together.
        let wait = doubled.mul_f64(0.5 + 0.5 * fastrand::f64());
        if !self.report.interrupted {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = &mut self.stop => self.report.interrupted = true,
            }
        }
        self.report.interrupted
    }

    async fn is_interrupted(&mut self) -> bool {
        if !self.report.interrupted {
            tokio::select! {
                biased;
                () = &mut self.stop => self.report.interrupted = true,
                () = std::future::ready(()) => {}
            }
        }
        self.report.interrupted
    }

    fn leave(&mut self, stream: &DeliveryStreamArn, records: usize, error: &ServiceError) {
        if records == 0 {
            return;
        }
        let key = (stream.clone(), error.code.clone());
        let left = self.report.left.entry(key).or_default();
        left.records += records as u64;
        left.message.clone_from(&error.message);
        self.progress.inc(records as u64);
    }
}

/// Records of the source in these.
fn records_in<K>(parcels: &[Parcel<K>]) -> usize {
    parcels.iter().map(|parcel| parcel.keys.len()).sum()
}

#[cfg(test)]
mod tests;
