//! A cluster with Weft installed, as tests use it: through kubectl, like everybody else.
//!
//! The tests run where `WEFT_TEST_KUBECONFIG` names a kubeconfig; elsewhere each is skipped with a line that says so. The
//! cluster has to have the mesh and the image that `WEFT_TEST_IMAGE` names (default `weft.test/weft:dev`), which holds
//! the program `weft` at `/weft`. Tests that stop parts of the cluster itself also want `WEFT_TEST_CLUSTER`, the program whose
//! command `up` starts what is not running, and to be on the cluster's only node.

use std::env;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub mod node;

/// Longest time for anything in the cluster to come about.
const PATIENCE: Duration = Duration::from_mins(2);
/// The time that a request may take. A datagram of DNS that is lost, which is none of the mesh's doing, costs five seconds.
const TIMEOUT: &str = "10s";
/// Pause between looks.
const LOOK: Duration = Duration::from_millis(500);

/// A cluster.
#[derive(Debug)]
pub struct Cluster {
    kubeconfig: String,
}

impl Cluster {
    /// The cluster to test in; none, with a line, where there is none.
    pub fn find(test: &str) -> Option<Self> {
        let kubeconfig = env::var("WEFT_TEST_KUBECONFIG").ok();
        if kubeconfig.is_none() {
            println!(
                "skipped {test}: it needs a cluster with Weft installed; with one, run \
                 WEFT_TEST_KUBECONFIG=FILE cargo test -p weft-cluster-tests -- --test-threads=1 {test}"
            );
        }
        kubeconfig.map(|kubeconfig| Self { kubeconfig })
    }

    /// What kubectl says.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments, "")
            .unwrap_or_else(|said| panic!("kubectl {}: {said}", arguments.join(" ")))
    }

    /// Makes resources what this YAML says.
    ///
    /// # Panics
    ///
    /// When the API server refuses them.
    pub fn apply(&self, yaml: &str) {
        self.try_kubectl(&["apply", "-f", "-"], yaml).unwrap_or_else(|said| panic!("kubectl apply: {said}"));
    }

    /// The same, and what is said when it fails.
    pub fn try_kubectl(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut child = Command::new("kubectl")
            .args(["--kubeconfig", &self.kubeconfig])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).map_err(|error| error.to_string())?;
        }
        let ended = child.wait_with_output().map_err(|error| error.to_string())?;
        if ended.status.success() {
            Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&ended.stderr).into_owned())
        }
    }

    /// What the program `weft` that `WEFT_TEST_COMMAND` names says of this cluster; none, with a line, where none is named.
    ///
    /// # Panics
    ///
    /// When it can't be run.
    pub fn weft(&self, arguments: &[&str]) -> Option<Said> {
        let Ok(program) = env::var("WEFT_TEST_COMMAND") else {
            println!("skipped: set WEFT_TEST_COMMAND to the program weft");
            return None;
        };
        let ended = Command::new(&program)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(Said { code: ended.status.code(), out: text(&ended.stdout), err: text(&ended.stderr) })
    }

    /// Looks until something is there.
    ///
    /// # Panics
    ///
    /// When it does not come about.
    pub fn until<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "{what} did not come about");
            std::thread::sleep(LOOK);
        }
    }
}

/// What a program has said.
#[derive(Clone, Debug)]
pub struct Said {
    /// How it ended.
    pub code: Option<i32>,
    /// On standard output.
    pub out: String,
    /// On standard error.
    pub err: String,
}

/// A namespace whose pods get sidecars; it goes with the test.
#[derive(Debug)]
pub struct Namespace<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Its name.
    pub name: String,
}

impl<'a> Namespace<'a> {
    /// Makes it.
    pub fn new(cluster: &'a Cluster, name: &str) -> Self {
        let name = format!("weft-test-{name}-{:x}", std::process::id());
        cluster.apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{mesh.weft.dev/inject: enabled}}}}\n"
        ));
        Self { cluster, name }
    }

    /// What kubectl says of this namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.cluster.kubectl(&[&["-n", &self.name], arguments].concat())
    }

    /// Makes resources of this namespace.
    pub fn apply(&self, yaml: &str) {
        let applied = self.cluster.try_kubectl(&["-n", &self.name, "apply", "-f", "-"], yaml);
        applied.unwrap_or_else(|said| panic!("kubectl apply: {said}"));
    }

    /// Runs the demo's services for HTTP, gRPC and plain TCP in pods of the deployment `server`, and waits until they take
    /// requests.
    pub fn serve(&self, replicas: u32) {
        let image = image();
        self.apply(&format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: reviews}}
