//! Making a pod one of the mesh: what a sidecar adds to it. Nothing here asks a cluster; the webhook and `weft inject` use
//! the same.

mod annotations;
mod containers;
mod exempt;
mod existing;
mod pod_validation;
mod pre_stop;
mod probes;
pub(crate) mod resources;

use serde_json::{Map, Value, json};
use weft_xds::Version;

use self::annotations::Annotations;
use crate::compile::SYSTEM_NAMESPACE;
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
    /// It gets its sidecar.
    Injected {
        /// The pod with it.
        pod: Box<Value>,
        /// What its owner had better know.
        warnings: Vec<String>,
    },
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

/// Namespaces of the cluster and of the mesh itself: what runs there must start before any webhook answers.
const SYSTEM_NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", SYSTEM_NAMESPACE];
/// The time that a pod has to end where it names none, in seconds.
const GRACE: u64 = 30;

/// Gives a pod (a `Pod`, or the template of one) its sidecar. That its namespace or the pod itself asks for one is known
/// already; `namespace` is where it is made, where that is known.
pub fn inject(pod: &Value, namespace: Option<&str>, settings: &Settings, cluster: Cluster) -> Outcome {
    if let Err(problem) = pod_validation::check(pod) {
        return Outcome::Refused(format!("{problem}, so this is no pod"));
    }
    if let Some(reason) = left_alone(pod, namespace) {
        return Outcome::Left(reason);
    }
    match (Injection { pod: pod.clone(), settings, cluster }).run() {
        Ok(outcome) => outcome,
        Err(reason) => Outcome::Refused(reason),
    }
}

/// Why a pod gets no sidecar.
fn left_alone(pod: &Value, namespace: Option<&str>) -> Option<String> {
    let (labels, spec) = (&pod["metadata"]["labels"], &pod["spec"]);
    match &labels[INJECT_LABEL] {
        Value::Null => {
            let namespace = namespace.or_else(|| pod["metadata"]["namespace"].as_str());
            if let Some(system) = namespace.filter(|name| SYSTEM_NAMESPACES.contains(name)) {
                return Some(format!(
                    "it is in namespace {system}, where only pods with the label {INJECT_LABEL}: enabled get one"
                ));
            }
        }
        Value::String(label) if label == "enabled" => {}
        other => return Some(format!("its label {INJECT_LABEL} is {other}, not \"enabled\"")),
    }
    if spec["hostNetwork"] == true {
        return Some(
            "it uses the network of its node (hostNetwork), where redirecting would concern every other pod"
                .to_owned(),
        );
    }
    if spec["os"]["name"] == "windows" {
        return Some("it runs on Windows, for which there is no proxy".to_owned());
    }
    if !pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null() {
        return Some("it is the mirror of a static pod, which the API server can't change".to_owned());
    }
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        return Some("it has no containers".to_owned());
    }
    None
}

/// Whether what an ephemeral container would be is to be refused: it joins a pod that has its sidecar. Gives the reason.
pub fn refuses_ephemeral(pod: &Value) -> Option<String> {
    let spec = &pod["spec"];
    let redirected = all_containers(spec).any(|it| it["name"] == PROXY) && !containers::is_explicit(spec);
    redirected.then(|| exempt::check(spec).err()).flatten()
}

/// Whether a pod has its sidecar. The annotation alone, as copied with a template, is none.
fn is_injected(pod: &Value) -> bool {
    !pod["metadata"]["annotations"][STATUS_ANNOTATION].is_null() && has_container(pod, PROXY)
}

fn has_container(pod: &Value, name: &str) -> bool {
    all_containers(&pod["spec"]).any(|container| container["name"] == name)
}

fn all_containers(spec: &Value) -> impl Iterator<Item = &Value> {
    items(spec, "initContainers").chain(items(spec, "containers"))
}

fn items<'a>(spec: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    spec[list].as_array().into_iter().flatten()
}

/// Moves the container of this name within its list.
fn move_to(spec: &mut Value, list: &str, name: &str, at: usize) {
    let Some(items) = spec.get_mut(list).and_then(Value::as_array_mut) else { return };
    if let Some(found) = items.iter().position(|item| item["name"] == name) {
        let item = items.remove(found);
        items.insert(at.min(items.len()), item);
    }
}

/// A pod that is given a sidecar.
struct Injection<'a> {
    pod: Value,
    settings: &'a Settings,
    cluster: Cluster,
}

