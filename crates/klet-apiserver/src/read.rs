//! get and list.

use http::{Response, StatusCode};
use klet_store::Object;
use serde_json::{Value, json};

use crate::body::{self, Body};
use crate::error::ApiError;
use crate::present::{self, Form};
use crate::query::Query;
use crate::route::Call;
use crate::select::Selection;

/// Answers `GET` of one object. The status subresource shows the whole object.
pub(crate) fn get(call: &Call<'_>) -> Result<Response<Body>, ApiError> {
    let form = Form::of(&call.headers, &call.query)?;
    let object = call.server.config.store.get(&call.key()).ok_or_else(|| call.not_found())?;
    Ok(body::json(StatusCode::OK, &present::object(call.target.resource, &object.value, form)))
}

/// Answers `GET` of a collection, in pages if asked for.
pub(crate) fn list(call: &Call<'_>) -> Result<Response<Body>, ApiError> {
    let (target, form) = (&call.target, Form::of(&call.headers, &call.query)?);
    let resource = target.resource;
    let selection = Selection::of(target, &call.query)?;
    let page = Page::of(&call.query)?;
    let store = &call.server.config.store;
    let (objects, version) =
        store.list(resource.group, resource.plural, target.namespace.as_deref());
    reachable(&call.query, version)?;
    let matching = objects.into_iter().filter(|object| selection.matches(&object.value));
    let (objects, metadata) = page.cut(matching, version);
    let values = objects.iter().map(|object| &*object.value);
    let document = match form {
        Form::Table(include) => present::table(resource, values, metadata, (include, true)),
        Form::Plain => json!({
            "kind": format!("{}List", resource.kind),
            "apiVersion": resource.api_version(),
            "metadata": metadata,
            "items": values.collect::<Vec<_>>(),
        }),
    };
    Ok(body::json(StatusCode::OK, &document))
}

/// A list is always the newest; only a version from the future cannot be served.
fn reachable(query: &Query, version: u64) -> Result<(), ApiError> {
    let Some(wanted) = query.get("resourceVersion") else { return Ok(()) };
    let wanted: u64 = wanted.parse().map_err(|_| {
        ApiError::bad_request(format!("resourceVersion: Invalid value: {wanted:?}"))
    })?;
    if wanted > version {
        let text = format!("Too large resource version: {wanted}, current: {version}");
        return Err(ApiError::new(504, "Timeout", text)
            .because("ResourceVersionTooLarge", "Too large resource version"));
    }
    Ok(())
}

/// `limit` and `continue`. A further page shows the objects after the last one shown, as
/// they are by then, under the version of the first page: a watch from that version
/// brings the reader up to date.
#[derive(Debug)]
struct Page {
    limit: usize,
    after: Option<(u64, String, String)>,
}

impl Page {
    fn of(query: &Query) -> Result<Self, ApiError> {
        let limit = query.number("limit")?.unwrap_or(0);
        let limit = usize::try_from(limit)
            .map_err(|_| ApiError::bad_request("limit: Invalid value: negative"))?;
        let invalid =
            || ApiError::bad_request("continue key is not valid: provide one from an earlier list");
        let after = match query.get("continue") {
            None => None,
            Some(token) => {
                let mut parts = token.splitn(3, ':');
                let version =
                    parts.next().and_then(|version| version.parse().ok()).ok_or_else(invalid)?;
                let namespace = parts.next().ok_or_else(invalid)?.to_owned();
                Some((version, namespace, parts.next().ok_or_else(invalid)?.to_owned()))
            }
        };
        Ok(Self { limit, after })
    }

    /// The objects of this page and the list's metadata.
    fn cut(self, objects: impl Iterator<Item = Object>, version: u64) -> (Vec<Object>, Value) {
        let place = |object: &Object| {
            (object.key.namespace.clone().unwrap_or_default(), object.key.name.clone())
        };
        let (version, after) = match self.after {
            Some((version, namespace, name)) => (version, Some((namespace, name))),
            None => (version, None),
        };
        let mut rest: Vec<_> = objects
            .filter(|object| after.as_ref().is_none_or(|after| place(object) > *after))
            .collect();
        let mut metadata = json!({ "resourceVersion": version.to_string() });
        if self.limit > 0 && rest.len() > self.limit {
            metadata["remainingItemCount"] = json!(rest.len() - self.limit);
            rest.truncate(self.limit);
            if let Some((namespace, name)) = rest.last().map(place) {
                metadata["continue"] = json!(format!("{version}:{namespace}:{name}"));
            }
        }
        (rest, metadata)
    }
}
