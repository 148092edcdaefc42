//! Applying a strategic merge patch.
//!
//! Order of work for one object: `$patch`, then `$retainKeys`, then each field, and last the
//! element orders that the patch asked for. Nulls that match nothing are dropped, and no
//! directive survives into the result.

use serde_json::{Map, Value};

use super::schema::{self, Field, List, Shape};
use super::{
    DELETE_PRIMITIVES, DIRECTIVE, PatchError, RETAIN_KEYS, SET_ORDER, key_of, position_by_key,
};

type Object = Map<String, Value>;

/// Applies a strategic merge patch to an object of the kind `kind` (`Pod`, `ConfigMap`, ...).
///
/// # Errors
/// If either is no object, an element lacks its merge key, or a directive is malformed.
pub fn strategic_merge(original: &Value, patch: &Value, kind: &str) -> Result<Value, PatchError> {
    let (Value::Object(original), Value::Object(patch)) = (original, patch) else {
        return Err(PatchError::NotAnObject);
    };
    merge_object(original, patch, schema::root(kind)).map(Value::Object)
}

fn merge_object(original: &Object, patch: &Object, shape: Shape) -> Result<Object, PatchError> {
    match patch.get(DIRECTIVE).map(Value::as_str) {
        None => {}
        Some(Some("replace")) => return without_directives(patch, shape),
        Some(Some("delete")) => return Ok(Object::new()),
        Some(Some("merge")) => {}
        Some(other) => return Err(PatchError::UnknownDirective(other.unwrap_or("").to_owned())),
    }
    let mut merged = original.clone();
    retain_keys(&mut merged, patch)?;
    for (key, value) in patch {
        merge_field(&mut merged, key, value, shape)?;
    }
    for (key, order) in patch {
        if let Some(name) = key.strip_prefix(SET_ORDER) {
            set_order(&mut merged, name, order, original, patch, shape)?;
        }
    }
    Ok(merged)
}

/// The patch as a value of its own, which is the patch merged into nothing.
fn without_directives(patch: &Object, shape: Shape) -> Result<Object, PatchError> {
    let mut bare = patch.clone();
    bare.remove(DIRECTIVE);
    merge_object(&Object::new(), &bare, shape)
}

/// `$retainKeys`: what the patch does not name goes, as the members of a union exclude each other.
fn retain_keys(merged: &mut Object, patch: &Object) -> Result<(), PatchError> {
    let Some(retained) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let bad = |why| PatchError::BadDirective {
        directive: RETAIN_KEYS,
        field: patch.get("name").and_then(Value::as_str).unwrap_or("object").to_owned(),
        why,
    };
    let keys: Vec<&str> = retained
        .as_array()
        .ok_or_else(|| bad("it must be a list of keys"))?
        .iter()
        .map(|key| key.as_str().ok_or_else(|| bad("it must be a list of keys")))
        .collect::<Result<_, _>>()?;
    let strayed = patch.iter().any(|(key, value)| {
        !key.starts_with('$') && !value.is_null() && !keys.contains(&key.as_str())
    });
    if strayed {
        return Err(bad("the patch sets a key that is not in the list"));
    }
    merged.retain(|key, _| keys.contains(&key.as_str()));
    Ok(())
}

fn merge_field(
    merged: &mut Object,
    key: &str,
    value: &Value,
    shape: Shape,
) -> Result<(), PatchError> {
    if let Some(name) = key.strip_prefix(DELETE_PRIMITIVES) {
        return delete_primitives(merged, name, value);
    }
    if key.starts_with(SET_ORDER) || key == RETAIN_KEYS || key == DIRECTIVE {
        return Ok(());
    }
    let field = shape.field(key);
    let after = match (merged.get(key), value) {
        (_, Value::Null) => {
            merged.remove(key);
            return Ok(());
        }
        (Some(Value::Object(before)), Value::Object(patch)) => {
            Value::Object(merge_object(before, patch, field.shape)?)
        }
        (_, Value::Object(patch)) => {
            Value::Object(merge_object(&Object::new(), patch, field.shape)?)
        }
        (Some(Value::Array(before)), Value::Array(patch)) => {
            Value::Array(merge_list(before, patch, field)?)
        }
        (_, Value::Array(patch)) => Value::Array(merge_list(&[], patch, field)?),
        (_, scalar) => scalar.clone(),
    };
    merged.insert(key.to_owned(), after);
    Ok(())
}

/// `$deleteFromPrimitiveList/NAME`: takes the listed scalars out of the list.
fn delete_primitives(merged: &mut Object, name: &str, gone: &Value) -> Result<(), PatchError> {
    let gone = gone.as_array().ok_or_else(|| PatchError::BadDirective {
        directive: DELETE_PRIMITIVES,
        field: name.to_owned(),
        why: "it must be a list",
    })?;
    if let Some(Value::Array(list)) = merged.get_mut(name) {
        list.retain(|element| !gone.contains(element));
    }
    Ok(())
}

fn merge_list(before: &[Value], patch: &[Value], field: Field) -> Result<Vec<Value>, PatchError> {
    match field.list {
        List::Atomic => Ok(patch.to_vec()),
        List::Set => Ok(merge_set(before, patch)),
        List::Keyed(key) => merge_keyed(before, patch, key, field.shape),
    }
}

