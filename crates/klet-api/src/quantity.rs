//! Kubernetes quantities (`500m`, `1.5Gi`, `1e3`): parsing, exact arithmetic, canonical output.
//!
//! A quantity is held in billionths (nano), the finest precision Kubernetes keeps, so all
//! arithmetic is exact integer arithmetic.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

/// Nano units per whole unit.
const NANO: i128 = 1_000_000_000;
/// Largest magnitude held for decimal quantities, in nano; larger inputs are capped here.
const MAX_NANO: i128 = 100_000_000_000_000_000_000_000_000_000 * NANO;
/// Largest magnitude Kubernetes holds for binary quantities (2^63-1), in nano.
const MAX_BINARY_NANO: i128 = i64::MAX as i128 * NANO;
/// Longest text accepted; far above anything meaningful, it bounds the work.
const MAX_LEN: usize = 128;

const BINARY_SUFFIXES: [(&str, u32); 6] =
    [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
const DECIMAL_SUFFIXES: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

/// The family of suffixes a quantity is written with; kept through arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// `1e3`, `25e-3`.
    DecimalExponent,
    /// `Ki`, `Mi`, …
    BinarySi,
    /// `n`, `u`, `m`, none, `k`, `M`, …
    #[default]
    DecimalSi,
}

/// Why a text is not a quantity; the Displays are Kubernetes' own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text does not have the shape of a quantity at all.
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    /// There is no usable number before the suffix.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// The suffix is not one of the known ones (case matters).
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An exact amount of a resource.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

impl Quantity {
    /// A whole number of units, written with decimal suffixes.
    #[must_use]
    pub fn from_units(units: i64) -> Self {
        Self { nano: i128::from(units) * NANO, format: Format::DecimalSi }
    }

    /// Thousandths of a unit, written with decimal suffixes.
    #[must_use]
    pub fn from_milli(milli: i64) -> Self {
        Self { nano: i128::from(milli) * (NANO / 1000), format: Format::DecimalSi }
    }

    /// A whole number of bytes, written with binary suffixes where they are exact.
    #[must_use]
    pub fn from_bytes(bytes: i64) -> Self {
        Self { nano: i128::from(bytes) * NANO, format: Format::BinarySi }
    }

    /// Parses Kubernetes' grammar. Precision finer than nano rounds away from zero.
    ///
    /// # Errors
    /// [`QuantityError`] with Kubernetes' text.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        if text.is_empty() || text.len() > MAX_LEN {
            return Err(QuantityError::Format);
        }
        let parts = split(text)?;
        let (base, exponent, format) = interpret_suffix(parts.suffix)?;
        if parts.whole.is_empty() && parts.fraction.is_empty() {
            return Err(QuantityError::Numeric);
        }
        let cap = if format == Format::BinarySi { MAX_BINARY_NANO } else { MAX_NANO };
        let magnitude = scale_digits(parts.whole, parts.fraction, base, exponent).min(cap);
        let format = if format == Format::BinarySi && magnitude > 0 && magnitude < NANO {
            Format::DecimalSi
        } else {
            format
        };
        Ok(Self { nano: if parts.negative { -magnitude } else { magnitude }, format })
    }

    /// The amount in whole units, rounded away from zero.
    #[must_use]
    pub fn value(&self) -> i128 {
        div_away_from_zero(self.nano, NANO)
    }

    /// The amount in thousandths, rounded away from zero.
    #[must_use]
    pub fn milli_value(&self) -> i128 {
        div_away_from_zero(self.nano, NANO / 1000)
    }

    /// Whether the amount is exactly zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.nano == 0
    }

    /// Whether the amount is below zero.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.nano < 0
    }

    /// Whether the amount has no fraction of a unit.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.nano % NANO == 0
    }

    /// The suffix family.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Adds `other`; a zero takes the other's format, as in Kubernetes.
    pub fn add(&mut self, other: &Self) {
        if self.is_zero() {
            self.format = other.format;
        }
        self.nano = (self.nano + other.nano).clamp(-MAX_NANO, MAX_NANO);
    }

    /// Subtracts `other`; a zero takes the other's format, as in Kubernetes.
    pub fn sub(&mut self, other: &Self) {
        self.add(&Self { nano: -other.nano, format: other.format });
    }

    /// The canonical text: no fraction, the largest suffix without loss, same family.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        let below_kibi = self.nano.abs() < 1024 * NANO;
        if self.format == Format::BinarySi && !below_kibi {
            let (mantissa, power) = factor(self.value(), 1024, 6);
            let suffix = match power {
                0 => "",
                n => BINARY_SUFFIXES[n - 1].0,
            };
            return write!(f, "{mantissa}{suffix}");
        }
        let (mantissa, power) = factor(self.nano, 1000, 9);
        match self.format {
            Format::DecimalExponent if power == 3 => write!(f, "{mantissa}"),
            // At most nine groups of three digits, so the exponent is tiny.
            Format::DecimalExponent => write!(f, "{mantissa}e{}", power as i32 * 3 - 9),
            _ => write!(f, "{mantissa}{}", DECIMAL_SUFFIXES[power].0),
        }
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

