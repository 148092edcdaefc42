//! The expressions of kubectl's documentation, and what is refused.

use serde_json::{Value, json};

use super::Template;

fn list() -> Value {
    json!({"kind": "List", "items": [
        {"metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "x"}}, "n": 1,
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other"}]}},
        {"metadata": {"name": "b"}, "n": 20, "status": {"conditions": []}, "ok": true},
    ]})
}

#[test]
fn templates_render_as_kubectls() {
    let cases = [
        ("{.kind}", "List"),
        ("kind is {.kind}!", "kind is List!"),
        ("{.items[*].metadata.name}", "a b"),
        ("{.items[*]['n','ok']}", "1 20 true"),
        ("{.items[0].metadata.name}{\"\\t\"}{.items[-1:].metadata.name}", "a\tb"),
        ("{.items[-1].metadata.name}", "b"),
        ("{.items[0:1].n}", "1"),
        ("{.items[0,1].n}", "1 20"),
        ("{..name}", "a b"),
        ("{.items[?(@.metadata.name==\"b\")].n}", "20"),
        ("{.items[?(@.n>3)].metadata.name}", "b"),
        ("{.items[?(@.n<=1)].metadata.name}", "a"),
        ("{.items[?(@.ok)].metadata.name}", "b"),
        ("{.items[0].status.conditions[?(@.type=='Ready')].status}", "True"),
        ("{.items[0].metadata.labels.app\\.kubernetes\\.io/name}", "x"),
        ("{.items[0].metadata.labels}", r#"{"app.kubernetes.io/name":"x"}"#),
        ("{range .items[*]}{.metadata.name}={.n}{\"\\n\"}{end}", "a=1\nb=20\n"),
        ("{range .items[*]}[{range .status.conditions[*]}{.type},{end}]{end}", "[Ready,Other,][]"),
        ("{.missing.field}", ""),
        ("{$.kind} {'}'}", "List }"),
    ];
    for (template, want) in cases {
        assert_eq!(Template::parse(template).unwrap().render(&list()), want, "{template}");
    }
}

#[test]
fn braces_and_dot_may_be_left_out_where_one_expression_stands() {
    for text in [".kind", "kind", "{.kind}", "{kind}"] {
        assert_eq!(Template::parse_relaxed(text).unwrap().values(&list()), [&json!("List")]);
    }
}

#[test]
fn what_cannot_be_read_is_refused() {
    let cases = ["{.a", "{range .a}", "{end}", "{.a[x]}", "{.a[1}", "{\"x}", "{.a[?(@.b=\"1\")]}"];
    for text in cases {
        assert!(Template::parse(text).is_err(), "{text}");
    }
    for text in ["", "{}", "{.a", "{.a}{.b}"] {
        assert!(Template::parse_relaxed(text).is_err(), "{text}");
    }
}
