//! What the clock on the other side of a call shows. The SDK dates each call by the clock of the last answer; whoever
//! looks after the device is told that its own is wrong.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_firehose::config::http::HttpResponse;
use aws_sdk_firehose::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_firehose::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_firehose::error::BoxError;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use aws_smithy_types::date_time::Format;

/// The header that each answer of the service has, and that of whoever stands in for it: an id of the call.
pub(super) const REQUEST_ID: &str = "x-amzn-requestid";

/// From here on a signature may be refused for its date: a minute less than the service allows (Signature Version 4:
/// five minutes), for what passes on the way.
const MISDATED: Duration = Duration::from_secs(4 * 60);

/// Below this, a clock that was wrong counts as right again.
const RIGHT: Duration = Duration::from_secs(60);

/// The date in a call's signature.
#[derive(Debug, Clone, Copy)]
struct Dated(SystemTime);

impl Storable for Dated {
    type Storer = StoreReplace<Self>;
}

/// What the clocks showed when a call was answered. It goes with the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clocks {
    /// The one of whoever answered, to the second.
    pub theirs: SystemTime,
    /// This device's.
    pub ours: SystemTime,
    /// What the call was dated.
    pub dated: Option<SystemTime>,
}

impl Clocks {
    /// Whether the call may have been refused for its date.
    pub fn is_misdated(self) -> bool {
        self.dated
            .is_some_and(|dated| Skew::of(dated, self.theirs).by > MISDATED)
    }

    /// How wrong this device's clock is, if it is so wrong that calls may be refused for it.
    pub fn wrong(self) -> Option<Skew> {
        Some(Skew::of(self.ours, self.theirs)).filter(|skew| skew.by > MISDATED)
    }
}

/// How far a clock is off. Displays as "5 h behind".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Skew {
    by: Duration,
    is_ahead: bool,
}

impl Skew {
    fn of(ours: SystemTime, theirs: SystemTime) -> Self {
        match ours.duration_since(theirs) {
            Ok(by) => Skew { by, is_ahead: true },
            Err(behind) => Skew {
                by: behind.duration(),
                is_ahead: false,
            },
        }
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = (self.by.as_secs() + 30) / 60;
        match (minutes / 60, minutes % 60) {
            (0, minutes) => write!(f, "{minutes} min")?,
            (hours @ 1..=47, 0) => write!(f, "{hours} h")?,
            (hours @ 1..=47, minutes) => write!(f, "{hours} h {minutes} min")?,
            (hours, _) => write!(f, "{} days", hours / 24)?,
        }
        f.write_str(if self.is_ahead { " ahead" } else { " behind" })
    }
}

/// Compares clocks at each call of a client. Cheap to clone; clones share what was told.
#[derive(Debug, Clone, Default)]
pub(super) struct WatchClock {
    /// Whether the log was told that the clock is wrong.
    is_wrong: Arc<Mutex<bool>>,
}

impl WatchClock {
    /// Tells of a clock that is wrong, once, and once when it is right again.
    fn note(&self, clocks: Clocks) {
        let skew = Skew::of(clocks.ours, clocks.theirs);
        let mut was_wrong = self.is_wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if !*was_wrong && clocks.wrong().is_some() {
            *was_wrong = true;
            tracing::warn!(
                clock = %skew,
                "this device's clock is wrong; calls are dated by that of AWS, but certificates and expiry times are \
                 misjudged, so set it right, with NTP for example"
            );
        } else if *was_wrong && skew.by < RIGHT {
            *was_wrong = false;
            tracing::info!("this device's clock is right again");
        }
    }
}

