//! `labelSelector` and `fieldSelector` of a request, over objects as JSON.

use std::collections::BTreeMap;

use klet_api::selector::{FieldSelector, LabelSelector, SelectorError};
use serde_json::Value;

use crate::error::ApiError;
use crate::query::Query;
use crate::route::Target;

/// Which objects a list, watch or collection deletion is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
    /// The one object of a watch on a single name.
    name: Option<String>,
}

impl Selection {
    pub(crate) fn of(target: &Target, query: &Query) -> Result<Self, ApiError> {
        let bad = |error: SelectorError| ApiError::bad_request(error.to_string());
        let labels = query.get("labelSelector").unwrap_or_default();
        let fields = query.get("fieldSelector").unwrap_or_default();
        let fields = FieldSelector::parse(fields).map_err(bad)?;
        fields.check(target.resource.plural).map_err(bad)?;
        let labels = LabelSelector::parse(labels).map_err(bad)?;
        Ok(Self { labels, fields, name: target.name.clone() })
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        self.name.as_deref().is_none_or(|name| metadata["name"] == name)
            && (self.fields.is_empty() || self.fields.matches(object))
            && (self.labels.is_empty() || self.labels.matches(labels(metadata).as_ref()))
    }
}

fn labels(metadata: &Value) -> Option<BTreeMap<String, String>> {
    let labels = metadata.get("labels")?.as_object()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some(labels.iter().map(|(key, value)| (key.clone(), text(value))).collect())
}
