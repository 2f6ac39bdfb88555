//! Attackers, and the record of what they tried.

use std::cell::RefCell;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use weft_cluster_tests::{Cluster, Namespace};

/// The address of the cluster's only node, on which the tests run.
pub(crate) const NODE: &str = "10.244.0.1";

/// What was tried in a test.
pub(crate) struct Attempts {
    test: &'static str,
    succeeded: Vec<String>,
}

impl Attempts {
    pub(crate) fn new(test: &'static str) -> Self {
        Self { test, succeeded: Vec::new() }
    }

    /// Prints one, and keeps those that did not end as they should.
    pub(crate) fn tried(&mut self, what: &str, expected: &str, seen: &str, as_expected: bool) {
        let verdict = if as_expected { "ok" } else { "NOT AS EXPECTED" };
        let seen = seen.trim().replace('\n', " | ");
        println!("{}: {what}; expected: {expected}; seen: {seen}; {verdict}", self.test);
        if !as_expected {
            self.succeeded.push(format!("{what}: {seen}"));
        }
    }

    /// Fails if one was not as expected.
    pub(crate) fn finish(self) {
        assert!(self.succeeded.is_empty(), "{}: {:#?}", self.test, self.succeeded);
    }
}

/// The image that attackers run: it has `curl`, and a shell.
fn tools() -> String {
    env::var("WEFT_TEST_TOOLS_IMAGE").unwrap_or_else(|_| "weft.test/tools:1".to_owned())
}

/// Runs a pod that does nothing by itself: `outsider` without a sidecar, `insider` with one.
pub(crate) fn attacker(namespace: &Namespace<'_>, name: &str, meshed: bool) {
    let (image, inject) = (tools(), if meshed { "enabled" } else { "disabled" });
    namespace.apply(&format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{mesh.weft.dev/inject: {inject}}}}}
spec:
  securityContext: {{runAsUser: 1000}}
  terminationGracePeriodSeconds: 1
  containers:
  - name: tools
    image: {image}
    imagePullPolicy: IfNotPresent
    command: [sleep, infinity]
"
    ));
    namespace.kubectl(&["wait", &format!("pod/{name}"), "--for=condition=Ready", "--timeout=90s"]);
}

/// What `curl` says in a pod: the status, 000 where there was no answer, and the body's beginning.
pub(crate) fn curl(namespace: &Namespace<'_>, pod: &str, arguments: &[&str]) -> String {
    let fixed = ["-n", &namespace.name, "exec", pod, "-c", "tools", "--", "curl", "-sS", "-m", "8"];
    let written = ["-w", "\n%{http_code}"];
    // It fails where nobody answers.
    let script = [&fixed[..], &written, arguments].concat();
    let said = match namespace.cluster.try_kubectl(&script, "") {
        Ok(said) => said,
        Err(said) => format!("{}\n000", said.lines().next().unwrap_or_default()),
    };
    let (body, status) = said.trim_end().rsplit_once('\n').unwrap_or(("", said.trim_end()));
    let body: String = body.chars().take(100).collect();
    format!("{status} {body}")
}

/// The address of a pod.
pub(crate) fn address(cluster: &Cluster, namespace: &str, pod: &str) -> String {
    cluster.kubectl(&["-n", namespace, "get", "pod", pod, "-o", "jsonpath={.status.podIP}"])
}

/// The pods of the control plane that run and are not about to end.
pub(crate) fn control_planes(cluster: &Cluster) -> Vec<String> {
    let selector = "app.kubernetes.io/name=control-plane";
    let get = [
        "-n",
        "weft-system",
        "get",
        "pods",
        "-l",
        selector,
        "--field-selector=status.phase=Running",
        "-o",
        "json",
    ];
    let pods: Value = serde_json::from_str(&cluster.kubectl(&get)).unwrap();
    let stay =
        pods["items"].as_array().unwrap().iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    stay.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// The program `weft` on this node, as somebody runs it who has a network to the cluster and a credential.
pub(crate) struct Program {
    child: RefCell<Child>,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Program {
    /// Starts it; none, with a line, where no program is named. `files` are written into a folder of their own, whose path
    /// stands for `DIR` in the arguments.
    pub(crate) fn start(arguments: &[&str], files: &[(&str, &str)]) -> Option<Self> {
        let Ok(program) = env::var("WEFT_TEST_COMMAND") else {
            println!("skipped: set WEFT_TEST_COMMAND to the program weft");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let log = folder.path().join("log");
        let output = fs::File::create(&log).unwrap();
        let path = folder.path().to_str().unwrap();
        let child = Command::new(program)
            .args(arguments.iter().map(|argument| argument.replace("DIR", path)))
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Some(Self { child: RefCell::new(child), log, _folder: folder })
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.child.borrow_mut().try_wait().unwrap().is_some()
    }

    /// The port of its admin server, once it has said it.
    pub(crate) fn admin(&self) -> Option<String> {
        let said = self.said();
        let port = said.split("admin: 127.0.0.1:").nth(1)?;
        let digits = port.find(|char: char| !char.is_ascii_digit())?;
        Some(port[..digits].to_owned())
    }

    /// Asks its admin server.
    pub(crate) fn ask(&self, arguments: &[&str], path: &str) -> Option<String> {
        from_node(arguments, &format!("http://127.0.0.1:{}{path}", self.admin()?))
    }
}

/// What `curl` says on this node: the status and the body; nothing where there was no answer.
pub(crate) fn from_node(arguments: &[&str], url: &str) -> Option<String> {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-m", "15", "-w", "\n%{http_code}"]).args(arguments).arg(url);
    let answered = String::from_utf8_lossy(&curl.output().ok()?.stdout).into_owned();
    let (body, status) = answered.trim_end().rsplit_once('\n')?;
    Some(format!("{status} {body}"))
}

impl Drop for Program {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}
