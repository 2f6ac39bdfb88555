//! What a pod's annotations say differently from the settings.

use std::num::NonZeroU32;
use std::str::FromStr;

use serde_json::Value;

use super::resources;
use crate::settings::{AccessLog, Redirect, Settings, check_addresses, check_ports};

const PREFIX: &str = "mesh.weft.dev/";
/// Annotations of requests and limits, and where each goes.
const RESOURCES: [(&str, &str, &str); 4] = [
    ("proxy-cpu-request", "requests", "cpu"),
    ("proxy-cpu-limit", "limits", "cpu"),
    ("proxy-memory-request", "requests", "memory"),
    ("proxy-memory-limit", "limits", "memory"),
];
/// Every annotation that is read or written.
const KNOWN: [&str; 14] = [
    "skip-inbound-ports",
    "skip-outbound-ports",
    "skip-outbound-addresses",
    "proxy-cpu-request",
    "proxy-cpu-limit",
    "proxy-memory-request",
    "proxy-memory-limit",
    "log-level",
    "access-log",
    "redirect",
    "native-sidecar",
    "pre-stop-seconds",
    "application-idle-seconds",
    "status",
];

/// What is in force for one pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Annotations {
    pub(super) redirect: Redirect,
    pub(super) native: Option<bool>,
    /// How long containers are held before their end, in seconds.
    pub(super) pre_stop_seconds: u64,
    /// How long an unused connection to the application is kept, in seconds.
    pub(super) application_idle_seconds: Option<NonZeroU32>,
    pub(super) log_level: String,
    pub(super) access_log: AccessLog,
    pub(super) skip_inbound_ports: Vec<String>,
    pub(super) skip_outbound_ports: Vec<String>,
    pub(super) skip_outbound_addresses: Vec<String>,
    pub(super) resources: Value,
    /// What is there and says nothing.
    pub(super) warnings: Vec<String>,
}

impl Annotations {
    /// The settings with what the pod's annotations change of them. The error names the annotation, its value and what is
    /// expected.
    pub(super) fn of(pod: &Value, settings: &Settings) -> Result<Self, String> {
        let notes = Notes(pod.pointer("/metadata/annotations"));
        let warnings = notes.unknown();
        let resources = notes.resources(settings)?;
        let log_level = notes.get("log-level")?.unwrap_or(&settings.log_level).to_owned();
        weft_log::check(&log_level).map_err(|problem| format!("annotation {PREFIX}log-level: {problem}"))?;
        Ok(Self {
            redirect: match notes.get("redirect")? {
                None => settings.redirect,
                Some("init") => Redirect::Init,
                Some("cni") => Redirect::Cni,
                Some("none") => Redirect::None,
                Some(other) => return Err(wrong("redirect", other, "init, cni or none")),
            },
            native: notes.parsed("native-sidecar", "true or false")?,
            pre_stop_seconds: notes
                .parsed("pre-stop-seconds", "a number of seconds, 0 for none")?
                .unwrap_or(settings.pre_stop_seconds),
            application_idle_seconds: notes
                .parsed("application-idle-seconds", "a number of seconds, 1 or more")?,
            log_level,
            access_log: match notes.get("access-log")? {
                None => settings.access_log,
                Some("off") => AccessLog::Off,
                Some("errors") => AccessLog::Errors,
                Some("all") => AccessLog::All,
                Some(other) => return Err(wrong("access-log", other, "off, errors or all")),
            },
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
            warnings,
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

    /// Annotations that look like the injector's and are not.
    fn unknown(&self) -> Vec<String> {
        let names = self.0.and_then(Value::as_object).into_iter().flat_map(serde_json::Map::keys);
        let unknown = names.filter_map(|name| name.strip_prefix(PREFIX)).filter(|name| !KNOWN.contains(name));
        unknown
            .map(|name| match name {
                "inject" => format!("{PREFIX}inject is a label; as an annotation it says nothing"),
                _ => format!(
                    "annotation {PREFIX}{name} is unknown and says nothing; known are {}",
                    KNOWN.join(", ")
                ),
            })
            .collect()
    }

    /// Requests and limits. A request of the settings gives way to a limit of the pod.
    fn resources(&self, settings: &Settings) -> Result<Value, String> {
        let mut resources = settings.resources.clone();
        for (annotation, field, name) in RESOURCES {
            if let Some(text) = self.get(annotation)? {
                let value = Value::from(text);
                if resources::quantity(&value).is_none() {
                    return Err(wrong(annotation, text, "a quantity such as 100m or 64Mi"));
                }
                resources::set(&mut resources, field, name, value);
            }
        }
        while let Some((name, request, limit)) = resources::above_limit(&resources) {
            let asked = format!("proxy-{name}-request");
            if let Some(text) = self.get(&asked)? {
                return Err(wrong(&asked, text, &format!("no more than the limit, {limit}")));
            }
            tracing::debug!(resource = name, %request, %limit, "the request of the settings gives way");
            resources::set(&mut resources, "requests", &name, limit);
        }
        Ok(resources)
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
