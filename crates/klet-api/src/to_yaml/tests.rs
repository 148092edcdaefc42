//! Tests of YAML output.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::to_yaml;
use crate::manifest::parse;

#[test]
fn output_has_kubectls_shape() {
    let value = json!({
        "apiVersion": "v1",
        "metadata": {"labels": {}, "name": "a"},
        "spec": {"containers": [{"args": ["-c", "yes"], "name": "b"}], "items": []},
        "text": "line 1\nline 2\n",
        "version": "1.10",
    });
    let expected = "\
apiVersion: v1
metadata:
  labels: {}
  name: a
spec:
  containers:
  - args:
    - -c
    - \"yes\"
    name: b
  items: []
text: |
  line 1
  line 2
version: \"1.10\"
";
    assert_eq!(to_yaml(&value).replace('\'', "\""), expected);
}

#[test]
fn texts_that_look_like_something_else_stay_texts() {
    let texts = [
        "yes",
        "No",
        "on",
        "y",
        "null",
        "~",
        "",
        "0644",
        "0x1f",
        "1_000",
        "1e3",
        ".5",
        ".inf",
        "1:30",
        "2026-01-02",
        "true",
        "- a",
        "a: b",
        "#x",
        "a #b",
        "&a",
        "*a",
        "!a",
        "%a",
        "@a",
        "`a",
        "|",
        ">",
        "'",
        "\"",
        " a",
        "a ",
        "\t",
        "a\tb",
        "<<",
        "=",
        "?",
        "? a",
        "-",
        "---",
        "...",
        "{",
        "[",
        "a\n",
        "\na",
        "a\n\n",
        "\n",
        " \n a",
        "é😀",
        "\u{85}",
        "\u{2028}",
        "\u{feff}x",
        "\u{0}",
        "\u{7f}",
        "a\r\nb",
        "a\rb",
    ];
    for text in texts {
        let yaml = to_yaml(&json!({"k": text, "l": [text]}));
        let read =
            parse(&yaml, "t").unwrap_or_else(|e| panic!("{text:?}: {e}\n{yaml}")).remove(0).value;
        assert_eq!(read, json!({"k": text, "l": [text]}), "{yaml}");
    }
}

fn values() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["\\PC{0,12}", "[-a-z0-9:#'\" \n\t.,~yn]{0,16}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1000_i32..1000).prop_map(|n| Value::from(f64::from(n) + 0.5)),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[-a-zA-Z0-9_. /:]{1,12}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back_the_same(value in values()) {
        let object = json!({"k": value});
        let yaml = to_yaml(&object);
        let read = parse(&yaml, "t").map_err(|e| TestCaseError::fail(format!("{e}\n{yaml}")))?;
        prop_assert_eq!(&read[0].value, &object, "{}", yaml);
    }
}
