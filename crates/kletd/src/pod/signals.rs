//! Signal names as images and pods write them.

use std::str::FromStr;

use nix::sys::signal::Signal;

/// SIGTERM.
pub const TERM: i32 = Signal::SIGTERM as i32;
/// First real-time signal on Linux with glibc and musl alike, as container runtimes count.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number of `SIGQUIT`, `quit`, `3` or `SIGRTMIN+3`; `None` for what is no signal.
#[must_use]
pub fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |rest: &str, base: i32| -> Option<i32> {
        let offset = if rest.is_empty() { 0 } else { rest.parse::<i32>().ok()? };
        Some(base + offset).filter(|number| (RTMIN..=RTMAX).contains(number))
    };
    if let Some(rest) = bare.strip_prefix("RTMIN") {
        return real_time(rest, RTMIN);
    }
    if let Some(rest) = bare.strip_prefix("RTMAX") {
        return real_time(rest, RTMAX);
    }
    Signal::from_str(&format!("SIG{bare}")).ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn names_and_numbers() {
        for (text, expected) in [
            ("SIGQUIT", Some(3)),
            ("quit", Some(3)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("SIGNOPE", None),
            ("0", None),
            ("99", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }
}
