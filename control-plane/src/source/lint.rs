//! What can be seen only when all resources are there: references to what does not exist. None of it is an error, as
//! Gateway API has an answer to each, and what is missing may come from a workload that registers.

use std::collections::HashMap;
use std::sync::Arc;

use weft_mesh::name::ServiceName;

use crate::compile::{Reader, Referrer, Unresolved, check_extension, conflicts, resolve};
use crate::index::{Index, parent_refs, parents};
use weft_resource::{
    BackendReference, FieldPath, Key, Kind, Object, ParentRef, Problem, RouteBackend, RouteFilter, Segment,
    Severity, Spec, hint,
};

/// Whether workloads that registered are in the index, or might be there later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Registered {
    /// Those that there are, and those that were there, are known.
    Known,
    /// Only files are known: a service that none of them has may be one that workloads offer.
    Unknown,
}

/// Tells what resources refer to that is not there, and which of them have no effect because of others.
pub(crate) fn lint(index: &Index, registered: Registered) -> Vec<(Key, Problem)> {
    let mut objects: Vec<&Arc<Object>> = index.objects().collect();
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    let mut lint = Lint { index, registered, found: Vec::new() };
    for object in &objects {
        lint.references(object);
    }
    lint.rivals(&objects);
    lint.claims(&objects);
    lint.found
}

/// Tells of claims on names and addresses that have no effect, and of endpoints that proxies are not told of.
pub(crate) fn claims(index: &Index) -> Vec<(Key, Problem)> {
    let external = |object: &&Arc<Object>| object.key.kind == Kind::ExternalService;
    let mut objects: Vec<&Arc<Object>> = index.objects().filter(external).collect();
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    let mut lint = Lint { index, registered: Registered::Known, found: Vec::new() };
    lint.claims(&objects);
    lint.withheld();
    lint.found
}

struct Lint<'a> {
    index: &'a Index,
    registered: Registered,
    found: Vec<(Key, Problem)>,
}

