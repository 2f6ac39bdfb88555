//! What a folder would tell the proxies, without running anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use weft_identity::Grants;
use weft_mesh::name::{Identity, ServiceName, ServicePort, TrustDomain};
use weft_mesh::protocol::Protocol;
use weft_proto::v1;

use crate::Error;
use crate::check::{Report, folder};
use crate::compile::{self, Reader, Target};
use crate::index::{Health, Index, Locality, Offer, Workload, parents};
use weft_resource::{Key, Object, Spec, hint};

/// What a folder would tell a proxy of one destination.
#[derive(Debug)]
pub struct Preview {
    /// What is wrong with the folder; what is refused has no part in the rest.
    pub report: Report,
    /// The destination; `None`: the mesh has none of that name.
    pub destination: Option<v1::Destination>,
    /// What the proxies of each service of the destination let in.
    pub inbounds: Vec<(ServicePort, v1::Inbound)>,
    /// Services that the folder refers to without having them: workloads are taken to offer these.
    pub assumed: Vec<ServicePort>,
    /// Where the folder has no such destination: a name that may have been meant.
    pub hint: Option<String>,
    /// Policies of the namespaces of what is taken to be offered, of which nobody can say whether they select its workloads.
    pub unjudged: Vec<String>,
}

/// Reads a folder as the control plane would, and asks it for the destination `name`, `host:port`, on behalf of a
/// caller in `namespace`.
///
/// Workloads register at run time; here each service has one that is made up. A service that only routes name, and
/// `name` itself where a route is for it, or policies are that may refuse what is sent to it, is taken to be offered by one.
///
/// Fails only when the folder can't be read.
pub fn preview(
    path: &Path,
    name: &str,
    namespace: &str,
    trust_domain: &TrustDomain,
) -> Result<Preview, Error> {
    let (objects, report) = folder(path)?;
    let mut index = Index::default();
    index.set_objects(&objects);
    let port = name.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let mut assumed: Vec<_> =
        named(&objects, port).into_iter().filter(|named| index.service(&named.service).is_none()).collect();
    let known: BTreeSet<String> =
        services(&objects, &assumed).iter().map(|known| dialled(known, namespace)).collect();
    let stranger = governed(&index, name, namespace)
        .filter(|stranger| assumed.iter().all(|known| known.service != stranger.service));
    let hint =
        stranger.as_ref().filter(|_| !known.is_empty()).map(|_| hint(name, known.iter().map(String::as_str)));
    assumed.extend(stranger);
    for service in &assumed {
        let labels = [("app".to_owned(), service.service.name().to_owned())];
        register(&mut index, service, labels.into(), trust_domain);
    }
    for object in objects.values() {
        if let Spec::Service(spec) = &object.spec
            && let Ok(service) = ServiceName::new(&object.key.namespace, &object.key.name)
            && let Some(first) = spec.ports.first()
        {
            register(&mut index, &ServicePort::new(service, first.port), spec.selector.clone(), trust_domain);
        }
    }
    let reader = Reader::new(&index);
    let target = compile::find(&reader, name, namespace).target();
    let consumer = match &target {
        Some(Target::Service(port)) if compile::has_consumer_routes(&reader, &port.service, namespace) => {
            Some(namespace)
        }
        _ => None,
    };
    let destination = target.and_then(|target| compile::destination(&reader, &target, consumer));
    let inbounds = services(&objects, &assumed)
        .into_iter()
        .filter_map(|service| {
            let inbound = compile::inbound(&reader, &service.service.to_string())?;
            Some((service, inbound))
        })
        .collect();
    let hint = hint.or_else(|| {
        let unknown = destination.is_none();
        unknown.then(|| weft_resource::hint(name, known.iter().map(String::as_str)))
    });
    let unjudged = unjudged(&index, &assumed);
    Ok(Preview { report, destination, inbounds, assumed, hint, unjudged })
}

