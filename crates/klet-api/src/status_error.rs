//! Error answers: `meta/v1 Status` objects with Kubernetes' exact codes, reasons and messages.

use crate::field::{ErrorList, aggregate, go_quote, to_causes};
use crate::k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    ListMeta, Status, StatusCause, StatusDetails,
};

/// A resource as it appears in messages: `pods`, or `deployments` with group `apps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    /// Group, empty for the core group.
    pub group: &'a str,
    /// Plural lower-case name.
    pub name: &'a str,
}

impl<'a> Resource<'a> {
    /// A resource of the core group.
    #[must_use]
    pub const fn core(name: &'a str) -> Self {
        Self { group: "", name }
    }

    /// `deployments.apps`, or `pods` for the core group.
    #[must_use]
    pub fn qualified(&self) -> String {
        qualified(self.name, self.group)
    }

    fn details(&self, object: &str) -> StatusDetails {
        StatusDetails {
            name: some(object),
            group: some(self.group),
            kind: some(self.name),
            ..StatusDetails::default()
        }
    }
}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn failure(code: i32, reason: &str, message: String, details: Option<StatusDetails>) -> Status {
    Status {
        code: Some(code),
        details,
        message: Some(message),
        metadata: ListMeta::default(),
        reason: Some(reason.into()),
        status: Some("Failure".into()),
    }
}

/// 404 for one object.
#[must_use]
pub fn not_found(resource: Resource<'_>, name: &str) -> Status {
    let message = format!("{} {} not found", resource.qualified(), go_quote(name));
    failure(404, "NotFound", message, Some(resource.details(name)))
}

/// 404 for a path that is no resource.
#[must_use]
pub fn path_not_found() -> Status {
    let message = String::from("the server could not find the requested resource");
    failure(404, "NotFound", message, Some(StatusDetails::default()))
}

/// 409 when an object of that name exists.
#[must_use]
pub fn already_exists(resource: Resource<'_>, name: &str) -> Status {
    let message = format!("{} {} already exists", resource.qualified(), go_quote(name));
    failure(409, "AlreadyExists", message, Some(resource.details(name)))
}

/// 409 with a reason of the caller's.
#[must_use]
pub fn conflict(resource: Resource<'_>, name: &str, why: &str) -> Status {
    let message = format!(
        "Operation cannot be fulfilled on {} {}: {why}",
        resource.qualified(),
        go_quote(name)
    );
    failure(409, "Conflict", message, Some(resource.details(name)))
}

/// 409 when the object's resourceVersion is not the current one.
#[must_use]
pub fn modified(resource: Resource<'_>, name: &str) -> Status {
    conflict(
        resource,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )
}

/// 422 with every bad field as a cause. `kind` is the object's kind (`Pod`).
#[must_use]
pub fn invalid(group: &str, kind: &str, name: &str, errors: &ErrorList) -> Status {
    let message =
        format!("{} {} is invalid: {}", qualified(kind, group), go_quote(name), aggregate(errors));
    let details = StatusDetails {
        name: some(name),
        group: some(group),
        kind: some(kind),
        causes: Some(to_causes(errors)),
        ..StatusDetails::default()
    };
    failure(422, "Invalid", message, Some(details))
}

/// 403: admission refuses the object.
#[must_use]
pub fn forbidden(resource: Resource<'_>, name: &str, why: &str) -> Status {
    let message = if name.is_empty() {
        format!("{} is forbidden: {why}", resource.qualified())
    } else {
        format!("{} {} is forbidden: {why}", resource.qualified(), go_quote(name))
    };
    failure(403, "Forbidden", message, Some(resource.details(name)))
}

/// 400 with a free text.
#[must_use]
pub fn bad_request(message: impl Into<String>) -> Status {
    failure(400, "BadRequest", message.into(), None)
}

/// 400: the body is not an object of the kind it should be.
#[must_use]
pub fn cannot_be_handled(kind: &str, version: &str, why: impl std::fmt::Display) -> Status {
    bad_request(format!(
        "{kind} in version {} cannot be handled as a {kind}: {why}",
        go_quote(version)
    ))
}

/// 400: the body claims a kind that does not exist in that version, where `expected` belongs.
#[must_use]
pub fn kind_not_registered(expected: &str, kind: &str, version: &str) -> Status {
    let why = format!(
        "no kind {} is registered for version {} in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
        go_quote(kind),
        go_quote(version)
    );
    bad_request(format!(
        "{kind} in version {} cannot be handled as a {expected}: {why}",
        go_quote(version)
    ))
}

/// 410: a watch or list asks for a version that is no longer held.
#[must_use]
pub fn expired(message: impl Into<String>) -> Status {
    failure(410, "Expired", message.into(), None)
}

/// 410 for a watch: `too old resource version: ASKED (OLDEST)`.
#[must_use]
pub fn too_old(asked: u64, oldest: u64) -> Status {
    expired(format!("too old resource version: {asked} ({oldest})"))
}

/// 405: the resource exists, the verb does not.
#[must_use]
pub fn method_not_allowed(resource: Resource<'_>, action: &str) -> Status {
    let message = format!(
        "{action} is not supported on resources of kind {}",
        go_quote(&resource.qualified())
    );
    failure(405, "MethodNotAllowed", message, Some(resource.details("")))
}

/// 406: none of the accepted media types can be produced.
#[must_use]
pub fn not_acceptable(accepted: &[&str]) -> Status {
    let message = format!("only the following media types are accepted: {}", accepted.join(", "));
    failure(406, "NotAcceptable", message, None)
}

/// 413: the body is larger than the limit.
#[must_use]
pub fn too_large(limit: usize) -> Status {
    let message = format!("Request entity is too large: limit is {limit}");
    failure(413, "RequestEntityTooLarge", message, None)
}

/// 415: the body's media type is unknown.
#[must_use]
pub fn unsupported_media_type(accepted: &[&str]) -> Status {
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {}",
        accepted.join(", ")
    );
    failure(415, "UnsupportedMediaType", message, None)
}

/// 429: try again later.
#[must_use]
pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: i32) -> Status {
    let details = StatusDetails {
        retry_after_seconds: Some(retry_after_seconds),
        ..StatusDetails::default()
    };
    failure(429, "TooManyRequests", message.into(), Some(details))
}

/// 500: something in the server failed.
#[must_use]
pub fn internal(why: impl std::fmt::Display) -> Status {
    let cause = StatusCause { message: Some(why.to_string()), ..StatusCause::default() };
    let details = StatusDetails { causes: Some(vec![cause]), ..StatusDetails::default() };
    failure(500, "InternalError", format!("Internal error occurred: {why}"), Some(details))
}

/// 503: not now.
#[must_use]
pub fn unavailable(message: impl Into<String>) -> Status {
    failure(503, "ServiceUnavailable", message.into(), None)
}

/// 504: the operation took too long.
#[must_use]
pub fn timeout(message: impl std::fmt::Display) -> Status {
    failure(504, "Timeout", format!("Timeout: {message}"), Some(StatusDetails::default()))
}

/// The answer to a delete that is done: `status: Success` naming the object.
#[must_use]
pub fn success(resource: Resource<'_>, name: &str, uid: &str) -> Status {
    let details = StatusDetails { uid: some(uid), ..resource.details(name) };
    Status { details: Some(details), status: Some("Success".into()), ..Status::default() }
}

#[cfg(test)]
mod tests;
