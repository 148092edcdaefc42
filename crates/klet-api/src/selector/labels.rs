//! Label selectors: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.

use std::collections::BTreeMap;

use super::{MAX_LEN, SelectorError};
use crate::k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use crate::names;

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The value is one of the given (also `=` and `==`).
    In,
    /// The key is absent or its value is none of the given (also `!=`).
    NotIn,
    /// The key is present.
    Exists,
    /// The key is absent.
    NotExists,
    /// The value is a number above the given one.
    Greater,
    /// The value is a number below the given one.
    Less,
}

/// One condition on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// The comparison.
    pub operator: Operator,
    /// The values compared with; empty for existence tests.
    pub values: Vec<String>,
}

impl Requirement {
    fn new(key: &str, operator: Operator, values: Vec<String>) -> Result<Self, SelectorError> {
        let bad = |text: String| Err(SelectorError::Label(text));
        if let Some(complaint) = names::qualified_name(key).first() {
            return bad(format!("key: Invalid value: {key:?}: {complaint}"));
        }
        let numeric = matches!(operator, Operator::Greater | Operator::Less);
        for value in &values {
            if numeric && value.parse::<i64>().is_err() {
                return bad(format!(
                    "values[0][{key}]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
                ));
            }
            if let Some(complaint) = names::label_value(value).first() {
                return bad(format!("values[0][{key}]: Invalid value: {value:?}: {complaint}"));
            }
        }
        Ok(Self { key: key.to_owned(), operator, values })
    }

    fn matches(&self, value: Option<&str>) -> bool {
        let listed = |v: &str| self.values.iter().any(|own| own == v);
        let number = |text: &str| text.parse::<i64>().ok();
        let bound = || self.values.first().and_then(|v| number(v));
        match (self.operator, value) {
            (Operator::In, Some(v)) => listed(v),
            (Operator::NotIn, Some(v)) => !listed(v),
            (Operator::Exists, v) => v.is_some(),
            (Operator::NotExists, v) => v.is_none(),
            (Operator::NotIn, None) => true,
            (Operator::Greater, Some(v)) => number(v).zip(bound()).is_some_and(|(v, b)| v > b),
            (Operator::Less, Some(v)) => number(v).zip(bound()).is_some_and(|(v, b)| v < b),
            (Operator::In | Operator::Greater | Operator::Less, None) => false,
        }
    }
}

/// All requirements must hold; none selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// The conditions.
    pub requirements: Vec<Requirement>,
}

impl LabelSelector {
    /// Parses the query form.
    ///
    /// # Errors
    /// [`SelectorError::Label`] naming what was found where something else was expected.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MAX_LEN {
            return Err(SelectorError::TooLong);
        }
        let mut lexer = Lexer { rest: text };
        let mut requirements = Vec::new();
        if lexer.peek() == Token::End {
            return Ok(Self { requirements });
        }
        loop {
            requirements.push(requirement(&mut lexer)?);
            match lexer.next() {
                Token::End => return Ok(Self { requirements }),
                Token::Comma if matches!(lexer.peek(), Token::Word(_) | Token::Not) => {}
                Token::Comma => return Err(unexpected(lexer.peek(), "identifier after ','")),
                other => return Err(unexpected(other, "',' or 'end of string'")),
            }
        }
    }

    /// The selector an object carries (`matchLabels`, `matchExpressions`).
    ///
    /// # Errors
    /// [`SelectorError::Label`] for an unknown operator or a malformed key or value.
    pub fn from_object(selector: &meta::LabelSelector) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            requirements.push(Requirement::new(key, Operator::In, vec![value.clone()])?);
        }
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::NotExists,
                other => {
                    let text = format!("{other:?} is not a valid label selector operator");
                    return Err(SelectorError::Label(text));
                }
            };
            let values = expression.values.clone().unwrap_or_default();
            requirements.push(Requirement::new(&expression.key, operator, values)?);
        }
        Ok(Self { requirements })
    }

    /// Whether the selector selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether the labels satisfy all requirements.
    #[must_use]
    pub fn matches(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        let value = |key: &str| labels.and_then(|l| l.get(key)).map(String::as_str);
        self.requirements.iter().all(|r| r.matches(value(&r.key)))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Comma,
    Open,
    Close,
    Not,
    Equal,
    NotEqual,
    Greater,
    Less,
    End,
}