spec:
  selector: {{app: server}}
  ports: [{{name: http, port: 80, targetPort: 9080, appProtocol: http}}]
---
apiVersion: v1
kind: Service
metadata: {{name: ratings}}
spec:
  selector: {{app: server}}
  ports: [{{name: grpc, port: 9090, appProtocol: kubernetes.io/h2c}}]
---
apiVersion: v1
kind: Service
metadata: {{name: echo}}
spec:
  selector: {{app: server}}
  ports: [{{name: tcp, port: 7000}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: server}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: server}}}}
  template:
    metadata: {{labels: {{app: server, version: v1}}}}
    spec:
      securityContext: {{runAsNonRoot: true, runAsUser: 1000}}
      containers:
      - name: reviews
        image: {image}
        imagePullPolicy: IfNotPresent
        command: [/weft, example, reviews, --version, v1, --host, 0.0.0.0, --port, '9080']
        readinessProbe: {{tcpSocket: {{port: 9080}}, periodSeconds: 1}}
      - name: ratings
        image: {image}
        imagePullPolicy: IfNotPresent
        command: [/weft, example, ratings, --host, 0.0.0.0, --port, '9090']
        readinessProbe: {{grpc: {{port: 9090}}, periodSeconds: 1}}
      - name: echo
        image: {image}
        imagePullPolicy: IfNotPresent
        command: [/weft, example, echo, --host, 0.0.0.0, --port, '7000']
        readinessProbe: {{tcpSocket: {{port: 7000}}, periodSeconds: 1}}
"
        ));
        self.rolled_out();
    }

    /// Waits until the pods of `server` are as they should be.
    pub fn rolled_out(&self) {
        self.kubectl(&["rollout", "status", "deployment/server", "--timeout=180s"]);
    }

    /// The names of the pods of `server`.
    pub fn servers(&self) -> Vec<String> {
        let names = self.kubectl(&["get", "pods", "-l", SERVERS, "-o", "jsonpath={.items[*].metadata.name}"]);
        names.split_whitespace().map(str::to_owned).collect()
    }

    /// Begins to send requests of every protocol to `server`, through a sidecar, at constant rates.
    pub fn load(&self, seconds: u32) -> Load<'_> {
        let image = image();
        let containers = Protocol::ALL
            .map(|protocol| {
                let (name, rate) = (protocol.name(), protocol.rate());
                let url = protocol.url().join(", ");
                format!(
                    "
  - name: {name}
    image: {image}
    imagePullPolicy: IfNotPresent
    command: [/weft, example, load, {url}, --rate, '{rate}', --duration, {seconds}s, --timeout, {TIMEOUT}]"
                )
            })
            .concat();
        self.apply(&format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: load, annotations: {{mesh.weft.dev/access-log: errors}}}}
spec:
  restartPolicy: Never
  securityContext: {{runAsNonRoot: true, runAsUser: 1000}}
  containers:{containers}
"
        ));
        self.kubectl(&["wait", "pod/load", "--for=condition=Ready", "--timeout=60s"]);
        Load { namespace: self, seconds }
    }

    /// The sum of a counter over the pods with this label, of the series that hold all of these parts.
    pub fn counted(&self, selector: &str, metric: &str, parts: &[&str]) -> f64 {
        let names =
            self.kubectl(&["get", "pods", "-l", selector, "-o", "jsonpath={.items[*].metadata.name}"]);
        let metrics = names.split_whitespace().filter_map(|pod| {
            let path = format!("/api/v1/namespaces/{}/pods/{pod}:15020/proxy/metrics", self.name);
            self.cluster.try_kubectl(&["get", "--raw", &path], "").ok()
        });
        metrics.map(|text| sum(&text, metric, parts)).sum()
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        // What is left of it is the cluster's to clear away.
        let _ = self.cluster.try_kubectl(&["delete", "namespace", &self.name, "--wait=false"], "");
    }
}

