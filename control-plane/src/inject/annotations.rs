//! What a pod's annotations say differently from the settings.

use std::str::FromStr;

use serde_json::Value;

use crate::settings::{Redirect, Settings, check_addresses, check_ports};

const PREFIX: &str = "mesh.weft.dev/";

/// What is in force for one pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Annotations {
    pub(super) redirect: Redirect,
    pub(super) native: Option<bool>,
    pub(super) log_level: String,
    pub(super) skip_inbound_ports: Vec<String>,
    pub(super) skip_outbound_ports: Vec<String>,
    pub(super) skip_outbound_addresses: Vec<String>,
    pub(super) resources: Value,
}

impl Annotations {
    /// The settings with what the pod's annotations change of them. The error names the annotation, its value and what is
    /// expected.
    pub(super) fn of(pod: &Value, settings: &Settings) -> Result<Self, String> {
        let notes = Notes(pod.pointer("/metadata/annotations"));
        let mut resources = settings.resources.clone();
        for (name, place, resource) in [
            ("proxy-cpu-request", "requests", "cpu"),
            ("proxy-cpu-limit", "limits", "cpu"),
            ("proxy-memory-request", "requests", "memory"),
            ("proxy-memory-limit", "limits", "memory"),
        ] {
            if let Some(value) = notes.get(name)? {
                if quantity(value).is_none() {
                    return Err(wrong(name, value, "a quantity such as 100m or 64Mi"));
                }
                if !resources.is_object() {
                    resources = Value::Object(serde_json::Map::new());
                }
                super::object(&mut resources, place).insert(resource.to_owned(), value.into());
            }
        }
        Ok(Self {
            redirect: match notes.get("redirect")? {
                None => settings.redirect,
                Some("init") => Redirect::Init,
                Some("cni") => Redirect::Cni,
                Some("none") => Redirect::None,
                Some(other) => return Err(wrong("redirect", other, "init, cni or none")),
            },
            native: notes.parsed("native-sidecar", "true or false")?,
            log_level: notes.get("log-level")?.unwrap_or(&settings.log_level).to_owned(),
            skip_inbound_ports: notes.list(
                "skip-inbound-ports",
                &settings.skip_inbound_ports,
                check_ports,
            )?,
            skip_outbound_ports: notes.list(
                "skip-outbound-ports",
                &settings.skip_outbound_ports,
                check_ports,
            )?,
            skip_outbound_addresses: notes.list(
                "skip-outbound-addresses",
                &settings.skip_outbound_addresses,
                check_addresses,
            )?,
            resources,
        })
    }
}

/// The annotations of a pod.
struct Notes<'a>(Option<&'a Value>);

impl<'a> Notes<'a> {
    fn get(&self, name: &str) -> Result<Option<&'a str>, String> {
        match self.0.and_then(|notes| notes.get(format!("{PREFIX}{name}"))) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.trim())),
            Some(other) => Err(wrong(name, &other.to_string(), "text, in quotes")),
        }
    }

    fn parsed<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, String> {
        let parse = |text: &str| text.parse().map_err(|_| wrong(name, text, expected));
        self.get(name)?.map(parse).transpose()
    }

    /// A list with commas, beside those of the settings.
    fn list(
        &self,
        name: &str,
        settings: &[String],
        check: impl Fn(&[String]) -> Result<(), String>,
    ) -> Result<Vec<String>, String> {
        let own =
            self.get(name)?.unwrap_or_default().split(',').map(str::trim).filter(|item| !item.is_empty());
        let own: Vec<String> = own.map(str::to_owned).collect();
        check(&own).map_err(|problem| format!("annotation {PREFIX}{name}: {problem}"))?;
        Ok(settings.iter().cloned().chain(own).collect())
    }
}

fn wrong(name: &str, value: &str, expected: &str) -> String {
    format!("annotation {PREFIX}{name} is {value:?}; write {expected}")
}

/// A Kubernetes quantity in thousandths, rounded up.
pub(super) fn quantity(text: &str) -> Option<u64> {
    let digits = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().ok()?;
    let factor = match unit {
        "" => 1e3,
        "m" => 1.0,
        "k" => 1e6,
        "M" => 1e9,
        "G" => 1e12,
        "T" => 1e15,
        "Ki" => 1024e3,
        "Mi" => 1024.0 * 1024e3,
        "Gi" => 1024.0 * 1024.0 * 1024e3,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024e3,
        _ => return None,
    };
    Some((number * factor).ceil() as u64)
}
