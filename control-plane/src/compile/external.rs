//! What of an ExternalService has no effect, and why.

use std::net::IpAddr;

use weft_mesh::name::ServiceName;

use super::destination::{claimant, is_taken};
use super::name::readings;
use super::{Reader, SYSTEM_NAMESPACE};
use weft_resource::{ExternalServiceSpec, FieldPath, Kind, OWN_GROUP, Problem, Segment, Severity};

/// What of an ExternalService has no effect: hosts and addresses that are others', namespaces that do not take it.
pub(crate) fn conflicts(reader: &Reader<'_>, name: &ServiceName, spec: &ExternalServiceSpec) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut tell = |field: &str, index: usize, reason: String| {
        let path = ["spec", field].map(|field| Segment::Field(field.to_owned()));
        let path = FieldPath(path.into_iter().chain([Segment::Item(index)]).collect());
        found.push(Problem { severity: Severity::Warning, path, reason });
    };
    for (index, host) in spec.hosts.iter().enumerate() {
        if let Some(reason) = host_conflict(reader, name, host) {
            tell("hosts", index, reason);
        }
    }
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        let Ok(ip) = endpoint.address.parse::<IpAddr>() else { continue };
        let whose = match reader.ip(ip) {
            Some(service) => format!("Service {service}"),
            None if reader.is_pod(ip) => "a pod".to_owned(),
            None => continue,
        };
        let reason = format!(
            "{ip} is the address of {whose}, which is in the mesh; nothing is sent there as to something outside"
        );
        tell("endpoints", index, reason);
    }
    for (index, namespace) in spec.export_to.iter().enumerate() {
        let own = namespace == name.namespace();
        if namespace == "*" || own || name.namespace() == SYSTEM_NAMESPACE {
            continue;
        }
        if !is_taken(reader, name, namespace) {
            tell("exportTo", index, untaken(name, namespace));
            continue;
        }
        for host in &spec.hosts {
            if let Some(other) = claimant(reader, host, namespace).filter(|other| other != name) {
                let reason = format!(
                    "the host {host:?} is {}'s in namespace {namespace}, {}",
                    of_kind(&other),
                    if other.namespace() == namespace { "which is its own" } else { "which is older" }
                );
                tell("exportTo", index, reason);
            }
        }
    }
    found
}

fn host_conflict(reader: &Reader<'_>, name: &ServiceName, host: &str) -> Option<String> {
    let read = readings(host, name.namespace());
    let services =
        read.into_iter().filter_map(|(namespace, service)| ServiceName::new(namespace, service).ok());
    let within = |service: &ServiceName| {
        service != name && reader.service(service).is_some_and(|service| !service.is_external())
    };
    if let Some(service) = services.into_iter().find(within) {
        return Some(format!("{host:?} is the name of Service {service}, which goes before it"));
    }
    let first = claimant(reader, host, name.namespace()).filter(|first| first != name)?;
    Some(format!("{host:?} is {}'s already, which is older; remove it from one of them", of_kind(&first)))
}

fn of_kind(name: &ServiceName) -> String {
    format!("{} {name}", Kind::ExternalService)
}

fn untaken(name: &ServiceName, namespace: &str) -> String {
    format!(
        "namespace {namespace} does not take it; it does with a ReferenceGrant there, from kind ExternalService of group \
         {OWN_GROUP} in namespace {} to the same kind",
        name.namespace()
    )
}

#[cfg(test)]
mod tests;