/// The sum of a counter in Prometheus' text, of the series that hold all of these parts.
pub fn sum(text: &str, metric: &str, parts: &[&str]) -> f64 {
    text.lines()
        .filter(|line| line.starts_with(metric) && parts.iter().all(|part| line.contains(part)))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

fn image() -> String {
    env::var("WEFT_TEST_IMAGE").unwrap_or_else(|_| "weft.test/weft:dev".to_owned())
}

/// The pods that requests are sent to.
pub const SERVERS: &str = "app=server";

/// What requests speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// GETs over HTTP/1.1.
    Http1,
    /// GETs over HTTP/2.
    Http2,
    /// Streams over gRPC, each of a second.
    Grpc,
    /// Connections to a server that speaks first, of 20 lines each.
    Tcp,
}

impl Protocol {
    const ALL: [Self; 4] = [Self::Http1, Self::Http2, Self::Grpc, Self::Tcp];

    fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }

    fn url(self) -> &'static [&'static str] {
        match self {
            Self::Http1 => &["'http://reviews/reviews/1'"],
            Self::Http2 => &["'http://reviews/reviews/1'", "--http2"],
            Self::Grpc => &["'grpc://ratings:9090'"],
            Self::Tcp => &["'tcp://echo:7000'"],
        }
    }

    /// Requests each second.
    fn rate(self) -> u32 {
        match self {
            Self::Http1 => 100,
            Self::Http2 => 50,
            Self::Grpc => 5,
            Self::Tcp => 10,
        }
    }
}

/// Requests that are being sent.
#[derive(Debug)]
pub struct Load<'a> {
    namespace: &'a Namespace<'a>,
    seconds: u32,
}

impl Load<'_> {
    /// Waits for the end, prints what became of the requests, and wants that it was all of them and each succeeded.
    ///
    /// # Panics
    ///
    /// When one failed, or when many were not sent.
    pub fn finish(self, test: &str) {
        let namespace = self.namespace;
        namespace.cluster.until("the end of the load", |cluster| {
            let look = ["-n", &namespace.name, "get", "pod", "load", "-o", "jsonpath={.status.phase}"];
            let phase = cluster.try_kubectl(&look, "").ok()?;
            (phase == "Succeeded" || phase == "Failed").then_some(())
        });
        let outcomes = Protocol::ALL.map(|protocol| {
            let said = namespace.kubectl(&["logs", "load", "-c", protocol.name()]);
            let mut reports = said.lines().map(|line| {
                serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            });
            let summary = reports.next_back().unwrap_or_default();
            let number = |field: &str| summary[field].as_u64().unwrap_or_default();
            let (sent, failed) = (number("sent"), number("failed"));
            println!("{test}: {}: {sent} sent, {failed} failed {}", protocol.name(), summary["failures"]);
            let bad = reports.filter(|report| report["failed"] != 0).map(|report| report["at_s"].to_string());
            let bad: Vec<String> = bad.collect();
            if let (Some(first), Some(last)) = (bad.first(), bad.last()) {
                println!("{test}: {}: failed in reports at {first} s to {last} s", protocol.name());
            }
            (protocol, sent, failed)
        });
        if outcomes.iter().any(|(_, _, failed)| *failed > 0) {
            let logs = ["-n", "weft-system", "logs", "deployment/control-plane", "--timestamps", "--tail=40"];
            println!("{test}: the control plane's log ends with\n{}", namespace.cluster.kubectl(&logs));
            // Requests that failed are in it one by one, with the reason.
            let logs = ["logs", "load", "-c", "weft-proxy", "--timestamps", "--tail=40"];
            println!("{test}: the log of the caller's sidecar ends with\n{}", namespace.kubectl(&logs));
        }
        for (protocol, sent, failed) in outcomes {
            assert_eq!(failed, 0, "{protocol:?}: of {sent}");
            assert!(sent >= u64::from(protocol.rate() * self.seconds) * 9 / 10, "{protocol:?}: {sent} sent");
        }
    }
}
