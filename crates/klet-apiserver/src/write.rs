//! create, update and patch.

mod patch;

use http::{Response, StatusCode};
use klet_api::{manifest, status_error};
use klet_store::{Change, Key, ModifyError, Object, View};
use serde_json::Value;

use crate::body::{self, Body};
use crate::delete;
use crate::error::ApiError;
use crate::meta;
use crate::present::{self, Form};
use crate::route::{Call, warn};
use crate::strategy::{Context, FieldValidation, Input, Prepared};

/// Tries of a generated name, and of a change that others keep overtaking.
const TRIES: usize = 32;
/// Media types of objects.
const ACCEPTED: &[&str] = &["application/json", "application/yaml"];

/// Answers `POST` to a collection.
pub(crate) async fn create(call: &Call<'_>) -> Result<Response<Body>, ApiError> {
    let target = &call.target;
    let resource = target.resource;
    let document = Document::read(call)?;
    // A namespaced object sent to the collection of all namespaces names its own.
    let namespace = match (&target.namespace, resource.namespaced) {
        (Some(namespace), _) => Some(namespace.clone()),
        (None, true) => {
            return Err(status_error::method_not_allowed(resource.named(), "create").into());
        }
        (None, false) => None,
    };
    let context = context(call, namespace.as_deref())?;
    let dry_run = call.query.dry_run()?;
    for attempt in 1.. {
        let Prepared { value, warnings } = (resource.strategy.create)(document.input(), &context)?;
        let name = meta::field(&value, "name").unwrap_or_default().to_owned();
        let key = resource.key(namespace.as_deref(), &name);
        let made = insert(call, &key, value, dry_run).await;
        let generated = !document.has_name();
        match made {
            Err(error)
                if generated
                    && attempt < TRIES
                    && error.0.reason.as_deref() == Some("AlreadyExists") => {}
            made => return respond(call, StatusCode::CREATED, &made?, &warnings),
        }
    }
    Err(ApiError::internal("no free name found"))
}

async fn insert(
    call: &Call<'_>,
    key: &Key,
    value: Value,
    dry_run: bool,
) -> Result<Value, ApiError> {
    let named = call.target.resource.named();
    let (store, id) = (&call.server.config.store, key.clone());
    let sent = if dry_run { Some(value.clone()) } else { None };
    let decide = move |view: &View<'_>| {
        if let Some(namespace) = &id.namespace {
            in_live_namespace(view, namespace, named, &id.name)?;
        }
        if view.current().is_some() {
            return Err(ApiError::from(status_error::already_exists(named, &id.name)));
        }
        Ok(if dry_run { Change::Keep } else { Change::Put(value) })
    };
    match (store.transact(key, decide).await, sent) {
        // A dry run leaves nothing behind, and the writer says so.
        (Err(ModifyError::Store(klet_store::WriteError::NotFound)), Some(value)) => Ok(value),
        (result, _) => Ok(Value::clone(&written(call, key, result)?.value)),
    }
}

/// Nothing is created in a namespace that is not there, or is going away.
fn in_live_namespace(
    view: &View<'_>,
    namespace: &str,
    resource: status_error::Resource<'_>,
    name: &str,
) -> Result<(), ApiError> {
    let namespaces = status_error::Resource::core("namespaces");
    let Some(found) = view.get(&Key::new("", "namespaces", None, namespace)) else {
        return Err(status_error::not_found(namespaces, namespace).into());
    };
    if !found.value["metadata"]["deletionTimestamp"].is_string() {
        return Ok(());
    }
    let why = format!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    );
    let cause = format!("namespace {namespace} is being terminated");
    Err(ApiError::from(status_error::forbidden(resource, name, &why))
        .because("NamespaceTerminating", &cause))
}

/// Answers `PUT` of an object or its status.
pub(crate) async fn replace(call: &Call<'_>) -> Result<Response<Body>, ApiError> {
    let document = Document::read(call)?;
    let version = document.resource_version()?;
    let context = context(call, call.target.namespace.as_deref())?;
    let make = |current: &Object| {
        if version.is_some_and(|version| version != current.version) {
            let named = call.target.resource.named();
            return Err(status_error::modified(named, call.name()).into());
        }
        prepare(call, document.input(), &current.value, &context)
    };
    amend(call, make).await
}

/// Answers `PATCH` of an object or its status.
pub(crate) async fn patch(call: &Call<'_>) -> Result<Response<Body>, ApiError> {
    let patch = patch::Patch::read(call)?;
    let context = context(call, call.target.namespace.as_deref())?;
    let make = |current: &Object| {
        let patched = patch.apply(&current.value, call.target.resource.kind)?;
        if patched["metadata"]["resourceVersion"] != current.value["metadata"]["resourceVersion"] {
            return Err(status_error::modified(call.target.resource.named(), call.name()).into());
        }
        prepare(call, Input::Value(&patched), &current.value, &context)
    };
    amend(call, make).await
}

