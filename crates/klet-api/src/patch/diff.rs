//! Computing a strategic merge patch.
//!
//! `kubectl apply` keeps what others set: it deletes only what it applied itself before, and
//! changes only what the manifest says. So its patch is two differences in one: the additions and
//! changes from the server's object to the manifest, and the deletions from the manifest applied
//! last to the manifest applied now.

use serde_json::{Map, Value};

use super::schema::{self, Field, List, Shape};
use super::{
    DELETE_PRIMITIVES, DIRECTIVE, PatchError, RETAIN_KEYS, SET_ORDER, key_of, only_key,
    position_by_key,
};

type Object = Map<String, Value>;

/// Which differences are wanted.
#[derive(Clone, Copy)]
struct Want {
    changes: bool,
    deletions: bool,
    retain_keys: bool,
}

/// The patch that `kubectl apply` sends for an object of the kind `kind`.
///
/// `last_applied` is the manifest applied before (`null` if none), `modified` the manifest applied
/// now, `current` the server's object. An empty object means that nothing is to be done.
///
/// # Errors
/// If one of them is no object, or a list element lacks its merge key.
pub fn three_way(
    last_applied: &Value,
    modified: &Value,
    current: &Value,
    kind: &str,
) -> Result<Value, PatchError> {
    let empty = Object::new();
    let last_applied = match last_applied {
        Value::Null => &empty,
        other => other.as_object().ok_or(PatchError::NotAnObject)?,
    };
    let modified = modified.as_object().ok_or(PatchError::NotAnObject)?;
    let current = current.as_object().ok_or(PatchError::NotAnObject)?;
    let shape = schema::root(kind);
    let changes = Want { changes: true, deletions: false, retain_keys: false };
    let deletions = Want { changes: false, deletions: true, retain_keys: false };
    let added = diff_objects(current, modified, shape, changes)?;
    let gone = diff_objects(last_applied, modified, shape, deletions)?;
    Ok(Value::Object(combine(gone, added, shape)))
}

/// The patch that turns `original` into `modified`, as `kubectl edit` sends it.
///
/// # Errors
/// If one of them is no object, or a list element lacks its merge key.
pub fn two_way(original: &Value, modified: &Value, kind: &str) -> Result<Value, PatchError> {
    let (Value::Object(original), Value::Object(modified)) = (original, modified) else {
        return Err(PatchError::NotAnObject);
    };
    let want = Want { changes: true, deletions: true, retain_keys: false };
    diff_objects(original, modified, schema::root(kind), want).map(Value::Object)
}

fn diff_objects(
    before: &Object,
    after: &Object,
    shape: Shape,
    want: Want,
) -> Result<Object, PatchError> {
    let mut patch = Object::new();
    for (key, old) in before {
        match after.get(key) {
            None if want.deletions => drop(patch.insert(key.clone(), Value::Null)),
            None => {}
            Some(new) => diff_field(&mut patch, key, old, new, shape.field(key), want)?,
        }
    }
    if want.changes {
        let new = |(key, value): &(&String, &Value)| !value.is_null() && !before.contains_key(*key);
        patch.extend(after.iter().filter(new).map(|(key, value)| (key.clone(), value.clone())));
    }
    if want.retain_keys {
        let lost = before.iter().any(|(key, old)| !old.is_null() && !after.contains_key(key));
        if !after.is_empty() && (!patch.is_empty() || lost) {
            let keys = after.iter().filter(|(_, value)| !value.is_null());
            let keys = keys.map(|(key, _)| Value::from(key.as_str())).collect();
            patch.insert(RETAIN_KEYS.to_owned(), keys);
        }
    }
    Ok(patch)
}

fn diff_field(
    patch: &mut Object,
    key: &str,
    old: &Value,
    new: &Value,
    field: Field,
    want: Want,
) -> Result<(), PatchError> {
    match (old, new, field.list) {
        (Value::Object(old), Value::Object(new), _) => {
            let want = Want { retain_keys: field.retain_keys, ..want };
            let inner = diff_objects(old, new, field.shape, want)?;
            if !inner.is_empty() {
                patch.insert(key.to_owned(), Value::Object(inner));
            }
        }
        (Value::Array(old), Value::Array(new), List::Keyed(merge_key)) => {
            diff_keyed(patch, key, old, new, merge_key, field, want)?;
        }
        (Value::Array(old), Value::Array(new), List::Set) => diff_set(patch, key, old, new, want),
        _ if want.changes && old != new => drop(patch.insert(key.to_owned(), new.clone())),
        _ => {}
    }
    Ok(())
}