impl Lint<'_> {
    fn references(&mut self, object: &Arc<Object>) {
        match &object.spec {
            Spec::HttpRoute(spec) => {
                for (index, rule) in spec.rules.iter().enumerate() {
                    let at = item(&path("spec.rules"), index);
                    self.rule(object, &at, &rule.backend_refs, &rule.filters);
                }
            }
            Spec::GrpcRoute(spec) => {
                for (index, rule) in spec.rules.iter().enumerate() {
                    let at = item(&path("spec.rules"), index);
                    self.rule(object, &at, &rule.backend_refs, &rule.filters);
                }
            }
            Spec::TcpRoute(spec) | Spec::TlsRoute(spec) => {
                for (index, rule) in spec.rules.iter().enumerate() {
                    let refs = field(&item(&path("spec.rules"), index), "backendRefs");
                    for (index, backend) in rule.backend_refs.iter().enumerate() {
                        self.backend(object, &item(&refs, index), &backend.reference());
                    }
                }
            }
            Spec::BackendPolicy(spec) => {
                for (index, target) in spec.target_refs.iter().enumerate() {
                    let at = item(&path("spec.targetRefs"), index);
                    self.service(object, &at, &object.key.namespace, &target.name);
                }
            }
            Spec::EndpointSlice(_) => {
                if let Some(name) = object.labels.get(weft_resource::SLICE_SERVICE_LABEL) {
                    self.service(object, &path("metadata.labels"), &object.key.namespace, name);
                }
            }
            _ => {}
        }
        for (index, parent) in parent_refs(&object.spec).iter().enumerate() {
            if parent.is_service() {
                self.parent(object, &item(&path("spec.parentRefs"), index), parent);
            }
        }
    }

    fn rule(&mut self, object: &Object, at: &FieldPath, backends: &[RouteBackend], filters: &[RouteFilter]) {
        for (index, backend) in backends.iter().enumerate() {
            let at = item(&field(at, "backendRefs"), index);
            self.backend(object, &at, &backend.reference());
            self.filters(object, &at, &backend.filters);
        }
        self.filters(object, at, filters);
    }

    fn filters(&mut self, object: &Object, at: &FieldPath, filters: &[RouteFilter]) {
        for (index, filter) in filters.iter().enumerate() {
            let at = item(&field(at, "filters"), index);
            if let Some(mirror) = &filter.request_mirror
                && let Err(reason) = self.resolved(object, &mirror.backend_ref)
            {
                self.warn(object, &at, format!("{reason}; nothing is mirrored until then"));
            }
            if let Some(reference) = &filter.extension_ref
                && reference.group == Kind::FaultFilter.group()
                && let Err(reason) = check_extension(&Reader::new(self.index), &object.key, reference)
            {
                self.warn(object, &at, format!("{reason}; requests are answered with 500 until then"));
            }
        }
    }

    fn backend(&mut self, object: &Object, at: &FieldPath, reference: &BackendReference) {
        if let Err(reason) = self.resolved(object, reference) {
            self.warn(object, at, format!("{reason}; its share is answered with 500 until then"));
        }
    }

    /// A Service, and the port of it that is meant.
    fn parent(&mut self, object: &Object, at: &FieldPath, parent: &ParentRef) {
        let namespace = parent.namespace.as_deref().unwrap_or(&object.key.namespace);
        self.service(object, at, namespace, &parent.name);
        let service = ServiceName::new(namespace, &parent.name).ok();
        let Some(service) = service.and_then(|name| self.index.service(&name)) else { return };
        if !service.ports.iter().any(|port| parent.means(port.number, &port.name)) {
            let reason = format!(
                "Service {namespace}/{} has not {}, so the route has no effect on it; it has {}",
                parent.name,
                parent.described(),
                service.described()
            );
            self.warn(object, at, reason);
        }
    }

    /// What is not there, and may be there all the same.
    fn missing(&self, unresolved: Unresolved, namespace: &str, name: &str) -> String {
        let absent = ServiceName::new(namespace, name).is_ok_and(|name| self.index.service(&name).is_none());
        if self.registered == Registered::Known || unresolved.reason != "BackendNotFound" || !absent {
            return unresolved.message;
        }
        let same = |service: &&ServiceName| service.namespace() == namespace;
        let known = self.index.service_names().filter(same).map(ServiceName::name);
        let hint = hint(name, known);
        if hint.starts_with("did you mean") {
            return format!("{}; {hint}", unresolved.message);
        }
        format!(
            "no file has a Service {namespace}/{name}, so that a workload has to offer it (weft run --service {name})"
        )
    }

    /// Whether a reference holds for each of a route's parents.
    fn resolved(&self, object: &Object, reference: &BackendReference) -> Result<(), String> {
        let namespace = reference.namespace.as_deref().unwrap_or(&object.key.namespace);

        let reader = Reader::new(self.index);
        let mut parents: Vec<Option<ServiceName>> = parents(Some(object)).into_iter().map(Some).collect();
        if parents.is_empty() {
            parents.push(None);
        }
        parents.iter().try_for_each(|parent| {
            let from = Referrer { route: &object.key, parent: parent.as_ref() };
            let resolved = resolve(&reader, from, reference).map(|_| ());
            resolved.map_err(|unresolved| self.missing(unresolved, namespace, &reference.name))
        })
    }

    fn service(&mut self, object: &Object, at: &FieldPath, namespace: &str, name: &str) {
        let exists = ServiceName::new(namespace, name).is_ok_and(|name| self.index.service(&name).is_some());
        if !exists {
            let what = match self.registered {
                Registered::Known => format!("there is no service {namespace}/{name}"),
                Registered::Unknown => {
                    format!("no file has a service {namespace}/{name}, so that a workload has to offer it")
                }
            };
            let reason = format!("{what}; it has no effect until there is");
            self.warn(object, at, reason);
        }
    }

    /// Resources of which only the first has an effect.
    fn rivals(&mut self, objects: &[&Arc<Object>]) {
        let mut services: HashMap<(&str, &str), &Key> = HashMap::new();
        for object in objects {
            let key = &object.key;
            match &object.spec {
                Spec::Service(_) => {
                    services.insert((&key.namespace, &key.name), key);
                }
                Spec::ExternalService(_) if services.contains_key(&(&*key.namespace, &*key.name)) => {
                    self.warn(
                        object,
                        &path("metadata.name"),
                        "a Service has the same name and goes before it".to_owned(),
                    );
                }
                Spec::BackendPolicy(spec) => {
                    for (index, target) in spec.target_refs.iter().enumerate() {
                        let Ok(name) = ServiceName::new(&key.namespace, &target.name) else { continue };
                        let first = self.index.policies(&name).first().filter(|first| first.key != *key);
                        if let Some(first) = first {
                            let reason =
                                format!("{} is for the same service and older; join them", first.key);
                            let at = item(&path("spec.targetRefs"), index);
                            self.warn(object, &at, reason);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Names and addresses of others.
    fn claims(&mut self, objects: &[&Arc<Object>]) {
        for object in objects {
            let Spec::ExternalService(spec) = &object.spec else { continue };
            let Ok(name) = ServiceName::new(&object.key.namespace, &object.key.name) else { continue };
            let found = conflicts(&Reader::new(self.index), &name, spec);
            self.found.extend(found.into_iter().map(|problem| (object.key.clone(), problem)));
        }
    }

    /// Endpoints that proxies are not told of. Those of an ExternalService are told of with its addresses.
    fn withheld(&mut self) {
        for ((port, _), key, endpoint, why) in self.index.withheld() {
            if key.kind == Kind::EndpointSlice {
                let reason = format!("the endpoint {} of {port} {why}", endpoint.address);
                let problem = Problem { severity: Severity::Warning, path: path("endpoints"), reason };
                self.found.push((key.clone(), problem));
            }
        }
    }

    fn warn(&mut self, object: &Object, at: &FieldPath, reason: String) {
        let problem = Problem { severity: Severity::Warning, path: at.clone(), reason };
        self.found.push((object.key.clone(), problem));
    }
}

fn path(fields: &str) -> FieldPath {
    FieldPath(fields.split('.').map(|name| Segment::Field(name.to_owned())).collect())
}

fn field(at: &FieldPath, name: &str) -> FieldPath {
    let mut at = at.clone();
    at.0.push(Segment::Field(name.to_owned()));
    at
}

fn item(at: &FieldPath, index: usize) -> FieldPath {
    let mut at = at.clone();
    at.0.push(Segment::Item(index));
    at
}
