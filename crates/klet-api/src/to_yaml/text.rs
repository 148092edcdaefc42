//! In which style a text is written, by the rules of libyaml's emitter as Go's library has them.

use crate::manifest;

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Single,
    Double,
    /// `|`
    Literal,
}

/// Which styles a text allows.
struct Allowed {
    plain: bool,
    single: bool,
    literal: bool,
}

/// The style of a text; a key stays on one line.
pub(super) fn style(text: &str, key: bool) -> Style {
    let allowed = allowed(text);
    if text.contains('\n') {
        return if allowed.literal && !key { Style::Literal } else { Style::Double };
    }
    if !stays_text(text) {
        return Style::Double;
    }
    match (allowed.plain, allowed.single) {
        (true, _) => Style::Plain,
        (false, true) => Style::Single,
        (false, false) => Style::Double,
    }
}

fn allowed(text: &str) -> Allowed {
    let special = text.chars().any(|c| c != '\n' && !is_printable(c));
    let edges = text.starts_with([' ', '\n']) || text.ends_with([' ', '\n']);
    let space_break = text.contains(" \n");
    let break_space = text.contains("\n ");
    Allowed {
        plain: !special && !edges && !text.contains('\n') && !has_indicator(text),
        single: !special && !space_break && !break_space,
        literal: !special && !space_break && !text.ends_with(' '),
    }
}

/// Whether a character, where it stands, would mean something to a reader of plain text.
fn has_indicator(text: &str) -> bool {
    if text.starts_with("---") || text.starts_with("...") {
        return true;
    }
    let mut after_space = true;
    let mut rest = text.chars();
    let mut first = true;
    while let Some(character) = rest.next() {
        let before_space = rest.clone().next().is_none_or(|next| " \t\n".contains(next));
        let indicates = match character {
            ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
            | '`' => first,
            '?' | '-' => first && before_space,
            ':' => before_space,
            '#' => after_space,
            _ => false,
        };
        if indicates {
            return true;
        }
        after_space = " \t\n".contains(character);
        first = false;
    }
    false
}

/// Whether a reader takes the plain text for a text, and not for a number, a time or a word.
fn stays_text(text: &str) -> bool {
    manifest::is_plain_text(text) && text != "<<" && !is_time(text) && !is_base_60(text)
}

/// A time as Go's library recognises it: `2006-1-2`, alone or with a time of day.
fn is_time(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some((&text[at..=at], &text[at + 1..]))),
        None => (text, None),
    };
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return false };
    let between = |text: &str, low: u32, high: u32| {
        digits(text, 2) && text.parse().is_ok_and(|number: u32| (low..=high).contains(&number))
    };
    if !(year.len() == 4 && digits(year, 4) && between(month, 1, 12) && between(day, 1, 31)) {
        return false;
    }
    let Some((separator, time)) = time else { return true };
    let clock = match (separator, time.find(['Z', '+', '-'])) {
        (" ", None) => time,
        (" ", Some(_)) | (_, None) => return false,
        (_, Some(at)) if &time[at..] == "Z" => &time[..at],
        (_, Some(at)) => {
            let zone = time[at + 1..].split_once(':');
            if !zone.is_some_and(|(h, m)| h.len() == 2 && between(h, 0, 24) && between(m, 0, 60)) {
                return false;
            }
            &time[..at]
        }
    };
    let parts: Vec<&str> = clock.split(':').collect();
    let [hour, minute, second] = parts.as_slice() else { return false };
    let (second, fraction) = second.split_once('.').unwrap_or((second, "0"));
    between(hour, 0, 23) && between(minute, 0, 59) && between(second, 0, 59) && digits(fraction, 64)
}

fn digits(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `1:30`, which YAML 1.1 reads as ninety.
fn is_base_60(text: &str) -> bool {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (body, fraction) = body.split_once('.').unwrap_or((body, ""));
    let mut parts = body.split(':');
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let head = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let sixtieth = |part: &&str| digits(part, 2) && part.parse().is_ok_and(|n: u32| n < 60);
    head.starts_with(|c: char| c.is_ascii_digit())
        && number(head)
        && !rest.is_empty()
        && rest.iter().all(sixtieth)
        && number(fraction)
}

/// Characters that stand for themselves. Line breaks other than a newline do not, nor does what
/// lies beyond the basic plane.
fn is_printable(character: char) -> bool {
    match character {
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => false,
        ' '..='~' | '\u{a0}'..='\u{fffd}' => true,
        _ => false,
    }
}

/// A character as it must be written between double quotes; nothing if it stands for itself.
pub(super) fn escape(character: char) -> Option<String> {
    let short = match character {
        '\0' => "\\0",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\t' => "\\t",
        '\n' => "\\n",
        '\u{b}' => "\\v",
        '\u{c}' => "\\f",
        '\r' => "\\r",
        '\u{1b}' => "\\e",
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{85}' => "\\N",
        '\u{2028}' => "\\L",
        '\u{2029}' => "\\P",
        other if is_printable(other) => return None,
        other => {
            return Some(match u32::from(other) {
                code @ ..=0xff => format!("\\x{code:02X}"),
                code @ ..=0xffff => format!("\\u{code:04X}"),
                code => format!("\\U{code:08X}"),
            });
        }
    };
    Some(short.to_owned())
}
