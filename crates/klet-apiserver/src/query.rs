//! Query strings: decoding, and the parameters that many requests share.

use crate::error::ApiError;

/// The parameters of a request, in order, decoded.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses `a=b&c=d`.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let parsed = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name, true)?, decode(value, true)?))
        });
        Ok(Self(parsed.collect::<Result<_, ApiError>>()?))
    }

    /// The first value of a parameter; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// All values of a parameter, also empty ones.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(other, _)| other == name).map(|(_, value)| value.clone()).collect()
    }

    /// A switch; `?watch`, `?watch=1` and `?watch=true` are on.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        let Some((_, value)) = self.0.iter().find(|(other, _)| other == name) else {
            return Ok(false);
        };
        match value.as_str() {
            "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            other => Err(unparsable(name, other, "is neither true nor false")),
        }
    }

    /// A number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| unparsable(name, text, "is no number"))
    }

    /// `dryRun`: only `All` is a value.
    pub(crate) fn dry_run(&self) -> Result<bool, ApiError> {
        match self.get("dryRun") {
            None => Ok(false),
            Some("All") => Ok(true),
            Some(other) => {
                let text =
                    format!("dryRun: Unsupported value: \"{other}\": supported values: \"All\"");
                Err(ApiError::bad_request(text))
            }
        }
    }
}

fn unparsable(name: &str, value: &str, why: &str) -> ApiError {
    ApiError::bad_request(format!("query parameter {name}: {value:?} {why}"))
}

/// Undoes percent-encoding; `+` is a space in queries only.
pub(crate) fn decode(text: &str, plus_is_space: bool) -> Result<String, ApiError> {
    let bad = || ApiError::bad_request("malformed percent-encoding in the request's address");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' if plus_is_space => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit().ok_or_else(bad)?, digit().ok_or_else(bad)?);
                u8::try_from(high << 4 | low).map_err(|_| bad())?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::{Query, decode};

    #[test]
    fn pairs_are_decoded() {
        let query =
            Query::parse(Some("command=echo&command=a+b&command=%2Ftmp%26&watch&x=")).unwrap();
        assert_eq!(query.all("command"), ["echo", "a b", "/tmp&"]);
        assert!(query.flag("watch").unwrap());
        assert_eq!(query.get("x"), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["%", "%2", "%zz", "%ff"] {
            assert!(decode(text, false).is_err(), "{text}");
        }
        assert!(Query::parse(Some("watch=maybe")).unwrap().flag("watch").is_err());
        assert!(Query::parse(Some("limit=many")).unwrap().number("limit").is_err());
        assert!(Query::parse(Some("dryRun=Some")).unwrap().dry_run().is_err());
    }
}
