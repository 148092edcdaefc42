//! Tests of selectors.

use std::collections::BTreeMap;

use serde_json::json;

use super::{FieldSelector, LabelSelector, SelectorError};
use crate::k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn label_selectors_select() {
    let object = labels(&[("app", "web"), ("tier", "front"), ("size", "3"), ("example.com/x", "")]);
    let cases = [
        ("", true),
        ("app=web", true),
        ("app==web,tier!=back", true),
        ("app=db", false),
        ("missing!=x", true),
        ("app in (web, db)", true),
        ("app in (db)", false),
        ("app notin (db)", true),
        ("missing notin (db)", true),
        ("app", true),
        ("!app", false),
        ("! missing", true),
        ("size>2", true),
        ("size<3", false),
        ("missing>1", false),
        ("example.com/x=", true),
        ("example.com/x in (,a)", true),
        ("in=notin", false),
    ];
    for (text, expected) in cases {
        let selector = LabelSelector::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(selector.matches(Some(&object)), expected, "{text}");
    }
    assert!(LabelSelector::parse("!a").unwrap().matches(None));
}

#[test]
fn malformed_label_selectors_say_what_was_expected() {
    let cases = [
        ("a=b,", "found '', expected: identifier after ','"),
        ("a in b", "found 'b', expected: '('"),
        ("a in (b", "found '', expected: ',' or ')'"),
        ("=b", "found '=', expected: identifier"),
        ("a b", "found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a>b", "the value must be an integer"),
        ("a=b b", "expected: ','"),
        ("-a=b", "name part must consist of"),
    ];
    for (text, part) in cases {
        let error = LabelSelector::parse(text).unwrap_err().to_string();
        assert!(
            error.starts_with("unable to parse requirement: ") && error.contains(part),
            "{text}: {error}"
        );
    }
    assert_eq!(LabelSelector::parse(&"a,".repeat(100_000)), Err(SelectorError::TooLong));
}

#[test]
fn object_selectors_follow_the_same_rules() {
    let requirement = |operator: &str, values: &[&str]| meta::LabelSelectorRequirement {
        key: "app".into(),
        operator: operator.into(),
        values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
    };
    let selector = meta::LabelSelector {
        match_labels: Some(labels(&[("tier", "front")])),
        match_expressions: Some(vec![requirement("In", &["web"]), requirement("Exists", &[])]),
    };
    let parsed = LabelSelector::from_object(&selector).unwrap();
    assert!(parsed.matches(Some(&labels(&[("app", "web"), ("tier", "front")]))));
    assert!(!parsed.matches(Some(&labels(&[("app", "web")]))));
    let odd = meta::LabelSelector {
        match_labels: None,
        match_expressions: Some(vec![requirement("Like", &[])]),
    };
    assert!(LabelSelector::from_object(&odd).is_err());
}

#[test]
fn field_selectors_select() {
    let pod = json!({
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running"},
    });
    let cases = [
        ("", true),
        ("metadata.name=a", true),
        ("metadata.name==a,status.phase!=Failed", true),
        ("spec.nodeName=", false),
        ("status.podIP=", true),
        ("spec.hostNetwork=false", true),
        ("metadata.name=a\\,b", false),
    ];
    for (text, expected) in cases {
        let selector = FieldSelector::parse(text).unwrap();
        selector.check("pods").unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(selector.matches(&pod), expected, "{text}");
    }
    let event = json!({"involvedObject": {"name": "a"}, "source": {"component": "kubelet"}});
    let selector = FieldSelector::parse("involvedObject.name=a,source=kubelet").unwrap();
    assert!(selector.check("events").is_ok() && selector.matches(&event));
    assert_eq!(selector.required("involvedObject.name"), Some("a"));
    assert_eq!(FieldSelector::parse("a=x\\,y\\=z\\\\").unwrap().terms[0].value, "x,y=z\\");
}

#[test]
fn bad_field_selectors_are_refused() {
    for text in ["nothing", "=a", "a!b", "a=b=c", "a=\\x"] {
        assert!(FieldSelector::parse(text).is_err(), "{text}");
    }
    let error = FieldSelector::parse("spec.image=x").unwrap().check("pods").unwrap_err();
    assert_eq!(error.to_string(), "field label not supported: spec.image");
}
