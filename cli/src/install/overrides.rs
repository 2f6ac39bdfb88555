//! What somebody wants otherwise than by default: files of values, and `--set`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Values;

/// Objects of values whose keys are free.
const FREE: [&str; 9] = [
    "requests",
    "limits",
    "nodeSelector",
    "affinity",
    "podAnnotations",
    "podLabels",
    "labels",
    // Items of lists.
    "tolerations",
    "pullSecrets",
];

/// Why values can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OverridesError {
    /// A file can't be read.
    #[error("--values {}: cannot read it", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not YAML.
    #[error("--values {}: it is not YAML: {reason}", file.display())]
    Malformed { file: PathBuf, reason: String },
    /// A `--set` is not one.
    #[error("--set {text:?}: {reason}")]
    Set { text: String, reason: &'static str },
    /// There is no such value.
    #[error("there is no value {path:?}; there are {known}")]
    Unknown { path: String, known: String },
    /// A value of another type.
    #[error("{path} is {given}: write {wanted}")]
    Type { path: String, given: String, wanted: &'static str },
    /// A value that is not allowed.
    #[error("the values cannot be used: {0}")]
    Invalid(String),
}

/// Options that change values.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Overrides {
    /// File of values, as for the Helm chart; repeatable, the later one wins
    #[arg(long = "values", short = 'f', value_name = "FILE")]
    files: Vec<PathBuf>,
    /// One value, such as controlPlane.replicas=3 or proxy.skipOutboundPorts={25,587}; repeatable
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
    /// One value that is text whatever it looks like; repeatable
    #[arg(long = "set-string", value_name = "PATH=VALUE")]
    strings: Vec<String>,
}

impl Overrides {
    /// Whether nothing is wanted otherwise.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.sets.is_empty() && self.strings.is_empty()
    }

    /// `base` with what is wanted otherwise.
    pub(crate) fn apply(&self, base: &Values) -> Result<Values, OverridesError> {
        let mut given = Value::Object(Map::new());
        for file in &self.files {
            merge(&mut given, read(file)?);
        }
        for (text, literal) in
            self.sets.iter().map(|text| (text, false)).chain(self.strings.iter().map(|text| (text, true)))
        {
            let (path, value) = assignment(text, literal)
                .map_err(|reason| OverridesError::Set { text: text.clone(), reason })?;
            merge(&mut given, nested(&path, value));
        }
        merged(base, given)
    }
}

/// `base` with what is given otherwise, if that fits.
pub(super) fn merged(base: &Values, given: Value) -> Result<Values, OverridesError> {
    let base = serde_json::to_value(base).expect("values are JSON");
    fits("", &given, &base)?;
    let mut merged = base;
    merge(&mut merged, given);
    serde_json::from_value(merged).map_err(|error| OverridesError::Invalid(error.to_string()))
}

fn read(file: &Path) -> Result<Value, OverridesError> {
    let text =
        fs::read_to_string(file).map_err(|source| OverridesError::Read { file: file.to_owned(), source })?;
    let malformed = |reason: String| OverridesError::Malformed { file: file.to_owned(), reason };
    match serde_saphyr::from_str(&text).map_err(|error| malformed(error.to_string()))? {
        Value::Null => Ok(Value::Object(Map::new())),
        value @ Value::Object(_) => Ok(value),
        _ => Err(malformed("it holds no keys with values".to_owned())),
    }
}

/// Puts what is given over what is there; `null` takes a key away, as Helm has it.
fn merge(there: &mut Value, given: Value) {
    match (there, given) {
        (Value::Object(there), Value::Object(given)) => {
            for (name, value) in given {
                match value {
                    Value::Null => {
                        there.remove(&name);
                    }
                    value => merge(there.entry(name).or_insert(Value::Null), value),
                }
            }
        }
        (there, given) => *there = given,
    }
}

/// `a.b.c=value`: the keys and the value. `\` before a dot makes it part of a key.
fn assignment(text: &str, literal: bool) -> Result<(Vec<String>, Value), &'static str> {
    let (path, value) = text.split_once('=').ok_or("write PATH=VALUE, such as controlPlane.replicas=3")?;
    let mut keys = vec![String::new()];
    let mut letters = path.chars();
    while let Some(letter) = letters.next() {
        match (letter, keys.last_mut()) {
            ('.', _) => keys.push(String::new()),
            ('\\', Some(key)) => key.extend(letters.next()),
            (letter, Some(key)) => key.push(letter),
            (_, None) => unreachable!("there is a first key"),
        }
    }
    if keys.iter().any(String::is_empty) {
        return Err("a key of its path is empty");
    }
    Ok((keys, if literal { Value::from(value) } else { typed(value) }))
}