/// Compares amounts; the format does not matter (`1` equals `1000m`).
impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl TryFrom<&ApiQuantity> for Quantity {
    type Error = QuantityError;

    fn try_from(api: &ApiQuantity) -> Result<Self, QuantityError> {
        Self::parse(&api.0)
    }
}

impl From<Quantity> for ApiQuantity {
    fn from(quantity: Quantity) -> Self {
        Self(quantity.canonical())
    }
}

/// The pieces of a quantity's text.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn split(text: &str) -> Result<Parts<'_>, QuantityError> {
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, rest) = rest.split_at(digits(rest));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(after) => after.split_at(digits(after)),
        None => ("", rest),
    };
    let letters = suffix.bytes().take_while(|b| b"eEinumkKMGTP".contains(b)).count();
    let tail = &suffix[letters..];
    let tail = tail.strip_prefix(['+', '-']).unwrap_or(tail);
    if digits(tail) != tail.len() {
        return Err(QuantityError::Format);
    }
    Ok(Parts { negative, whole, fraction, suffix })
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// `(base, exponent, format)` of a suffix.
fn interpret_suffix(suffix: &str) -> Result<(i128, i32, Format), QuantityError> {
    if let Some((_, exponent)) = DECIMAL_SUFFIXES.iter().find(|(name, _)| *name == suffix) {
        return Ok((10, *exponent, Format::DecimalSi));
    }
    if let Some((_, bits)) = BINARY_SUFFIXES.iter().find(|(name, _)| *name == suffix) {
        return Ok((2, bits.cast_signed(), Format::BinarySi));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
    let exponent = exponent.parse::<i32>().map_err(|_| QuantityError::Suffix)?;
    Ok((10, exponent, Format::DecimalExponent))
}

/// `whole.fraction × base^exponent` in nano, rounded up, saturating at [`MAX_NANO`].
fn scale_digits(whole: &str, fraction: &str, base: i128, exponent: i32) -> i128 {
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let factor = if base == 2 { 1_i128 << exponent } else { 1 };
    // Power of ten of the last digit, counted in nano.
    let decimal = if base == 2 { 0 } else { exponent };
    let mut power = decimal
        .saturating_add(9)
        .saturating_sub(i32::try_from(fraction.len()).expect("the length is bounded by MAX_LEN"));
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    if digits.iter().all(|d| *d == b'0') {
        return 0;
    }
    // Digits that lie far below a nano only decide the rounding: drop them, remembering that.
    let mut inexact = false;
    while power < -20 && !digits.is_empty() {
        inexact |= digits.pop() != Some(b'0');
        power += 1;
    }
    if digits.is_empty() {
        return 1;
    }
    let Some(mantissa) = accumulate(&digits).and_then(|m| m.checked_mul(factor)) else {
        return scale_wide(&digits, factor, power);
    };
    apply_power(mantissa, power, inexact)
}

fn accumulate(digits: &[u8]) -> Option<i128> {
    digits.iter().try_fold(0_i128, |sum, d| sum.checked_mul(10)?.checked_add(i128::from(d - b'0')))
}

/// `mantissa × 10^power`, rounded up, saturating.
fn apply_power(mantissa: i128, power: i32, inexact: bool) -> i128 {
    if power >= 0 {
        let scaled =
            10_i128.checked_pow(power.unsigned_abs()).and_then(|p| mantissa.checked_mul(p));
        return scaled.unwrap_or(MAX_NANO).min(MAX_NANO);
    }
    let Some(divisor) = 10_i128.checked_pow(power.unsigned_abs()) else { return 1 };
    let round_up = i128::from(inexact || mantissa % divisor != 0);
    (mantissa / divisor + round_up).min(MAX_NANO)
}

/// The rare text with more digits than 128 bits hold: drop trailing digits, rounding up.
fn scale_wide(digits: &[u8], factor: i128, power: i32) -> i128 {
    let keep = 19.min(digits.len());
    let dropped = digits.len() - keep;
    let inexact = digits[keep..].iter().any(|d| *d != b'0');
    let mantissa = accumulate(&digits[..keep]).unwrap_or(MAX_NANO);
    let mantissa = mantissa.saturating_mul(factor).saturating_add(i128::from(inexact));
    let dropped = i32::try_from(dropped).unwrap_or(i32::MAX);
    apply_power(mantissa, power.saturating_add(dropped), inexact)
}

fn div_away_from_zero(amount: i128, divisor: i128) -> i128 {
    let quotient = amount / divisor;
    if amount % divisor == 0 { quotient } else { quotient + amount.signum() }
}

/// Divides by `base` while exact, at most `limit` times: `(rest, times)`.
fn factor(mut amount: i128, base: i128, limit: usize) -> (i128, usize) {
    let mut times = 0;
    while times < limit && amount % base == 0 {
        amount /= base;
        times += 1;
    }
    (amount, times)
}

#[cfg(test)]
mod tests;
