//! The CRI log format: container output cut into records, and records read back.
//!
//! ```text
//! 2026-01-02T03:04:05.123456789Z stdout F text\n
//! ```
//!
//! A record holds one line (`F`) or a part of one (`P`); a line ends with its `F` record. The
//! cutter keeps no bytes: what has no newline yet is written at once as `P`, and one bit per
//! stream remembers that the line goes on. Format: kubernetes/cri-api, `docs/logging.md` of the CRI.

use std::ops::Range;

use crate::limits::MAX_LOG_LINE_BYTES;

/// Which stream a record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Cuts one stream into records.
#[derive(Debug, Clone)]
pub struct Cutter {
    stream: Stream,
    in_partial: bool,
}

impl Cutter {
    #[must_use]
    pub const fn new(stream: Stream) -> Self {
        Self { stream, in_partial: false }
    }

    /// The last record was a `P`: its line is not finished, so the file must not change here.
    #[must_use]
    pub const fn in_partial(&self) -> bool {
        self.in_partial
    }

    /// Appends the records of `input`, read at `time`, to `out`.
    pub fn cut(&mut self, time: &Stamp, mut input: &[u8], out: &mut Vec<u8>) {
        while !input.is_empty() {
            let window = &input[..input.len().min(MAX_LOG_LINE_BYTES + 1)];
            let newline = window.iter().position(|byte| *byte == b'\n');
            let (length, taken) = match newline {
                Some(at) => (at, at + 1),
                None => {
                    (window.len().min(MAX_LOG_LINE_BYTES), window.len().min(MAX_LOG_LINE_BYTES))
                }
            };
            self.record(time, newline.is_none(), &input[..length], out);
            input = &input[taken..];
        }
    }

    /// The stream ended: closes a line that has no newline, so that readers see its end.
    pub fn finish(&mut self, time: &Stamp, out: &mut Vec<u8>) {
        if self.in_partial {
            self.record(time, false, b"", out);
        }
    }

    fn record(&mut self, time: &Stamp, partial: bool, payload: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(time.as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.stream.as_str().as_bytes());
        out.extend_from_slice(if partial { b" P " } else { b" F " });
        out.extend_from_slice(payload);
        out.push(b'\n');
        self.in_partial = partial;
    }
}

/// A time in the format of the log: RFC 3339, UTC, nine digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp([u8; 30]);

const NS_PER_S: i64 = 1_000_000_000;
const S_PER_DAY: i64 = 86_400;

impl Stamp {
    /// From nanoseconds since the epoch (an `i64` reaches from 1677 to 2262).
    #[must_use]
    pub fn from_unix_ns(ns: i64) -> Self {
        let seconds = ns.div_euclid(NS_PER_S);
        let (year, month, day) = date(seconds.div_euclid(S_PER_DAY));
        let second_of_day = seconds.rem_euclid(S_PER_DAY);
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        put(&mut text, 0..4, year);
        put(&mut text, 5..7, month);
        put(&mut text, 8..10, day);
        put(&mut text, 11..13, second_of_day / 3600);
        put(&mut text, 14..16, second_of_day / 60 % 60);
        put(&mut text, 17..19, second_of_day % 60);
        put(&mut text, 20..29, ns.rem_euclid(NS_PER_S));
        Self(text)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// `YYYYMMDD-HHMMSS`, the suffix of a rotated log file.
    #[must_use]
    pub fn file_suffix(&self) -> String {
        let digits = |range: Range<usize>| self.0[range].iter().filter(|b| b.is_ascii_digit());
        let (date, time) = (digits(0..10), digits(11..19));
        date.chain(b"-").chain(time).map(|byte| char::from(*byte)).collect()
    }
}

/// Writes `value` right-aligned over the zeros of `range`.
fn put(text: &mut [u8], range: Range<usize>, mut value: i64) {
    for byte in text[range].iter_mut().rev() {
        *byte = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

/// Year, month and day of a day counted from 1970-01-01, proleptic Gregorian. The year is taken
/// to begin in March, so that the leap day is its last.
fn date(days: i64) -> (i64, i64, i64) {
    const DAYS_PER_ERA: i64 = 146_097;
    let shifted = days + 719_468;
    let era = shifted.div_euclid(DAYS_PER_ERA);
    let day_of_era = shifted.rem_euclid(DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The inverse of [`date`]; `None` for a date the calendar lacks.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let shifted_year = year - i64::from(month <= 2);
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    (date(days) == (year, month, day)).then_some(days)
}

/// One record of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// Nanoseconds since the epoch.
    pub time: i64,
    pub stream: Stream,
    /// The line goes on in the next record of this stream.
    pub partial: bool,
    /// Without the newline of the record.
    pub payload: &'a [u8],
}

/// Reads one record, with or without its final newline. `None` when it is none: a file may end
/// in the middle of a write.
#[must_use]
pub fn parse_line(line: &[u8]) -> Option<LogLine<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let time = parse_time(fields.next()?)?;
    let stream = match fields.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    // Tags are a list separated by colons; the first one says partial or full.
    let partial = match fields.next()?.split(|byte| *byte == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    Some(LogLine { time, stream, partial, payload: fields.next()? })
}

/// RFC 3339 with any number of fraction digits and any offset.
fn parse_time(text: &[u8]) -> Option<i64> {
    let (fixed, rest) = text.split_at_checked(19)?;
    for (at, separator) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
        if fixed[at] != separator {
            return None;
        }
    }
    let days = days(number(&fixed[0..4])?, number(&fixed[5..7])?, number(&fixed[8..10])?)?;
    let (hour, minute, second) =
        (number(&fixed[11..13])?, number(&fixed[14..16])?, number(&fixed[17..19])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = split_fraction(rest)?;
    let seconds = days * S_PER_DAY + hour * 3600 + minute * 60 + second - offset(zone)?;
    seconds.checked_mul(NS_PER_S)?.checked_add(fraction)
}

/// Nanoseconds of `.123`, and what follows.
fn split_fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else { return Some((0, text)) };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 || length > 9 {
        return None;
    }
    let scale = 10i64.pow(u32::try_from(9 - length).ok()?);
    Some((number(&digits[..length])? * scale, &digits[length..]))
}

/// Seconds east of UTC.
fn offset(zone: &[u8]) -> Option<i64> {
    let sign = match zone {
        b"Z" => return Some(0),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    let [h1, h2, b':', m1, m2] = zone[1..] else { return None };
    Some(sign * (number(&[h1, h2])? * 3600 + number(&[m1, m2])? * 60))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |value: i64, byte| {
        byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests;
