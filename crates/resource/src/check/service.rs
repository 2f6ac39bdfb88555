//! Checks of Service, EndpointSlice and ExternalService.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::unique;
use crate::decode::{is_label, is_subdomain};
use crate::problem::{At, Problems};
use crate::service::SLICE_SERVICE_LABEL;
use crate::{
    AddressType, EndpointSliceSpec, ExternalServiceSpec, PortOrName, ServiceSpec, ServiceType, Transport,
};

/// Domains of names that are never outside.
const LOCAL_DOMAINS: [&str; 2] = ["svc", "localhost"];

pub(super) fn service(spec: &ServiceSpec, at: &At<'_>, problems: &mut Problems) {
    let ports = at.field("ports");
    if spec.r#type == Some(ServiceType::ExternalName) {
        problems.warn(
            &at.field("type"),
            "ExternalName is an alias of DNS and is not in the mesh; for a destination outside write an ExternalService",
        );
    } else if spec.ports.is_empty() && !spec.is_headless() {
        problems.error(at, "has no ports; write at least one, or clusterIP: None");
    }
    for (index, port) in spec.ports.iter().enumerate() {
        let at = ports.item(index);
        port_name(port.name.as_deref(), spec.ports.len(), &at, problems);
        match &port.target_port {
            Some(PortOrName::Number(number)) if !(1..=65535).contains(number) => {
                problems.error(&at.field("targetPort"), format!("is {number}; it must be from 1 to 65535"));
            }
            Some(PortOrName::Name(name)) if name.len() > 15 || !is_label(name) => problems.error(
                &at.field("targetPort"),
                format!("is {name:?}; a port's name has at most 15 lower-case letters, digits and '-'"),
            ),
            _ => {}
        }
    }
    let numbers = spec.ports.iter().enumerate();
    unique(
        numbers.map(|(index, port)| (index, (port.port, port.protocol.unwrap_or_default()))),
        &ports,
        |(port, _)| format!("port {port}"),
        problems,
    );
    let names = spec.ports.iter().enumerate().filter_map(|(index, port)| Some((index, port.name.as_ref()?)));
    unique(names, &ports, |name| format!("the name {name:?}"), problems);
    if let Some(address) = spec.cluster_ip.as_deref() {
        cluster_ip(address, &at.field("clusterIP"), problems);
    }
    for (index, address) in spec.cluster_ips.iter().enumerate() {
        cluster_ip(address, &at.field("clusterIPs").item(index), problems);
    }
}

fn cluster_ip(address: &str, at: &At<'_>, problems: &mut Problems) {
    if !address.is_empty() && address != "None" && address.parse::<IpAddr>().is_err() {
        problems.error(at, format!("is {address:?}; write an IP address, or None for a headless Service"));
    }
}

fn port_name(name: Option<&str>, ports: usize, at: &At<'_>, problems: &mut Problems) {
    match name {
        None | Some("") if ports > 1 => {
            problems.error(at, "the field \"name\" is missing; of several ports each needs one");
        }
        Some(name) if !name.is_empty() && !is_label(name) => problems.error(
            &at.field("name"),
            format!("is {name:?}; write at most 63 lower-case letters, digits and '-'"),
        ),
        _ => {}
    }
}

pub(super) fn slice(
    spec: &EndpointSliceSpec,
    labels: &BTreeMap<String, String>,
    at: &At<'_>,
    problems: &mut Problems,
) {
    if !labels.contains_key(SLICE_SERVICE_LABEL) {
        problems.warn(
            &at.field("metadata"),
            format!("has no label {SLICE_SERVICE_LABEL} and so belongs to no Service"),
        );
    }
    if spec.address_type == AddressType::Fqdn {
        problems.warn(&at.field("addressType"), "FQDN is left alone by the mesh; write IP addresses");
        return;
    }
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        for (number, address) in endpoint.addresses.iter().enumerate() {
            let fits = match address.parse::<IpAddr>() {
                Ok(IpAddr::V4(_)) => spec.address_type == AddressType::IPv4,
                Ok(IpAddr::V6(_)) => spec.address_type == AddressType::IPv6,
                Err(_) => false,
            };
            if !fits {
                let at = at.field("endpoints");
                let at = at.item(index);
                let at = at.field("addresses");
                problems.error(
                    &at.item(number),
                    format!("is {address:?}; write an {:?} address, as addressType says", spec.address_type),
                );
            }
        }
    }
    for (index, port) in spec.ports.iter().enumerate() {
        if port.port.is_none() && port.protocol.unwrap_or_default() == Transport::Tcp {
            problems.warn(&at.field("ports").item(index), "has no port and is left alone by the mesh");
        }
    }
}

