//! How sidecars are injected, as an operator has it: the file that `--settings` names.

use std::path::Path;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weft_mesh::name::TrustDomain;

use crate::Error;
use crate::inject::resources;

/// Fields that are lists.
const LISTS: [&str; 3] = ["skipOutboundAddresses", "skipInboundPorts", "skipOutboundPorts"];

/// Settings of the injector. All have defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// The proxy's image.
    pub proxy_image: String,
    /// When the kubelet pulls it.
    pub proxy_image_pull_policy: String,
    /// Address of the control plane, `host:port`.
    pub control_plane: String,
    /// The trust domain.
    pub trust_domain: String,
    /// Who redirects a pod's connections to its proxy.
    pub redirect: Redirect,
    /// Whether proxies are native sidecars: restartable init containers.
    pub native_sidecars: NativeSidecars,
    /// How long containers of a pod that is told to end go on, so that its callers have heard of it, in seconds.
    pub pre_stop_seconds: u64,
    /// The proxies' log level, or filter.
    pub log_level: String,
    /// What the proxies write of each request and connection.
    pub access_log: AccessLog,
    /// Requests and limits of a proxy, as in a pod.
    pub resources: Value,
    /// Addresses, or blocks such as 10.0.0.0/8, to which connections are not redirected.
    pub skip_outbound_addresses: Vec<String>,
    /// Ports, or ranges such as 8000-8100, from which connections are not redirected.
    pub skip_inbound_ports: Vec<String>,
    /// Ports, or ranges, to which connections are not redirected.
    pub skip_outbound_ports: Vec<String>,
    /// What becomes of pods while nobody can inject: the webhook's `failurePolicy`, kept here to be looked up.
    pub failure_policy: String,
    /// Whether pods get the `prometheus.io/` annotations that lead a scraper to their proxy, unless they have their own.
    pub scrape_annotations: bool,
}

/// Who redirects a pod's connections to its proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Redirect {
    /// An init container with the capability `NET_ADMIN`.
    #[default]
    Init,
    /// The CNI plugin, so that no pod needs a capability.
    Cni,
    /// Nobody: applications use the proxy by the environment's `HTTP_PROXY`, and what arrives is not intercepted.
    None,
}

/// What a proxy writes of each request and connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLog {
    /// Nothing.
    #[default]
    Off,
    /// A line for each that failed.
    Errors,
    /// A line for each.
    All,
}

impl AccessLog {
    /// As the proxy's option has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Errors => "errors",
            Self::All => "all",
        }
    }
}

/// Whether proxies are native sidecars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum NativeSidecars {
    /// Where the cluster knows them (Kubernetes 1.29 and later).
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl TryFrom<Value> for NativeSidecars {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::Bool(true) => Ok(Self::Always),
            Value::Bool(false) => Ok(Self::Never),
            Value::String(text) if text == "true" => Ok(Self::Always),
            Value::String(text) if text == "false" => Ok(Self::Never),
            Value::String(text) if text == "auto" => Ok(Self::Auto),
            other => Err(format!("nativeSidecars: {other} is none of auto, true and false")),
        }
    }
}

impl From<NativeSidecars> for Value {
    fn from(native: NativeSidecars) -> Self {
        match native {
            NativeSidecars::Auto => json!("auto"),
            NativeSidecars::Always => json!(true),
            NativeSidecars::Never => json!(false),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            proxy_image: format!("ghcr.io/weft-mesh/weft-proxy:{}", env!("CARGO_PKG_VERSION")),
            proxy_image_pull_policy: "IfNotPresent".to_owned(),
            control_plane: "control-plane.weft-system.svc:15012".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            redirect: Redirect::default(),
            native_sidecars: NativeSidecars::default(),
            // What the slowest of those who hear of it by watch takes, with much to spare.
            pre_stop_seconds: 4,
            log_level: "info".to_owned(),
            access_log: AccessLog::default(),
            resources: json!({"requests": {"cpu": "50m", "memory": "32Mi"}}),
            skip_outbound_addresses: Vec::new(),
            skip_inbound_ports: Vec::new(),
            skip_outbound_ports: Vec::new(),
            failure_policy: "Fail".to_owned(),
            scrape_annotations: true,
        }
    }
}

