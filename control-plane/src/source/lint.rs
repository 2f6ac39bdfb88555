//! What can be seen only when all resources are there: references to what does not exist. None of it is an error, as
//! Gateway API has an answer to each, and what is missing may come from a workload that registers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weft_mesh::name::ServiceName;

use crate::compile::{Reader, check_extension, resolve};
use crate::index::{Index, SLICE_SERVICE_LABEL, parent_refs};
use crate::resource::{
    BackendReference, FieldPath, Key, Kind, Object, ParentRef, Problem, RouteBackend, RouteFilter, Segment,
    Severity, Spec,
};

/// Tells what resources refer to that is not there, and which of them have no effect because of others.
pub(super) fn lint(objects: &BTreeMap<Key, Arc<Object>>) -> Vec<(Key, Problem)> {
    let mut index = Index::default();
    index.set_objects(objects);
    let mut lint = Lint { index: &index, found: Vec::new() };
    for object in objects.values() {
        lint.references(object);
    }
    lint.rivals(objects);
    lint.found
}

struct Lint<'a> {
    index: &'a Index,
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
                if let Some(name) = object.labels.get(SLICE_SERVICE_LABEL) {
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
            if let Some(mirror) = &filter.request_mirror {
                let reader = Reader::new(self.index);
                if let Err(reason) = resolve(&reader, &object.key, &mirror.backend_ref)
                    .map_err(|unresolved| unresolved.message)
                {
                    self.warn(object, &at, format!("{reason}; nothing is mirrored until then"));
                }
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
        let resolved = resolve(&Reader::new(self.index), &object.key, reference);
        if let Err(reason) = resolved.map_err(|unresolved| unresolved.message) {
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

    fn service(&mut self, object: &Object, at: &FieldPath, namespace: &str, name: &str) {
        let exists = ServiceName::new(namespace, name).is_ok_and(|name| self.index.service(&name).is_some());
        if !exists {
            let reason = format!("there is no service {namespace}/{name}; it has no effect until there is");
            self.warn(object, at, reason);
        }
    }

    /// Resources of which only the first has an effect.
    fn rivals(&mut self, objects: &BTreeMap<Key, Arc<Object>>) {
        let mut services: HashMap<(&str, &str), &Key> = HashMap::new();
        for (key, object) in objects {
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