impl Token<'_> {
    fn literal(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Comma => ",",
            Self::Open => "(",
            Self::Close => ")",
            Self::Not => "!",
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::End => "",
        }
    }
}

struct Lexer<'a> {
    rest: &'a str,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Token<'a> {
        let (token, rest) = Self::scan(self.rest);
        self.rest = rest;
        token
    }

    fn peek(&self) -> Token<'a> {
        Self::scan(self.rest).0
    }

    fn scan(text: &'a str) -> (Token<'a>, &'a str) {
        const SYMBOLS: [(&str, Token<'static>); 9] = [
            ("!=", Token::NotEqual),
            ("==", Token::Equal),
            ("=", Token::Equal),
            ("!", Token::Not),
            (",", Token::Comma),
            ("(", Token::Open),
            (")", Token::Close),
            (">", Token::Greater),
            ("<", Token::Less),
        ];
        let text = text.trim_start_matches([' ', '\t', '\r', '\n']);
        if text.is_empty() {
            return (Token::End, text);
        }
        for (symbol, token) in SYMBOLS {
            if let Some(rest) = text.strip_prefix(symbol) {
                return (token, rest);
            }
        }
        let end = text
            .find(|c: char| c.is_ascii_whitespace() || "=!(),><".contains(c))
            .unwrap_or(text.len());
        (Token::Word(&text[..end]), &text[end..])
    }
}

fn unexpected(found: Token<'_>, expected: &str) -> SelectorError {
    SelectorError::Label(format!("found '{}', expected: {expected}", found.literal()))
}

fn requirement(lexer: &mut Lexer<'_>) -> Result<Requirement, SelectorError> {
    let (negated, key) = match lexer.next() {
        Token::Word(key) => (false, key),
        Token::Not => match lexer.next() {
            Token::Word(key) => (true, key),
            other => return Err(unexpected(other, "identifier")),
        },
        other => return Err(unexpected(other, "identifier")),
    };
    if negated {
        return Requirement::new(key, Operator::NotExists, Vec::new());
    }
    match lexer.peek() {
        Token::End | Token::Comma => Requirement::new(key, Operator::Exists, Vec::new()),
        Token::Word(word @ ("in" | "notin")) => {
            lexer.next();
            let operator = if word == "in" { Operator::In } else { Operator::NotIn };
            Requirement::new(key, operator, value_list(lexer)?)
        }
        Token::Equal => single(lexer, key, Operator::In),
        Token::NotEqual => single(lexer, key, Operator::NotIn),
        Token::Greater => single(lexer, key, Operator::Greater),
        Token::Less => single(lexer, key, Operator::Less),
        other => Err(unexpected(other, "in, notin, =, ==, !=, gt, lt")),
    }
}

fn single(
    lexer: &mut Lexer<'_>,
    key: &str,
    operator: Operator,
) -> Result<Requirement, SelectorError> {
    lexer.next();
    let value = match lexer.peek() {
        Token::End | Token::Comma => String::new(),
        Token::Word(word) => {
            lexer.next();
            word.to_owned()
        }
        other => return Err(unexpected(other, "identifier")),
    };
    Requirement::new(key, operator, vec![value])
}

fn value_list(lexer: &mut Lexer<'_>) -> Result<Vec<String>, SelectorError> {
    match lexer.next() {
        Token::Open => {}
        other => return Err(unexpected(other, "'('")),
    }
    let mut values = Vec::new();
    loop {
        let value = match lexer.peek() {
            Token::Word(word) => {
                lexer.next();
                word.to_owned()
            }
            Token::Comma | Token::Close => String::new(),
            other => return Err(unexpected(other, "',', ')' or identifier")),
        };
        if !values.contains(&value) {
            values.push(value);
        }
        match lexer.next() {
            Token::Comma => {}
            Token::Close => return Ok(values),
            other => return Err(unexpected(other, "',' or ')'")),
        }
    }
}
