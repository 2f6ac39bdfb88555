//! Pods of many shapes, and what becomes of each. A file `shapes/NAME.yaml` holds a pod and, where they matter, settings,
//! namespace and whether the cluster knows native sidecars; `shapes/NAME.out.yaml` holds what came out of it.
//! `WEFT_WRITE_SHAPES=1 cargo test -p weft-control-plane --test inject` writes the latter anew.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};
use weft_control_plane::Settings;
use weft_control_plane::inject::{Cluster, Outcome, PROXY, PROXY_LABEL, REDIRECT, STATUS_ANNOTATION, inject};

/// The least number of shapes: a folder that can't be read is no success.
const SHAPES: usize = 60;

struct Shape {
    name: String,
    pod: Value,
    settings: Settings,
    namespace: Option<String>,
    cluster: Cluster,
    expected: PathBuf,
}

impl Shape {
    fn read(path: &Path) -> Self {
        let given: Value = serde_saphyr::from_str(&fs::read_to_string(path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let settings = given.get("settings").cloned().unwrap_or_else(|| json!({}));
        let settings = Settings::parse(&settings.to_string()).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        Self {
            pod: given["pod"].clone(),
            settings: Settings { proxy_image: "weft-proxy:test".to_owned(), ..settings },
            namespace: given["namespace"].as_str().map(str::to_owned),
            cluster: Cluster { native_sidecars: given["nativeSidecars"] != false },
            expected: path.with_file_name(format!("{name}.out.yaml")),
            name,
        }
    }

    fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inject/shapes");
        let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut given: Vec<_> = paths.filter(|path| !path.to_str().unwrap().ends_with(".out.yaml")).collect();
        given.sort();
        assert!(given.len() >= SHAPES, "{} shapes", given.len());
        given.iter().map(|path| Self::read(path)).collect()
    }

    fn outcome(&self) -> Outcome {
        inject(&self.pod, self.namespace.as_deref(), &self.settings, self.cluster)
    }

    fn injected(&self) -> Option<Value> {
        match self.outcome() {
            Outcome::Injected { pod, .. } => Some(*pod),
            _ => None,
        }
    }
}

/// What came out, without what differs from version to version.
fn told(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Injected { mut pod, warnings } => {
            let labels = pod.pointer_mut("/metadata/labels").and_then(Value::as_object_mut);
            if let Some(label) = labels.and_then(|labels| labels.get_mut(PROXY_LABEL)) {
                *label = json!("VERSION");
            }
            pod["metadata"]["annotations"][STATUS_ANNOTATION] = json!("STATUS");
            match &*warnings {
                [] => json!({"injected": pod}),
                _ => json!({"injected": pod, "warnings": warnings}),
            }
        }
        Outcome::Left(reason) => json!({"left": reason}),
        Outcome::Complete => json!("complete"),
        Outcome::Refused(reason) => json!({"refused": reason}),
    }
}

#[test]
fn every_shape_becomes_what_is_written_beside_it() {
    let write = std::env::var_os("WEFT_WRITE_SHAPES").is_some();
    let mut wrong = BTreeMap::new();
    for shape in Shape::all() {
        let told = serde_saphyr::to_string(&told(shape.outcome())).unwrap();
        if write {
            fs::write(&shape.expected, told).unwrap();
        } else if fs::read_to_string(&shape.expected).ok().as_ref() != Some(&told) {
            wrong.insert(shape.name, told);
        }
    }
    assert!(wrong.is_empty(), "other than expected; if it is meant, set WEFT_WRITE_SHAPES=1: {wrong:#?}");
}

#[test]
fn every_injected_pod_is_one_and_its_containers_have_no_field_that_kubernetes_does_not_know() {
    for shape in Shape::all() {
        let Some(injected) = shape.injected() else { continue };
        let pod: Pod = serde_json::from_value(injected.clone())
            .unwrap_or_else(|error| panic!("{}: {error}", shape.name));
        let spec = pod.spec.unwrap();
        let known: Vec<Container> =
            spec.init_containers.into_iter().flatten().chain(spec.containers).collect();
        let lists = ["initContainers", "containers"];
        let made = lists.iter().flat_map(|list| injected["spec"][*list].as_array().into_iter().flatten());
        for (known, made) in
            known.iter().zip(made).filter(|(known, _)| [PROXY, REDIRECT].contains(&&*known.name))
        {
            assert_eq!(serde_json::to_value(known).unwrap(), *made, "{}", shape.name);
        }
    }
}

#[test]
fn every_injected_pod_is_complete() {
    for shape in Shape::all() {
        let Some(injected) = shape.injected() else { continue };
        let again = inject(&injected, shape.namespace.as_deref(), &shape.settings, shape.cluster);
        assert_eq!(again, Outcome::Complete, "{}", shape.name);
    }
}
