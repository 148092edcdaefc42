//! Tests of manifests.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Document, parse};

fn one(text: &str) -> Value {
    let documents = parse(text, "t.yaml").unwrap_or_else(|e| panic!("{text}\n{e}"));
    assert_eq!(documents.len(), 1, "{text}");
    documents[0].value.clone()
}

fn error(text: &str) -> String {
    parse(text, "t.yaml").map(|d| d.len()).unwrap_err().to_string()
}

#[test]
fn plain_scalars_follow_the_rules_of_kubectl() {
    let cases = [
        ("0644", json!(420)),
        ("0o644", json!(420)),
        ("0x1F", json!(31)),
        ("0b11", json!(3)),
        ("-0b11", json!(-3)),
        ("08", json!(8)),
        ("1_000", json!(1000)),
        ("+5", json!(5)),
        ("-5", json!(-5)),
        ("1000.0", json!(1000)),
        ("1e3", json!(1000)),
        ("1.5", json!(1.5)),
        (".5", json!(0.5)),
        ("1.", json!(1)),
        ("1e400", json!("1e400")),
        ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("1.2.3", json!("1.2.3")),
        ("1:30", json!("1:30")),
        ("2026-01-02", json!("2026-01-02")),
        ("500m", json!("500m")),
        ("+-5", json!("+-5")),
        ("0x", json!("0x")),
        ("yes", json!(true)),
        ("y", json!(true)),
        ("On", json!(true)),
        ("off", json!(false)),
        ("tRue", json!("tRue")),
        ("~", json!(null)),
        ("", json!(null)),
        ("Null", json!(null)),
        ("'0644'", json!("0644")),
        ("\"yes\"", json!("yes")),
        ("!!str 5", json!("5")),
        ("!!int 5", json!(5)),
        ("!!binary aGk=", json!("hi")),
        ("!custom 5", json!("5")),
    ];
    for (text, value) in cases {
        assert_eq!(one(&format!("k: {text}\n"))["k"], value, "{text}");
    }
    for text in [".inf", "-.Inf", ".nan", "!!int x", "!!binary '***'"] {
        assert!(parse(&format!("k: {text}\n"), "t").is_err(), "{text}");
    }
}

#[test]
fn keys_resolve_like_scalars() {
    assert_eq!(
        one("y: 1\n8080: a\n1.5: b\n'no': c\n"),
        json!({"true": 1, "8080": "a", "1.5": "b", "no": "c"})
    );
}

#[test]
fn documents_split_and_empty_ones_vanish() {
    let text = "---\n# nothing\n---\na: 1\n---\n\n---\nb: 2\n...\n";
    let values: Vec<Value> = parse(text, "t").unwrap().into_iter().map(|d| d.value).collect();
    assert_eq!(values, [json!({"a": 1}), json!({"b": 2})]);
    assert!(parse("", "t").unwrap().is_empty());
    assert_eq!(one("\u{feff}a: 1\r\nb:\r\n- x\r\n"), json!({"a": 1, "b": ["x"]}));
}

#[test]
fn anchors_and_merge_keys_work() {
    let text = "base: &b {a: 1, b: 2}\nlist: &l [x]\none:\n  <<: *b\n  b: 3\ntwo:\n  b: 4\n  <<: [{c: 5}, *b]\ncopy: *l\n";
    let value = one(text);
    assert_eq!(value["one"], json!({"a": 1, "b": 3}));
    assert_eq!(value["two"], json!({"a": 1, "b": 4, "c": 5}));
    assert_eq!(value["copy"], json!(["x"]));
    assert_eq!(error("a: {<<: 5}\n"), "t.yaml:1:5: '<<' needs a mapping or a list of mappings");
}

#[test]
fn alias_bombs_and_deep_nesting_are_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let previous = vec![format!("*a{}", i - 1); 10].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [{previous}]\n"));
    }
    assert!(error(&bomb).contains("excessive aliasing"));
    let large = format!("a: &a {}\nb: [{}]\n", "x".repeat(1_000_000), vec!["*a"; 1000].join(", "));
    assert!(error(&large).contains("excessive aliasing"));
    assert!(error("a: &a [*a]\n").contains("alias"));
    let deep = format!("a: {}{}", "[".repeat(150), "]".repeat(150));
    assert!(error(&deep).contains("levels deep"), "{}", error(&deep));
    let deeper = format!("a: {}", "[".repeat(100_000));
    assert!(parse(&deeper, "t").is_err());
}