impl Injection<'_> {
    fn run(mut self) -> Result<Outcome, String> {
        let mut annotations = Annotations::of(&self.pod, self.settings)?;
        if is_injected(&self.pod) {
            return self.again(&annotations);
        }
        if let Some(name) = [PROXY, REDIRECT].into_iter().find(|name| has_container(&self.pod, name)) {
            return Err(format!(
                "it has a container {name} that the injector did not make; take it out, or choose another name"
            ));
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
        let mut warnings = std::mem::take(&mut annotations.warnings);
        self.check_volumes()?;
        self.check_conflicts(annotations.redirect)?;
        let grace = self.grace();
        let mut probes = Map::new();
        let held = pre_stop::seconds(annotations.pre_stop_seconds, grace);
        if annotations.redirect != Redirect::None {
            probes = probes::take(&mut self.pod["spec"], grace)?;
        }
        let proxy = self.proxy(&annotations, &probes, native);
        let spec = &mut self.pod["spec"];
        if !native && annotations.redirect == Redirect::Cni && !spec["initContainers"].is_null() {
            warnings.push(
                "its init containers run before its proxy and are redirected to it by the CNI plugin, so that they reach \
                 nobody: use native sidecars, or run them as a user that is skipped"
                    .to_owned(),
            );
        }
        insert(spec, if native { "initContainers" } else { "containers" }, 0, proxy);
        if annotations.redirect == Redirect::Init {
            // Before a native sidecar, which looks whether it is redirected to. Init containers before a plain one have no
            // proxy yet: theirs go as they would without a mesh.
            let at = if native { 0 } else { usize::MAX };
            insert(spec, "initContainers", at, containers::redirect(self.settings, &annotations));
        }
        if annotations.redirect == Redirect::None {
            containers::point_to_proxy(spec);
        } else {
            pre_stop::add(spec, held);
        }
        for volume in containers::volumes() {
            insert(spec, "volumes", usize::MAX, volume);
        }
        self.mark(&annotations, held);
        Ok(Outcome::Injected { pod: Box::new(self.pod), warnings })
    }

    /// Another webhook may have added containers since: they are treated like those that were there, and what has to be
    /// first comes first again. What was decided then stays, whatever settings say now.
    fn again(mut self, annotations: &Annotations) -> Result<Outcome, String> {
        let before = self.pod.clone();
        let status = self.pod["metadata"]["annotations"][STATUS_ANNOTATION].as_str().unwrap_or_default();
        let status: Value = serde_json::from_str(status).unwrap_or_default();
        let native = items(&self.pod["spec"], "initContainers").any(|container| container["name"] == PROXY);
        self.check_existing(annotations, &status, native).map_err(|problem| {
            format!(
                "it says that it has its sidecar, and {problem}; take out the annotation {STATUS_ANNOTATION} and the \
                 containers {PROXY} and {REDIRECT}, and it gets them anew"
            )
        })?;
        self.check_conflicts(annotations.redirect)?;
        let held = status["preStopSeconds"].as_u64().unwrap_or_default();
        let grace = self.grace();
        let spec = &mut self.pod["spec"];
        if native {
            move_to(spec, "initContainers", PROXY, 0);
            move_to(spec, "initContainers", REDIRECT, 0);
        } else {
            move_to(spec, "initContainers", REDIRECT, usize::MAX);
            move_to(spec, "containers", PROXY, 0);
        }
        if containers::is_explicit(spec) {
            containers::point_to_proxy(spec);
        } else {
            let probes = probes::take(spec, grace)?;
            if !probes.is_empty() {
                containers::add_probes(spec, probes);
            }
            pre_stop::add(spec, held);
        }
        if self.pod == before {
            return Ok(Outcome::Complete);
        }
        Ok(Outcome::Injected { pod: Box::new(self.pod), warnings: Vec::new() })
    }

    /// Whether the sidecar that the pod has is what it would be given.
    fn check_existing(&self, annotations: &Annotations, status: &Value, native: bool) -> Result<(), String> {
        let spec = &self.pod["spec"];
        let probes = containers::known_probes(spec);
        let proxy = self.proxy(annotations, &probes, native);
        let redirect = (annotations.redirect == Redirect::Init)
            .then(|| containers::redirect(self.settings, annotations));
        existing::check(spec, &proxy, redirect.as_ref())?;
        // The CNI plugin goes by these.
        let expected = told_to_cni(annotations);
        match expected.as_object().into_iter().flatten().find(|(field, value)| status[field] != **value) {
            None => Ok(()),
            Some((field, value)) => Err(format!(
                "of that annotation, {field} is {}, where the injector has {value}",
                status[field]
            )),
        }
    }

    /// The sidecar that the pod is given.
    fn proxy(&self, annotations: &Annotations, probes: &Map<String, Value>, native: bool) -> Value {
        let mut proxy = containers::proxy(self.settings, annotations, probes, native, self.grace());
        if annotations.redirect == Redirect::None && self.pod["spec"]["securityContext"]["runAsUser"] != 0 {
            // Nothing goes by the user here, and some platforms give each namespace its own; the image names one, too.
            if let Some(context) = proxy["securityContext"].as_object_mut() {
                context.retain(|field, _| !matches!(&**field, "runAsUser" | "runAsGroup"));
            }
        }
        proxy
    }

    /// How long the pod has to end, in seconds.
    fn grace(&self) -> u64 {
        self.pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(GRACE)
    }

    /// Whether the pod is made to end by itself.
    fn ends(&self) -> bool {
        let policy = self.pod.pointer("/spec/restartPolicy").and_then(Value::as_str);
        matches!(policy, Some("Never" | "OnFailure"))
    }

    /// What can't be beside a proxy.
    fn check_conflicts(&self, redirect: Redirect) -> Result<(), String> {
        let spec = &self.pod["spec"];
        let others = all_containers(spec).filter(|container| container["name"] != PROXY);
        for container in others {
            let ports = container["ports"].as_array().into_iter().flatten();
            let taken = ports.filter_map(|port| port["containerPort"].as_u64());
            if let Some(port) = taken.into_iter().find(|port| containers::ports(redirect).contains(port)) {
                return Err(format!(
                    "container {} listens on port {port}, which is the proxy's; choose another containerPort",
                    container["name"]
                ));
            }
        }
        // What runs as the proxy's user would not be redirected, and so get around every policy.
        if redirect == Redirect::None { Ok(()) } else { exempt::check(spec) }
    }

    /// What the proxy's volumes are called is taken by no other.
    fn check_volumes(&self) -> Result<(), String> {
        for name in [containers::TOKEN_VOLUME, containers::ROOTS_VOLUME] {
            if items(&self.pod["spec"], "volumes").any(|volume| volume["name"] == name) {
                return Err(format!(
                    "its volume {name} has the name of one of the proxy's; choose another name"
                ));
            }
        }
        Ok(())
    }

    fn mark(&mut self, annotations: &Annotations, held: u64) {
        let version = env!("CARGO_PKG_VERSION");
        let revision = serde_json::to_vec(self.settings).unwrap_or_default();
        let mut status = told_to_cni(annotations);
        status["version"] = json!(version);
        status["revision"] = json!(Version::of(&revision).to_string());
        status["preStopSeconds"] = json!(held);
        let status = status.to_string();
        let first = self.pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
        let first = first.filter_map(|it| it["name"].as_str()).find(|name| *name != PROXY).map(str::to_owned);
        let metadata = object(&mut self.pod, "metadata");
        if annotations.redirect != Redirect::None {
            let labels = metadata.entry("labels").or_insert_with(|| json!({}));
            labels[PROXY_LABEL] = json!(version);
        }
        let notes = metadata.entry("annotations").or_insert_with(|| json!({}));
        notes[STATUS_ANNOTATION] = json!(status);
        // Whoever says where the application's own metrics are says nothing of the proxy's.
        let prometheus = |name: &String| name.starts_with("prometheus.io/");
        if self.settings.scrape_annotations
            && let Some(notes) = notes.as_object_mut().filter(|notes| !notes.keys().any(prometheus))
        {
            notes.insert("prometheus.io/scrape".to_owned(), json!("true"));
            notes.insert("prometheus.io/port".to_owned(), json!(containers::MONITOR_PORT.to_string()));
            notes.insert("prometheus.io/path".to_owned(), json!("/metrics"));
        }
        // What `kubectl logs` and `exec` mean stays the application.
        if let (Some(first), None) = (first, notes.get(DEFAULT_CONTAINER)) {
            notes[DEFAULT_CONTAINER] = json!(first);
        }
    }
}

/// The part of the status annotation that the CNI plugin goes by; it asks nobody.
fn told_to_cni(annotations: &Annotations) -> Value {
    json!({
        "redirect": annotations.redirect,
        "skipInboundPorts": annotations.skip_inbound_ports,
        "skipOutboundPorts": annotations.skip_outbound_ports,
        "skipOutboundAddresses": annotations.skip_outbound_addresses,
    })
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
