//! Tests of error answers.

use serde_json::json;

use super::*;
use crate::field::FieldError;

const PODS: Resource<'static> = Resource::core("pods");

#[test]
fn messages_and_codes_are_kubernetes() {
    let apps = Resource { group: "apps", name: "deployments" };
    let cases = [
        (not_found(PODS, "a"), 404, "NotFound", "pods \"a\" not found"),
        (not_found(apps, "a"), 404, "NotFound", "deployments.apps \"a\" not found"),
        (already_exists(PODS, "a"), 409, "AlreadyExists", "pods \"a\" already exists"),
        (
            modified(PODS, "a"),
            409,
            "Conflict",
            "Operation cannot be fulfilled on pods \"a\": the object has been modified; please apply your changes to the latest version and try again",
        ),
        (forbidden(PODS, "a", "no"), 403, "Forbidden", "pods \"a\" is forbidden: no"),
        (bad_request("x"), 400, "BadRequest", "x"),
        (
            cannot_be_handled("Pod", "v1", "y"),
            400,
            "BadRequest",
            "Pod in version \"v1\" cannot be handled as a Pod: y",
        ),
        (
            kind_not_registered("Pod", "Podd", "v1"),
            400,
            "BadRequest",
            "Podd in version \"v1\" cannot be handled as a Pod: no kind \"Podd\" is registered for version \"v1\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
        ),
        (too_old(3, 9), 410, "Expired", "too old resource version: 3 (9)"),
        (
            method_not_allowed(PODS, "delete"),
            405,
            "MethodNotAllowed",
            "delete is not supported on resources of kind \"pods\"",
        ),
        (path_not_found(), 404, "NotFound", "the server could not find the requested resource"),
        (internal("boom"), 500, "InternalError", "Internal error occurred: boom"),
    ];
    for (status, code, reason, message) in cases {
        assert_eq!(status.code, Some(code));
        assert_eq!(status.reason.as_deref(), Some(reason));
        assert_eq!(status.message.as_deref(), Some(message));
        assert_eq!(status.status.as_deref(), Some("Failure"));
    }
}

#[test]
fn invalid_carries_every_cause() {
    let errors = vec![FieldError::required("spec.a", ""), FieldError::duplicate("spec.b", "x")];
    let status = serde_json::to_value(invalid("", "Pod", "p", &errors)).unwrap();
    let expected = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "reason": "Invalid", "code": 422,
        "message": "Pod \"p\" is invalid: [spec.a: Required value, spec.b: Duplicate value: \"x\"]",
        "details": {"name": "p", "kind": "Pod", "causes": [
            {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.a"},
            {"reason": "FieldValueDuplicate", "message": "Duplicate value: \"x\"", "field": "spec.b"},
        ]},
    });
    assert_eq!(status, expected);
}

#[test]
fn success_names_the_object() {
    let status = success(PODS, "a", "u1");
    assert_eq!((status.status.as_deref(), status.code), (Some("Success"), None));
    assert_eq!(status.details.unwrap().uid.as_deref(), Some("u1"));
}