/// The service that is dialled, if the folder does not have it and yet has policies that may be for it.
fn governed(index: &Index, name: &str, namespace: &str) -> Option<ServicePort> {
    let (host, port) = name.rsplit_once(':')?;
    let host = host.trim_end_matches('.');
    let host = [".svc.cluster.local", ".svc"].iter().find_map(|end| host.strip_suffix(end)).unwrap_or(host);
    let (service, of) = host.split_once('.').unwrap_or((host, namespace));
    let service = ServiceName::new(of, service).ok()?;
    let has_policies = |namespace: &str| !index.workload_policies(namespace).is_empty();
    // Policies of the mesh are no sign that a name of another namespace is in it.
    let governed = has_policies(of) || of == namespace && has_policies(compile::SYSTEM_NAMESPACE);
    (governed && index.service(&service).is_none())
        .then(|| Some(ServicePort::new(service, port.parse().ok()?)))?
}

/// Policies with a selector, in the namespaces of services whose workloads' labels are made up.
fn unjudged(index: &Index, assumed: &[ServicePort]) -> Vec<String> {
    let namespaces: BTreeSet<&str> = assumed.iter().map(|service| service.service.namespace()).collect();
    let policies = namespaces.into_iter().flat_map(|namespace| index.workload_policies(namespace));
    let selecting = policies.filter(|object| match &object.spec {
        Spec::AuthorizationPolicy(spec) => spec.selector.is_some(),
        Spec::MeshPolicy(spec) => spec.selector.is_some(),
        _ => false,
    });
    selecting.map(|object| object.key.to_string()).collect()
}

/// What a caller dials for a service.
fn dialled(service: &ServicePort, namespace: &str) -> String {
    let name = &service.service;
    if name.namespace() == namespace {
        format!("{}:{}", name.name(), service.port)
    } else {
        format!("{}.{}:{}", name.name(), name.namespace(), service.port)
    }
}

/// All ports of all services.
fn services(objects: &BTreeMap<Key, Arc<Object>>, assumed: &[ServicePort]) -> Vec<ServicePort> {
    let written = objects.values().flat_map(|object| {
        let Spec::Service(spec) = &object.spec else { return Vec::new() };
        let Ok(service) = ServiceName::new(&object.key.namespace, &object.key.name) else {
            return Vec::new();
        };
        spec.ports.iter().map(|port| ServicePort::new(service.clone(), port.port)).collect()
    });
    written.chain(assumed.iter().cloned()).collect()
}

/// The services that routes name. A parent without a port is taken to have the one that is dialled.
fn named(objects: &BTreeMap<Key, Arc<Object>>, port: Option<u16>) -> BTreeSet<ServicePort> {
    let mut named = BTreeSet::new();
    for object in objects.values() {
        for parent in parents(Some(object)) {
            named.extend(port.map(|port| ServicePort::new(parent, port)));
        }
        let spec = match &object.spec {
            Spec::HttpRoute(spec) => serde_json::to_value(spec),
            Spec::GrpcRoute(spec) => serde_json::to_value(spec),
            Spec::TlsRoute(spec) | Spec::TcpRoute(spec) => serde_json::to_value(spec),
            _ => continue,
        };
        if let Ok(spec) = spec {
            backends(&spec, &object.key.namespace, &mut named);
        }
    }
    named
}

/// Collects what `backendRefs` at any depth name.
fn backends(value: &Value, namespace: &str, named: &mut BTreeSet<ServicePort>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| backends(item, namespace, named)),
        Value::Object(fields) => {
            for (key, value) in fields {
                if key == "backendRefs" {
                    let references = value.as_array().into_iter().flatten();
                    named.extend(references.filter_map(|reference| backend(reference, namespace)));
                }
                backends(value, namespace, named);
            }
        }
        _ => {}
    }
}

fn backend(reference: &Value, namespace: &str) -> Option<ServicePort> {
    let text = |field: &str| reference.get(field).and_then(Value::as_str);
    if text("kind").is_some_and(|kind| kind != "Service") {
        return None;
    }
    let port = reference.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok())?;
    // What another namespace may not be asked for is refused as such when the destination is compiled.
    let service = ServiceName::new(text("namespace").unwrap_or(namespace), text("name")?).ok()?;
    Some(ServicePort::new(service, port))
}

