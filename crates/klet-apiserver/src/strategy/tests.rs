//! What happens to objects on their way in.

use klet_api::Pod;
use serde_json::{Value, json};

use super::{Context, FieldValidation, Input, Strategy, of};
use crate::error::ApiError;
use crate::hooks::{Admission, AdmitAll};

const PODS: Strategy = of::<Pod>();

fn context(admission: &dyn Admission) -> Context<'_> {
    Context {
        namespace: Some("default"),
        name: None,
        node_name: "node",
        admission,
        validation: FieldValidation::Strict,
    }
}

fn manifest() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "p", "uid": "mine", "resourceVersion": "", "generation": 9 },
        "spec": { "containers": [{ "name": "c", "image": "busybox" }] },
        "status": { "phase": "Running" },
    })
}

fn create(manifest: &Value) -> Result<Value, ApiError> {
    Ok((PODS.create)(Input::Value(manifest), &context(&AdmitAll))?.value)
}

#[test]
fn a_new_pod_is_bound_pending_and_complete() {
    let pod = create(&manifest()).unwrap();
    assert_eq!(pod["spec"]["nodeName"], "node");
    assert_eq!(pod["status"]["phase"], "Pending");
    assert_eq!(pod["status"]["conditions"][0]["type"], "PodScheduled");
    assert_eq!(pod["metadata"]["namespace"], "default");
    assert_eq!(pod["metadata"]["generation"], 1);
    assert_ne!(pod["metadata"]["uid"], "mine");
    assert!(pod["metadata"]["creationTimestamp"].is_string());
    assert_eq!(pod["spec"]["restartPolicy"], "Always");
}

#[test]
fn what_contradicts_the_path_is_refused() {
    for (pointer, value) in
        [("/metadata/resourceVersion", "7"), ("/kind", "ConfigMap"), ("/apiVersion", "v2")]
    {
        let mut wrong = manifest();
        *wrong.pointer_mut(pointer).unwrap() = json!(value);
        assert_eq!(create(&wrong).unwrap_err().code(), 400, "{pointer}");
    }
    let mut elsewhere = manifest();
    elsewhere["metadata"]["namespace"] = json!("other");
    assert!(create(&elsewhere).unwrap_err().to_string().contains("does not match the namespace"));
}

#[test]
fn unknown_fields_are_errors_warnings_or_nothing() {
    let mut wrong = manifest();
    wrong["spec"]["foo"] = json!(1);
    let text = "Pod in version \"v1\" cannot be handled as a Pod: \
                strict decoding error: unknown field \"spec.foo\"";
    assert_eq!(create(&wrong).unwrap_err().to_string(), text);
    let with = |validation| {
        let context = Context { validation, ..context(&AdmitAll) };
        (PODS.create)(Input::Value(&wrong), &context).unwrap().warnings
    };
    assert_eq!(with(FieldValidation::Warn), ["unknown field \"spec.foo\""]);
    assert!(with(FieldValidation::Ignore).is_empty());
}

#[test]
fn an_update_keeps_status_and_identity_and_counts_wishes() {
    let old = create(&manifest()).unwrap();
    let context = Context { name: Some("p"), ..context(&AdmitAll) };
    let mut new = old.clone();
    new["status"]["phase"] = json!("Failed");
    new["metadata"]["labels"] = json!({ "a": "b" });
    new["metadata"]["creationTimestamp"] = json!("2020-01-01T00:00:00Z");
    let updated = (PODS.update)(Input::Value(&new), &old, &context).unwrap().value;
    assert_eq!(updated["status"], old["status"]);
    assert_eq!(updated["metadata"]["creationTimestamp"], old["metadata"]["creationTimestamp"]);
    assert_eq!(updated["metadata"]["generation"], 1);
    assert_eq!(updated["metadata"]["labels"]["a"], "b");

    new["spec"]["containers"][0]["image"] = json!("busybox:2");
    let updated = (PODS.update)(Input::Value(&new), &old, &context).unwrap().value;
    assert_eq!(updated["metadata"]["generation"], 2);

    new["metadata"]["uid"] = json!("another");
    let error = (PODS.update)(Input::Value(&new), &old, &context).unwrap_err();
    assert_eq!(error.code(), 409);
}

#[test]
fn where_a_pod_comes_from_is_not_for_its_author_to_say() {
    let note = |pod: &mut Value, source| {
        pod["metadata"]["annotations"] = json!({ "kubernetes.io/config.source": source, "a": "b" });
    };
    let mut wrong = manifest();
    note(&mut wrong, "file");
    let mut old = create(&wrong).unwrap();
    assert_eq!(old["metadata"]["annotations"], json!({ "a": "b" }));

    let context = Context { name: Some("p"), ..context(&AdmitAll) };
    let mut new = old.clone();
    note(&mut new, "file");
    let updated = (PODS.update)(Input::Value(&new), &old, &context).unwrap().value;
    assert_eq!(updated["metadata"]["annotations"], json!({ "a": "b" }));

    note(&mut old, "file");
    new["metadata"]["annotations"] = json!({});
    let updated = (PODS.update)(Input::Value(&new), &old, &context).unwrap().value;
    let kept = json!({ "kubernetes.io/config.source": "file" });
    assert_eq!(updated["metadata"]["annotations"], kept);
}

#[test]
fn a_status_update_changes_nothing_else() {
    let old = create(&manifest()).unwrap();
    let context = Context { name: Some("p"), ..context(&AdmitAll) };
    let mut new = old.clone();
    new["status"]["phase"] = json!("Running");
    new["spec"]["nodeName"] = json!("elsewhere");
    let updated = (PODS.update_status)(Input::Value(&new), &old, &context).unwrap().value;
    assert_eq!(updated["status"]["phase"], "Running");
    assert_eq!(updated["spec"], old["spec"]);
}

#[test]
fn admission_has_the_last_word() {
    #[derive(Debug)]
    struct Never;
    impl Admission for Never {
        fn pod(&self, _: &mut Pod) -> Result<(), ApiError> {
            Err(ApiError::new(403, "Forbidden", "no"))
        }
    }
    let error = (PODS.create)(Input::Value(&manifest()), &context(&Never)).unwrap_err();
    assert_eq!((error.code().as_u16(), error.to_string().as_str()), (403, "no"));
}
