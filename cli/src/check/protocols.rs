//! Services that disagree about what is spoken on one port of a pod, which has one application on it.

use std::collections::BTreeMap;

use serde_json::Value;
use weft_mesh::protocol::Protocol;

use super::{Check, some};
use crate::cluster::pod::Pod;

/// What Services lead to and declare: a port of the pods that somebody made, by which Service, in the order of names.
type Declared<'a> = BTreeMap<(&'a str, String, u64), Vec<(&'a str, Protocol)>>;

pub(super) fn judge(meshed: &[Pod<'_>], services: &[Value]) -> Check {
    let (id, about) = ("protocols", "protocols of ports");
    let declared = declared(meshed, services);
    let contradicted: Vec<String> = declared
        .iter()
        .filter_map(|((namespace, owner, port), said)| {
            // The control plane goes by the first that declares something, too.
            let mut said = said.iter().filter(|(_, protocol)| *protocol != Protocol::Detect);
            let (first, taken) = said.next()?;
            let (other, declared) = said.find(|(_, protocol)| protocol != taken)?;
            Some(format!(
                "port {port} of {owner} in {namespace}: {} by Service {other}, and taken for {} by Service {first}",
                declared.label(),
                taken.label()
            ))
        })
        .collect();
    if contradicted.is_empty() {
        return Check::ok(id, about, format!("Services agree about {0} of {0} ports", declared.len()));
    }
    let hint = "declare the same in all of them, by appProtocol or the beginning of the port's name, or give them ports of their own";
    Check::warning(id, about, some(&contradicted), hint)
}

fn declared<'a>(meshed: &[Pod<'a>], services: &'a [Value]) -> Declared<'a> {
    let mut services: Vec<&Value> = services.iter().collect();
    services.sort_by_key(|service| name(service));
    let mut declared = Declared::new();
    for pod in meshed {
        for service in services.iter().filter(|service| selects(service, *pod)) {
            for port in service["spec"]["ports"].as_array().into_iter().flatten() {
                let Some(number) = target(port, *pod) else { continue };
                let protocol = Protocol::declared(port["appProtocol"].as_str(), port["name"].as_str());
                let said = declared.entry((pod.namespace(), pod.owner(), number)).or_default();
                if !said.contains(&(name(service), protocol)) {
                    said.push((name(service), protocol));
                }
            }
        }
    }
    declared
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn selects(service: &Value, pod: Pod<'_>) -> bool {
    let selector = service["spec"]["selector"].as_object();
    service["metadata"]["namespace"] == *pod.namespace()
        && selector.is_some_and(|selector| {
            !selector.is_empty()
                && selector.iter().all(|(key, value)| pod.0["metadata"]["labels"][key] == *value)
        })
}

/// The port of the pod that a port of a Service leads to, over TCP.
fn target(port: &Value, pod: Pod<'_>) -> Option<u64> {
    if port["protocol"].as_str().is_some_and(|transport| transport != "TCP") {
        return None;
    }
    match &port["targetPort"] {
        Value::Null => port["port"].as_u64(),
        Value::Number(number) => number.as_u64(),
        named => {
            let containers = pod.0["spec"]["containers"].as_array().into_iter().flatten();
            let mut ports =
                containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
            ports.find(|port| port["name"] == *named)?["containerPort"].as_u64()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Outcome;
    use super::*;

    fn service(name: &str, selector: &Value, port: &Value) -> Value {
        json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"selector": selector, "ports": [port]}})
    }

    #[test]
    fn services_that_declare_different_protocols_of_one_port_are_named_and_which_of_them_counts() {
        let pod = json!({
            "metadata": {"name": "web-0", "namespace": "shop", "labels": {"app": "web"},
                "ownerReferences": [{"kind": "StatefulSet", "name": "web"}]},
            "spec": {"containers": [{"ports": [{"name": "main", "containerPort": 8080}]}]},
        });
        let app = json!({"app": "web"});
        let first = service("b", &app, &json!({"name": "http", "port": 80, "targetPort": 8080}));
        let others = [
            (json!({"port": 8080, "appProtocol": "grpc"}), true),
            (json!({"port": 81, "targetPort": "main", "name": "tcp-raw"}), true),
            (json!({"port": 81, "targetPort": "main", "name": "http-too"}), false),
            // Nothing is declared, so that nothing is contradicted.
            (json!({"port": 8080}), false),
            (json!({"port": 8081, "appProtocol": "grpc"}), false),
            (json!({"port": 8080, "appProtocol": "grpc", "protocol": "UDP"}), false),
        ];
        for (port, contradicts) in others {
            let services = [service("c", &app, &port), first.clone()];
            let check = judge(&[Pod(&pod)], &services);
            let expected = if contradicts { Outcome::Warning } else { Outcome::Ok };
            assert_eq!(check.outcome, expected, "{port}: {check:?}");
            if contradicts {
                assert!(check.found.starts_with("port 8080 of sts/web in shop: "), "{check:?}");
                assert!(check.found.ends_with("by Service c, and taken for http1 by Service b"), "{check:?}");
            }
        }
        let elsewhere = service("c", &json!({"app": "db"}), &json!({"port": 8080, "appProtocol": "grpc"}));
        assert_eq!(judge(&[Pod(&pod)], &[first, elsewhere]).outcome, Outcome::Ok);
    }
}
