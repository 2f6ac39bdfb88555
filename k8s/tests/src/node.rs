//! The processes of the cluster's node, for tests that run on it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Cluster, Namespace};

/// The process ids whose files in `/proc` this finds.
fn processes(is_it: impl Fn(&str) -> bool) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    ids.filter(|id| id.bytes().all(|byte| byte.is_ascii_digit()) && is_it(id)).collect()
}

/// Those of a part of the cluster, such as `etcd`: programs whose first argument has this name.
fn of_part(part: &str) -> Vec<String> {
    processes(|id| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(part.as_bytes())
    })
}

fn signal(id: &str, signal: &str) {
    let sent = Command::new("kill").args([signal, id]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill {signal} {id}");
}

/// A part of the cluster that does nothing until this is dropped.
#[derive(Debug)]
pub struct Stopped(String);

/// Stops a part of the cluster, such as `kubelet`, where it is.
///
/// # Panics
///
/// When there is no such process, or more than one.
pub fn stop(part: &str) -> Stopped {
    let id = only(part);
    signal(&id, "-STOP");
    Stopped(id)
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal(&self.0, "-CONT");
    }
}

/// The process of a part of the cluster.
fn only(part: &str) -> String {
    let mut found = of_part(part);
    assert_eq!(found.len(), 1, "processes of {part}: {found:?}");
    found.remove(0)
}

/// Ends a part of the cluster, such as `etcd`, at once, and waits until nothing is left of it.
///
/// # Panics
///
/// When there is no such process, or more than one.
pub fn kill(part: &str, cluster: &Cluster) {
    let id = only(part);
    signal(&id, "-KILL");
    let entry = Path::new("/proc").join(&id);
    cluster.until("the end of the process", |_| (!entry.exists()).then_some(()));
}

/// Starts what is not running of the cluster, and waits until it answers.
///
/// # Panics
///
/// When it does not come up.
pub fn up(program: &str, cluster: &Cluster) {
    start(program);
    // It ends whenever its configuration is written, as it was just now, and leaves it to others to start it.
    cluster.until("the end of kube-proxy", |_| of_part("kube-proxy").is_empty().then_some(()));
    cluster.until("kube-proxy", |_| {
        start(program);
        (!of_part("kube-proxy").is_empty()).then_some(())
    });
    cluster.until("the API server", |cluster| cluster.try_kubectl(&["get", "--raw", "/readyz"], "").ok());
}

fn start(program: &str) {
    let mut words = program.split_whitespace();
    let started = Command::new(words.next().expect("a program has a name")).args(words).arg("up").output();
    assert!(started.as_ref().is_ok_and(|ended| ended.status.success()), "{program} up: {started:?}");
}

/// Tells the sidecar of a pod to end, and waits until there is another one that takes requests.
///
/// # Panics
///
/// When its process is not found, or no other one comes.
pub fn restart_sidecar(namespace: &Namespace<'_>, pod: &str) {
    let of_sidecar = |field: &str| {
        let path = format!("jsonpath={{.status.initContainerStatuses[?(@.name==\"weft-proxy\")].{field}}}");
        namespace.kubectl(&["get", "pod", pod, "-o", &path])
    };
    let container = of_sidecar("containerID");
    let id = container.rsplit('/').next().unwrap_or_default();
    assert!(!id.is_empty(), "the pod {pod} has no sidecar");
    let found = processes(|process| {
        let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
        groups.contains(id)
    });
    assert_eq!(found.len(), 1, "processes of the sidecar of {pod}: {found:?}");
    signal(&found[0], "-TERM");
    namespace.cluster.until("another sidecar", |_| {
        let restarted = of_sidecar("containerID") != container && of_sidecar("ready") == "true";
        restarted.then_some(())
    });
    namespace.kubectl(&["wait", &format!("pod/{pod}"), "--for=condition=Ready", "--timeout=60s"]);
}
