//! `invalid/`: what the API server answers to a manifest.

use std::path::Path;

use serde_json::Value;

use crate::case::Posted;
use crate::{http, normal};

/// Posts the manifest without storing it; the differences of the answer from the recorded one.
///
/// # Errors
/// The daemon does not answer.
pub(crate) fn run(socket: &Path, namespace: &str, posted: &Posted) -> anyhow::Result<Vec<String>> {
    let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
    let (code, answer) = http::json(socket, "POST", &path, &posted.object)?;
    Ok(differences(&posted.answer, code, &answer))
}

fn differences(recorded: &Value, code: u16, answer: &Value) -> Vec<String> {
    let accepted = recorded["ACCEPTED"] == true;
    if accepted || code < 300 {
        return match (accepted, code < 300) {
            (true, true) => Vec::new(),
            (true, false) => vec![format!("answer: recorded accepted, klet {}", message(answer))],
            (false, _) => vec![format!("answer: klet accepts, recorded {}", message(recorded))],
        };
    }
    let mut found = Vec::new();
    if recorded["code"] != code {
        let (was, is) = (&recorded["code"], message(answer));
        found.push(format!("code: recorded {was}, klet {code}: {is}"));
        return found;
    }
    let mut compare = |what: &str, was: String, is: String| {
        if was != is {
            found.push(format!("{what}: recorded {was}, klet {is}"));
        }
    };
    compare("reason", recorded["reason"].to_string(), answer["reason"].to_string());
    let (was, is) = (causes(recorded), causes(answer));
    if was.is_empty() {
        compare("message", message(recorded), message(answer));
    }
    let missing = was.iter().filter(|cause| !is.contains(cause));
    found.extend(missing.map(|cause| format!("cause missing: {cause}")));
    let added = is.iter().filter(|cause| !was.contains(cause));
    found.extend(added.map(|cause| format!("cause added: {cause}")));
    found
}

/// The names that `generateName` makes up differ.
fn message(status: &Value) -> String {
    normal::text(status["message"].as_str().unwrap_or_default())
}

/// `REASON FIELD: MESSAGE` of every cause, in order.
fn causes(status: &Value) -> Vec<String> {
    let list = status["details"]["causes"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let cause = |cause: &Value| {
        let (reason, field) = (text(&cause["reason"]), text(&cause["field"]));
        format!("{reason} {field}: {}", text(&cause["message"]))
    };
    list.map(cause).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(code: u16, field: &str) -> Value {
        let causes = json!([{ "reason": "FieldValueInvalid", "field": field, "message": "bad" }]);
        json!({ "code": code, "reason": "Invalid", "message": "m", "details": { "causes": causes } })
    }

    #[test]
    fn causes_and_code_are_compared() {
        assert_eq!(differences(&status(422, "a"), 422, &status(422, "a")), [""; 0]);
        let wanted =
            ["cause missing: FieldValueInvalid a: bad", "cause added: FieldValueInvalid b: bad"];
        assert_eq!(differences(&status(422, "a"), 422, &status(422, "b")), wanted);
        let wanted = ["code: recorded 422, klet 400: m"];
        assert_eq!(differences(&status(422, "a"), 400, &status(400, "b")), wanted);
    }

    #[test]
    fn accepting_is_an_answer_too() {
        let accepted = json!({ "ACCEPTED": true });
        assert_eq!(differences(&accepted, 201, &json!({})), [""; 0]);
        assert_eq!(
            differences(&accepted, 422, &status(422, "a")),
            ["answer: recorded accepted, klet m"]
        );
        assert_eq!(
            differences(&status(422, "a"), 201, &json!({})),
            ["answer: klet accepts, recorded m"]
        );
    }
}
