//! Failures as the API reports them: a `Status` object with code, reason and causes.

use std::fmt;

use http::StatusCode;
use klet_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{Status, StatusCause};
use klet_api::status_error::{self, Resource};
use klet_store::WriteError;

/// A refusal, ready to be sent: a Kubernetes `Status` (see [`klet_api::status_error`]).
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError(pub Box<Status>);

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.message.as_deref().unwrap_or_default())
    }
}

impl std::error::Error for ApiError {}

impl From<Status> for ApiError {
    fn from(status: Status) -> Self {
        Self(Box::new(status))
    }
}

impl ApiError {
    /// A refusal of any code and reason (`metav1.StatusReason`).
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self::from(Status {
            code: Some(i32::from(code)),
            reason: Some(reason.to_owned()),
            ..status_error::bad_request(message)
        })
    }

    /// 400 `BadRequest`.
    pub fn bad_request(message: impl Into<String>) -> Self {
        status_error::bad_request(message).into()
    }

    /// 500 `InternalError`.
    pub fn internal(why: impl fmt::Display) -> Self {
        status_error::internal(why).into()
    }

    /// Adds a cause without a field.
    #[must_use]
    pub(crate) fn because(mut self, reason: &str, message: &str) -> Self {
        let cause = StatusCause {
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            field: None,
        };
        self.0.details.get_or_insert_default().causes.get_or_insert_default().push(cause);
        self
    }

    /// The HTTP status code.
    #[must_use]
    pub fn code(&self) -> StatusCode {
        let code = self.0.code.and_then(|code| u16::try_from(code).ok());
        let code = code.and_then(|code| StatusCode::from_u16(code).ok());
        code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What a failed write means for a client.
    pub(crate) fn from_write(error: &WriteError, resource: Resource<'_>, name: &str) -> Self {
        match error {
            WriteError::Exists => status_error::already_exists(resource, name).into(),
            WriteError::NotFound => status_error::not_found(resource, name).into(),
            WriteError::Conflict { .. } => status_error::modified(resource, name).into(),
            WriteError::Invalid(why) => {
                Self::bad_request(format!("object cannot be stored: {why}"))
            }
            WriteError::Full(_) => {
                let text = "no space left on the device that holds klet's state";
                Self::new(507, "InsufficientStorage", text)
            }
            WriteError::Io(_) | WriteError::Closed => Self::internal(error),
        }
    }
}