fn prepare(
    call: &Call<'_>,
    input: Input<'_>,
    current: &Value,
    context: &Context<'_>,
) -> Result<Prepared, ApiError> {
    let strategy = call.target.resource.strategy;
    match call.target.subresource {
        Some(_) => (strategy.update_status)(input, current, context),
        None => (strategy.update)(input, current, context),
    }
}

/// Makes a new object of the current one and writes it if nobody was faster; otherwise
/// again. The checks run outside the writer, which other writes need.
async fn amend(
    call: &Call<'_>,
    make: impl Fn(&Object) -> Result<Prepared, ApiError>,
) -> Result<Response<Body>, ApiError> {
    let (store, key) = (&call.server.config.store, call.key());
    let dry_run = call.query.dry_run()?;
    for _ in 0..TRIES {
        let current = store.get(&key).ok_or_else(|| call.not_found())?;
        let Prepared { value, warnings } = make(&current)?;
        if dry_run {
            return respond(call, StatusCode::OK, &value, &warnings);
        }
        let seen = current.version;
        let finished = delete::is_finished(&value) && !call.target.resource.is_namespace();
        let decide = move |view: &View<'_>| match view.current() {
            Some(current) if current.version != seen => Err(Overtaken),
            _ if finished => Ok(Change::Delete),
            _ => Ok(Change::Put(value)),
        };
        match store.transact(&key, decide).await {
            Err(ModifyError::Refused(Overtaken)) => {}
            Err(ModifyError::Store(error)) => {
                return Err(ApiError::from_write(
                    &error,
                    call.target.resource.named(),
                    call.name(),
                ));
            }
            Ok(object) => return respond(call, StatusCode::OK, &object.value, &warnings),
        }
    }
    Err(status_error::modified(call.target.resource.named(), call.name()).into())
}

/// Another write came between look and change.
struct Overtaken;

fn written(
    call: &Call<'_>,
    key: &Key,
    result: Result<Object, ModifyError<ApiError>>,
) -> Result<Object, ApiError> {
    result.map_err(|error| match error {
        ModifyError::Refused(error) => error,
        ModifyError::Store(error) => {
            ApiError::from_write(&error, call.target.resource.named(), &key.name)
        }
    })
}

fn context<'a>(call: &'a Call<'_>, namespace: Option<&'a str>) -> Result<Context<'a>, ApiError> {
    Ok(Context {
        namespace,
        name: call.target.name.as_deref(),
        node_name: &call.server.config.node_name,
        admission: &*call.server.config.admission,
        validation: FieldValidation::of(&call.query)?,
    })
}

fn respond(
    call: &Call<'_>,
    code: StatusCode,
    value: &Value,
    warnings: &[String],
) -> Result<Response<Body>, ApiError> {
    let form = Form::of(&call.headers, &call.query)?;
    let mut response = body::json(code, &present::object(call.target.resource, value, form));
    warn(&mut response, warnings);
    Ok(response)
}

/// A body that is an object.
#[derive(Debug)]
enum Document<'a> {
    Json(&'a [u8]),
    Yaml(Value),
}

impl<'a> Document<'a> {
    fn read(call: &'a Call<'_>) -> Result<Self, ApiError> {
        match call.content_type() {
            "" | "application/json" => Ok(Self::Json(&call.body)),
            "application/yaml" | "application/x-yaml" | "text/yaml" => {
                yaml(&call.body).map(Self::Yaml)
            }
            _ => Err(status_error::unsupported_media_type(ACCEPTED).into()),
        }
    }

    fn input(&self) -> Input<'_> {
        match self {
            Self::Json(bytes) => Input::Json(bytes),
            Self::Yaml(value) => Input::Value(value),
        }
    }

    fn metadata(&self, name: &str) -> Option<String> {
        match self {
            Self::Yaml(value) => meta::field(value, name).map(str::to_owned),
            Self::Json(bytes) => {
                let value: Value = serde_json::from_slice(bytes).ok()?;
                meta::field(&value, name).map(str::to_owned)
            }
        }
    }

    fn has_name(&self) -> bool {
        self.metadata("name").is_some()
    }

    fn resource_version(&self) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.metadata("resourceVersion") else { return Ok(None) };
        let bad =
            |_| ApiError::bad_request(format!("metadata.resourceVersion: Invalid value: {text:?}"));
        text.parse().map(Some).map_err(bad)
    }
}

fn yaml(bytes: &[u8]) -> Result<Value, ApiError> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| ApiError::bad_request("the body is no UTF-8"))?;
    let mut documents = manifest::parse(text, "request body")
        .map_err(|error| ApiError::bad_request(error.to_string()))?
        .into_iter();
    match (documents.next(), documents.next()) {
        (Some(document), None) => Ok(document.value),
        _ => Err(ApiError::bad_request("the body must hold exactly one object")),
    }
}
