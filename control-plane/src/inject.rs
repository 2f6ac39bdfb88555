//! Making a pod one of the mesh: what a sidecar adds to it. Nothing here asks a cluster; the webhook and `weft inject` use
//! the same.

mod annotations;
mod containers;
mod probes;

use serde_json::{Map, Value, json};
use weft_xds::Version;

use self::annotations::Annotations;
use crate::settings::{NativeSidecars, Redirect, Settings};

/// Label of pods and namespaces that says whether pods get a sidecar.
pub const INJECT_LABEL: &str = "mesh.weft.dev/inject";
/// Label that says that a pod takes connections of the mesh, and the version of its proxy.
pub const PROXY_LABEL: &str = "mesh.weft.dev/proxy";
/// Annotation that says what was injected.
pub const STATUS_ANNOTATION: &str = "mesh.weft.dev/status";
/// Name of the sidecar.
pub const PROXY: &str = "weft-proxy";
/// Name of the init container that redirects.
pub const REDIRECT: &str = "weft-redirect";
/// User id of the sidecar: its connections are not redirected.
pub const USER: u64 = 2102;

/// Annotation that says which container is meant when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// What became of a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The pod with its sidecar.
    Injected(Box<Value>),
    /// It stays as it is, for this reason.
    Left(String),
    /// It has its sidecar already, and lacks nothing.
    Complete,
    /// It would not work, for this reason, and is better not made.
    Refused(String),
}

/// What the cluster can do.
#[derive(Clone, Copy, Debug)]
pub struct Cluster {
    /// Whether it knows native sidecars.
    pub native_sidecars: bool,
}

/// Gives a pod (a `Pod`, or the template of one) its sidecar. That its namespace or the pod itself asks for one is known
/// already.
pub fn inject(pod: &Value, settings: &Settings, cluster: Cluster) -> Outcome {
    if let Some(reason) = left_alone(pod) {
        return Outcome::Left(reason);
    }
    match (Injection { pod: pod.clone(), settings, cluster }).run() {
        Ok(outcome) => outcome,
        Err(reason) => Outcome::Refused(reason),
    }
}

/// Why a pod gets no sidecar.
fn left_alone(pod: &Value) -> Option<String> {
    let label =
        pod.pointer("/metadata/labels").and_then(|labels| labels.get(INJECT_LABEL)).and_then(Value::as_str);
    if label.is_some_and(|label| label != "enabled") {
        return Some(format!("its label {INJECT_LABEL} is {:?}", label.unwrap_or_default()));
    }
    let spec = pod.get("spec")?;
    if spec.get("hostNetwork") == Some(&json!(true)) {
        return Some(
            "it uses the network of its node (hostNetwork), where redirecting would concern every other pod"
                .to_owned(),
        );
    }
    if spec.pointer("/os/name") == Some(&json!("windows")) {
        return Some("it runs on Windows, for which there is no proxy".to_owned());
    }
    let annotation = |name: &str| pod.pointer("/metadata/annotations").and_then(|it| it.get(name));
    if annotation("kubernetes.io/config.mirror").is_some() {
        return Some("it is the mirror of a static pod, which the API server can't change".to_owned());
    }
    let own = annotation(STATUS_ANNOTATION).is_none();
    if own && all_containers(spec).any(|container| container["name"] == PROXY) {
        return Some(format!("it has a container {PROXY} of its own"));
    }
    None
}

fn all_containers(spec: &Value) -> impl Iterator<Item = &Value> {
    let of = |list: &str| spec.get(list).and_then(Value::as_array).into_iter().flatten();
    of("initContainers").chain(of("containers"))
}

/// A pod that is given a sidecar.
struct Injection<'a> {
    pod: Value,
    settings: &'a Settings,
    cluster: Cluster,
}