impl Settings {
    /// Reads settings from YAML; what they don't say has its default.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let empty = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
        if empty {
            return Ok(Self::default());
        }
        let settings: Self = serde_saphyr::from_str(text).map_err(|error| wrong(&error.to_string()))?;
        settings.check().map_err(|problem| wrong(&problem))?;
        Ok(settings)
    }

    /// Reads settings from YAML, then changes single fields: each `FIELD=VALUE`, with dots between the names of nested fields
    /// and commas between the items of a list.
    pub fn parse_with(text: &str, changes: &[String]) -> Result<Self, Error> {
        let mut settings: Value = serde_saphyr::from_str(text).map_err(|error| wrong(&error.to_string()))?;
        if settings.is_null() {
            settings = json!({});
        }
        for change in changes {
            let (field, value) =
                change.split_once('=').filter(|(field, _)| !field.is_empty()).ok_or_else(|| {
                    wrong(&format!("{change:?} is no change; write FIELD=VALUE, such as redirect=cni"))
                })?;
            let value = if LISTS.contains(&field) {
                value.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
            } else if let ("scrapeAnnotations", Ok(whether)) = (field, value.parse()) {
                Value::Bool(whether)
            } else {
                Value::from(value)
            };
            let mut place = &mut settings;
            for name in field.split('.') {
                let fields = place
                    .as_object_mut()
                    .ok_or_else(|| wrong(&format!("{field}: {name} is in no object")))?;
                place = fields.entry(name).or_insert_with(|| json!({}));
            }
            *place = value;
        }
        // JSON is YAML: errors are the same as those of a file.
        Self::parse(&settings.to_string())
    }

    /// Reads settings from a file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let fail = |source| Error::Path { what: "injector's settings", path: path.to_owned(), source };
        Self::parse(&std::fs::read_to_string(path).map_err(fail)?)
    }

    fn check(&self) -> Result<(), String> {
        for (field, ports) in
            [("skipInboundPorts", &self.skip_inbound_ports), ("skipOutboundPorts", &self.skip_outbound_ports)]
        {
            check_ports(ports).map_err(|problem| format!("{field}: {problem}"))?;
        }
        check_addresses(&self.skip_outbound_addresses)
            .map_err(|problem| format!("skipOutboundAddresses: {problem}"))?;
        if !matches!(&*self.proxy_image_pull_policy, "Always" | "IfNotPresent" | "Never") {
            let value = &self.proxy_image_pull_policy;
            return Err(format!("proxyImagePullPolicy: {value:?} is none of Always, IfNotPresent and Never"));
        }
        if self.proxy_image.is_empty() {
            return Err("proxyImage: is empty; name an image".to_owned());
        }
        if !matches!(&*self.failure_policy, "Fail" | "Ignore") {
            return Err(format!("failurePolicy: {:?} is neither Fail nor Ignore", self.failure_policy));
        }
        let control_plane = self.control_plane.rsplit_once(':');
        let control_plane =
            control_plane.filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if control_plane.is_none() {
            let value = &self.control_plane;
            return Err(format!("controlPlane: {value:?} is no address; write host:port"));
        }
        self.trust_domain.parse::<TrustDomain>().map_err(|error| format!("trustDomain: {error}"))?;
        weft_log::check(&self.log_level).map_err(|problem| format!("logLevel: {problem}"))?;
        resources::check(&self.resources).map_err(|problem| format!("resources{problem}"))
    }
}

fn wrong(problem: &str) -> Error {
    Error::Setting(format!("injector's settings: {problem}"))
}

/// Checks ports and ranges of ports.
pub(crate) fn check_ports(ports: &[String]) -> Result<(), String> {
    for text in ports {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = first.trim().parse::<u16>().ok().zip(last.trim().parse::<u16>().ok());
        if !range.is_some_and(|(first, last)| first != 0 && first <= last) {
            return Err(format!("{text:?} is neither a port nor a range such as 8000-8100"));
        }
    }
    Ok(())
}

/// Checks addresses and blocks of addresses.
pub(crate) fn check_addresses(addresses: &[String]) -> Result<(), String> {
    for text in addresses {
        if text.parse::<IpNet>().is_err() && text.parse::<std::net::IpAddr>().is_err() {
            return Err(format!("{text:?} is neither an address nor a block such as 10.0.0.0/8"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_its_default() {
        let settings =
            Settings::parse("redirect: cni\nnativeSidecars: false\nskipInboundPorts: ['9000-9010']\n")
                .unwrap();
        assert_eq!(settings.redirect, Redirect::Cni);
        assert_eq!(settings.native_sidecars, NativeSidecars::Never);
        assert_eq!(settings.log_level, "info");
        assert_eq!(Settings::parse("# nothing\n").unwrap(), Settings::default());
    }

    #[test]
    fn wrong_settings_are_named() {
        for (text, problem) in [
            ("proxyimage: x", "proxyimage"),
            ("redirect: maybe", "maybe"),
            ("skipInboundPorts: ['0']", "skipInboundPorts: \"0\" is neither a port"),
            ("skipOutboundPorts: ['9-8']", "skipOutboundPorts: \"9-8\""),
            ("skipOutboundAddresses: [here]", "skipOutboundAddresses: \"here\""),
            ("proxyImagePullPolicy: Sometimes", "\"Sometimes\" is none of"),
            ("nativeSidecars: maybe", "nativeSidecars: \"maybe\" is none of"),
            ("failurePolicy: Retry", "failurePolicy: \"Retry\" is neither"),
            ("controlPlane: here", "controlPlane: \"here\" is no address"),
            ("trustDomain: A B", "trustDomain: "),
            ("logLevel: loud", "logLevel: \"loud\" is not a filter: loud is no level"),
            ("resources: {limits: {cpu: lots}}", "resources.limits.cpu: \"lots\" is no quantity"),
            ("resources: {limit: {cpu: 1}}", "resources.limit: is neither requests nor limits"),
            (
                "resources: {requests: {cpu: 2}, limits: {cpu: 1}}",
                "resources.requests.cpu: 2 is more than the limit, 1",
            ),
        ] {
            let error = Settings::parse(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn single_fields_change_what_the_file_says() {
        let changes = [
            "redirect=none",
            "resources.limits.cpu=500m",
            "skipInboundPorts=9000, 9010-9020",
            "nativeSidecars=true",
        ];
        let changes = changes.map(str::to_owned);
        let settings = Settings::parse_with("redirect: cni\nlogLevel: debug\n", &changes).unwrap();
        assert_eq!(settings.redirect, Redirect::None);
        assert_eq!(settings.log_level, "debug");
        assert_eq!(settings.resources, json!({"limits": {"cpu": "500m"}}));
        assert_eq!(settings.skip_inbound_ports, ["9000", "9010-9020"]);
        assert_eq!(settings.native_sidecars, NativeSidecars::Always);
        assert_eq!(Settings::parse_with("", &[]).unwrap(), Settings::default());
        for (change, problem) in
            [("redirect", "FIELD=VALUE"), ("redirects=cni", "redirects"), ("logLevel.x.y=1", "logLevel")]
        {
            let error = Settings::parse_with("", &[change.to_owned()]).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