fn merge_set(before: &[Value], patch: &[Value]) -> Vec<Value> {
    let mut wanted: Vec<Value> = Vec::new();
    for element in patch {
        if !wanted.contains(element) {
            wanted.push(element.clone());
        }
    }
    let server_only: Vec<Value> =
        before.iter().filter(|element| !wanted.contains(element)).cloned().collect();
    interleave(server_only, wanted, before, &|a, b| a == b)
}

fn merge_keyed(
    before: &[Value],
    patch: &[Value],
    key: &'static str,
    shape: Shape,
) -> Result<Vec<Value>, PatchError> {
    let (special, plain): (Vec<&Value>, Vec<&Value>) =
        patch.iter().partition(|element| is_special(element));
    let mut list = before.to_vec();
    for element in special {
        match element.get(DIRECTIVE).and_then(Value::as_str) {
            Some("delete") => {
                let gone = key_of(element, key)?;
                list.retain(|other| other.get(key) != Some(gone));
            }
            Some("replace") => list.clear(),
            other => return Err(PatchError::UnknownDirective(other.unwrap_or("").to_owned())),
        }
    }
    let mut touched = Vec::new();
    for element in plain {
        let wanted = key_of(element, key)?;
        let empty = Object::new();
        let position = position_by_key(&list, key, wanted);
        let old = position.and_then(|at| list[at].as_object()).unwrap_or(&empty);
        let patch = element.as_object().unwrap_or(&empty);
        let merged = Value::Object(merge_object(old, patch, shape)?);
        touched.push(wanted.clone());
        match position {
            Some(at) => list[at] = merged,
            None => list.push(merged),
        }
    }
    let order: Vec<&Value> = touched.iter().collect();
    Ok(in_order(list, &order, before, &|element| element.get(key)))
}

/// An element that is a directive about its list: `{$patch: replace}` or `{$patch: delete, name}`.
/// `{$patch: merge, ...}` is an ordinary element.
fn is_special(element: &Value) -> bool {
    element.get(DIRECTIVE).is_some_and(|directive| directive != "merge")
}

fn set_order(
    merged: &mut Object,
    name: &str,
    order: &Value,
    original: &Object,
    patch: &Object,
    shape: Shape,
) -> Result<(), PatchError> {
    let bad = |why| PatchError::BadDirective { directive: SET_ORDER, field: name.to_owned(), why };
    let order = order.as_array().ok_or_else(|| bad("it must be a list"))?;
    let Some(Value::Array(list)) = merged.get_mut(name) else { return Ok(()) };
    let empty = Vec::new();
    let server = original.get(name).and_then(Value::as_array).unwrap_or(&empty);
    let patched = patch.get(name).and_then(Value::as_array).unwrap_or(&empty);
    let identity: Identity<'_> = match shape.field(name).list {
        List::Atomic => return Ok(()),
        List::Set => &|element| Some(element),
        List::Keyed(key) => &move |element| element.get(key),
    };
    let order: Vec<&Value> = order.iter().filter_map(identity).collect();
    if !follows(patched, &order, identity) {
        return Err(bad("the patch's elements are not in that order, or not in that list"));
    }
    *list = in_order(std::mem::take(list), &order, server, identity);
    Ok(())
}

type Identity<'a> = &'a dyn for<'v> Fn(&'v Value) -> Option<&'v Value>;

/// Whether the elements that the patch changes stand in the order list, in that order.
fn follows(patched: &[Value], order: &[&Value], identity: Identity<'_>) -> bool {
    let mut rest = order.iter();
    patched
        .iter()
        .filter(|element| !is_special(element))
        .filter_map(identity)
        .all(|wanted| rest.any(|other| *other == wanted))
}

/// Sorts the elements named in `order` by it, and lets the server's others keep their place.
fn in_order(
    list: Vec<Value>,
    order: &[&Value],
    server: &[Value],
    identity: Identity<'_>,
) -> Vec<Value> {
    let rank = |element: &Value| {
        let own = identity(element)?;
        order.iter().position(|other| *other == own)
    };
    let (mut wanted, mut server_only): (Vec<Value>, Vec<Value>) =
        list.into_iter().partition(|element| rank(element).is_some());
    wanted.sort_by_key(|element| rank(element));
    let same = |a: &Value, b: &Value| identity(a) == identity(b);
    server_only.sort_by_key(|element| server.iter().position(|other| same(element, other)));
    interleave(server_only, wanted, server, &same)
}

/// Puts each server-only element before the first wanted one that follows it on the server.
fn interleave(
    server_only: Vec<Value>,
    wanted: Vec<Value>,
    server: &[Value],
    same: &dyn Fn(&Value, &Value) -> bool,
) -> Vec<Value> {
    let place = |element: &Value| server.iter().position(|other| same(element, other));
    let mut merged = Vec::with_capacity(server_only.len() + wanted.len());
    let mut left = server_only.into_iter().peekable();
    for element in wanted {
        while let Some(other) = left.peek() {
            match (place(other), place(&element)) {
                (Some(a), Some(b)) if a < b => merged.extend(left.next()),
                _ => break,
            }
        }
        merged.push(element);
    }
    merged.extend(left);
    merged
}
