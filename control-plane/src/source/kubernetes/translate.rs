//! From what the API server says to what the index holds; everything else is dropped at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod as ClusterPod;
use kube::ResourceExt as _;
use kube::api::{ApiResource, DynamicObject};
use serde_json::{Map, Value, json};
use weft_mesh::name::{Identity, TrustDomain};

use super::store::News;
use crate::index::{Change, Pod};
use crate::inject;
use weft_resource::{Age, Decoded, Key, Kind, OWN_GROUP, decode_in_part};

/// Label of a pod that has a proxy, with the proxy's version.
const PROXY_LABEL: &str = "mesh.weft.dev/proxy";
/// Service account of a pod that names none.
const DEFAULT_ACCOUNT: &str = "default";

/// Which resource it is.
pub(crate) fn key(kind: Kind, object: &DynamicObject) -> Key {
    Key { kind, namespace: object.namespace().unwrap_or_default().into(), name: object.name_any().into() }
}

/// Decodes a resource. One that is wrong as a whole changes nothing: what it said before stays, except that what can't be
/// read denies what it could have meant, and grants nothing.
pub(super) fn object(key: Key, resource: &ApiResource, object: DynamicObject) -> News {
    let decoded = decode_object(key.kind, resource, object);
    let changes = match decoded.object {
        Some(object) => Some(Change::Put(Arc::new(object))),
        None if key.kind == Kind::ReferenceGrant => Some(Change::Remove(key.clone())),
        None => None,
    };
    News { changes: changes.into_iter().collect(), judged: vec![(key, decoded.problems)], whole: false }
}

/// Decodes a resource as the API server has it.
pub(crate) fn decode_object(kind: Kind, resource: &ApiResource, object: DynamicObject) -> Decoded {
    decode_in_part(&document(kind, resource, object), Age::Written("cluster".into(), 0))
}

/// The resource as a file would say it. Of kinds that are not our own, fields that are not known here are left out: the
/// API server may be newer.
fn document(kind: Kind, resource: &ApiResource, object: DynamicObject) -> Value {
    let mut body = match object.data {
        Value::Object(body) => body,
        _ => Map::new(),
    };
    body.retain(|name, _| if kind.has_spec() { name == "spec" } else { name != "status" });
    let mut body = Value::Object(body);
    if kind.group() != OWN_GROUP {
        if !kind.has_spec() {
            kind.prune(&mut body);
        } else if let Some(spec) = body.get_mut("spec") {
            kind.prune(spec);
        }
    }
    body["apiVersion"] = json!(resource.api_version);
    body["kind"] = json!(kind.as_str());
    body["metadata"] = json!({
        "name": object.metadata.name,
        "namespace": object.metadata.namespace,
        "labels": object.metadata.labels,
        "creationTimestamp": object.metadata.creation_timestamp,
    });
    body
}

pub(super) fn pod_id(pod: &ClusterPod) -> Arc<str> {
    Pod::id(&pod.namespace().unwrap_or_default(), &pod.name_any())
}

/// A pod that has ended, or can't have an identity, is as good as none.
pub(super) fn pod(id: Arc<str>, pod: &ClusterPod, trust_domain: &TrustDomain) -> News {
    let change =
        compact(&id, pod, trust_domain).map_or(Change::RemovePod(id), |pod| Change::PutPod(Arc::new(pod)));
    News { changes: vec![change], ..News::default() }
}

fn compact(id: &Arc<str>, pod: &ClusterPod, trust_domain: &TrustDomain) -> Option<Pod> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return None;
    }
    let spec = pod.spec.as_ref()?;
    let account = spec.service_account_name.as_deref().filter(|name| !name.is_empty());
    let identity = Identity::new(trust_domain, &pod.namespace()?, account.unwrap_or(DEFAULT_ACCOUNT)).ok()?;
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let named = ports.filter_map(|port| Some((port.name.clone()?, u16::try_from(port.container_port).ok()?)));
    let status = pod.status.as_ref();
    let ips = status.and_then(|it| it.pod_ip.as_deref()).into_iter();
    let ips = ips.chain(status.iter().flat_map(|it| it.pod_ips.iter().flatten()).map(|it| it.ip.as_str()));
    let node_ips = status.and_then(|it| it.host_ip.as_deref()).into_iter();
    let node_ips =
        node_ips.chain(status.iter().flat_map(|it| it.host_ips.iter().flatten()).map(|it| it.ip.as_str()));
    Some(Pod {
        name: pod.name_any().into(),
        id: Arc::clone(id),
        uid: pod.metadata.uid.as_deref().unwrap_or_default().into(),
        ips: addresses(ips),
        node_ips: addresses(node_ips),
        host_network: spec.host_network.unwrap_or_default(),
        identity,
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        ports: named.collect::<BTreeMap<_, _>>(),
        proxy: proxy(pod),
        able: is_able(pod),
    })
}

/// Addresses that are written down, each once.
fn addresses<'a>(written: impl Iterator<Item = &'a str>) -> Vec<IpAddr> {
    let read: BTreeSet<IpAddr> = written.filter_map(|ip| ip.parse().ok()).collect();
    read.into_iter().collect()
}

/// The version of a pod's proxy. Its containers can't change, as its labels can: one that has a sidecar is not spoken to in
/// plain text because somebody took the label away.
fn proxy(pod: &ClusterPod) -> Option<String> {
    let label = pod.labels().get(PROXY_LABEL).cloned();
    let spec = pod.spec.as_ref()?;
    let mut containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let sidecar = containers.any(|container| container.name == inject::PROXY);
    label.or_else(|| sidecar.then(String::new))
}

/// Whether a pod's node would have it ready: a kubelet says `Ready` of what has `ContainersReady` and all of its readiness
/// gates, and says both in one. Others who say that a pod is not ready leave `ContainersReady` as it is.
fn is_able(pod: &ClusterPod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let holds = |name: &str| conditions.iter().any(|it| it.type_ == name && it.status == "True");
    let mut gates = pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && holds("ContainersReady")
        && gates.all(|gate| holds(&gate.condition_type))
}
