//! The order of keys: as Go's YAML library sorts them, numbers by their value.

use std::cmp::Ordering;

/// Compares two keys: letters after everything else, runs of digits as numbers.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(a, b)| a != b) else {
        return a.len().cmp(&b.len());
    };
    let (left, right) = (a[at], b[at]);
    match (left.is_alphabetic(), right.is_alphabetic()) {
        (true, true) => return left.cmp(&right),
        (false, true) => return Ordering::Less,
        (true, false) => return Ordering::Greater,
        (false, false) => {}
    }
    // A zero within a number counts as a digit of it, before a number it does not.
    let within_number = (left == '0' || right == '0')
        && a[..at].iter().rev().take_while(|c| c.is_ascii_digit()).any(|c| *c != '0');
    let start = i64::from(within_number);
    let (left_value, left_end) = number(&a, at, start);
    let (right_value, right_end) = number(&b, at, start);
    left_value.cmp(&right_value).then(left_end.cmp(&right_end)).then(left.cmp(&right))
}

/// The value of the digits from `at` on, and where they end.
fn number(text: &[char], at: usize, start: i64) -> (i64, usize) {
    let mut value = start;
    let mut end = at;
    while let Some(digit) = text.get(end).and_then(|c| c.to_digit(10)) {
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
        end += 1;
    }
    (value, end)
}
