//! The plugin as a runtime calls it.

// Tests end where they go wrong, helpers included.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use weft_redirect::show;
use weft_testkit::namespace::{Neighbour, in_own_network};

const CONFIG: &str = r#"{
    "cniVersion": "1.0.0", "name": "pods", "type": "weft-cni",
    "prevResult": {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.5/24"}]},
    "runtimeConfig": {"io.kubernetes.cri.pod-annotations": {
        "mesh.weft.dev/status": "{\"redirect\": \"cni\", \"skipOutboundPorts\": [\"2525\"]}"
    }}
}"#;

fn call(command: &str, network: &str) -> (bool, String) {
    let mut called = Command::new(env!("CARGO_BIN_EXE_weft-cni"))
        .env("CNI_COMMAND", command)
        .env("CNI_NETNS", network)
        .env("CNI_ARGS", "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    called.stdin.take().unwrap().write_all(CONFIG.as_bytes()).unwrap();
    let ended = called.wait_with_output().unwrap();
    (ended.status.success(), String::from_utf8(ended.stdout).unwrap())
}

#[test]
fn a_meshed_pod_is_redirected_in_its_own_network_alone() {
    in_own_network("a_meshed_pod_is_redirected_in_its_own_network_alone", &[], || {
        let pod = Neighbour::joined(&[], &[]);
        let (checked, said) = call("CHECK", &pod.path());
        assert!(!checked && said.contains("not redirected"), "{said}");
        let (added, result) = call("ADD", &pod.path());
        assert!(added && result.contains("10.0.0.5/24"), "{result}");
        let rules = pod.enter(|| show().unwrap());
        assert!(rules.iter().any(|rule| rule.words == "to port 2525: left alone"), "{rules:?}");
        assert!(show().unwrap().is_empty(), "the node itself");
        assert!(call("CHECK", &pod.path()).0);
        assert!(call("ADD", &pod.path()).0, "again");
        assert!(call("DEL", "/gone").0, "its network may have gone already");
    });
}

#[test]
fn installed_it_stays_in_the_list_until_it_is_taken_off() {
    let node = tempfile::tempdir().unwrap();
    let list = node.path().join("10-a.conflist");
    std::fs::write(&list, r#"{"name": "pods", "plugins": [{"type": "bridge"}]}"#).unwrap();
    let folder = |option: &str| format!("{option}={}", node.path().display());
    let folders = [folder("--bin-dir"), folder("--conf-dir")];
    let mut installer = Command::new(env!("CARGO_BIN_EXE_weft-cni"))
        .arg("install")
        .args(&folders)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(installer.stderr.take().unwrap()).lines();
    assert!(said.next().unwrap().unwrap().contains("added to"));
    let anew = node.path().join("new");
    std::fs::write(&anew, r#"{"name": "pods", "plugins": [{"type": "other"}]}"#).unwrap();
    std::fs::rename(anew, &list).unwrap();
    assert!(said.next().unwrap().unwrap().contains("added to"), "after another one wrote it anew");
    let pid = installer.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(installer.wait().unwrap().success());
    assert!(std::fs::read_to_string(&list).unwrap().contains("weft-cni"), "while it is replaced");
    let removed =
        Command::new(env!("CARGO_BIN_EXE_weft-cni")).arg("uninstall").args(&folders).status().unwrap();
    assert!(removed.success());
    assert!(!std::fs::read_to_string(&list).unwrap().contains("weft-cni"));
}
