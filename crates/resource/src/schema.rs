//! The structure that a kind may have, read from its JSON schema: the same schema that a cluster enforces, so that a
//! file and an API server refuse the same things. All violations are told at once.

use regex_automata::meta::Regex;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value};

use super::problem::{At, Problems};
use super::suggest;

/// Schema extension: fields that are right but mean nothing to the mesh.
pub(crate) const IGNORED: &str = "x-weft-ignored";
/// Schema extension: fields that are right and would mean something, but are not supported.
pub(crate) const UNSUPPORTED: &str = "x-weft-unsupported";
/// Schema extension: in words, what a pattern expects.
pub(crate) const EXPECTED: &str = "x-weft-expected";

/// What a value may be.
#[derive(Debug)]
pub(crate) enum FieldSchema {
    Any,
    Boolean,
    Number { whole: bool, minimum: f64, maximum: f64 },
    NumberOrText,
    Text(Text),
    List { items: Box<FieldSchema>, minimum: usize, maximum: usize },
    Mapping(Box<FieldSchema>),
    Struct(Struct),
}

#[derive(Debug, Default)]
pub(crate) struct Text {
    choices: Vec<String>,
    minimum: usize,
    maximum: Option<usize>,
    pattern: Option<(Regex, String)>,
}

#[derive(Debug)]
pub(crate) struct Struct {
    fields: Vec<(String, FieldSchema)>,
    /// Least number of fields.
    minimum: usize,
    required: Vec<String>,
    ignored: Vec<String>,
    unsupported: Vec<String>,
}

impl FieldSchema {
    /// The shape of a type, from its schema.
    pub(crate) fn of<T: JsonSchema>() -> Self {
        let mut settings = SchemaSettings::draft2020_12();
        settings.inline_subschemas = true;
        let schema = SchemaGenerator::new(settings).into_root_schema_for::<T>();
        Self::read(schema.as_value())
    }

    /// Removes the fields that are not known here, such as those of a newer API server.
    pub(crate) fn prune(&self, value: &mut Value) {
        match (self, value) {
            (Self::Struct(shape), Value::Object(mapping)) => {
                let known = |name: &String| {
                    shape.fields.iter().any(|(field, _)| field == name)
                        || shape.ignored.contains(name)
                        || shape.unsupported.contains(name)
                };
                mapping.retain(|name, _| known(name));
                for (name, field) in &shape.fields {
                    if let Some(value) = mapping.get_mut(name) {
                        field.prune(value);
                    }
                }
            }
            (Self::List { items, .. }, Value::Array(values)) => {
                for value in values {
                    items.prune(value);
                }
            }
            (Self::Mapping(shape), Value::Object(mapping)) => {
                for value in mapping.values_mut() {
                    shape.prune(value);
                }
            }
            _ => {}
        }
    }

