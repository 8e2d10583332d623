//! From when until when an X.509 certificate holds. TLS judges the other side's certificate; of our own the other
//! side says at best that it refuses it, so this looks for the most frequent reason. Of the certificate nothing
//! else is read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::utc::Utc;

/// When a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub from: SystemTime,
    /// The last one.
    pub until: SystemTime,
}

impl Validity {
    /// Of a certificate in DER form; `None` for what is none.
    ///
    /// Source: RFC 5280 section 4.1, of which this reads the way to `validity`.
    pub fn of(der: &[u8]) -> Option<Self> {
        let certificate = Elements(der).content_of(SEQUENCE)?;
        let mut fields = Elements(Elements(certificate).content_of(SEQUENCE)?);
        let (tag, _) = fields.next()?;
        // A certificate of version 1 begins with its serial number.
        if tag == VERSION {
            fields.content_of(INTEGER)?;
        }
        let _signature_algorithm = fields.content_of(SEQUENCE)?;
        let _issuer = fields.content_of(SEQUENCE)?;
        let mut validity = Elements(fields.content_of(SEQUENCE)?);
        Some(Validity {
            from: time(validity.next()?)?,
            until: time(validity.next()?)?,
        })
    }

    /// What is wrong with it at this moment, in words that follow the certificate's name and are the same at each
    /// attempt; `None` where it holds.
    pub fn fault(&self, now: SystemTime) -> Option<String> {
        let fault = if now > self.until {
            format!("has expired, on {}", Utc::from(self.until))
        } else if now < self.from {
            format!("is not valid before {}", Utc::from(self.from))
        } else {
            return None;
        };
        Some(format!("{fault}, by this device's clock"))
    }
}

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The elements of DER that stand one behind the other (X.690 sections 8.1.2, 8.1.3 and 10.1).
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// The next one: its tag and its content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, length], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(length), rest),
            // More than four bytes of length are no certificate's.
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                let length = digits
                    .iter()
                    .fold(0, |sum, &digit| sum << 8 | u64::from(digit));
                (usize::try_from(length).ok()?, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next one, which has to have this tag.
    fn content_of(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .and_then(|(found, content)| (found == tag).then_some(content))
    }
}

/// `YYMMDDHHMMSSZ`, of 1950 to 2049, or `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5).
fn time((tag, text): (u8, &[u8])) -> Option<SystemTime> {
    let text = text.strip_suffix(b"Z")?;
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |digits: &[u8]| {
        digits
            .iter()
            .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
    };
    let (year, rest) = match (tag, text.len()) {
        (UTC_TIME, 12) => {
            let (year, rest) = text.split_at(2);
            let year = number(year);
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        (GENERALIZED_TIME, 14) => {
            let (year, rest) = text.split_at(4);
            (number(year), rest)
        }
        _ => return None,
    };
    let parts: Vec<u64> = rest.chunks(2).map(number).collect();
    let &[month, day, hour, minute, second] = &parts[..] else {
        return None;
    };
    let seconds = seconds_since_1970(year, month, day)? + hour * 3_600 + minute * 60 + second;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// The first second of a day; 1970 for what was before, since no clock here shows that.
fn seconds_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Howard Hinnant's `days_from_civil`; years begin in March, so that the leap day is the last of its year.
    let year = if month <= 2 {
        year.checked_sub(1)?
    } else {
        year
    };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era;
    Some(days.saturating_sub(719_468) * 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn certificate(from: (i32, u8, u8), until: (i32, u8, u8)) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn text(time: SystemTime) -> String {
        Utc::from(time).to_string()
    }

    #[test]
    fn the_first_and_the_last_moment_are_read() {
        for (from, until, texts) in [
            ((2024, 2, 29), (2026, 3, 1), ["2024-02-29", "2026-03-01"]),
            ((1970, 1, 1), (2049, 12, 31), ["1970-01-01", "2049-12-31"]),
            // What does not fit in two digits.
            ((2050, 1, 1), (9999, 12, 31), ["2050-01-01", "9999-12-31"]),
        ] {
            let validity = Validity::of(&certificate(from, until)).expect("it is a certificate");
            let found = [validity.from, validity.until].map(text);
            assert_eq!(found, texts.map(|date| format!("{date}T00:00:00.000Z")));
        }
    }

    #[test]
    fn a_certificate_holds_from_its_first_to_its_last_moment() {
        let validity = Validity::of(&certificate((2026, 1, 1), (2026, 2, 1))).unwrap();
        let second = Duration::from_secs(1);
        assert_eq!(validity.fault(validity.from), None);
        assert_eq!(validity.fault(validity.until), None);
        let early = validity.fault(validity.from - second).unwrap();
        assert_eq!(
            early,
            "is not valid before 2026-01-01T00:00:00.000Z, by this device's clock"
        );
        let late = validity.fault(validity.until + second).unwrap();
        assert_eq!(
            late,
            "has expired, on 2026-02-01T00:00:00.000Z, by this device's clock"
        );
    }

    #[test]
    fn times_are_those_that_certificates_may_have() {
        let read =
            |tag, text: &str| time((tag, text.as_bytes())).map(|time| Utc::from(time).to_string());
        assert_eq!(
            read(UTC_TIME, "491231235959Z").as_deref(),
            Some("2049-12-31T23:59:59.000Z")
        );
        // Before 1970 there was no clock that this runs on.
        assert_eq!(
            read(UTC_TIME, "500101000000Z").as_deref(),
            Some("1970-01-01T00:00:00.000Z")
        );
        for (tag, text) in [
            (UTC_TIME, "4912312359Z"),
            (UTC_TIME, "491231235959"),
            (UTC_TIME, "49123123595xZ"),
            (UTC_TIME, "491331235959Z"),
            (UTC_TIME, "20491231235959Z"),
            (GENERALIZED_TIME, "491231235959Z"),
            (GENERALIZED_TIME, "20490031235959Z"),
            (INTEGER, "491231235959Z"),
        ] {
            assert_eq!(read(tag, text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_there_is_an_answer(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            place in 0..600_usize,
            byte in any::<u8>(),
        ) {
            let _ = Validity::of(&bytes);
            let mut damaged = certificate((2026, 1, 1), (2026, 2, 1));
            let place = place % damaged.len();
            damaged[place] = byte;
            let _ = Validity::of(&damaged);
            let _ = Validity::of(&damaged[..place]);
        }
    }
}