impl Intercept for WatchClock {
    fn name(&self) -> &'static str {
        "WatchClock"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.request().headers().get("x-amz-date");
        if let Some(date) = date.and_then(read_signature_date) {
            config.interceptor_state().store_put(Dated(date));
        }
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        let Some(theirs) = date_of(response) else {
            return Ok(());
        };
        let clocks = Clocks {
            theirs,
            ours: SystemTime::now(),
            dated: config.load::<Dated>().map(|dated| dated.0),
        };
        // Nobody else's clock says anything about ours.
        if response.headers().contains_key(REQUEST_ID) {
            self.note(clocks);
        }
        response.add_extension(clocks);
        Ok(())
    }
}

/// What the clock of whoever gave this answer showed, to the second.
pub(super) fn date_of(answer: &HttpResponse) -> Option<SystemTime> {
    let date = answer.headers().get("date");
    date.and_then(|date| read_date(date, Format::HttpDate))
}

fn read_date(date: &str, format: Format) -> Option<SystemTime> {
    let date = DateTime::from_str(date, format).ok()?;
    SystemTime::try_from(date).ok()
}

/// A moment as signatures have it: `20261122T065500Z`.
fn read_signature_date(date: &str) -> Option<SystemTime> {
    let part = |from: usize, to: usize| date.get(from..to);
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(9, 11)?, part(11, 13)?, part(13, 15)?);
    let usual = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    read_date(&usual, Format::DateTime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logged;

    fn moment(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn clocks(ours: u64, theirs: u64) -> Clocks {
        Clocks {
            theirs: moment(theirs),
            ours: moment(ours),
            dated: Some(moment(ours)),
        }
    }

    #[test]
    fn how_far_a_clock_is_off_reads_like_this() {
        const HOUR: u64 = 3600;
        let base = 1_800_000_000;
        for (off, expected) in [
            (241, "4 min"),
            (12 * 60, "12 min"),
            (5 * HOUR, "5 h"),
            (5 * HOUR + 59, "5 h 1 min"),
            (47 * HOUR + 60, "47 h 1 min"),
            (49 * HOUR, "2 days"),
            (365 * 24 * HOUR, "365 days"),
        ] {
            let ahead = clocks(base + off, base).wrong().unwrap();
            assert_eq!(ahead.to_string(), format!("{expected} ahead"));
            let behind = clocks(base - off, base).wrong().unwrap();
            assert_eq!(behind.to_string(), format!("{expected} behind"));
        }
        assert_eq!(clocks(base + 240, base).wrong(), None);
        assert_eq!(clocks(base, base + 240).wrong(), None);
    }

    #[test]
    fn a_call_is_misdated_by_what_it_was_dated_and_not_by_the_clock() {
        let corrected = Clocks {
            dated: Some(moment(100_000)),
            ..clocks(0, 100_000)
        };
        assert!(!corrected.is_misdated() && corrected.wrong().is_some());
        let unsigned = Clocks {
            dated: None,
            ..clocks(0, 100_000)
        };
        assert!(!unsigned.is_misdated());
        assert!(clocks(0, 241).is_misdated() && !clocks(0, 240).is_misdated());
    }

    #[test]
    fn a_clock_that_is_wrong_is_told_once_and_once_when_it_is_right_again() {
        let watch = WatchClock::default();
        let lines = logged::lines(|| {
            for ours in [0, 240, 18_000, 18_000, 200, 0, 0, 59, 241] {
                watch.clone().note(clocks(100_000 + ours, 100_000));
            }
        });
        let told: Vec<_> = lines
            .iter()
            .map(|line| (line["level"].as_str(), line["clock"].as_str()))
            .collect();
        let (warn, info) = (Some("WARN"), Some("INFO"));
        let expected = [
            (warn, Some("5 h ahead")),
            (info, None),
            (warn, Some("4 min ahead")),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn the_date_of_a_signature_is_read() {
        let date = read_signature_date("20260921T142640Z").unwrap();
        assert_eq!(date, moment(1_790_000_800));
        for wrong in [
            "",
            "2026",
            "20261322T065320Z",
            "20260921T14264",
            "ü0260921T142640Z",
        ] {
            assert_eq!(read_signature_date(wrong), None, "{wrong}");
        }
    }
}
