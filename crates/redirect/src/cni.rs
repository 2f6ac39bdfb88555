//! The CNI plugin (CNI specification 1.1): redirects a pod's connections when its network is made, so that no container of
//! the pod needs a capability.
//!
//! It is chained behind the plugin that makes the network. Whether a pod is meshed, and what it leaves out, stands in the
//! annotation that the injector writes; the runtime hands over a pod's annotations where a plugin asks for them by the
//! capability `io.kubernetes.cri.pod-annotations`. So starting a pod needs no answer of the API server, no credentials on
//! the node, and works while the control plane is away.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub mod conflist;
pub mod install;

use crate::backend::{Backend, apply, show};
use crate::list::{Item, List};
use crate::rules::{Inbound, Rules};

/// The name that the plugin is called by.
pub const NAME: &str = "weft-cni";
/// The capability by which the runtime hands over a pod's annotations.
pub const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";
/// The annotation that the injector writes.
pub const STATUS: &str = "mesh.weft.dev/status";
const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// Namespaces whose pods start although nothing is known of them: those that a cluster needs to come up, and the mesh's own.
const BARE: [&str; 2] = ["kube-system", "weft-system"];

/// What a runtime is told when something is wrong (CNI specification, section 5, Error).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CniError {
    /// Its code.
    pub code: u32,
    /// What is wrong, and what to do.
    pub message: String,
}

fn wrong(code: u32, message: impl Into<String>) -> CniError {
    CniError { code, message: message.into() }
}

/// The variables that a runtime sets.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// `CNI_COMMAND`.
    pub command: String,
    /// `CNI_NETNS`.
    pub network: String,
    /// `CNI_ARGS`.
    pub arguments: String,
}

/// What a runtime writes to standard input.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    cni_version: String,
    prev_result: Option<Value>,
    /// What the runtime hands over by capability.
    #[serde(default, rename = "runtimeConfig")]
    handed: Map<String, Value>,
    /// Whether clients' addresses are kept.
    #[serde(default)]
    tproxy: bool,
}

/// What the injector says of a pod.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    redirect: String,
    skip_inbound_ports: Vec<String>,
    skip_outbound_ports: Vec<String>,
    skip_outbound_addresses: Vec<String>,
}

/// Does what the runtime asks for; gives what to write to standard output.
pub fn run(call: &Call, input: &[u8]) -> Result<String, CniError> {
    if call.command == "VERSION" {
        return Ok(json!({"cniVersion": "1.1.0", "supportedVersions": VERSIONS}).to_string());
    }
    let config: Config = serde_json::from_slice(input)
        .map_err(|error| wrong(6, format!("the configuration on standard input: {error}")))?;
    if !VERSIONS.contains(&config.cni_version.as_str()) {
        let known = VERSIONS.join(", ");
        return Err(wrong(1, format!("cniVersion {:?} is not one of {known}", config.cni_version)));
    }
    match call.command.as_str() {
        "ADD" => {
            if let Some(rules) = wanted(&config, call)? {
                within(&call.network, move || apply(&rules, Backend::Auto).map(|_| ()))?
                    .map_err(|error| wrong(100, error.to_string()))?;
            }
            let result = config.prev_result.unwrap_or_else(|| json!({"cniVersion": config.cni_version}));
            Ok(result.to_string())
        }
        "CHECK" => {
            if wanted(&config, call)?.is_some() {
                let rules = within(&call.network, show)?.map_err(|error| wrong(100, error.to_string()))?;
                if rules.is_empty() {
                    return Err(wrong(101, "the pod is meshed, and its connections are not redirected"));
                }
            }
            Ok(String::new())
        }
        // The rules end with the network; there is nothing on the node.
        "DEL" | "GC" | "STATUS" => Ok(String::new()),
        other => Err(wrong(4, format!("CNI_COMMAND {other:?} is not known"))),
    }
}

/// The rules for a pod, or `None` where it is left alone.
fn wanted(config: &Config, call: &Call) -> Result<Option<Rules>, CniError> {
    let mut arguments = call.arguments.split(';').filter_map(|argument| argument.split_once('='));
    let namespace = arguments.find_map(|(key, value)| (key == "K8S_POD_NAMESPACE").then_some(value));
    let Some(annotations) = config.handed.get(ANNOTATIONS) else {
        if namespace.is_none_or(|namespace| BARE.contains(&namespace)) {
            return Ok(None);
        }
        return Err(wrong(
            102,
            format!(
                "the runtime hands over no annotations of pods (capability {ANNOTATIONS}), so that it is not known which \
                 are meshed; containerd does; with another runtime, install with redirect: init instead of cni"
            ),
        ));
    };
    let Some(status) = annotations.get(STATUS).and_then(Value::as_str) else { return Ok(None) };
    let status: Status = serde_json::from_str(status)
        .map_err(|error| wrong(103, format!("annotation {STATUS} {status:?}: {error}")))?;
    if status.redirect != "cni" {
        return Ok(None);
    }
    Ok(Some(Rules {
        skip_inbound_ports: list("skipInboundPorts", &status.skip_inbound_ports)?,
        skip_outbound_ports: list("skipOutboundPorts", &status.skip_outbound_ports)?,
        skip_outbound_addresses: list("skipOutboundAddresses", &status.skip_outbound_addresses)?,
        inbound: if config.tproxy { Inbound::Tproxy } else { Inbound::Redirect },
        ..Rules::default()
    }))
}

