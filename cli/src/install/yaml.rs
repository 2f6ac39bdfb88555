//! Writing documents as YAML that every version of YAML reads the same.

// Writing to a string does not fail.
use std::fmt::Write as _;

use serde_json::Value;

/// Words that some reader of YAML takes for something else than text.
const WORDS: [&str; 11] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null", "inf", "nan"];

/// A stream of documents.
pub(crate) fn stream<'a>(documents: impl IntoIterator<Item = &'a Value>) -> String {
    let mut text = String::new();
    for value in documents {
        text.push_str("---\n");
        text.push_str(&document(value));
    }
    text
}

/// One document, with a line break at its end.
pub(crate) fn document(value: &Value) -> String {
    let mut text = String::new();
    node(value, 0, &mut text);
    text.trim_start().to_owned() + "\n"
}

/// Writes what follows a key or a dash.
fn node(value: &Value, indent: usize, text: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let _ = write!(text, "\n{pad}{}:", scalar(name));
                // Items stand below their key.
                node(value, indent + 2, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let mut inner = String::new();
                node(item, indent + 2, &mut inner);
                let _ = write!(text, "\n{pad}- {}", inner.trim_start());
            }
        }
        Value::String(lines) if is_block(lines) => {
            text.push_str(" |");
            for line in lines.lines() {
                text.push('\n');
                if !line.is_empty() {
                    text.push_str(&pad);
                    text.push_str(line);
                }
            }
        }
        Value::String(word) => {
            let _ = write!(text, " {}", scalar(word));
        }
        other => {
            let _ = write!(text, " {other}");
        }
    }
}

/// Whether a text is lines that a block holds as they are.
fn is_block(text: &str) -> bool {
    let plain = |letter: char| letter == '\n' || (!letter.is_control() && letter != '\u{feff}');
    text.ends_with('\n')
        && !text.ends_with("\n\n")
        && !text.starts_with([' ', '\n'])
        && text.chars().all(plain)
}

/// A text: bare where nobody can mistake it, else as JSON.
fn scalar(text: &str) -> String {
    let bare = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '/' | '_' | '-');
    let plain = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && text.chars().all(bare)
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_could_be_mistaken_is_quoted() {
        for word in ["yes", "Off", "1e3", "0x10", "~", "", "a: b", "a #b", "*", "[::]:15012", "null", "-"] {
            assert!(scalar(word).starts_with('"'), "{word}");
        }
        assert_eq!(scalar("/etc/weft/settings.yaml"), "/etc/weft/settings.yaml");
    }

    #[test]
    fn lines_are_a_block() {
        let text = document(&json!({ "data": { "a": "x: 1\ny: 2\n" }, "items": [{ "b": [1] }, []] }));
        assert_eq!(text, "data:\n  a: |\n    x: 1\n    y: 2\nitems:\n  - b:\n      - 1\n  - []\n");
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[ -~\n]{0,12}".prop_map(Value::from),
            "[a-z]{1,5}(\n[a-z #:]{0,5}){0,3}\n".prop_map(Value::from),
            Just(Value::Null),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[ -~]{1,6}", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in values().prop_map(|value| json!({ "value": value }))) {
            let text = document(&value);
            let read: Value = serde_saphyr::from_str(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            prop_assert_eq!(read, value, "{}", text);
        }
    }
}
