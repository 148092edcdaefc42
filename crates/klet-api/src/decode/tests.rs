//! Tests of strict decoding.

use serde_json::json;

use super::{from_json, from_value};
use crate::k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};

fn strict(text: &str) -> Vec<String> {
    let decoded = from_json::<Pod>(text.as_bytes()).unwrap();
    decoded.strict.iter().map(ToString::to_string).collect()
}

#[test]
fn unknown_fields_are_named_with_their_path_and_a_suggestion() {
    let value =
        json!({"spec": {"containers": [{"name": "a", "imge": "b"}], "zzzzzz": {"deep": 1}}});
    let decoded = from_value::<Pod>(&value).unwrap();
    let found: Vec<_> = decoded.strict.iter().map(|e| (e.to_string(), e.suggestion())).collect();
    let expected = [
        ("unknown field \"spec.containers[0].imge\"".to_owned(), Some("image")),
        ("unknown field \"spec.zzzzzz\"".to_owned(), None),
    ];
    assert_eq!(found, expected);
    let text = decoded.into_strict().unwrap_err().to_string();
    assert_eq!(
        text,
        "strict decoding error: unknown field \"spec.containers[0].imge\", unknown field \"spec.zzzzzz\""
    );
}

#[test]
fn duplicates_are_found_in_structs_and_maps_and_the_last_wins() {
    let text =
        r#"{"metadata":{"labels":{"a":"1","a":"2"}},"spec":{"hostname":"x","hostname":"y"}}"#;
    assert_eq!(
        strict(text),
        ["duplicate field \"metadata.labels.a\"", "duplicate field \"spec.hostname\""]
    );
    let pod = from_json::<Pod>(text.as_bytes()).unwrap().object;
    assert_eq!(pod.spec.unwrap().hostname.as_deref(), Some("y"));
    assert_eq!(pod.metadata.labels.unwrap()["a"], "2");
}

#[test]
fn case_matters_in_field_names() {
    assert_eq!(strict(r#"{"spec":{"hostNAME":"x"}}"#), ["unknown field \"spec.hostNAME\""]);
}

#[test]
fn wrong_kinds_name_the_place_what_was_found_and_what_was_expected() {
    let cases = [
        (
            json!({"spec": {"containers": [{"tty": "yes"}]}}),
            "json: cannot unmarshal string into Go struct field Container.spec.containers.tty of type bool",
            "spec.containers[0].tty",
            "expected true or false, found the string \"yes\"",
        ),
        (
            json!({"spec": {"terminationGracePeriodSeconds": 1.5}}),
            "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64",
            "spec.terminationGracePeriodSeconds",
            "expected a whole number, found the number 1.5",
        ),
        (
            json!({"spec": {"containers": [{"ports": [{"containerPort": 5_000_000_000_i64}]}]}}),
            "json: cannot unmarshal number 5000000000 into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
            "spec.containers[0].ports[0].containerPort",
            "expected a whole number, found the number 5000000000",
        ),
        (
            json!({"metadata": {"labels": {"a": true}}}),
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels.a of type string",
            "metadata.labels.a",
            "expected a string (put quotes around it), found the boolean true",
        ),
        (
            json!({"spec": {"containers": {"name": "a"}}}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []interface {}",
            "spec.containers",
            "expected a list, found a mapping",
        ),
        (
            json!({"spec": []}),
            "json: cannot unmarshal array into Go struct field Pod.spec of type v1.PodSpec",
            "spec",
            "expected a mapping of fields, found a list",
        ),
    ];
    for (value, text, path, explained) in cases {
        let error = from_value::<Pod>(&value).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.path.as_str()), (text, path));
        assert_eq!(error.explain(), explained);
        let raw = from_json::<Pod>(value.to_string().as_bytes()).unwrap_err();
        assert_eq!(raw, error);
    }
}

#[test]
fn bad_quantities_times_and_base64_are_errors_with_a_path() {
    let value = json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "abc"}}}]}});
    let error = from_value::<Pod>(&value).unwrap_err();
    assert_eq!(error.path, "spec.containers[0].resources.limits.cpu");
    assert!(error.to_string().starts_with("quantities must match the regular expression"));
    let error = from_value::<Pod>(&json!({"metadata": {"creationTimestamp": "noon"}})).unwrap_err();
    assert_eq!(error.path, "metadata.creationTimestamp");
    let error = from_value::<Secret>(&json!({"data": {"k": "not base64!"}})).unwrap_err();
    assert_eq!(error.path, "data.k");
}

#[test]
fn quantities_become_canonical() {
    let value = json!({"spec": {"containers": [{"resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}]}});
    let pod = from_value::<Pod>(&value).unwrap().object;
    let limits = pod.spec.unwrap().containers[0].resources.clone().unwrap().limits.unwrap();
    assert_eq!((limits["cpu"].0.as_str(), limits["memory"].0.as_str()), ("500m", "1Gi"));
}

#[test]
fn null_means_absent_or_the_zero_value() {
    let value = json!({"spec": {"containers": null, "hostname": null}, "metadata": {"labels": {"a": null}}});
    let pod = from_value::<Pod>(&value).unwrap().object;
    assert!(pod.spec.unwrap().containers.is_empty());
    assert_eq!(pod.metadata.labels.unwrap()["a"], "");
    assert!(from_value::<Pod>(&json!({"spec": {"containers": [null]}})).is_ok());
}

#[test]
fn what_is_not_json_is_refused() {
    for text in ["", "{", "{}x", "[]", "\"a\""] {
        assert!(from_json::<ConfigMap>(text.as_bytes()).is_err(), "{text}");
    }
    let deep = "[".repeat(100_000);
    assert!(from_json::<Pod>(format!("{{\"zzz\":{deep}").as_bytes()).is_err());
}

#[test]
fn a_flood_of_unknown_fields_is_bounded() {
    let fields: Vec<String> = (0..5000).map(|i| format!("\"field{i}\":1")).collect();
    let text = format!("{{{}}}", fields.join(","));
    assert_eq!(strict(&text).len(), 100);
}