impl Injection<'_> {
    fn run(mut self) -> Result<Outcome, String> {
        let annotations = Annotations::of(&self.pod, self.settings)?;
        if self.pod.pointer("/metadata/annotations").is_some_and(|it| it.get(STATUS_ANNOTATION).is_some()) {
            return self.again(annotations.redirect);
        }
        let native = annotations.native.unwrap_or(match self.settings.native_sidecars {
            NativeSidecars::Auto => self.cluster.native_sidecars,
            NativeSidecars::Always => true,
            NativeSidecars::Never => false,
        });
        if !native && self.ends() {
            return Ok(Outcome::Left(
                "it would never end: its sidecar would have to be a plain container, as this cluster has no native \
                 sidecars or they are turned off"
                    .to_owned(),
            ));
        }
        self.check_users(annotations.redirect)?;
        let mut probes = Map::new();
        if annotations.redirect != Redirect::None {
            probes = probes::take(&mut self.pod["spec"])?;
        }
        let proxy = containers::proxy(self.settings, &annotations, &probes, native);
        let spec = &mut self.pod["spec"];
        if native {
            insert(spec, "initContainers", 0, proxy);
        } else {
            insert(spec, "containers", 0, proxy);
        }
        if annotations.redirect == Redirect::Init {
            // Init containers before a plain sidecar have no proxy yet: theirs go as they would without a mesh.
            let at = if native { 1 } else { usize::MAX };
            insert(spec, "initContainers", at, containers::redirect(self.settings, &annotations));
        }
        if annotations.redirect == Redirect::None {
            containers::point_to_proxy(spec);
        }
        for volume in containers::volumes() {
            insert(spec, "volumes", usize::MAX, volume);
        }
        self.mark(&annotations);
        Ok(Outcome::Injected(Box::new(self.pod)))
    }

    /// Another webhook may have added containers since: their probes are taken over, too.
    fn again(mut self, redirect: Redirect) -> Result<Outcome, String> {
        if redirect == Redirect::None {
            return Ok(Outcome::Complete);
        }
        let probes = probes::take(&mut self.pod["spec"])?;
        if probes.is_empty() {
            return Ok(Outcome::Complete);
        }
        containers::add_probes(&mut self.pod["spec"], probes);
        Ok(Outcome::Injected(Box::new(self.pod)))
    }

    /// Whether the pod is made to end by itself.
    fn ends(&self) -> bool {
        let policy = self.pod.pointer("/spec/restartPolicy").and_then(Value::as_str);
        matches!(policy, Some("Never" | "OnFailure"))
    }

    /// What runs as the proxy's user would not be redirected, and so get around every policy.
    fn check_users(&self, redirect: Redirect) -> Result<(), String> {
        if redirect == Redirect::None {
            return Ok(());
        }
        let spec = &self.pod["spec"];
        let user = |place: &Value| place.pointer("/securityContext/runAsUser").and_then(Value::as_u64);
        let taken = |who: &str| {
            format!(
                "{who} runs as user {USER}, which is the proxy's: its connections would not be redirected; choose another runAsUser"
            )
        };
        if user(spec) == Some(USER) {
            return Err(taken("the pod"));
        }
        match all_containers(spec).find(|container| user(container) == Some(USER)) {
            Some(container) => Err(taken(&format!("container {}", container["name"]))),
            None => Ok(()),
        }
    }

    fn mark(&mut self, annotations: &Annotations) {
        let version = env!("CARGO_PKG_VERSION");
        let revision = serde_json::to_vec(self.settings).unwrap_or_default();
        let status = json!({"version": version, "revision": Version::of(&revision).to_string()}).to_string();
        let first = self.pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
        let first = first.filter_map(|it| it["name"].as_str()).find(|name| *name != PROXY).map(str::to_owned);
        let metadata = object(&mut self.pod, "metadata");
        if annotations.redirect != Redirect::None {
            let labels = metadata.entry("labels").or_insert_with(|| json!({}));
            labels[PROXY_LABEL] = json!(version);
        }
        let notes = metadata.entry("annotations").or_insert_with(|| json!({}));
        notes[STATUS_ANNOTATION] = json!(status);
        // What `kubectl logs` and `exec` mean stays the application.
        if let (Some(first), None) = (first, notes.get(DEFAULT_CONTAINER)) {
            notes[DEFAULT_CONTAINER] = json!(first);
        }
    }
}

/// A field that is an object, made so if it is not.
fn object<'a>(value: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    let place = &mut value[field];
    if !place.is_object() {
        *place = json!({});
    }
    place.as_object_mut().expect("it was made an object just now")
}

/// Inserts into a list of the spec, which may be missing.
fn insert(spec: &mut Value, list: &str, at: usize, item: Value) {
    let place = &mut spec[list];
    if !place.is_array() {
        *place = json!([]);
    }
    if let Some(items) = place.as_array_mut() {
        let at = at.min(items.len());
        items.insert(at, item);
    }
}

#[cfg(test)]
mod tests;
