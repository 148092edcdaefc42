//! What a plain YAML scalar means: the YAML 1.1 rules of Go's library, which kubectl follows.

use serde_json::{Number, Value};

/// The value of a plain (unquoted) scalar; `None` when it is a number JSON cannot hold.
pub(super) fn resolve(text: &str) -> Option<Value> {
    if let Some(value) = word(text) {
        return Some(value);
    }
    match text.as_bytes().first() {
        Some(b'0'..=b'9' | b'+' | b'-') => {
            if is_infinite_or_nan(text) {
                return None;
            }
            let plain = text.replace('_', "");
            Some(integer(&plain).or_else(|| float(&plain)).unwrap_or_else(|| text.into()))
        }
        Some(b'.') if is_infinite_or_nan(text) => None,
        Some(b'.') => Some(float(text).unwrap_or_else(|| text.into())),
        _ => Some(text.into()),
    }
}

fn word(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Some(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => {
            Some(true.into())
        }
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            Some(false.into())
        }
        _ => None,
    }
}

fn is_infinite_or_nan(text: &str) -> bool {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    matches!(body, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN")
}

/// Go's `ParseInt` with base 0: decimal, `0x`, `0o`, `0b`, and a leading 0 for octal.
fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (digits, base) = radix(digits);
    // `from_str_radix` would accept a second sign.
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, base).ok()?;
    if negative {
        let value = 0_i64.checked_sub_unsigned(magnitude)?;
        return Some(value.into());
    }
    Some(magnitude.into())
}

fn radix(digits: &str) -> (&str, u32) {
    let bytes = digits.as_bytes();
    if bytes.len() > 1 && bytes[0] == b'0' {
        return match bytes[1] {
            b'x' | b'X' => (&digits[2..], 16),
            b'o' | b'O' => (&digits[2..], 8),
            b'b' | b'B' => (&digits[2..], 2),
            _ => (&digits[1..], 8),
        };
    }
    (digits, 10)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`; whole floats become integers, as the
/// step through JSON makes them for kubectl.
fn float(text: &str) -> Option<Value> {
    if !is_float_shape(text) {
        return None;
    }
    let value = text.parse::<f64>().ok().filter(|v| v.is_finite())?;
    if value.fract() == 0.0 && value.abs() < 9.0e15 {
        #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
        return Some((value as i64).into());
    }
    Number::from_f64(value).map(Value::Number)
}

fn is_float_shape(text: &str) -> bool {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        Some(at) => (&body[..at], Some(&body[at + 1..])),
        None => (body, None),
    };
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && all_digits(fraction),
        Some((whole, fraction)) => all_digits(whole) && all_digits(fraction),
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    let exponent_ok = exponent.is_none_or(|e| {
        let digits = e.strip_prefix(['+', '-']).unwrap_or(e);
        !digits.is_empty() && all_digits(digits)
    });
    mantissa_ok && exponent_ok
}

/// A value in plain words, for messages.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(v) => format!("the boolean {v}"),
        Value::Number(v) => format!("the number {v}"),
        Value::String(v) => {
            let short: String = v.chars().take(40).collect();
            let ellipsis = if short.len() < v.len() { "…" } else { "" };
            format!("the text {}", crate::field::go_quote(&format!("{short}{ellipsis}")))
        }
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a mapping".into(),
    }
}