fn list<T: Item>(name: &str, items: &[String]) -> Result<Vec<T>, CniError> {
    let parsed = items.join(",").parse::<List<T>>();
    parsed.map(|list| list.0).map_err(|error| wrong(103, format!("annotation {STATUS}, {name}: {error}")))
}

/// Does something in another network, on a thread of its own: this one stays where it is.
fn within<T: Send>(network: &str, inside: impl FnOnce() -> T + Send) -> Result<T, CniError> {
    let entered = |error: &dyn std::fmt::Display| {
        wrong(4, format!("CNI_NETNS {network:?}: cannot enter this network namespace: {error}"))
    };
    let file = File::open(network).map_err(|error| entered(&error))?;
    thread::scope(|scope| {
        let done = scope.spawn(|| {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok::<T, rustix::io::Errno>(inside())
        });
        done.join().unwrap_or(Err(rustix::io::Errno::INVAL)).map_err(|error| entered(&error))
    })
}

/// What standard output is to hold for an error.
pub fn failure(error: &CniError) -> String {
    json!({"cniVersion": "1.1.0", "code": error.code, "msg": error.message}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(command: &str) -> Call {
        Call {
            command: command.into(),
            network: "/nonexistent".into(),
            arguments: "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1".into(),
        }
    }

    fn input(annotations: &Value) -> Vec<u8> {
        json!({
            "cniVersion": "1.0.0", "name": "pods", "type": NAME,
            "prevResult": {"cniVersion": "1.0.0", "ips": []},
            "runtimeConfig": {ANNOTATIONS: annotations},
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn pods_that_are_not_meshed_are_left_alone() {
        for annotations in [
            json!(null),
            json!({}),
            json!({STATUS: r#"{"version": "1", "redirect": "init"}"#}),
            json!({STATUS: r#"{"version": "1", "redirect": "none"}"#}),
        ] {
            let result = run(&call("ADD"), &input(&annotations)).unwrap();
            assert_eq!(result, r#"{"cniVersion":"1.0.0","ips":[]}"#, "{annotations}");
        }
        let system = Call { arguments: "K8S_POD_NAMESPACE=kube-system".into(), ..call("ADD") };
        assert!(run(&system, br#"{"cniVersion": "1.0.0"}"#).is_ok());
    }

    #[test]
    fn a_meshed_pod_that_cannot_be_redirected_does_not_start() {
        let meshed = json!({STATUS: r#"{"redirect": "cni"}"#});
        let error = run(&call("ADD"), &input(&meshed)).unwrap_err();
        assert_eq!(error.code, 4);
        assert!(error.message.contains("/nonexistent"), "{error}");
        // Also where hardly any is meshed.
        let system = Call { arguments: "K8S_POD_NAMESPACE=weft-system".into(), ..call("ADD") };
        assert_eq!(run(&system, &input(&meshed)).unwrap_err().code, 4);
        let unknown = run(&call("ADD"), br#"{"cniVersion": "1.0.0"}"#).unwrap_err();
        assert!(unknown.code == 102 && unknown.message.contains(ANNOTATIONS), "{unknown}");
        let odd = json!({STATUS: r#"{"redirect": "cni", "skipInboundPorts": ["http"]}"#});
        let odd = run(&call("ADD"), &input(&odd)).unwrap_err();
        assert!(odd.code == 103 && odd.message.contains("\"http\" is not a port"), "{odd}");
    }

    #[test]
    fn the_end_of_a_pod_needs_nothing() {
        for command in ["DEL", "GC", "STATUS"] {
            assert_eq!(run(&call(command), br#"{"cniVersion": "1.1.0"}"#).unwrap(), "");
        }
        let versions = run(&call("VERSION"), b"").unwrap();
        assert!(versions.contains("\"1.0.0\",\"1.1.0\""), "{versions}");
        assert_eq!(run(&call("ADD"), br#"{"cniVersion": "9"}"#).unwrap_err().code, 1);
        assert_eq!(run(&call("JUMP"), br#"{"cniVersion": "1.0.0"}"#).unwrap_err().code, 4);
        assert_eq!(run(&call("ADD"), b"{").unwrap_err().code, 6);
    }
}