/// Adds a workload that offers a service; its id is the service's name. Several ports are offered by one workload.
fn register(
    index: &mut Index,
    service: &ServicePort,
    labels: BTreeMap<String, String>,
    trust_domain: &TrustDomain,
) {
    let name = &service.service;
    let Ok(identity) = Identity::new(trust_domain, name.namespace(), name.name()) else { return };
    let id: Arc<str> = name.to_string().into();
    let offers = index.workload(&id).map(|workload| workload.offers.clone()).unwrap_or_default();
    let offer = Offer {
        service: name.name().to_owned(),
        port: service.port,
        port_name: String::new(),
        protocol: Protocol::Detect,
        address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), service.port),
        application_port: service.port,
    };
    index.set_workload(&Arc::new(Workload {
        name: Arc::clone(&id),
        id,
        grants: Grants::default(),
        token: None,
        identity,
        labels,
        offers: offers.into_iter().chain([offer]).collect(),
        locality: Locality::default(),
        health: Health::Ready,
        proxy_version: String::new(),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: canary, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: reviews, port: 9080}]
  rules:
  - backendRefs: [{name: reviews-v1, port: 9080, weight: 9}, {name: reviews-v2, port: 9080, weight: 1}]
";

    fn ask(yaml: &str, name: &str) -> Preview {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("mesh.yaml"), yaml).unwrap();
        preview(folder.path(), name, "shop", &"cluster.local".parse().unwrap()).unwrap()
    }

    #[test]
    fn services_that_only_routes_name_are_taken_to_be_offered() {
        let found = ask(ROUTE, "reviews:9080");
        assert_eq!(found.report.errors, []);
        let destination = found.destination.unwrap();
        let backends = &destination.http_routes[0].rules[0].backends;
        assert!(
            backends
                .iter()
                .all(|backend| { matches!(backend.target, Some(v1::weighted_backend::Target::Backend(_))) }),
            "{backends:?}"
        );
        let assumed: Vec<String> = found.assumed.iter().map(ToString::to_string).collect();
        assert_eq!(assumed, ["shop/reviews:9080", "shop/reviews-v1:9080", "shop/reviews-v2:9080"]);
        assert_eq!(found.inbounds.len(), 3);
    }

    const DENY: &str = "
apiVersion: mesh.weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: nobody, namespace: shop}
spec: {action: DENY, rules: [{}]}
";

    #[test]
    fn what_only_policies_are_for_is_taken_to_be_offered_and_asked_about() {
        for name in ["cart:80", "cart.shop:80", "cart.shop.svc.cluster.local:80"] {
            let found = ask(DENY, name);
            assert!(found.destination.is_some(), "{name}");
            let (service, inbound) = &found.inbounds[0];
            assert_eq!(service.to_string(), "shop/cart:80");
            assert_eq!(inbound.default_port.as_ref().unwrap().authorization.len(), 1);
            assert_eq!((found.hint, found.unjudged), (None, Vec::<String>::new()));
        }
        let selecting = DENY.replace("spec: {", "spec: {selector: {matchLabels: {tier: db}}, ");
        assert_eq!(ask(&selecting, "cart:80").unjudged, ["AuthorizationPolicy shop/nobody"]);
        assert!(ask(DENY, "example.com:80").destination.is_none(), "of a namespace without policies");
        let both = format!("{DENY}---{ROUTE}");
        assert_eq!(ask(&both, "reveiws:9080").hint.as_deref(), Some("did you mean \"reviews:9080\"?"));
    }

    #[test]
    fn a_name_that_is_not_there_is_answered_with_one_that_is() {
        let found = ask(ROUTE, "reveiws:9080");
        assert!(found.destination.is_none());
        assert_eq!(found.hint.as_deref(), Some("did you mean \"reviews:9080\"?"));
    }
}
