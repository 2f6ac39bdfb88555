//! Pods of many shapes, as the injector makes them: the API server takes each that it would have taken before.

// Tests end where they go wrong, helpers included.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use weft_cluster_tests::{Cluster, Namespace};

/// The least number of shapes that the API server has to take: fewer would mean that something else is wrong.
const TAKEN: usize = 40;

fn read(path: &Path) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the API server says of a pod, which is not kept.
fn offer(namespace: &Namespace<'_>, name: &str, pod: &Value) -> Result<String, String> {
    let mut pod = pod.clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["namespace"] = json!(namespace.name);
    if pod["metadata"]["labels"].is_null() {
        pod["metadata"]["labels"] = json!({});
    }
    // What is offered is what the injector made, or what there was before it.
    pod["metadata"]["labels"]["mesh.weft.dev/inject"] = json!("disabled");
    for label in pod["metadata"]["labels"].as_object_mut().unwrap().values_mut() {
        if label == "VERSION" {
            *label = json!("0.0.0");
        }
    }
    let arguments = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
    namespace.cluster.try_kubectl(&arguments, &pod.to_string())
}

#[test]
fn the_api_server_takes_every_shape_with_its_sidecar() {
    let test = "the_api_server_takes_every_shape_with_its_sidecar";
    let Some(cluster) = Cluster::find(test) else { return };
    let namespace = Namespace::new(&cluster, "shapes");
    cluster.until("the service account", |cluster| {
        cluster.try_kubectl(&["-n", &namespace.name, "get", "serviceaccount", "default"], "").ok()
    });
    // What the shapes name.
    namespace.apply("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\n");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../control-plane/tests/inject/shapes");
    let mut expected: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    expected.retain(|path| path.to_str().unwrap().ends_with(".out.yaml"));
    expected.sort();
    let (mut taken, mut refused) = (0, Vec::new());
    for path in expected {
        let name = path.file_name().unwrap().to_str().unwrap().trim_end_matches(".out.yaml").to_owned();
        let out = read(&path);
        let Some(injected) = out.get("injected") else { continue };
        let given = read(&path.with_file_name(format!("{name}.yaml")));
        if let Err(said) = offer(&namespace, &name, &given["pod"]) {
            println!("{test}: {name} is no pod without a sidecar either: {}", said.trim());
            continue;
        }
        match offer(&namespace, &name, injected) {
            Ok(_) => taken += 1,
            Err(said) => refused.push(format!("{name}: {said}")),
        }
    }
    println!("{test}: {taken} shapes taken, {} refused", refused.len());
    assert!(refused.is_empty(), "{refused:#?}");
    assert!(taken >= TAKEN, "{taken} shapes");
}