pub(super) fn external(spec: &ExternalServiceSpec, at: &At<'_>, problems: &mut Problems) {
    let hosts = at.field("hosts");
    for (index, host) in spec.hosts.iter().enumerate() {
        if !is_subdomain(host) || host.parse::<IpAddr>().is_ok() {
            problems.error(&hosts.item(index), format!("is {host:?}; write a host name in lower case"));
        } else if LOCAL_DOMAINS.into_iter().any(|local| host.rsplit('.').next() == Some(local))
            || host == "cluster.local"
            || host.ends_with(".cluster.local")
        {
            let problem =
                format!("is {host:?}, a name of the cluster itself; write the name of something outside");
            problems.error(&hosts.item(index), problem);
        }
    }
    unique(spec.hosts.iter().enumerate(), &hosts, |host| format!("the host {host:?}"), problems);
    let ports = at.field("ports");
    for (index, port) in spec.ports.iter().enumerate() {
        port_name(port.name.as_deref(), spec.ports.len(), &ports.item(index), problems);
    }
    let numbers = spec.ports.iter().map(|port| port.port).enumerate();
    unique(numbers, &ports, |port| format!("port {port}"), problems);
    let endpoints = at.field("endpoints");
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        if endpoint.address.parse::<IpAddr>().is_err() {
            let at = endpoints.item(index);
            problems.error(&at.field("address"), format!("is {:?}; write an IP address", endpoint.address));
        }
    }
    let addresses = spec.endpoints.iter().map(|endpoint| &endpoint.address).enumerate();
    unique(addresses, &endpoints, |address| format!("the address {address:?}"), problems);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{Age, Severity, decode};

    fn errors(resource: &Value) -> Vec<String> {
        let problems = decode(resource, Age::Written("test".into(), 0)).problems;
        let errors = problems.into_iter().filter(|it| it.severity == Severity::Error);
        errors.map(|it| format!("{}: {}", it.path, it.reason)).collect()
    }

    fn service(spec: &Value) -> Vec<String> {
        errors(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "cart"}, "spec": spec}))
    }

    #[test]
    fn a_headless_service_needs_no_ports() {
        assert_eq!(service(&json!({"clusterIP": "None", "selector": {"app": "db"}})), [""; 0]);
        assert_eq!(service(&json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": []})), [""; 0]);
        assert!(service(&json!({"selector": {"app": "db"}}))[0].contains("has no ports"));
    }

    #[test]
    fn names_of_the_cluster_itself_are_no_hosts_of_something_outside() {
        let hosts = |hosts: Value| {
            errors(&json!({
                "apiVersion": "mesh.weft.dev/v1alpha1", "kind": "ExternalService", "metadata": {"name": "x"},
                "spec": {"hosts": hosts, "ports": [{"port": 80}], "endpoints": [{"address": "192.0.2.1"}]},
            }))
        };
        for host in
            ["cart.shop.svc", "cart.shop.svc.cluster.local", "cluster.local", "localhost", "a.localhost"]
        {
            let said = hosts(json!([host]));
            assert!(said.iter().any(|it| it.contains("name of the cluster itself")), "{host}: {said:?}");
        }
        assert_eq!(hosts(json!(["api.example.com", "db", "svc.example.com"])), [""; 0]);
    }
}
