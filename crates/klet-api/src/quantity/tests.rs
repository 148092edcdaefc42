//! Tests of quantities.

use proptest::prelude::*;

use super::{Format, Quantity, QuantityError};

fn parse(text: &str) -> Quantity {
    Quantity::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn canonical_form_keeps_the_family_and_loses_nothing() {
    let cases = [
        ("0", "0"),
        ("0n", "0"),
        ("1.5", "1500m"),
        ("1.5Gi", "1536Mi"),
        ("1024Mi", "1Gi"),
        ("1000m", "1"),
        ("0.5", "500m"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("12e4", "120e3"),
        ("1000e0", "1e3"),
        ("5e-1", "500e-3"),
        ("1000Ki", "1000Ki"),
        ("1024", "1024"),
        ("1000", "1k"),
        ("12E", "12E"),
        ("1Ei", "1Ei"),
        ("-1", "-1"),
        ("-1.5Gi", "-1536Mi"),
        ("+3", "3"),
        ("0.5Ki", "512"),
        ("0.5Mi", "512Ki"),
        (".5", "500m"),
        ("1.", "1"),
        ("0.1m", "100u"),
        ("0.0000000001", "1n"),
        ("1.0000000001", "1000000001n"),
        ("-0.0000000001", "-1n"),
        ("9223372036854775807", "9223372036854775807"),
        ("16Ei", "9223372036854775807"),
        ("00012k", "12k"),
    ];
    for (text, canonical) in cases {
        assert_eq!(parse(text).canonical(), canonical, "{text}");
    }
}

#[test]
fn malformed_texts_get_kubernetes_errors() {
    let cases = [
        ("", QuantityError::Format),
        ("abc", QuantityError::Format),
        ("1 ", QuantityError::Format),
        (" 1", QuantityError::Format),
        ("1.1.M", QuantityError::Format),
        ("1+1.0M", QuantityError::Format),
        ("0.1mi", QuantityError::Suffix),
        ("0.1am", QuantityError::Format),
        ("1i", QuantityError::Suffix),
        ("1K", QuantityError::Suffix),
        ("1e", QuantityError::Suffix),
        ("1ee3", QuantityError::Suffix),
        (".", QuantityError::Numeric),
        ("-", QuantityError::Numeric),
        ("Mi", QuantityError::Numeric),
    ];
    for (text, error) in cases {
        assert_eq!(Quantity::parse(text).map(|q| q.canonical()), Err(error), "{text}");
    }
    assert_eq!(Quantity::parse(&"9".repeat(500)).err(), Some(QuantityError::Format));
}

#[test]
fn values_round_away_from_zero() {
    let cases = [
        ("0.1m", 1, 1),
        ("100m", 1, 100),
        ("1.5", 2, 1500),
        ("-1.5", -2, -1500),
        ("1Ki", 1024, 1_024_000),
    ];
    for (text, value, milli) in cases {
        assert_eq!((parse(text).value(), parse(text).milli_value()), (value, milli), "{text}");
    }
}

#[test]
fn comparison_ignores_the_format_and_addition_is_exact() {
    assert_eq!(parse("1"), parse("1000m"));
    assert!(parse("1Gi") > parse("1G"));
    let mut sum = Quantity::default();
    sum.add(&parse("1.5Gi"));
    assert_eq!((sum.format(), sum.canonical()), (Format::BinarySi, "1536Mi".to_owned()));
    sum.sub(&parse("512Mi"));
    assert_eq!(sum.canonical(), "1Gi");
    assert_eq!(Quantity::from_milli(250).canonical(), "250m");
    assert_eq!(Quantity::from_bytes(64 << 20).canonical(), "64Mi");
    assert_eq!(Quantity::from_units(3).canonical(), "3");
}

#[test]
fn absurd_exponents_saturate_or_round() {
    assert_eq!(parse("1e2000000000").canonical(), parse("1e99").canonical());
    assert_eq!(parse("1e-2000000000").canonical(), "1e-9");
    assert_eq!(parse("0e2000000000").canonical(), "0");
    let wide = "1234567890123456789012345678901234567890";
    assert!(parse(wide) >= parse("1234567890123456789"));
}

proptest! {
    #[test]
    fn any_text_parses_or_fails_without_panic(text in "\\PC{0,24}") {
        let _ = Quantity::parse(&text);
    }

    #[test]
    fn number_like_texts_never_panic(text in "[-+]?[0-9]{0,40}\\.?[0-9]{0,40}([eE][-+]?[0-9]{0,11}|[KMGTPE]i?|[numk])?") {
        let _ = Quantity::parse(&text);
    }

    #[test]
    fn canonical_form_is_a_fixed_point(text in "[-+]?[0-9]{1,12}(\\.[0-9]{0,9})?([numkMGTPE]|[KMGT]i|e[0-9])?") {
        let quantity = parse(&text);
        let canonical = quantity.canonical();
        let again = parse(&canonical);
        if quantity.format() == Format::BinarySi {
            // Rounded up to whole bytes; and an odd number of them has no suffix, which reads as decimal.
            prop_assert_eq!(again.value(), quantity.value());
        } else {
            prop_assert_eq!(again.canonical(), canonical);
            prop_assert_eq!(again, quantity);
        }
    }

    #[test]
    fn milli_values_agree_with_plain_arithmetic(milli in -1_000_000_000_000_i64..1_000_000_000_000) {
        let text = format!("{milli}m");
        prop_assert_eq!(parse(&text).milli_value(), i128::from(milli));
        prop_assert_eq!(parse(&text), Quantity::from_milli(milli));
    }
}
