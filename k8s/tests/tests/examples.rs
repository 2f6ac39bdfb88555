//! The examples for Kubernetes are taken by the API server and do what their first lines say.

// Tests end where they go wrong, helpers included.
#![allow(clippy::unwrap_used)]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use weft_cluster_tests::{Cluster, Namespace, sum};

/// Images that the examples are written for.
const IMAGE: &str = "ghcr.io/weft-mesh/weft:0.1.0";
const DATABASE: &str = "docker.io/library/mariadb:11";
/// Begins a database of Debian's package, whose image has no script for that.
const BEGIN: &str = "mariadb-install-db --user=root --auth-root-authentication-method=normal >/dev/null; mkdir -p /run/mysqld; \
echo \"CREATE USER root@'%';\" >/tmp/begin.sql; echo \"GRANT ALL ON *.* TO root@'%';\" >>/tmp/begin.sql; \
exec mariadbd --user=root --bind-address=0.0.0.0 --init-file=/tmp/begin.sql";

fn image() -> String {
    env::var("WEFT_TEST_IMAGE").unwrap_or_else(|_| "weft.test/weft:dev".to_owned())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// An example in this namespace, with images that are here.
fn example(name: &str, namespace: &str) -> String {
    let text = fs::read_to_string(folder().join(name)).unwrap();
    text.replace("weft-demo", namespace)
        .replace("namespace: shop", &format!("namespace: {namespace}"))
        .replace(IMAGE, &image())
}

/// Ratings at an address that is neither a pod's nor a node's, although the node has it.
struct Outside {
    address: &'static str,
    program: Child,
}

impl Outside {
    fn start(address: &'static str, port: &str) -> Option<Self> {
        let Ok(weft) = env::var("WEFT_TEST_COMMAND") else {
            println!("skipped: set WEFT_TEST_COMMAND to the program weft");
            return None;
        };
        ip(&["address", "replace", address, "dev", "lo"]);
        let mut program = Command::new(weft);
        program.args(["example", "ratings", "--host", address, "--port", port]);
        let program = program.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Some(Self { address, program })
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
        ip(&["address", "delete", self.address, "dev", "lo"]);
    }
}

fn ip(arguments: &[&str]) {
    let ended = Command::new("ip").args(arguments).status().unwrap();
    assert!(ended.success(), "ip {arguments:?}: {ended}");
}

/// A namespace with the demo at work.
struct Demo<'a>(Namespace<'a>);

impl<'a> Demo<'a> {
    fn start(cluster: &'a Cluster, test: &str) -> Self {
        let namespace = Namespace::new(cluster, test);
        cluster.apply(&example("kubernetes/demo.yaml", &namespace.name));
        for name in ["web", "reviews-v1", "reviews-v2", "ratings"] {
            namespace.kubectl(&["rollout", "status", &format!("deployment/{name}"), "--timeout=120s"]);
        }
        Self(namespace)
    }

    /// Applies an example, and waits until the mesh has taken its route, if it has one.
    fn apply(&self, name: &str) {
        let text = example(name, &self.0.name);
        self.0.cluster.apply(&text);
        if text.contains("kind: HTTPRoute") {
            self.0.cluster.until("status of the route", |_| {
                let path = "jsonpath={.status.parents[0].conditions[*].status}";
                (self.0.kubectl(&["get", "httproute", "reviews", "-o", path]) == "True True").then_some(())
            });
        }
    }

