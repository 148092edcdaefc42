//! Times as people and Go write them: kubectl's ages, and Go durations.
//!
//! kubectl's ages are apimachinery's `HumanDuration`; flags such as `--timeout` and event texts
//! such as `Successfully pulled image ... in 1.5s` use the syntax of Go's `time.Duration`.

use jiff::{SignedDuration, Timestamp};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// A text that is no Go duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not of the form `[+-](NUMBER UNIT)+`, or `0`.
    #[error("time: invalid duration {0:?}")]
    Syntax(String),
    /// A number without its unit.
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    /// A unit other than ns, us, ms, s, m, h.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// The unit found.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// How long, as the AGE column shows it: two units at most, the coarser the longer.
#[must_use]
pub fn human(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        _ if seconds < 2 * MINUTE => format!("{seconds}s"),
        _ if seconds < 10 * MINUTE => two(seconds / MINUTE, 'm', seconds % MINUTE, 's'),
        _ if seconds < 3 * HOUR => format!("{}m", seconds / MINUTE),
        _ if seconds < 8 * HOUR => two(seconds / HOUR, 'h', seconds % HOUR / MINUTE, 'm'),
        _ if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        _ if seconds < 8 * DAY => two(seconds / DAY, 'd', seconds % DAY / HOUR, 'h'),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => two(seconds / YEAR, 'y', seconds % YEAR / DAY, 'd'),
        _ => format!("{}y", seconds / YEAR),
    }
}

fn two(big: i64, big_unit: char, small: i64, small_unit: char) -> String {
    if small == 0 {
        format!("{big}{big_unit}")
    } else {
        format!("{big}{big_unit}{small}{small_unit}")
    }
}

/// The time since `then`, or `<unknown>`.
#[must_use]
pub fn age(then: Option<Timestamp>, now: Timestamp) -> String {
    then.map_or_else(|| "<unknown>".to_owned(), |then| human(now.duration_since(then)))
}

/// Reads a Go duration: `1h30m`, `1.5s`, `300ms`, `0`.
///
/// # Errors
/// With the text of Go's `time.ParseDuration`.
pub fn parse_go(text: &str) -> Result<SignedDuration, DurationError> {
    let syntax = || DurationError::Syntax(text.to_owned());
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(syntax());
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() {
        let (term, after) = take_term(rest, text)?;
        nanos = nanos.checked_add(term).ok_or_else(syntax)?;
        rest = after;
    }
    let nanos = i64::try_from(if negative { -nanos } else { nanos }).map_err(|_| syntax())?;
    Ok(SignedDuration::from_nanos(nanos))
}

/// One `NUMBER UNIT` in nanoseconds, and what follows it.
fn take_term<'a>(rest: &'a str, text: &str) -> Result<(i128, &'a str), DurationError> {
    let syntax = || DurationError::Syntax(text.to_owned());
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, rest) = rest.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 30 {
        return Err(syntax());
    }
    let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    let scale: i128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" => return Err(DurationError::MissingUnit(text.to_owned())),
        other => {
            return Err(DurationError::UnknownUnit {
                unit: other.to_owned(),
                text: text.to_owned(),
            });
        }
    };
    let digits = |part: &str| match part {
        "" => Ok(0),
        part => part.parse::<i128>().map_err(|_| syntax()),
    };
    let whole = digits(whole)?.checked_mul(scale).ok_or_else(syntax)?;
    let fraction: String = fraction.chars().take(12).collect();
    let places = u32::try_from(fraction.len()).map_err(|_| syntax())?;
    Ok((whole + digits(&fraction)? * scale / 10_i128.pow(places), rest))
}

/// Writes a duration as Go prints it: `1h30m0s`, `1.5s`, `300ms`, `0s`.
#[must_use]
pub fn format_go(duration: SignedDuration) -> String {
    let nanos = duration.as_nanos();
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let text = match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(nanos, 1_000_000)),
        _ => {
            let minutes = nanos / 60_000_000_000;
            let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{text}")
}

/// `nanos / unit` in decimal without trailing zeros.
fn decimal(nanos: u128, unit: u128) -> String {
    let (whole, rest) = (nanos / unit, nanos % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let width = usize::try_from(unit.ilog10()).unwrap_or(9);
    let fraction = format!("{rest:0width$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectl_writes_them() {
        let cases = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (330, "5m30s"),
            (300, "5m"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * HOUR - 1, "179m"),
            (3 * HOUR, "3h"),
            (8 * HOUR - 1, "7h59m"),
            (8 * HOUR, "8h"),
            (48 * HOUR - 1, "47h"),
            (48 * HOUR, "2d"),
            (8 * DAY - 1, "7d23h"),
            (8 * DAY, "8d"),
            (2 * YEAR - 1, "729d"),
            (2 * YEAR, "2y"),
            (2 * YEAR + 35 * DAY, "2y35d"),
            (9 * YEAR + DAY, "9y"),
        ];
        for (seconds, want) in cases {
            assert_eq!(human(SignedDuration::from_secs(seconds)), want, "{seconds} s");
        }
        assert_eq!(age(None, Timestamp::UNIX_EPOCH), "<unknown>");
    }

    #[test]
    fn go_durations_are_read_and_written() {
        let cases = [
            ("0", 0, "0s"),
            ("5ns", 5, "5ns"),
            ("1.5us", 1_500, "1.5µs"),
            ("300ms", 300_000_000, "300ms"),
            ("1.234s", 1_234_000_000, "1.234s"),
            ("-1.5h", -5_400_000_000_000, "-1h30m0s"),
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            ("+2m.5s", 120_500_000_000, "2m0.5s"),
        ];
        for (text, nanos, written) in cases {
            let duration = SignedDuration::from_nanos(nanos);
            assert_eq!(parse_go(text), Ok(duration), "{text}");
            assert_eq!(format_go(duration), written);
        }
    }

    #[test]
    fn what_is_no_go_duration_is_refused_in_gos_words() {
        let cases = [
            ("", r#"time: invalid duration """#),
            ("s", r#"time: invalid duration "s""#),
            ("5", r#"time: missing unit in duration "5""#),
            ("5d", r#"time: unknown unit "d" in duration "5d""#),
            ("1..5s", r#"time: invalid duration "1..5s""#),
            (
                "99999999999999999999999999h",
                r#"time: invalid duration "99999999999999999999999999h""#,
            ),
        ];
        for (text, want) in cases {
            assert_eq!(parse_go(text).unwrap_err().to_string(), want);
        }
    }
}
