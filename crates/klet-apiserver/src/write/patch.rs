//! The kinds of patches.

use json_patch::PatchOperation;
use klet_api::patch::{merge_patch, strategic_merge};
use klet_api::status_error;
use serde_json::Value;

use crate::error::ApiError;
use crate::route::Call;

/// Media types of patches.
const ACCEPTED: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
/// Operations of one JSON patch.
const OPERATIONS: usize = 10_000;
/// Bytes that the `copy` operations of one JSON patch may add, together: a few of them
/// can double an object without end.
const COPIED: usize = 3 << 20;

/// A patch, read but not applied.
#[derive(Debug)]
pub(super) enum Patch {
    Json(Vec<PatchOperation>),
    Merge(Value),
    Strategic(Value),
}

impl Patch {
    pub(super) fn read(call: &Call<'_>) -> Result<Self, ApiError> {
        let bad = |error: serde_json::Error| {
            ApiError::bad_request(format!("error decoding patch: {error}"))
        };
        match call.content_type() {
            "application/json-patch+json" => {
                let operations: Vec<_> = serde_json::from_slice(&call.body).map_err(bad)?;
                if operations.len() > OPERATIONS {
                    let text =
                        format!("The allowed maximum operations in a JSON patch is {OPERATIONS}");
                    return Err(ApiError::new(413, "RequestEntityTooLarge", text));
                }
                Ok(Self::Json(operations))
            }
            "application/merge-patch+json" => {
                serde_json::from_slice(&call.body).map(Self::Merge).map_err(bad)
            }
            "application/strategic-merge-patch+json" => {
                serde_json::from_slice(&call.body).map(Self::Strategic).map_err(bad)
            }
            "application/apply-patch+yaml" | "application/apply-patch+cbor" => Err(ApiError::new(
                415,
                "UnsupportedMediaType",
                "klet does not do server-side apply: leave out --server-side",
            )),
            _ => Err(status_error::unsupported_media_type(ACCEPTED).into()),
        }
    }

    pub(super) fn apply(&self, current: &Value, kind: &str) -> Result<Value, ApiError> {
        let patched = match self {
            Self::Json(operations) => apply_json(current, operations)?,
            Self::Merge(patch) => merge_patch(current, patch),
            Self::Strategic(patch) => strategic_merge(current, patch, kind)
                .map_err(|error| ApiError::bad_request(error.to_string()))?,
        };
        if patched.is_object() {
            return Ok(patched);
        }
        Err(ApiError::bad_request("the patch leaves no object"))
    }
}

fn apply_json(current: &Value, operations: &[PatchOperation]) -> Result<Value, ApiError> {
    let mut value = current.clone();
    let mut copied = 0;
    for operation in operations {
        if let PatchOperation::Copy(copy) = operation {
            let source = value.pointer(copy.from.as_str());
            copied += source.map_or(0, |source| source.to_string().len());
            if copied > COPIED {
                let text = format!("the patch's copy operations add more than {COPIED} bytes");
                return Err(ApiError::new(413, "RequestEntityTooLarge", text));
            }
        }
        json_patch::patch(&mut value, std::slice::from_ref(operation)).map_err(|error| {
            ApiError::new(
                422,
                "Invalid",
                format!("the server rejected our request due to an error in our request: {error}"),
            )
        })?;
    }
    Ok(value)
}
