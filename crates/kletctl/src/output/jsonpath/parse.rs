//! Reading templates.

use serde_json::Value;

use super::{Comparison, Node, Operand, Step};

type Result<T> = std::result::Result<T, String>;

pub(super) fn template(text: &str) -> Result<Vec<Node>> {
    let mut open: Vec<(Vec<Step>, Vec<Node>)> = Vec::new();
    let mut nodes = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some(brace) = rest.find('{') else {
            nodes.push(Node::Text(rest.to_owned()));
            break;
        };
        if brace > 0 {
            nodes.push(Node::Text(rest[..brace].to_owned()));
        }
        let (inner, after) = action(&rest[brace + 1..])?;
        rest = after;
        if let Some(path) = inner.strip_prefix("range ") {
            open.push((path_of(path.trim())?, std::mem::take(&mut nodes)));
        } else if inner == "end" {
            let (over, before) = open.pop().ok_or("not in range, nothing to end")?;
            let body = std::mem::replace(&mut nodes, before);
            nodes.push(Node::Range { over, body });
        } else {
            nodes.extend(expressions(inner)?);
        }
    }
    if open.is_empty() { Ok(nodes) } else { Err("unclosed range".to_owned()) }
}

/// The text up to the closing brace, quotes respected, and what follows.
fn action(text: &str) -> Result<(&str, &str)> {
    let end = outside_quotes(text, |c| c == '}').ok_or("unclosed action")?;
    Ok((text[..end].trim(), &text[end + 1..]))
}

/// The first place where `stop` holds outside of quotes.
fn outside_quotes(text: &str, stop: impl Fn(char) -> bool) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if stop(c) => return Some(at),
            None => {}
        }
    }
    None
}

/// `.a.b "text" .c`: paths and quoted texts side by side.
fn expressions(text: &str) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    let mut rest = text.trim();
    while let Some(first) = rest.chars().next() {
        if first == '"' || first == '\'' {
            let (literal, after) = quoted(rest)?;
            nodes.push(Node::Text(literal));
            rest = after.trim_start();
        } else {
            let end = end_of_path(rest);
            nodes.push(Node::Path(path_of(&rest[..end])?));
            rest = rest[end..].trim_start();
        }
    }
    Ok(nodes)
}

/// A path ends at the first space outside of brackets and quotes.
fn end_of_path(text: &str) -> usize {
    let depth = std::cell::Cell::new(0_i32);
    let end = outside_quotes(text, |c| {
        match c {
            '[' => depth.set(depth.get() + 1),
            ']' => depth.set(depth.get() - 1),
            _ => {}
        }
        c.is_whitespace() && depth.get() == 0
    });
    end.unwrap_or(text.len())
}

/// A quoted text with its escapes undone, and what follows it.
fn quoted(text: &str) -> Result<(String, &str)> {
    let quote = text.chars().next().ok_or("unterminated quoted string")?;
    let mut out = String::new();
    let mut chars = text[1..].char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => break,
            },
            c if c == quote => return Ok((out, &text[at + 2..])),
            other => out.push(other),
        }
    }
    Err("unterminated quoted string".to_owned())
}

/// `$.a.b[0]['c']..d`
fn path_of(text: &str) -> Result<Vec<Step>> {
    let mut rest = text.strip_prefix(['$', '@']).unwrap_or(text);
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("..") {
            steps.push(Step::Descend);
            rest = after;
            if !rest.starts_with('[') {
                rest = field(rest, &mut steps)?;
            }
        } else if let Some(after) = rest.strip_prefix('.') {
            rest = if after.is_empty() || after.starts_with('[') {
                after
            } else {
                field(after, &mut steps)?
            };
        } else if let Some(after) = rest.strip_prefix('[') {
            let end = end_of_bracket(after).ok_or("unterminated array")?;
            steps.push(bracket(after[..end].trim())?);
            rest = &after[end + 1..];
        } else {
            return Err(format!("unrecognized character in action: {rest:?}"));
        }
    }
    Ok(steps)
}

fn end_of_bracket(text: &str) -> Option<usize> {
    let depth = std::cell::Cell::new(0_i32);
    outside_quotes(text, |c| {
        match c {
            '[' => depth.set(depth.get() + 1),
            ']' if depth.get() == 0 => return true,
            ']' => depth.set(depth.get() - 1),
            _ => {}
        }
        false
    })
}

/// A field name; a backslash takes the next character as it is, dots included.
fn field<'a>(text: &'a str, steps: &mut Vec<Step>) -> Result<&'a str> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => {
                end = at;
                break;
            }
            c if c.is_alphanumeric() || "_-/*:".contains(c) => name.push(c),
            other => return Err(format!("unrecognized character in action: {other:?}")),
        }
    }
    steps.push(if name == "*" { Step::Every } else { Step::Field(name) });
    Ok(&text[end..])
}

fn bracket(inner: &str) -> Result<Step> {
    if inner == "*" {
        return Ok(Step::Every);
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return self::filter(filter.trim());
    }
    if inner.starts_with(['\'', '"']) {
        let mut names = Vec::new();
        let mut rest = inner;
        while !rest.is_empty() {
            let (name, after) = quoted(rest)?;
            names.push(name);
            rest = after.trim_start().strip_prefix(',').unwrap_or(after).trim_start();
            if rest.starts_with(|c| c != '\'' && c != '"') {
                return Err(format!("invalid array index {inner}"));
            }
        }
        return Ok(Step::Fields(names));
    }
    let number =
        |text: &str| text.trim().parse::<i64>().map_err(|_| format!("invalid array index {inner}"));
    if inner.contains(':') {
        let parts: Vec<Option<i64>> = inner
            .split(':')
            .map(|part| if part.trim().is_empty() { Ok(None) } else { number(part).map(Some) })
            .collect::<Result<_>>()?;
        let part = |index: usize| parts.get(index).copied().flatten();
        return match part(2).unwrap_or(1) {
            step if step > 0 => Ok(Step::Slice(part(0), part(1), step)),
            _ => Err("step must be > 0".to_owned()),
        };
    }
    inner.split(',').map(number).collect::<Result<_>>().map(Step::Indexes)
}

fn filter(text: &str) -> Result<Step> {
    const SIGNS: [(&str, Comparison); 6] = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    let Some(at) = outside_quotes(text, |c| "=!<>".contains(c)) else {
        return Ok(Step::Filter(operand(text)?, None));
    };
    let (left, right) = text.split_at(at);
    let sign = SIGNS
        .iter()
        .find_map(|(sign, comparison)| right.strip_prefix(sign).map(|right| (*comparison, right)));
    let (comparison, right) =
        sign.ok_or_else(|| format!("unrecognized filter operator in {text}"))?;
    Ok(Step::Filter(operand(left)?, Some((comparison, operand(right)?))))
}

fn operand(text: &str) -> Result<Operand> {
    let text = text.trim();
    if text.starts_with(['@', '$', '.']) {
        return Ok(Operand::Path(path_of(text)?));
    }
    if text.starts_with(['\'', '"']) {
        return Ok(Operand::Literal(Value::String(quoted(text)?.0)));
    }
    serde_json::from_str(text)
        .map(Operand::Literal)
        .map_err(|_| format!("bad filter operand {text}"))
}
