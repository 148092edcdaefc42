//! How objects of a kind are decoded, completed and checked, on create and on update.
//!
//! One generic implementation; a kind adds what is its own by implementing [`Kind`]. The
//! table holds the result as function pointers ([`Strategy`]), so that everything else
//! handles JSON values and needs no types.

mod kinds;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use klet_api::decode::{self, DecodeError, Decoded};
use klet_api::field::ErrorList;
use klet_api::k8s_openapi::Metadata;
use klet_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use klet_api::status_error::{self, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::ApiError;
use crate::hooks::Admission;
use crate::meta;
use crate::query::Query;
use crate::resource;

/// What the checks need to know beside the object.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    /// Namespace of the path; `None` for cluster-scoped resources.
    pub(crate) namespace: Option<&'a str>,
    /// Name of the path; `None` on create.
    pub(crate) name: Option<&'a str>,
    pub(crate) node_name: &'a str,
    pub(crate) admission: &'a dyn Admission,
    pub(crate) validation: FieldValidation,
}

/// `fieldValidation`: what becomes of unknown and duplicate fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl FieldValidation {
    /// Without the parameter a typing error is an error: nobody reads warnings.
    pub(crate) fn of(query: &Query) -> Result<Self, ApiError> {
        match query.get("fieldValidation") {
            None | Some("Strict") => Ok(Self::Strict),
            Some("Warn") => Ok(Self::Warn),
            Some("Ignore") => Ok(Self::Ignore),
            Some(other) => Err(ApiError::bad_request(format!(
                "fieldValidation: Unsupported value: \"{other}\": \
                 supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
            ))),
        }
    }
}

/// An object as sent: text, or the value that a patch made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input<'a> {
    Json(&'a [u8]),
    Value(&'a Value),
}

/// An object ready to be stored, and what to warn its sender of.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) value: Value,
    pub(crate) warnings: Vec<String>,
}

/// The functions of a kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strategy {
    pub(crate) create: fn(Input<'_>, &Context<'_>) -> Result<Prepared, ApiError>,
    /// The new object and the stored one.
    pub(crate) update: fn(Input<'_>, &Value, &Context<'_>) -> Result<Prepared, ApiError>,
    /// The same for the status subresource.
    pub(crate) update_status: fn(Input<'_>, &Value, &Context<'_>) -> Result<Prepared, ApiError>,
}

