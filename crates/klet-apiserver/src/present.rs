//! How objects are shown: as they are, or as rows of a `meta.k8s.io/v1` Table.

use http::{HeaderMap, header};
use jiff::Timestamp;
use klet_api::table;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::query::Query;
use crate::resource::Resource;

/// The form a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Table(Include),
}

/// `includeObject`: what of each object goes with its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    None,
    Metadata,
    Object,
}

impl Form {
    pub(crate) fn of(headers: &HeaderMap, query: &Query) -> Result<Self, ApiError> {
        let accepts =
            headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
        let wanted = accepts.flat_map(|value| value.split(',')).any(is_table);
        if !wanted {
            return Ok(Self::Plain);
        }
        Ok(Self::Table(match query.get("includeObject") {
            None | Some("Metadata") => Include::Metadata,
            Some("None") => Include::None,
            Some("Object") => Include::Object,
            Some(other) => {
                let text = format!("unrecognized includeObject value: {other:?}");
                return Err(ApiError::bad_request(text));
            }
        }))
    }
}

fn is_table(accept: &str) -> bool {
    let mut parameters = accept.split(';').skip(1).map(str::trim);
    let has = |wanted: &str| accept.split(';').any(|part| part.trim() == wanted);
    parameters.any(|part| part == "as=Table")
        && has("g=meta.k8s.io")
        && (has("v=v1") || has("v=v1beta1"))
}

/// One object in a form.
pub(crate) fn object(resource: &Resource, value: &Value, form: Form) -> Value {
    match form {
        Form::Plain => value.clone(),
        Form::Table(include) => {
            let version = &value["metadata"]["resourceVersion"];
            table(resource, [value], json!({ "resourceVersion": version }), (include, true))
        }
    }
}

/// A table of objects; the header may be left out after the first of a stream.
pub(crate) fn table<'a>(
    resource: &Resource,
    objects: impl IntoIterator<Item = &'a Value>,
    metadata: Value,
    (include, header): (Include, bool),
) -> Value {
    let now = Timestamp::now();
    let columns = table::columns(resource.kind);
    let rows: Vec<_> =
        objects.into_iter().map(|object| row(resource, object, include, now)).collect();
    let definitions: Vec<_> = columns.iter().filter(|_| header).map(definition).collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn definition(column: &table::Column) -> Value {
    json!({
        "name": column.name,
        "type": "string",
        "format": if column.name == "Name" { "name" } else { "" },
        "description": "",
        "priority": i32::from(column.wide),
    })
}

fn row(resource: &Resource, object: &Value, include: Include, now: Timestamp) -> Value {
    let mut row = json!({ "cells": table::row(resource.kind, object, now).cells });
    match include {
        Include::None => {}
        Include::Object => row["object"] = object.clone(),
        Include::Metadata => {
            row["object"] = json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": object["metadata"],
            });
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use super::is_table;

    #[test]
    fn kubectl_asks_for_tables_like_this() {
        assert!(is_table("application/json;as=Table;v=v1;g=meta.k8s.io"));
        assert!(is_table(" application/json;as=Table;v=v1beta1;g=meta.k8s.io"));
        for other in [
            "application/json",
            "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io",
        ] {
            assert!(!is_table(other), "{other}");
        }
    }
}