/// A value as it looks: true, false, null, a number, `{a,b}` a list, and text otherwise.
fn typed(text: &str) -> Value {
    if let Some(items) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        return items.split(',').filter(|item| !item.is_empty()).map(|item| typed(item.trim())).collect();
    }
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" => Value::Null,
        _ => match text.parse::<i64>() {
            // Leading zeros are no number's.
            Ok(number) if number.to_string() == text => Value::from(number),
            _ => Value::from(text),
        },
    }
}

fn nested(path: &[String], value: Value) -> Value {
    path.iter().rev().fold(value, |value, key| Value::Object(Map::from_iter([(key.clone(), value)])))
}

/// Whether what is given has the keys and types that there are.
fn fits(path: &str, given: &Value, known: &Value) -> Result<(), OverridesError> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (name, value) in given {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match known.get(name) {
                    Some(known) if !FREE.contains(&name.as_str()) => fits(&path, value, known)?,
                    Some(known) => same_type(&path, value, known)?,
                    None => {
                        let known: Vec<&str> = known.keys().map(String::as_str).collect();
                        return Err(OverridesError::Unknown { path, known: known.join(", ") });
                    }
                }
            }
            Ok(())
        }
        (given, known) => same_type(path, given, known),
    }
}

fn same_type(path: &str, given: &Value, known: &Value) -> Result<(), OverridesError> {
    let wanted = match (given, known) {
        (Value::Null, _)
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::String(_), Value::String(_))
        | (Value::Array(_), Value::Array(_))
        | (Value::Object(_), Value::Object(_)) => return Ok(()),
        (_, Value::Bool(_)) => "true or false",
        (_, Value::Number(_)) => "a number",
        (Value::Bool(_) | Value::Number(_), Value::String(_)) => "text, by --set-string or in quotes",
        (_, Value::String(_)) => "text",
        (_, Value::Array(_)) => "a list, such as {a,b}",
        (_, Value::Object(_) | Value::Null) => "keys with values",
    };
    Err(OverridesError::Type { path: path.to_owned(), given: given.to_string(), wanted })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::install::values::Redirect;

    fn with(sets: &[&str]) -> Result<Values, OverridesError> {
        let sets = sets.iter().map(|set| (*set).to_owned()).collect();
        Overrides { sets, ..Overrides::default() }.apply(&Values::default())
    }

    #[test]
    fn values_are_set_by_path() {
        let values = with(&[
            "controlPlane.replicas=3",
            "proxy.redirect=cni",
            "proxy.skipOutboundPorts={25,587}",
            "controlPlane.nodeSelector.kubernetes\\.io/os=linux",
            "proxy.resources.limits.memory=1Gi",
        ])
        .unwrap();
        assert_eq!((values.control_plane.replicas, values.proxy.redirect), (3, Redirect::Cni));
        assert_eq!(values.proxy.skip_outbound_ports, [25, 587]);
        assert_eq!(values.control_plane.node_selector["kubernetes.io/os"], "linux");
        assert_eq!(values.proxy.resources.limits["memory"], "1Gi");
        assert_eq!(values.proxy.resources.requests["memory"], "32Mi");
    }

    #[test]
    fn files_come_before_sets_and_the_later_file_wins() {
        let mut first = tempfile::NamedTempFile::new().unwrap();
        write!(first, "trustDomain: a.b\ncontrolPlane:\n  replicas: 4\n  logLevel: debug\n").unwrap();
        let mut second = tempfile::NamedTempFile::new().unwrap();
        write!(second, "# only a comment follows\ncontrolPlane: {{logLevel: warn}}\n").unwrap();
        let overrides = Overrides {
            files: vec![first.path().to_owned(), second.path().to_owned()],
            sets: vec!["controlPlane.replicas=5".to_owned()],
            strings: vec!["image.tag=1".to_owned()],
        };
        let values = overrides.apply(&Values::default()).unwrap();
        assert_eq!((values.control_plane.replicas, &*values.control_plane.log_level), (5, "warn"));
        assert_eq!((&*values.trust_domain.0, &*values.image.tag), ("a.b", "1"));
    }

    #[test]
    fn null_takes_away() {
        let values = with(&["controlPlane.resources.limits.memory=null"]).unwrap();
        assert!(values.control_plane.resources.limits.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (set, said) in [
            ("controlPlane.replica=3", "no value \"controlPlane.replica\"; there are affinity, antiAffinity"),
            ("controlPlane.replicas=two", "controlPlane.replicas is \"two\": write a number"),
            ("image.tag=1", "--set-string"),
            ("proxy.redirect=tproxy", "unknown variant `tproxy`, expected one of `init`, `cni`, `none`"),
            ("proxy.skipOutboundPorts=25", "write a list, such as {a,b}"),
            ("proxy", "write PATH=VALUE"),
            ("proxy.=1", "empty"),
        ] {
            let error = with(&[set]).unwrap_err().to_string();
            assert!(error.contains(said), "{set}: {error}");
        }
    }
}