/// What a kind has of its own.
pub(crate) trait Kind:
    klet_api::k8s_openapi::Resource
    + Metadata<Ty = ObjectMeta>
    + Serialize
    + DeserializeOwned
    + Clone
    + PartialEq
{
    /// Whether `metadata.generation` counts changes of what its author wishes.
    const GENERATION: bool = false;
    /// Drops what a creator may not set, before defaulting.
    fn prepare_create(&mut self, _: &Context<'_>) {}
    /// Fills in what was left out.
    fn default(&mut self) {}
    /// Everything that is wrong with a new object.
    fn validate_create(&self) -> ErrorList;
    /// The last word on a new object.
    fn admit(&mut self, _: &Context<'_>) -> Result<(), ApiError> {
        Ok(())
    }
    /// Takes back what an update of the main resource may not change, status above all.
    fn prepare_update(&mut self, _old: &Self) {}
    /// Everything that is wrong with a change.
    fn validate_update(&self, old: &Self) -> ErrorList;
    /// The object that results from writing `self`'s status into `old`.
    fn with_status_of(self, old: &Self) -> Self {
        let _ = old;
        self
    }
    /// Everything that is wrong with a change of the status.
    fn validate_status(&self, _old: &Self) -> ErrorList {
        ErrorList::new()
    }
    /// Whether its author's wishes differ; counted by the generation.
    fn wishes_differ(&self, _old: &Self) -> bool {
        false
    }
}

/// The strategy of a kind.
pub(crate) const fn of<K: Kind>() -> Strategy {
    Strategy { create: create::<K>, update: update::<K>, update_status: update_status::<K> }
}

fn create<K: Kind>(input: Input<'_>, context: &Context<'_>) -> Result<Prepared, ApiError> {
    let (mut object, warnings) = decode::<K>(input, context)?;
    new_metadata(object.metadata_mut(), context, K::GENERATION)?;
    object.prepare_create(context);
    object.default();
    refuse::<K>(object.validate_create(), object.metadata())?;
    object.admit(context)?;
    encode(&object, warnings)
}

fn update<K: Kind>(
    input: Input<'_>,
    old: &Value,
    context: &Context<'_>,
) -> Result<Prepared, ApiError> {
    let (mut object, warnings) = decode::<K>(input, context)?;
    let old = stored::<K>(old)?;
    same_place(object.metadata_mut(), context)?;
    same_identity::<K>(object.metadata_mut(), old.metadata())?;
    object.prepare_update(&old);
    object.default();
    refuse::<K>(object.validate_update(&old), object.metadata())?;
    if K::GENERATION && object.wishes_differ(&old) {
        let generation = old.metadata().generation.unwrap_or_default() + 1;
        object.metadata_mut().generation = Some(generation);
    }
    encode(&object, warnings)
}

fn update_status<K: Kind>(
    input: Input<'_>,
    old: &Value,
    context: &Context<'_>,
) -> Result<Prepared, ApiError> {
    let (mut object, warnings) = decode::<K>(input, context)?;
    let old = stored::<K>(old)?;
    same_place(object.metadata_mut(), context)?;
    same_identity::<K>(object.metadata_mut(), old.metadata())?;
    let object = object.with_status_of(&old);
    refuse::<K>(object.validate_status(&old), object.metadata())?;
    encode(&object, warnings)
}

fn stored<K: Kind>(value: &Value) -> Result<K, ApiError> {
    K::deserialize(value).map_err(|error| ApiError::internal(format!("stored object: {error}")))
}

fn encode<K: Kind>(object: &K, warnings: Vec<String>) -> Result<Prepared, ApiError> {
    let value = serde_json::to_value(object);
    let value = value.map_err(|error| ApiError::internal(format!("encode object: {error}")))?;
    Ok(Prepared { value, warnings })
}

fn decode<K: Kind>(input: Input<'_>, context: &Context<'_>) -> Result<(K, Vec<String>), ApiError> {
    same_type::<K>(input)?;
    let decoded = match input {
        Input::Json(bytes) => decode::from_json::<K>(bytes),
        Input::Value(value) => decode::from_value::<K>(value),
    };
    let Decoded { object, strict } =
        decoded.map_err(|error: DecodeError| unreadable::<K>(&error))?;
    match context.validation {
        FieldValidation::Ignore => Ok((object, Vec::new())),
        FieldValidation::Warn => Ok((object, strict.iter().map(ToString::to_string).collect())),
        FieldValidation::Strict => {
            let strict = Decoded { object, strict }.into_strict();
            Ok((strict.map_err(|errors| unreadable::<K>(&errors))?, Vec::new()))
        }
    }
}

fn unreadable<K: Kind>(why: &dyn std::fmt::Display) -> ApiError {
    status_error::cannot_be_handled(K::KIND, K::API_VERSION, why).into()
}

/// Type and version of the object must be those of the path, or be left out.
fn same_type<K: Kind>(input: Input<'_>) -> Result<(), ApiError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct TypeMeta {
        api_version: Option<String>,
        kind: Option<String>,
    }
    let found = match input {
        Input::Json(bytes) => serde_json::from_slice(bytes).ok(),
        Input::Value(value) => {
            let text = |name| value.get(name).and_then(Value::as_str).map(str::to_owned);
            Some(TypeMeta { api_version: text("apiVersion"), kind: text("kind") })
        }
    };
    // What is unreadable here is reported, better, by the real decoding.
    let Some(TypeMeta { api_version, kind }) = found else { return Ok(()) };
    let version = api_version.as_deref().unwrap_or(K::API_VERSION);
    let named = kind.as_deref().unwrap_or(K::KIND);
    if !resource::is_registered(version, named) {
        return Err(status_error::kind_not_registered(K::KIND, named, version).into());
    }
    for (what, found, expected) in
        [("API version", api_version, K::API_VERSION), ("kind", kind, K::KIND)]
    {
        if let Some(found) = found
            && found != expected
        {
            return Err(ApiError::bad_request(format!(
                "the {what} in the data ({found}) does not match the expected {what} ({expected})"
            )));
        }
    }
    Ok(())
}