#[test]
fn errors_name_file_line_and_column() {
    assert_eq!(error("a: 1\nb: 2\na: 3\n"), "t.yaml:3:1: duplicate key \"a\" (first at line 1)");
    assert_eq!(
        error("a:\n\tb: 1\n"),
        "t.yaml:2:1: YAML does not allow tabs for indentation: use spaces"
    );
    assert_eq!(
        error("just text\n"),
        "t.yaml:1:1: expected an object with apiVersion and kind, found the text \"just text\""
    );
    assert!(error("a: [1, 2\nb: 3\n").starts_with("t.yaml:2:"), "{}", error("a: [1, 2\nb: 3\n"));
    assert_eq!(
        error("a:\n  c: 2\n  b 1\n"),
        "t.yaml:3:3: not valid YAML: expected 'name: value', found no ':' on this line"
    );
    assert!(error("a:\n  b 1\n  c: 2\n").starts_with("t.yaml:3:4: not valid YAML: unexpected ':'"));
    assert!(error("a: *nope\n").starts_with("t.yaml:1:"));
    assert!(error("? [a]\n: b\n").contains("expected a field name, found a list"));
}

#[test]
fn an_error_is_shown_with_its_lines() {
    let text = "a: 1\nb: 2\na: 3\n";
    let rendered = parse(text, "t.yaml").map(|d| d.len()).unwrap_err().render(text, false);
    for part in ["error: duplicate key \"a\"", "t.yaml:3:1", "3 | a: 3", "^"] {
        assert!(rendered.contains(part), "{rendered}");
    }
}

#[test]
fn json_is_read_too_even_where_it_is_not_yaml() {
    assert_eq!(
        one("{\"a\": [1, 2.5, \"x\\/y\"], \"b\": null}"),
        json!({"a": [1, 2.5, "x/y"], "b": null})
    );
    assert_eq!(one("{\n\t\"a\":\t\"\\ud83d\\ude00\"\n}"), json!({"a": "😀"}));
    assert_eq!(parse("{\"a\":1}\n{\"b\":2}\n", "t").unwrap().len(), 2);
    assert!(error("{\"a\": 1,,}").starts_with("t.yaml:1:"));
    assert!(error("{\"a\": 1, \"a\": 2}").contains("duplicate key \"a\""));
}

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: web
  annotations:
    example.com/a.b: x
spec:
  containers:
  - name: app
    image: nginx
    ports: [{containerPort: 80}, {containerPort: 0}]
";

fn pod() -> Document {
    parse(POD, "pod.yaml").unwrap().remove(0)
}

#[test]
fn fields_are_located() {
    let pod = pod();
    let cases = [
        ("spec.containers[0].image", (10, 12)),
        ("spec.containers[0].ports[1].containerPort", (11, 50)),
        ("metadata.annotations[example.com/a.b]", (6, 22)),
        ("metadata.annotations.example.com/a.b", (6, 22)),
        ("metadata.name", (4, 9)),
        // Absent: the nearest ancestor's name.
        ("spec.restartPolicy", (7, 1)),
        ("metadata.labels", (3, 1)),
        ("spec.containers[0].resources.limits[cpu]", (9, 5)),
        ("spec.containers[7].name", (8, 3)),
    ];
    for (path, place) in cases {
        assert_eq!(pod.locate(path), Some(place), "{path}");
    }
    assert_eq!(pod.locate_key("spec.containers[0].image"), Some((10, 5)));
    let mark = pod.mark("spec.containers[0].image").unwrap();
    assert_eq!(&POD[mark.start..mark.end], "nginx");
    assert_eq!((pod.kind(), pod.api_version(), pod.name()), ("Pod", "v1", "web"));
}

#[test]
fn lists_are_flattened_with_their_positions() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- kind: Pod\n  metadata: {name: a}\n- kind: PodList\n  apiVersion: v1\n  items:\n  - metadata:\n      name: b\n";
    let documents = parse(text, "t").unwrap();
    let found: Vec<_> =
        documents.iter().map(|d| (d.kind(), d.name(), d.locate("metadata.name"))).collect();
    assert_eq!(found, [("Pod", "a", Some((5, 20))), ("Pod", "b", Some((10, 13)))]);
    assert_eq!(documents[1].api_version(), "v1");
    assert!(parse("kind: PodList\nitems: []\n", "t").unwrap().is_empty());
    assert!(parse("kind: PodList\nitems: [5]\n", "t").is_err());
}

#[test]
fn a_large_manifest_is_refused() {
    let text = "a".repeat(super::MAX_TEXT + 1);
    assert_eq!(error(&text), "t.yaml: the manifest is larger than 16 MiB");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_panic(text in "[-:{}\\[\\],&*!|>'\"#%@`? \n\ta-c0-9.<é]{0,60}") {
        if let Err(error) = parse(&text, "t") {
            let _ = error.render(&text, false);
        }
    }

    #[test]
    fn located_paths_never_panic(path in "[a-z.\\[\\]0-9]{0,40}") {
        let _ = pod().locate(&path);
    }
}

#[test]
fn a_single_value_may_have_any_shape() {
    assert_eq!(
        super::value("- op: add\n  path: /a\n", "p").unwrap(),
        json!([{"op": "add", "path": "/a"}])
    );
    assert_eq!(super::value("{\"a\": null}", "p").unwrap(), json!({"a": null}));
    assert!(super::value("", "p").is_err());
    assert!(super::value("a: 1\n---\nb: 2\n", "p").unwrap_err().to_string().starts_with("p:3:"));
}
