//! YAML output in kubectl's block style.

use serde_json::Value;

/// Writes a value as YAML: two spaces per level, list items not indented under their field, text
/// quoted wherever a YAML 1.1 reader could take it for something else.
#[must_use]
pub fn to_yaml(value: &Value) -> String {
    let options = serde_saphyr::ser_options! {
        compact_list_indent: true,
        indent_step: 2,
        // Never fold long lines: kubectl keeps them whole.
        folded_wrap_chars: usize::MAX,
    };
    let text = serde_saphyr::to_string_with_options(value, options);
    // A JSON value has no shape the writer refuses; JSON itself is YAML too.
    text.unwrap_or_else(|_| value.to_string())
}

#[cfg(test)]
mod tests;