fn new_metadata(
    metadata: &mut ObjectMeta,
    context: &Context<'_>,
    generation: bool,
) -> Result<(), ApiError> {
    same_place(metadata, context)?;
    if metadata.resource_version.as_deref().is_some_and(|version| !version.is_empty()) {
        let text = "resourceVersion should not be set on objects to be created";
        return Err(ApiError::bad_request(text));
    }
    let given = metadata.name.as_deref().is_some_and(|name| !name.is_empty());
    if let Some(prefix) = metadata.generate_name.as_deref().filter(|p| !p.is_empty())
        && !given
    {
        metadata.name = Some(meta::generated_name(prefix));
    }
    metadata.uid = Some(meta::uid());
    metadata.creation_timestamp = now();
    metadata.generation = generation.then_some(1);
    metadata.resource_version = None;
    metadata.deletion_timestamp = None;
    metadata.deletion_grace_period_seconds = None;
    metadata.managed_fields = None;
    metadata.self_link = None;
    Ok(())
}

fn now() -> Option<Time> {
    meta::now().parse::<Timestamp>().ok().map(Time)
}

/// Namespace and name of the object must be those of the path, or be left out.
fn same_place(metadata: &mut ObjectMeta, context: &Context<'_>) -> Result<(), ApiError> {
    let namespace = metadata.namespace.take().filter(|namespace| !namespace.is_empty());
    if let (Some(found), Some(expected)) = (&namespace, context.namespace)
        && found != expected
    {
        return Err(ApiError::bad_request(format!(
            "the namespace of the provided object does not match the namespace sent on the \
             request ({found}, not {expected})"
        )));
    }
    metadata.namespace = context.namespace.map(str::to_owned);
    let Some(expected) = context.name else { return Ok(()) };
    let name = metadata.name.get_or_insert_with(|| expected.to_owned());
    if name != expected {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({expected})"
        )));
    }
    Ok(())
}

/// Takes what only the server sets from the stored object; another UID is another object.
fn same_identity<K: Kind>(metadata: &mut ObjectMeta, old: &ObjectMeta) -> Result<(), ApiError> {
    let uid = metadata.uid.as_deref().filter(|uid| !uid.is_empty());
    if let (Some(found), Some(expected)) = (uid, old.uid.as_deref())
        && found != expected
    {
        let why = format!(
            "Precondition failed: UID in precondition: {found}, UID in object meta: {expected}"
        );
        let name = old.name.as_deref().unwrap_or_default();
        let resource = Resource { group: K::GROUP, name: K::URL_PATH_SEGMENT };
        return Err(status_error::conflict(resource, name, &why).into());
    }
    metadata.uid.clone_from(&old.uid);
    metadata.creation_timestamp.clone_from(&old.creation_timestamp);
    metadata.deletion_timestamp.clone_from(&old.deletion_timestamp);
    metadata.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
    metadata.generation = old.generation;
    metadata.generate_name.clone_from(&old.generate_name);
    metadata.resource_version.clone_from(&old.resource_version);
    metadata.managed_fields = None;
    metadata.self_link = None;
    Ok(())
}

/// 422 `Invalid` with all errors, if there are any.
fn refuse<K: Kind>(errors: ErrorList, metadata: &ObjectMeta) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    let name = metadata.name.as_deref().unwrap_or_default();
    Err(status_error::invalid(K::GROUP, K::KIND, name, &errors).into())
}