    fn read(schema: &Value) -> Self {
        let Some(schema) = schema.as_object() else { return Self::Any };
        if schema.contains_key("x-kubernetes-int-or-string") {
            return Self::NumberOrText;
        }
        if let Some(variants) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array)
        {
            return Self::read_variants(variants);
        }
        if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
            return Self::Text(Text { choices: texts(choices), ..Text::default() });
        }
        if let Some(choice) = schema.get("const").and_then(Value::as_str) {
            return Self::Text(Text { choices: vec![choice.to_owned()], ..Text::default() });
        }
        match type_of(schema) {
            Some("boolean") => Self::Boolean,
            Some(kind @ ("integer" | "number")) => Self::Number {
                whole: kind == "integer",
                minimum: schema.get("minimum").and_then(Value::as_f64).unwrap_or(f64::MIN),
                maximum: schema.get("maximum").and_then(Value::as_f64).unwrap_or(f64::MAX),
            },
            Some("string") => Self::Text(read_text(schema)),
            Some("array") => Self::List {
                items: Box::new(schema.get("items").map_or(Self::Any, Self::read)),
                minimum: size(schema, "minItems").unwrap_or(0),
                maximum: size(schema, "maxItems").unwrap_or(usize::MAX),
            },
            Some("object") => Self::read_object(schema),
            _ => Self::Any,
        }
    }

    /// `null` among the variants says that the field may be left out; variants of an enum are its choices.
    fn read_variants(variants: &[Value]) -> Self {
        let mut choices = Vec::new();
        let mut others = Vec::new();
        for variant in variants {
            if variant.get("type").and_then(Value::as_str) == Some("null") {
                continue;
            }
            match Self::read(variant) {
                Self::Text(text) if !text.choices.is_empty() => choices.extend(text.choices),
                shape => others.push(shape),
            }
        }
        match (others.len(), choices.is_empty()) {
            (0, false) => Self::Text(Text { choices, ..Text::default() }),
            (1, true) => others.remove(0),
            _ => Self::Any,
        }
    }

    fn read_object(schema: &Map<String, Value>) -> Self {
        let list =
            |key| schema.get(key).and_then(Value::as_array).map(|list| texts(list)).unwrap_or_default();
        if let Some(fields) = schema.get("properties").and_then(Value::as_object) {
            return Self::Struct(Struct {
                fields: fields.iter().map(|(name, schema)| (name.clone(), Self::read(schema))).collect(),
                minimum: size(schema, "minProperties").unwrap_or(0),
                required: list("required"),
                ignored: list(IGNORED),
                unsupported: list(UNSUPPORTED),
            });
        }
        match schema.get("additionalProperties") {
            Some(Value::Object(values)) => {
                Self::Mapping(Box::new(Self::read(&Value::Object(values.clone()))))
            }
            Some(Value::Bool(false)) => Self::Struct(Struct {
                fields: Vec::new(),
                minimum: 0,
                required: Vec::new(),
                ignored: list(IGNORED),
                unsupported: list(UNSUPPORTED),
            }),
            _ => Self::Any,
        }
    }

    /// Tells what is wrong with a value. `null` is the same as a field that is left out.
    pub(crate) fn check(&self, value: &Value, at: &At<'_>, problems: &mut Problems) {
        match (self, value) {
            (Self::Any, _) | (Self::Boolean, Value::Bool(_)) | (Self::NumberOrText, Value::String(_)) => {}
            (Self::Number { whole, minimum, maximum }, Value::Number(number)) => {
                if *whole && !number.is_i64() && !number.is_u64() {
                    problems.error(at, format!("is {number}; write a whole number"));
                } else if number.as_f64().is_none_or(|number| number < *minimum || number > *maximum) {
                    let range = range(*minimum, *maximum);
                    problems.error(at, format!("is {number}; it must be {range}"));
                }
            }
            (Self::NumberOrText, Value::Number(number)) if number.is_u64() => {}
            (Self::Text(shape), Value::String(text)) => shape.check(text, at, problems),
            (Self::List { items, minimum, maximum }, Value::Array(list)) => {
                if list.len() < *minimum || list.len() > *maximum {
                    let range = range(*minimum as f64, *maximum as f64);
                    problems.error(at, format!("has {} items; it must have {range}", list.len()));
                }
                for (index, item) in list.iter().enumerate() {
                    items.check(item, &at.item(index), problems);
                }
            }
            (Self::Mapping(values), Value::Object(mapping)) => {
                for (name, value) in mapping {
                    values.check(value, &at.field(name), problems);
                }
            }
            (Self::Struct(shape), Value::Object(mapping)) => shape.check(mapping, at, problems),
            (shape, value) => problems.error(at, shape.mismatch(value)),
        }
    }

    fn mismatch(&self, value: &Value) -> String {
        let given = match value {
            Value::Null => "empty".to_owned(),
            Value::Bool(value) => format!("{value}"),
            Value::Number(number) => format!("the number {number}"),
            Value::String(text) => format!("the text {text:?}"),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "a mapping".to_owned(),
        };
        match (self, value) {
            (Self::Text(_), Value::Bool(_) | Value::Number(_)) => {
                format!("is {given}; write text, in quotes")
            }
            (Self::Number { .. }, Value::String(text)) if text.parse::<f64>().is_ok() => {
                format!("is {given}; write the number without quotes")
            }
            (Self::List { .. }, _) => format!("is {given}; write a list, each item after `- `"),
            _ => format!("is {given}; write {}", self.expected()),
        }
    }

    fn expected(&self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::Boolean => "true or false",
            Self::Number { whole: true, .. } => "a whole number",
            Self::Number { .. } => "a number",
            Self::NumberOrText => "a number or a name",
            Self::Text(_) => "text",
            Self::List { .. } => "a list",
            Self::Mapping(_) | Self::Struct(_) => "a mapping",
        }
    }
}

impl Text {
    fn check(&self, text: &str, at: &At<'_>, problems: &mut Problems) {
        let length = text.chars().count();
        if !self.choices.is_empty() {
            if !self.choices.iter().any(|choice| choice == text) {
                let hint = suggest::hint(text, self.choices.iter().map(String::as_str));
                problems.error(at, format!("{text:?} is unknown; {hint}"));
            }
        } else if length < self.minimum || self.maximum.is_some_and(|maximum| length > maximum) {
            let range = range(self.minimum as f64, self.maximum.map_or(f64::MAX, |maximum| maximum as f64));
            problems.error(at, format!("{text:?} has {length} characters; it must have {range}"));
        } else if let Some((pattern, expected)) = &self.pattern
            && !pattern.is_match(text)
        {
            problems.error(at, format!("is {text:?}; write {expected}"));
        }
    }
}

