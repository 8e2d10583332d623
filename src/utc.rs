//! Dates and times in UTC, for what people and programs read: names of files, the envelope of records. And
//! durations as numbers.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last moment of the year 9999: from then on a year would have five digits.
const LATEST_MS: u64 = 253_402_300_799_999;

/// A moment in UTC, in parts. Its text is that of RFC 3339 with milliseconds, always 24 bytes:
/// `2026-11-21T01:02:03.456Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc {
    /// Of the proleptic Gregorian calendar, 1970 to 9999.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
    /// 0 to 23.
    pub hour: u64,
    /// 0 to 59.
    pub minute: u64,
    /// 0 to 59.
    pub second: u64,
    /// 0 to 999.
    pub millisecond: u64,
}

/// Milliseconds since 1970. A moment before that, on a machine without a clock, counts as 1970, and
/// one after the year 9999 as its end.
pub fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    whole_ms(since).min(LATEST_MS)
}

/// A duration in milliseconds, as long as 64 bits say. In the log a number of more would be a string.
pub fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<SystemTime> for Utc {
    /// Howard Hinnant's `civil_from_days`, for the moments of [`unix_ms`].
    fn from(time: SystemTime) -> Self {
        let ms = unix_ms(time);
        let seconds = ms / 1_000;
        // Counted from 0000-03-01, so that the leap day is the last of its year.
        let days = seconds / 86_400 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * march_month + 2) / 5 + 1,
            hour: seconds / 3_600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            millisecond: ms % 1_000,
        }
    }
}

/// Seconds since 1970; 0 for what was before.
pub fn unix_seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// A moment as HTTP headers have it (RFC 9110 section 5.6.7), to the second.
pub fn http_date(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    // 1970-01-01 was a Thursday.
    let weekday = DAYS[(unix_ms(time) / 86_400_000 % 7) as usize];
    let Utc {
        year,
        month,
        day,
        hour,
        minute,
        second,
        ..
    } = Utc::from(time);
    let month = MONTHS[(month as usize - 1) % 12];
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// A moment as signatures of AWS have it (Signature Version 4), to the second: `20261122T065500Z`.
pub fn signature_date(time: SystemTime) -> String {
    let text = Utc::from(time).to_string();
    let to_the_second = text.split_once('.').map_or(&*text, |(seconds, _)| seconds);
    to_the_second.replace(['-', ':'], "") + "Z"
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Utc {
            year,
            month,
            day,
            hour,
            minute,
            second,
            millisecond,
        } = self;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ms: u64) -> String {
        Utc::from(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
    }

    #[test]
    fn the_calendar_is_right() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800_007, "2024-02-29T00:00:00.007Z"),
            (1_740_787_200_000, "2025-03-01T00:00:00.000Z"),
            (1_795_165_687_040, "2026-11-20T09:08:07.040Z"),
            (1_798_761_599_000, "2026-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (LATEST_MS, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(text(ms), expected);
        }
    }

    #[test]
    fn each_day_follows_the_one_before() {
        let leap = |year: u64| {
            year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
        };
        let (mut year, mut month, mut day) = (1970, 1, 1);
        // Past 2400, which is a leap year, and 2100 to 2300, which are none.
        for days in 0..160_000 {
            let found = Utc::from(UNIX_EPOCH + Duration::from_secs(days * 86_400 + 86_399));
            assert_eq!((found.year, found.month, found.day), (year, month, day));
            assert_eq!((found.hour, found.minute, found.second), (23, 59, 59));
            let last = match month {
                2 if leap(year) => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > last {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert!(year > 2400);
    }

    #[test]
    fn http_has_a_form_of_its_own() {
        for (seconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(http_date(time), expected);
        }
    }

    #[test]
    fn so_have_signatures() {
        let time = UNIX_EPOCH + Duration::from_secs(1_709_164_800 + 3_723);
        assert_eq!(signature_date(time), "20240229T010203Z");
    }

    #[test]
    fn a_clock_out_of_range_counts_as_the_nearest_moment_in_it() {
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Utc::from(before).to_string(), text(0));
        for after in [LATEST_MS + 1, u64::MAX / 2] {
            assert_eq!(text(after), text(LATEST_MS));
        }
    }
}
