//! Label and field selectors, in Kubernetes' syntax.

mod fields;
mod labels;

pub use fields::{FieldSelector, FieldTerm};
pub use labels::{LabelSelector, Operator, Requirement};

/// Longest selector text accepted.
const MAX_LEN: usize = 64 * 1024;

/// Why a selector cannot be used; for the caller's 400 answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The text is not a label selector.
    #[error("unable to parse requirement: {0}")]
    Label(String),
    /// The text is not a field selector.
    #[error("invalid field selector: {0:?}; can't understand {1:?}")]
    Field(String, String),
    /// The field cannot be selected on for this kind.
    #[error("field label not supported: {0}")]
    Unsupported(String),
    /// The text is unreasonably long.
    #[error("selector is longer than {MAX_LEN} bytes")]
    TooLong,
}

#[cfg(test)]
mod tests;
