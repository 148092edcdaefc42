//! Tests of field errors.

use super::{FieldError, Path, Rendered, aggregate, go_quote, to_causes};

#[test]
fn errors_render_as_the_api_server_renders_them() {
    let spec = Path::root("spec");
    let list = spec.child("containers");
    let item = list.index(0);
    let at = item.child("image");
    let resources = item.child("resources");
    let limits = resources.child("limits");
    let cases = [
        (FieldError::required(at, ""), "spec.containers[0].image: Required value"),
        (FieldError::required(at, "why"), "spec.containers[0].image: Required value: why"),
        (FieldError::duplicate(at, "a"), "spec.containers[0].image: Duplicate value: \"a\""),
        (FieldError::invalid(at, 5_i64, "no"), "spec.containers[0].image: Invalid value: 5: no"),
        (FieldError::invalid(at, true, "no"), "spec.containers[0].image: Invalid value: true: no"),
        (
            FieldError::invalid(at, Rendered::json(&vec![1]), "no"),
            "spec.containers[0].image: Invalid value: [1]: no",
        ),
        (
            FieldError::not_supported(at, "x", &["A", "B"]),
            "spec.containers[0].image: Unsupported value: \"x\": supported values: \"A\", \"B\"",
        ),
        (FieldError::forbidden(at, "no"), "spec.containers[0].image: Forbidden: no"),
        (FieldError::not_found(at, "v"), "spec.containers[0].image: Not found: \"v\""),
        (
            FieldError::too_long(at, 9),
            "spec.containers[0].image: Too long: may not be more than 9 bytes",
        ),
        (
            FieldError::too_many(at, 21, 20),
            "spec.containers[0].image: Too many: 21: must have at most 20 items",
        ),
        (FieldError::internal(at, "oops"), "spec.containers[0].image: Internal error: oops"),
        (
            FieldError::required(limits.key("cpu"), ""),
            "spec.containers[0].resources.limits[cpu]: Required value",
        ),
    ];
    for (error, text) in cases {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn causes_name_reason_message_and_field() {
    let causes = to_causes(&[FieldError::duplicate("spec.a", "x")]);
    assert_eq!(causes[0].reason.as_deref(), Some("FieldValueDuplicate"));
    assert_eq!(causes[0].message.as_deref(), Some("Duplicate value: \"x\""));
    assert_eq!(causes[0].field.as_deref(), Some("spec.a"));
}

#[test]
fn several_errors_are_bracketed_and_repeats_dropped() {
    let a = FieldError::required("a", "");
    let b = FieldError::required("b", "");
    assert_eq!(aggregate(std::slice::from_ref(&a)), "a: Required value");
    assert_eq!(aggregate(&[a.clone(), a.clone()]), "a: Required value");
    assert_eq!(aggregate(&[a, b]), "[a: Required value, b: Required value]");
}

#[test]
fn strings_are_quoted_as_go_quotes_them() {
    assert_eq!(go_quote("a\"b\\c\n\t\u{1}\u{7f}é\u{200b}"), r#""a\"b\\c\n\t\x01\x7fé\u200b""#);
}
