//! `-o custom-columns=HEADER:EXPRESSION,...`.

use klet_api::table::Printer;
use serde_json::Value;

use super::jsonpath::{Template, text};

/// The columns asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CustomColumns {
    columns: Vec<(String, Template)>,
}

impl CustomColumns {
    pub(crate) fn parse(spec: &str) -> Result<Self, String> {
        if spec.is_empty() {
            return Err("custom-columns format specified but no custom columns given".to_owned());
        }
        let column = |part: &str| {
            let Some((header, path)) = part.split_once(':') else {
                return Err(format!(
                    "unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>"
                ));
            };
            Ok((header.to_owned(), Template::parse_relaxed(path)?))
        };
        Ok(CustomColumns { columns: spec.split(',').map(column).collect::<Result<_, _>>()? })
    }

    /// The table of an object, or of a list's items.
    pub(crate) fn render(&self, object: &Value, header: bool) -> String {
        let single = std::slice::from_ref(object);
        let rows = object["items"].as_array().map_or(single, Vec::as_slice);
        let mut lines = Vec::with_capacity(rows.len() + 1);
        if header {
            lines.push(self.columns.iter().map(|(header, _)| header.clone()).collect());
        }
        lines.extend(rows.iter().map(|row| self.line(row)));
        Printer::new().lines(&lines)
    }

    fn line(&self, object: &Value) -> Vec<String> {
        let cell = |template: &Template| {
            let values = template.values(object);
            let found: Vec<String> =
                values.into_iter().filter(|value| !value.is_null()).map(text).collect();
            if found.is_empty() { "<none>".to_owned() } else { found.join(",") }
        };
        self.columns.iter().map(|(_, template)| cell(template)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_show_values_lists_and_gaps() {
        let columns = CustomColumns::parse("NAME:.metadata.name,IMAGES:spec.c[*].image").unwrap();
        let list = json!({"items": [
            {"metadata": {"name": "a"}, "spec": {"c": [{"image": "x"}, {"image": "y"}]}},
            {"metadata": {"name": "b"}},
        ]});
        assert_eq!(columns.render(&list, true), "NAME   IMAGES\na      x,y\nb      <none>\n");
        assert!(CustomColumns::parse("NAME").is_err());
    }
}