fn diff_keyed(
    patch: &mut Object,
    field_name: &str,
    old: &[Value],
    new: &[Value],
    key: &'static str,
    field: Field,
    want: Want,
) -> Result<(), PatchError> {
    if old.is_empty() {
        if want.changes && !new.is_empty() {
            patch.insert(field_name.to_owned(), new.into());
        }
        return Ok(());
    }
    let mut list = changed_elements(old, new, key, field, want)?;
    for element in old {
        let own = key_of(element, key)?;
        if want.deletions && position_by_key(new, key, own).is_none() {
            let mut gone = only_key(element, key).unwrap_or_default();
            gone[DIRECTIVE] = Value::from("delete");
            list.push(gone);
        }
    }
    let ids = |list: &[Value]| -> Vec<Value> {
        list.iter().filter_map(|element| only_key(element, key)).collect()
    };
    let reordered = !same_order(&ids(old), &ids(new));
    if !list.is_empty() || (want.changes && reordered) {
        patch.insert(format!("{SET_ORDER}{field_name}"), ids(new).into());
    }
    if !list.is_empty() {
        patch.insert(field_name.to_owned(), list.into());
    }
    Ok(())
}

/// The elements of `new` that differ from or are not in `old`, reduced to what differs.
fn changed_elements(
    old: &[Value],
    new: &[Value],
    key: &'static str,
    field: Field,
    want: Want,
) -> Result<Vec<Value>, PatchError> {
    let want_inside = Want { retain_keys: field.retain_keys, ..want };
    let mut list = Vec::new();
    for element in new {
        let own = key_of(element, key)?;
        let Some(at) = position_by_key(old, key, own) else {
            if want.changes {
                list.push(element.clone());
            }
            continue;
        };
        let (Some(before), Some(after)) = (old[at].as_object(), element.as_object()) else {
            continue;
        };
        let mut inner = diff_objects(before, after, field.shape, want_inside)?;
        if !inner.is_empty() {
            inner.insert(key.to_owned(), own.clone());
            list.push(Value::Object(inner));
        }
    }
    Ok(list)
}

fn diff_set(patch: &mut Object, name: &str, old: &[Value], new: &[Value], want: Want) {
    if old.is_empty() {
        if want.changes && !new.is_empty() {
            patch.insert(name.to_owned(), new.into());
        }
        return;
    }
    let only_in = |list: &[Value], other: &[Value], wanted: bool| -> Vec<Value> {
        list.iter().filter(|element| wanted && !other.contains(element)).cloned().collect()
    };
    let added = only_in(new, old, want.changes);
    let gone = only_in(old, new, want.deletions);
    let reordered = want.changes && !same_order(old, new);
    if reordered || !added.is_empty() || !gone.is_empty() {
        patch.insert(format!("{SET_ORDER}{name}"), new.into());
    }
    if !added.is_empty() {
        patch.insert(name.to_owned(), added.into());
    }
    if !gone.is_empty() {
        patch.insert(format!("{DELETE_PRIMITIVES}{name}"), gone.into());
    }
}

/// Whether the elements that both lists have stand in the same order.
fn same_order(old: &[Value], new: &[Value]) -> bool {
    let common = old.iter().filter(|element| new.contains(element));
    common.eq(new.iter().filter(|element| old.contains(element)))
}

/// Lays the changes over the deletions; where both speak of one field the change wins.
fn combine(mut gone: Object, added: Object, shape: Shape) -> Object {
    for (key, change) in added {
        let field = shape.field(&key);
        let both = match (gone.remove(&key), change) {
            (Some(Value::Object(gone)), Value::Object(added)) => {
                Value::Object(combine(gone, added, field.shape))
            }
            (Some(Value::Array(gone)), Value::Array(added)) => {
                Value::Array(combine_lists(gone, added, field))
            }
            (_, change) => change,
        };
        gone.insert(key, both);
    }
    sort_by_set_order(&mut gone, shape);
    gone
}

/// Elements must come in the order that `$setElementOrder` states; deletions come last.
fn sort_by_set_order(patch: &mut Object, shape: Shape) {
    let orders: Vec<(String, Value)> = patch
        .iter()
        .filter_map(|(key, order)| Some((key.strip_prefix(SET_ORDER)?.to_owned(), order.clone())))
        .collect();
    for (name, order) in orders {
        let (List::Keyed(key), Some(order)) = (shape.field(&name).list, order.as_array()) else {
            continue;
        };
        if let Some(Value::Array(list)) = patch.get_mut(&name) {
            list.sort_by_key(|element| {
                let own = element.get(key).unwrap_or(&Value::Null);
                position_by_key(order, key, own).unwrap_or(usize::MAX)
            });
        }
    }
}

fn combine_lists(gone: Vec<Value>, added: Vec<Value>, field: Field) -> Vec<Value> {
    let List::Keyed(key) = field.list else { return added };
    let mut deletions = gone;
    let mut list: Vec<Value> = Vec::new();
    for element in added {
        let own = element.get(key).cloned().unwrap_or_default();
        let partner = position_by_key(&deletions, key, &own).map(|at| deletions.remove(at));
        list.push(match (partner, element) {
            (Some(Value::Object(gone)), Value::Object(added)) => {
                Value::Object(combine(gone, added, field.shape))
            }
            (_, element) => element,
        });
    }
    list.extend(deletions);
    list
}