impl Struct {
    fn check(&self, mapping: &Map<String, Value>, at: &At<'_>, problems: &mut Problems) {
        for (name, value) in mapping {
            if let Some((name, shape)) = self.fields.iter().find(|(field, _)| field == name) {
                // An API server drops a null field that is not nullable before it validates.
                if !value.is_null() {
                    shape.check(value, &at.field(name), problems);
                }
            } else if self.unsupported.contains(name) {
                problems.warn(&at.field(name), "is not supported and has no effect; remove it");
            } else if !self.ignored.contains(name) {
                let known = self.fields.iter().map(|(field, _)| field).chain(&self.ignored);
                let hint = suggest::hint(name, known.map(String::as_str));
                problems.error(&at.field(name), format!("there is no such field; {hint}"));
            }
        }
        if mapping.values().filter(|value| !value.is_null()).count() < self.minimum {
            problems.error(at, "says nothing; leave it out to mean that it does not matter");
        }
        for name in &self.required {
            if mapping.get(name).is_none_or(Value::is_null) {
                problems.error(at, format!("the field {name:?} is missing; it is required"));
            }
        }
    }
}

fn type_of(schema: &Map<String, Value>) -> Option<&str> {
    match schema.get("type")? {
        Value::String(name) => Some(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        _ => None,
    }
}

fn size(schema: &Map<String, Value>, key: &str) -> Option<usize> {
    schema.get(key).and_then(Value::as_u64).map(|size| size as usize)
}

fn texts(list: &[Value]) -> Vec<String> {
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn read_text(schema: &Map<String, Value>) -> Text {
    let pattern = schema.get("pattern").and_then(Value::as_str).map(|pattern| {
        let regex =
            Regex::new(pattern).expect("the patterns of our own schemas compile, as their tests show");
        let expected = schema.get(EXPECTED).and_then(Value::as_str);
        (regex, expected.map_or_else(|| format!("text that matches {pattern}"), str::to_owned))
    });
    Text {
        choices: Vec::new(),
        minimum: size(schema, "minLength").unwrap_or(0),
        maximum: size(schema, "maxLength"),
        pattern,
    }
}

/// A range in words.
fn range(minimum: f64, maximum: f64) -> String {
    let bounded = maximum < f64::from(u32::MAX) * 2.0;
    match (minimum > f64::from(i32::MIN), bounded) {
        (true, true) if minimum >= maximum => format!("exactly {minimum}"),
        (true, true) => format!("from {minimum} to {maximum}"),
        (true, false) => format!("at least {minimum}"),
        (false, _) => format!("at most {maximum}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(JsonSchema)]
    #[allow(dead_code)]
    enum Choice {
        /// The first.
        First,
        /// The second.
        Second,
    }

    #[derive(JsonSchema)]
    #[schemars(extend("x-weft-ignored" = ["other"], "x-weft-unsupported" = ["later"]))]
    #[allow(dead_code)]
    struct Sample {
        #[schemars(range(min = 1, max = 65535))]
        port: u16,
        choice: Option<Choice>,
        #[schemars(length(min = 1))]
        list: Option<Vec<String>>,
        on: Option<bool>,
        inner: Option<Box<Inner>>,
    }

    #[derive(JsonSchema)]
    #[allow(dead_code)]
    struct Inner {
        #[schemars(regex(pattern = r"^a+$"))]
        text: String,
    }

    fn problems_of(value: &Value) -> Vec<String> {
        let mut problems = Problems::default();
        FieldSchema::of::<Sample>().check(value, &At::ROOT, &mut problems);
        problems.0.iter().map(|problem| format!("{}: {}", problem.path, problem.reason)).collect()
    }

    #[test]
    fn what_fits_has_no_problems() {
        let value = json!({"port": 1, "choice": "Second", "list": ["x"], "inner": {"text": "aa"}, "other": 1, "on": null});
        assert_eq!(problems_of(&value), [""; 0]);
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let value = json!({"port": 0, "choice": "Fist", "list": [], "lst": 1, "on": "yes", "inner": {"text": "b"}, "later": 1});
        assert_eq!(
            problems_of(&value),
            [
                "choice: \"Fist\" is unknown; did you mean \"First\"?",
                "inner.text: is \"b\"; write text that matches ^a+$",
                "later: is not supported and has no effect; remove it",
                "list: has 0 items; it must have at least 1",
                "lst: there is no such field; did you mean \"list\"?",
                "on: is the text \"yes\"; write true or false",
                "port: is 0; it must be from 1 to 65535",
            ]
        );
    }

    #[test]
    fn a_missing_field_and_a_wrong_type_are_told() {
        assert_eq!(
            problems_of(&json!({"list": [1], "inner": []})),
            [
                "inner: is a list; write a mapping",
                "list[0]: is the number 1; write text, in quotes",
                ": the field \"port\" is missing; it is required",
            ]
        );
    }
}
