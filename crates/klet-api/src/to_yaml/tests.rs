//! Tests of YAML output.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::to_yaml;
use crate::manifest::parse;

/// What `kubectl get -o yaml` wrote of a pod on a real node, shortened.
const RECORDED: &str = r#"apiVersion: v1
kind: Pod
metadata:
  annotations:
    note: |
      line 1
      line 2
  creationTimestamp: "2026-11-22T08:34:02Z"
  labels: {}
  managedFields:
  - apiVersion: v1
    fieldsV1:
      f:spec:
        f:containers:
          k:{"name":"main"}:
            .: {}
            f:command: {}
  name: a
spec:
  containers:
  - command:
    - sh
    - -c
    - 'echo a: b'
    - "yes"
    image: busybox:1.29
    resources: {}
    securityContext:
      privileged: true
  items: []
status:
  conditions:
  - lastProbeTime: null
    message: 'containers with unready status: [main]'
    status: "False"
  containerStatuses:
  - state:
      terminated:
        exitCode: 128
        message: 'failed to create containerd task: failed to create shim task: OCI
          runtime create failed: runc create failed: unable to start container process:
          exec: "/etc/passwd": permission denied: unknown'
  podIP: 10.244.0.76
  version: "1.10"
"#;

#[test]
fn output_is_kubectls_to_the_byte() {
    let value = parse(RECORDED, "t").unwrap().remove(0).value;
    assert_eq!(to_yaml(&value), RECORDED);
}

#[test]
fn texts_are_quoted_as_kubectl_quotes_them() {
    let cases = [
        ("10.88.0.2", "10.88.0.2"),
        ("a:b", "a:b"),
        ("it's", "it's"),
        ("'a", "'''a'"),
        ("a: 'b'", "'a: ''b'''"),
        ("", r#""""#),
        ("12", r#""12""#),
        ("1:30", r#""1:30""#),
        ("2026-1-2", r#""2026-1-2""#),
        ("2026-01-02 03:04:05", r#""2026-01-02 03:04:05""#),
        ("2026-01-02T03:04:05.5+01:00", r#""2026-01-02T03:04:05.5+01:00""#),
        ("2026-13-02", "2026-13-02"),
        ("1.2.3", "1.2.3"),
        ("-", "'-'"),
        ("-c", "-c"),
        ("a\tb", r#""a\tb""#),
        ("é", "é"),
        ("\u{1f600}", r#""\U0001F600""#),
        ("a\nb", "|-\n  a\n  b"),
        (" a\n", "|2\n   a"),
        ("a \nb", r#""a \nb""#),
        ("a\n\n", "|+\n  a\n"),
    ];
    for (text, want) in cases {
        assert_eq!(to_yaml(&json!({"k": text})), format!("k: {want}\n"), "{text:?}");
    }
}

#[test]
fn long_texts_are_folded_at_single_spaces() {
    let folded = |quote: &str, first: &str, second: &str| {
        let text = format!("{first} {second}");
        assert_eq!(to_yaml(&json!({"k": text})), format!("k: {quote}{first}\n  {second}{quote}\n"));
    };
    let (first, second) = ("x".repeat(78), "y".repeat(90));
    folded("", &first, &second);
    folded("'", &format!("a: {first}"), &format!("{second}  z"));
    assert_eq!(to_yaml(&json!({format!("{first} {second}"): "x"})).lines().count(), 1);
}

#[test]
fn keys_are_in_natural_order() {
    let value = json!({"a10": 1, "a2": 1, "b": 1, "B": 1, ".": 1, "a": 1, "a-1": 1, "y": 1});
    let yaml = to_yaml(&value);
    let keys: Vec<&str> = yaml.lines().map(|line| line.trim_end_matches(": 1")).collect();
    assert_eq!(keys, [".", "B", "a", "a-1", "a2", "a10", "b", r#""y""#]);
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
