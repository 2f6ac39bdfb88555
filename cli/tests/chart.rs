//! The Helm chart renders what `weft install` writes.

// Tests end where they go wrong, helpers included.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Values, and the same as options of `weft install` where they can say it.
fn cases() -> Vec<(Value, &'static [&'static str])> {
    vec![
        (json!({}), &[]),
        (
            json!({"image": {"repository": "example.com/mesh", "tag": "v9", "pullPolicy": "Always"}, "trustDomain": "prod.example"}),
            &[
                "image.repository=example.com/mesh",
                "image.tag=v9",
                "image.pullPolicy=Always",
                "trustDomain=prod.example",
            ],
        ),
        (
            json!({"controlPlane": {"replicas": 1, "disruptionBudget": {"enabled": false}, "antiAffinity": "none"}, "networkPolicy": {"enabled": false}}),
            &[
                "controlPlane.replicas=1",
                "controlPlane.disruptionBudget.enabled=false",
                "controlPlane.antiAffinity=none",
                "networkPolicy.enabled=false",
            ],
        ),
        (
            json!({"controlPlane": {"autoscaling": {"enabled": true, "maxReplicas": 9}}, "monitoring": {"podMonitor": {"enabled": true}}}),
            &[
                "controlPlane.autoscaling.enabled=true",
                "controlPlane.autoscaling.maxReplicas=9",
                "monitoring.podMonitor.enabled=true",
            ],
        ),
        (
            json!({"proxy": {"redirect": "cni", "logLevel": "debug", "accessLog": "errors"}, "cni": {"enabled": true}, "injector": {"failurePolicy": "Ignore"}}),
            &[
                "proxy.redirect=cni",
                "proxy.logLevel=debug",
                "proxy.accessLog=errors",
                "cni.enabled=true",
                "injector.failurePolicy=Ignore",
            ],
        ),
        (
            json!({"ca": {"secret": "issuer"}, "crds": {"install": false}}),
            &["ca.secret=issuer", "crds.install=false"],
        ),
        (
            json!({"monitoring": {"rules": {"enabled": true, "labels": {"role": "alerts"}}, "dashboards": {"enabled": true}}}),
            &[
                "monitoring.rules.enabled=true",
                "monitoring.rules.labels.role=alerts",
                "monitoring.dashboards.enabled=true",
            ],
        ),
        (
            json!({"openshift": true, "cni": {"enabled": true}, "monitoring": {"scrapeAnnotations": false}}),
            &["openshift=true", "cni.enabled=true", "monitoring.scrapeAnnotations=false"],
        ),
        (
            json!({"controlPlane": {
                "antiAffinity": "required",
                "priorityClassName": "system-cluster-critical",
                "nodeSelector": {"pool": "mesh"},
                "tolerations": [{"key": "mesh", "operator": "Exists"}],
                "podLabels": {"team": "platform"},
                "podAnnotations": {"note": "x"},
                "extraArgs": ["--trust-domain=a.b"],
            }, "image": {"pullSecrets": ["registry"]}, "monitoring": {"podMonitor": {"enabled": true, "labels": {"release": "prometheus"}}}}),
            // Lists of objects are for files.
            &[],
        ),
    ]
}

/// Documents by kind and name, without what is said to Helm itself.
fn documents(yaml: &str) -> BTreeMap<String, Value> {
    let mut all: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    for metadata in all.iter_mut().filter_map(|document| document.get_mut("metadata")?.as_object_mut()) {
        if let Some(Value::Object(notes)) = metadata.get_mut("annotations") {
            notes.retain(|name, _| !name.starts_with("helm.sh/"));
            if notes.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    let named = all.into_iter().filter(|document| !document.is_null()).map(|document| {
        let text =
            |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        (format!("{} {}", text("/kind"), text("/metadata/name")), document)
    });
    named.collect()
}

fn installed(options: &[&str]) -> BTreeMap<String, Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.arg("install").args(options);
    let made = command.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut written = documents(&String::from_utf8(made.stdout).unwrap());
    // What was chosen, for `weft upgrade`; Helm keeps the values of its releases itself.
    assert!(written.remove("ConfigMap weft-install").is_some());
    written
}

/// Helm's engine, from its Go module; none where that can't be built.
fn helm(folder: &std::path::Path) -> Option<PathBuf> {
    let program = folder.join("render");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../k8s/tests/helm");
    let built = Command::new("go").args(["build", "-o"]).arg(&program).arg(".").current_dir(source).output();
    built.is_ok_and(|built| built.status.success()).then_some(program)
}

#[test]
fn the_chart_renders_what_install_writes() {
    let folder = tempfile::tempdir().unwrap();
    let Some(helm) = helm(folder.path()) else {
        println!(
            "skipped the_chart_renders_what_install_writes: it needs Go and Helm's module; with these, run \
             cargo test -p weft --test chart"
        );
        return;
    };
    for (mut values, sets) in cases() {
        let file = folder.path().join("values.yaml");
        std::fs::write(&file, values.to_string()).unwrap();
        let written = installed(&["--values", file.to_str().unwrap()]);
        if !sets.is_empty() {
            let options: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
            assert!(installed(&options) == written, "{sets:?} says something else than {values}");
        }
        values["namespace"] = json!({"create": true});
        let mut child = Command::new(&helm)
            .args([concat!(env!("CARGO_MANIFEST_DIR"), "/../k8s/chart"), "weft-system"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(format!("{values}\n").as_bytes()).unwrap();
        let said: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
        let rendered = documents(said["documents"].as_str().unwrap_or_else(|| panic!("{said}")));
        let names = |of: &BTreeMap<String, Value>| of.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&rendered), names(&written), "{values}");
        for (name, document) in &written {
            assert_eq!(&rendered[name], document, "{name} with {values}");
        }
    }
}