    /// Sends requests through a sidecar, with these options, and gives what became of them.
    fn sent(&self, job: &str, url: &str, options: &str) -> Value {
        let image = image();
        self.0.apply(&format!(
            "
apiVersion: batch/v1
kind: Job
metadata: {{name: {job}}}
spec:
  backoffLimit: 0
  template:
    metadata: {{labels: {{app: {job}}}}}
    spec:
      restartPolicy: Never
      containers:
        - name: load
          image: {image}
          imagePullPolicy: IfNotPresent
          command: [/weft, example, load, '{url}', {options}]
"
        ));
        self.ended(job);
        let said = self.0.kubectl(&["logs", &format!("job/{job}"), "-c", "load", "--tail=1"]);
        println!("{job}: {}", said.trim());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// Waits for the end of a Job; says whether it succeeded.
    fn ended(&self, job: &str) -> bool {
        self.0.cluster.until(&format!("end of Job {job}"), |_| {
            let path = "jsonpath={.status.conditions[?(@.status==\"True\")].type}";
            let said = self.0.kubectl(&["get", "job", job, "-o", path]);
            if said.contains("Complete") { Some(true) } else { said.contains("Failed").then_some(false) }
        })
    }
}

fn count(said: &Value, pointer: &str) -> u64 {
    said.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

fn number(said: &Value, pointer: &str) -> f64 {
    said.pointer(pointer).and_then(Value::as_f64).unwrap_or_default()
}

/// Every file with resources among the examples.
fn files() -> Vec<String> {
    let mut found = vec!["pipelines/reviews.yaml".to_owned()];
    let names = fs::read_dir(folder().join("kubernetes")).unwrap();
    found.extend(names.map(|entry| format!("kubernetes/{}", entry.unwrap().file_name().to_str().unwrap())));
    assert!(found.len() >= 10, "{found:?}");
    found
}

#[test]
fn every_example_is_taken_by_the_api_server() {
    let Some(cluster) = Cluster::find("every_example_is_taken_by_the_api_server") else { return };
    let namespace = Namespace::new(&cluster, "examples");
    for file in files() {
        let text = example(&file, &namespace.name);
        // What needs the namespace of the pipelines has it under another name.
        let text = text.replace("name: shop\n", &format!("name: {}\n", namespace.name));
        let arguments = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        cluster.try_kubectl(&arguments, &text).unwrap_or_else(|said| panic!("{file}: {said}"));
    }
}

#[test]
fn the_canary_gets_its_share_and_testers_always_meet_it() {
    let Some(cluster) = Cluster::find("the_canary_gets_its_share_and_testers_always_meet_it") else { return };
    let demo = Demo::start(&cluster, "canary");
    demo.apply("kubernetes/canary.yaml");
    let said = demo.sent("everybody", "http://web:8080/product/1", "--rate, '50', --duration, 12s");
    assert_eq!(count(&said, "/failed"), 0, "{said}");
    let (all, second) = (number(&said, "/ok"), number(&said, "/versions/v2"));
    // Six hundred requests at a tenth: five standard deviations to both sides.
    assert!(all >= 550.0 && (0.04..0.16).contains(&(second / all)), "{said}");
    let said = demo.sent(
        "testers",
        "http://web:8080/product/1",
        "--rate, '50', --duration, 2s, --header, 'x-user: tester'",
    );
    assert_eq!(count(&said, "/failed"), 0, "{said}");
    assert_eq!(count(&said, "/versions/v2"), count(&said, "/ok"), "{said}");
}

#[test]
fn only_web_may_call_reviews() {
    let Some(cluster) = Cluster::find("only_web_may_call_reviews") else { return };
    let demo = Demo::start(&cluster, "authorization");
    let before = demo.sent("before", "http://reviews:9080/reviews/1", "--rate, '20', --duration, 1s");
    assert_eq!(count(&before, "/failed"), 0, "{before}");
    demo.apply("kubernetes/authorization.yaml");
    cluster.until("the policy in force", |_| {
        let job = format!("others-{:x}", next());
        let said = demo.sent(&job, "http://reviews:9080/reviews/1", "--rate, '20', --duration, 1s");
        (count(&said, "/statuses/403") == count(&said, "/sent") && count(&said, "/sent") > 0).then_some(())
    });
    let web = demo.sent("web-may", "http://web:8080/product/1", "--rate, '20', --duration, 1s");
    assert_eq!(count(&web, "/failed"), 0, "{web}");
}

/// A number that is not used twice by one process.
fn next() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[test]
fn faults_meet_who_asks_for_them_and_nobody_else() {
    let Some(cluster) = Cluster::find("faults_meet_who_asks_for_them_and_nobody_else") else { return };
    let demo = Demo::start(&cluster, "faults");
    demo.apply("kubernetes/faults.yaml");
    let spared = demo.sent("spared", "http://web:8080/product/1", "--rate, '20', --duration, 3s");
    assert_eq!(count(&spared, "/failed"), 0, "{spared}");
    let options = "--rate, '20', --duration, 10s, --timeout, 10s, --header, 'x-user: chaos'";
    let struck = demo.sent("struck", "http://web:8080/product/1", options);
    // Of two hundred, one in five fails: six standard deviations to both sides. Half of them wait for a second.
    let share = number(&struck, "/failed") / number(&struck, "/sent");
    assert!((0.04..0.38).contains(&share), "{struck}");
    assert!(number(&struck, "/latency_ms/p90") >= 1000.0, "{struck}");
}

#[test]
fn a_job_ends_although_it_has_a_sidecar() {
    let Some(cluster) = Cluster::find("a_job_ends_although_it_has_a_sidecar") else { return };
    let demo = Demo::start(&cluster, "job");
    demo.apply("kubernetes/job.yaml");
    // Whether all of its requests went well is another question.
    let well = demo.ended("load");
    println!("the Job ended well: {well}");
    let containers = "jsonpath={.items[0].spec.initContainers[*].name}";
    let names = demo.0.kubectl(&["get", "pods", "-l", "job-name=load", "-o", containers]);
    assert!(names.contains("weft-proxy"), "{names}");
}

#[test]
fn each_pod_of_a_database_that_speaks_first_is_asked_by_its_name_in_mtls() {
    let test = "each_pod_of_a_database_that_speaks_first_is_asked_by_its_name_in_mtls";
    let Some(cluster) = Cluster::find(test) else { return };
    let Ok(image) = env::var("WEFT_TEST_DATABASE_IMAGE") else {
        println!("skipped {test}: set WEFT_TEST_DATABASE_IMAGE to an image with Debian's mariadb-server");
        return;
    };
    let namespace = Namespace::new(&cluster, "database");
    let server = format!("- name: mariadb\n          image: {DATABASE}");
    let begins = format!(
        "- name: mariadb\n          image: {image}\n          command: [sh, -ec, {}]",
        Value::from(BEGIN)
    );
    let manifest = example("kubernetes/database.yaml", &namespace.name);
    assert!(manifest.contains(&server));
    cluster.apply(&manifest.replace(&server, &begins).replace(DATABASE, &image));
    namespace.kubectl(&["rollout", "status", "statefulset/mariadb", "--timeout=120s"]);
    let demo = Demo(namespace);
    assert!(demo.ended("ask-mariadb"));
    let said = demo.0.kubectl(&["logs", "-l", "job-name=ask-mariadb", "-c", "ask", "--tail=-1"]);
    assert!(said.contains("mariadb-0\nmariadb-1"), "{said}");
    let mutual = demo.0.counted(
        "app=mariadb",
        "weft_tcp_connections_opened_total",
        &["direction=\"inbound\"", "tls=\"mutual\""],
    );
    assert!(mutual >= 2.0, "{mutual} connections in mTLS");
}

#[test]
fn a_destination_outside_of_the_mesh_has_its_name_in_the_metrics() {
    let Some(cluster) = Cluster::find("a_destination_outside_of_the_mesh_has_its_name_in_the_metrics") else {
        return;
    };
    let Some(_outside) = Outside::start("192.0.2.10", "443") else { return };
    let demo = Demo::start(&cluster, "external");
    let image = image();
    cluster.apply(&example("kubernetes/external.yaml", &demo.0.name).replace(", {address: 192.0.2.11}", ""));
    cluster.until("the metrics of the destination", |_| {
        demo.0.apply(&format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: caller, labels: {{app: caller}}}}
spec:
  containers:
    - name: caller
      image: {image}
      imagePullPolicy: IfNotPresent
      command: [/weft, example, reviews, --version, v2, --port, '9080', --ratings, 'http://192.0.2.10:443']
    - name: load
      image: {image}
      imagePullPolicy: IfNotPresent
      command: [/weft, example, load, 'http://127.0.0.1:9080/reviews/1', --rate, '5']
"
        ));
        let path = format!("/api/v1/namespaces/{}/pods/caller:15020/proxy/metrics", demo.0.name);
        let text = cluster.try_kubectl(&["get", "--raw", &path], "").ok()?;
        let destination = format!("destination=\"{}/billing:443\"", demo.0.name);
        (sum(&text, "weft_tcp_connections_opened_total", &[&destination]) > 0.0).then_some(())
    });
}
