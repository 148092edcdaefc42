//! Filling templates in.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Comparison, Node, Operand, Step, text};

/// Renders nodes; `here` is the present element of a range, `root` the whole object.
pub(super) fn render(nodes: &[Node], here: &Value, root: &Value, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(literal) => out.push_str(literal),
            Node::Path(steps) => {
                let found: Vec<String> = walk(steps, here, root).into_iter().map(text).collect();
                out.push_str(&found.join(" "));
            }
            Node::Range { over, body } => {
                for element in walk(over, here, root) {
                    render(body, element, root, out);
                }
            }
        }
    }
}

/// Every value that the steps lead to.
pub(super) fn walk<'a>(steps: &[Step], here: &'a Value, root: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![here];
    for step in steps {
        found = found.into_iter().flat_map(|value| take(step, value, root)).collect();
    }
    found
}

fn take<'a>(step: &Step, value: &'a Value, root: &'a Value) -> Vec<&'a Value> {
    match step {
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::Fields(names) => names.iter().filter_map(|name| value.get(name)).collect(),
        Step::Every => children(value),
        Step::Descend => descend(value),
        Step::Indexes(indexes) => {
            let Value::Array(list) = value else { return Vec::new() };
            indexes.iter().filter_map(|index| list.get(position(*index, list.len())?)).collect()
        }
        Step::Slice(start, end, step) => slice(value, *start, *end, *step),
        Step::Filter(left, test) => children(value)
            .into_iter()
            .filter(|element| passes(left, test.as_ref(), element, root))
            .collect(),
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

/// The value and everything below it.
fn descend(value: &Value) -> Vec<&Value> {
    let mut all = vec![value];
    all.extend(children(value).into_iter().flat_map(descend));
    all
}

/// An index from the end if negative.
fn position(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    usize::try_from(if index < 0 { index + length } else { index }).ok()
}

fn slice(value: &Value, start: Option<i64>, end: Option<i64>, step: i64) -> Vec<&Value> {
    let Value::Array(list) = value else { return Vec::new() };
    let bound = |index: Option<i64>, default: usize| match index {
        Some(index) => position(index, list.len()).unwrap_or(0).min(list.len()),
        None => default,
    };
    let (start, end) = (bound(start, 0), bound(end, list.len()));
    if start >= end {
        return Vec::new();
    }
    list[start..end].iter().step_by(usize::try_from(step).unwrap_or(1)).collect()
}

fn passes(
    left: &Operand,
    test: Option<&(Comparison, Operand)>,
    element: &Value,
    root: &Value,
) -> bool {
    let Some(left) = resolve(left, element, root) else { return false };
    let Some((comparison, right)) = test else { return true };
    let Some(right) = resolve(right, element, root) else { return false };
    let order = match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left.partial_cmp(&right),
        _ => Some(text(left).cmp(&text(right))),
    };
    match comparison {
        Comparison::Equal => order == Some(Ordering::Equal),
        Comparison::NotEqual => order != Some(Ordering::Equal),
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::LessOrEqual => order.is_some_and(Ordering::is_le),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
    }
}

fn resolve<'a>(operand: &'a Operand, element: &'a Value, root: &'a Value) -> Option<&'a Value> {
    match operand {
        Operand::Literal(value) => Some(value),
        Operand::Path(steps) => walk(steps, element, root).into_iter().next(),
    }
}
