//! The commands for Kubernetes, against an API server in process: what they print, how they end, and what they say when
//! something is wrong.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;
use weft_testkit::kubernetes::{ApiServer, Canned};

use crate::support::{text, weft};

const CONFIG: &str = r#"{
    "workload": "web-7f-a.shop", "version": "0.1.0", "snapshot": 3,
    "control_plane": {"address": "control-plane.weft-system.svc:15012", "connected": true},
    "waiting_for": [], "troubles": [], "certificate": null, "trust": null, "listeners": [], "inbound": {"ports": []},
    "destinations": [], "endpoints": [{"service": "shop/reviews:80", "endpoints": [
        {"id": "reviews-1.shop", "address": "10.0.0.7:9080", "health": "ready", "hop": "weft/1 over mTLS", "weight": 1, "version": "v1"}
    ]}]
}"#;

const METRICS: &str = "\
weft_requests_total{direction=\"outbound\",backend=\"shop/reviews:80\",tls=\"mutual\",peer=\"spiffe://m/ns/shop/sa/reviews\",class=\"2xx\"} 7
weft_request_duration_seconds_bucket{direction=\"outbound\",backend=\"shop/reviews:80\",tls=\"mutual\",peer=\"spiffe://m/ns/shop/sa/reviews\",le=\"0.001\"} 7
";

/// A cluster with a Deployment `web` of one pod with a sidecar, and a pod without.
struct Cluster {
    server: ApiServer,
    proxy: Canned,
    folder: TempDir,
}

impl Cluster {
    fn start() -> Self {
        let server = ApiServer::start();
        let proxy = Canned::start(&[
            ("/config", CONFIG),
            ("/metrics", METRICS),
            ("/log", "info\n"),
            (
                "/explain",
                r#"{"request": "GET http://reviews/", "service": "shop/reviews:80", "protocol": "http",
                "considered": [], "steps": [], "backends": [{"service": "shop/reviews:80", "invalid": null, "percent": 100.0,
                    "steps": [], "admission": null, "endpoints": [{"address": "10.0.0.7:9080", "workload": "web-7f-a.shop",
                        "health": "ready", "takes_requests": true, "hop": "weft/1 over mTLS", "weight": 1}]}],
                "outcome": {"sent": true, "status": null, "why": "sent on, as far as is known"}}"#,
            ),
            ("/admission", r#"{"allowed": true, "why": "AuthorizationPolicy shop/web, rules[0]"}"#),
        ]);
        server.put("/api/v1/namespaces/shop/pods/web-7f-a", json!({
            "metadata": {"name": "web-7f-a", "namespace": "shop", "labels": {"app": "web", "pod-template-hash": "7f"},
                "annotations": {"mesh.weft.dev/status": "{}"}, "ownerReferences": [{"kind": "ReplicaSet", "name": "web-7f"}]},
            "spec": {"initContainers": [{"name": "weft-proxy"}], "containers": [{"name": "web"}]},
            "status": {"phase": "Running"},
        }));
        server.put(
            "/api/v1/namespaces/shop/pods/bare",
            json!({
                "metadata": {"name": "bare", "namespace": "shop"},
                "spec": {"containers": [{"name": "a"}]},
                "status": {"phase": "Running"},
            }),
        );
        server.put("/api/v1/namespaces/shop", json!({"metadata": {"name": "shop"}}));
        server.put(
            "/apis/apps/v1/namespaces/shop/deployments/web",
            json!({
                "metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}},
            }),
        );
        server.answer("GET /api/v1/namespaces/shop/pods/web-7f-a/log", |_| {
            (200, json!("one line\nand another\n"))
        });
        server.forward("shop/web-7f-a", 15000, proxy.address);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kubeconfig"), server.kubeconfig()).unwrap();
        Self { server, proxy, folder }
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = weft(args);
        command.env("KUBECONFIG", self.folder.path().join("kubeconfig")).output().unwrap()
    }

    fn said(&self, args: &[&str]) -> String {
        let ended = self.run(args);
        assert_eq!(ended.status.code(), Some(0), "{args:?}: {}", text(&ended.stderr));
        text(&ended.stdout)
    }

    /// The one line on stderr of a command that fails.
    fn complaint(&self, args: &[&str]) -> String {
        let ended = self.run(args);
        assert_eq!(ended.status.code(), Some(1), "{args:?}: {}", text(&ended.stdout));
        let said = text(&ended.stderr);
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    }
}

#[test]
fn a_pods_sidecar_is_asked_by_port_forward() {
    let cluster = Cluster::start();
    let endpoints = cluster.said(&["get", "endpoints", "web-7f-a.shop"]);
    assert!(endpoints.contains("shop/reviews:80  10.0.0.7:9080  ready"), "{endpoints}");
    let json: Value =
        serde_json::from_str(&cluster.said(&["get", "endpoints", "deploy/web", "--output", "json"])).unwrap();
    assert_eq!(json["endpoints"][0]["service"], "shop/reviews:80");
    let yaml = cluster.said(&["config", "deploy/web"]);
    assert!(
        yaml.contains("workload: \"web-7f-a.shop\"") || yaml.contains("workload: web-7f-a.shop"),
        "{yaml}"
    );
    let explained = cluster.said(&["explain", "GET", "http://reviews/", "--pod", "deploy/web"]);
    assert!(explained.trim_end().ends_with("sent on"), "{explained}");
    assert!(explained.contains("lets the caller in: AuthorizationPolicy shop/web, rules[0]"), "{explained}");
    let admission = "GET /admission?method=GET&url=http%3A%2F%2Flocalhost%3A9080%2F";
    assert!(cluster.proxy.asked().iter().any(|asked| asked == admission), "{:?}", cluster.proxy.asked());
    assert!(
        cluster
            .proxy
            .asked()
            .iter()
            .any(|asked| asked == "GET /explain?method=GET&url=http%3A%2F%2Freviews%2F")
    );
}

#[test]
fn top_prints_one_table_where_nobody_watches() {
    let cluster = Cluster::start();
    let table = cluster.said(&["top", "ns/shop", "--interval", "500ms"]);
    let edge = table.lines().nth(1).unwrap_or_default();
    assert!(edge.starts_with("web   reviews  -        yes") && edge.contains('7'), "{table}");
    let json: Value = serde_json::from_str(&cluster.said(&[
        "top",
        "deploy/web",
        "--once",
        "--output",
        "json",
        "--interval",
        "500ms",
    ]))
    .unwrap();
    assert_eq!((&json["edges"][0]["from"], &json["edges"][0]["requests"]), (&json!("web"), &json!(7)));
}

#[test]
fn logs_are_those_of_the_sidecar_and_their_level_can_be_changed() {
    let cluster = Cluster::start();
    assert_eq!(cluster.said(&["logs", "deploy/web", "--tail", "2"]), "one line\nand another\n");
    assert!(
        cluster
            .server
            .asked()
            .last()
            .unwrap()
            .ends_with("log?container=weft-proxy&follow=false&previous=false&tailLines=2")
    );
    let ended = cluster.run(&["logs", "web-7f-a", "-f", "--level", "weft_proxy=debug"]);
    assert!(
        text(&ended.stderr).contains("web-7f-a logs weft_proxy=debug now; before: info"),
        "{}",
        text(&ended.stderr)
    );
    let changes: Vec<String> =
        cluster.proxy.asked().into_iter().filter(|asked| asked.starts_with("PUT")).collect();
    assert_eq!(
        changes,
        ["PUT /log?filter=weft_proxy%3Ddebug", "PUT /log?filter=info"],
        "set, and as before at the end"
    );
}

#[test]
fn what_is_wrong_is_said_in_one_line_with_what_to_do() {
    let cluster = Cluster::start();
    for (args, said) in [
        (&["get", "all", "wbe"][..], "there is no pod wbe in namespace shop; there are bare, web-7f-a"),
        (&["get", "all", "web"], "write deploy/web for the pods of that"),
        (&["config", "deploy/api"], "no deploy/api in namespace shop; there are web"),
        (
            &["get", "all", "bare"],
            "pod bare in namespace shop has no sidecar: neither it nor namespace shop has the label",
        ),
        (&["top", "bare"], "has no sidecar"),
        (&["get", "all", "ns/shop"], "is a namespace; name one pod"),
        (&["check", "--context", "prod"], "prod"),
        (&["check", "--set", "image.tag=x"], "--pre"),
        (&["upgrade"], "weft install | kubectl apply -f -"),
        (&["uninstall"], "nothing of Weft is in the cluster"),
    ] {
        let complaint = cluster.complaint(args);
        assert!(complaint.contains(said), "{args:?}: {complaint}");
    }
    cluster.server.fail(
        "GET /api/v1/namespaces/shop/pods/web-7f-a",
        403,
        "Forbidden",
        "pods \"web-7f-a\" is forbidden: User \"ann\" cannot get resource \"pods\"",
    );
    let forbidden = cluster.complaint(&["get", "all", "web-7f-a"]);
    assert!(
        forbidden.contains("User \"ann\" cannot get") && forbidden.contains("ask an administrator"),
        "{forbidden}"
    );
}

#[test]
fn a_port_that_can_not_be_forwarded_says_why() {
    let cluster = Cluster::start();
    let url = "GET /api/v1/namespaces/shop/pods/web-7f-a/portforward";
    cluster.server.fail(url, 403, "Forbidden", "");
    let forbidden = cluster.complaint(&["config", "web-7f-a"]);
    assert!(forbidden.contains("pods/portforward in namespace shop"), "{forbidden}");
}

#[test]
fn without_a_cluster_each_command_says_which_file_it_looked_for() {
    for args in [&["check"][..], &["top", "ns/shop"], &["get", "all", "web"], &["upgrade"], &["uninstall"]] {
        let ended = weft(args)
            .env("KUBECONFIG", "/nonexistent/kubeconfig")
            .env_remove("KUBERNETES_SERVICE_HOST")
            .output()
            .unwrap();
        let said = text(&ended.stderr);
        assert_eq!((ended.status.code(), said.lines().count()), (Some(1), 1), "{args:?}: {said}");
        assert!(
            said.contains("/nonexistent/kubeconfig") && said.contains("--kubeconfig"),
            "{args:?}: {said}"
        );
    }
}

#[test]
fn an_upgrade_keeps_what_was_chosen_and_names_what_has_to_go() {
    let cluster = Cluster::start();
    install(&cluster, &["controlPlane.replicas=3", "proxy.logLevel=debug"]);
    let old = json!({"metadata": {"name": "weft-old", "labels": {"app.kubernetes.io/part-of": "weft"}}});
    cluster.server.put("/apis/rbac.authorization.k8s.io/v1/clusterroles/weft-old", old);
    cluster.server.remove("/api/v1/namespaces/shop/pods/web-7f-a");
    let values = |more: &[&str]| -> Value {
        serde_saphyr::from_str(&cluster.said(&[&["upgrade", "--show-values"], more].concat())).unwrap()
    };
    let kept = values(&["--set", "controlPlane.replicas=5"]);
    assert_eq!((&kept["controlPlane"]["replicas"], &kept["proxy"]["logLevel"]), (&json!(5), &json!("debug")));
    let reset = values(&["--reset-values"]);
    assert_eq!(
        (&reset["controlPlane"]["replicas"], &reset["proxy"]["logLevel"]),
        (&json!(2), &json!("info"))
    );
    let upgrade = cluster.run(&["upgrade"]);
    assert!(text(&upgrade.stdout).contains("replicas: 3"), "{}", text(&upgrade.stderr));
    assert!(
        text(&upgrade.stderr).contains("no part of it any more: ClusterRole weft-old"),
        "{}",
        text(&upgrade.stderr)
    );
    let pruned = cluster.said(&["upgrade", "--prune"]);
    assert!(pruned.contains("weft-old") && !pruned.contains("control-plane"), "{pruned}");
    let diff = cluster.said(&["upgrade", "--diff", "--set", "controlPlane.replicas=4"]);
    assert!(diff.contains("spec.replicas: 3 -> 4") && diff.contains("- ClusterRole weft-old"), "{diff}");
}

#[test]
fn nothing_is_taken_away_while_pods_have_sidecars() {
    let cluster = Cluster::start();
    install(&cluster, &[]);
    let refused = cluster.run(&["uninstall"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stdout.is_empty());
    assert!(
        text(&refused.stderr).contains("deploy/web in namespace shop: 1 pod has a sidecar"),
        "{}",
        text(&refused.stderr)
    );
    let forced = cluster.said(&["uninstall", "--force"]);
    assert!(forced.contains("weft-injector") && !forced.contains("CustomResourceDefinition"), "{forced}");
    assert!(cluster.said(&["uninstall", "--force", "--crds"]).contains("CustomResourceDefinition"));
}

/// Keeps what `weft install` prints.
fn install(cluster: &Cluster, sets: &[&str]) {
    let mut args = vec!["install"];
    args.extend(sets.iter().flat_map(|set| ["--set", *set]));
    let documents: Vec<Value> = serde_saphyr::from_multiple(&cluster.said(&args)).unwrap();
    for document in documents {
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (api, name, namespace) =
            (text("/apiVersion"), text("/metadata/name"), text("/metadata/namespace"));
        let root = if api.contains('/') { "/apis" } else { "/api" };
        let kind = text("/kind").to_lowercase();
        let plural = match kind.strip_suffix('y') {
            Some(stem) => format!("{stem}ies"),
            None => format!("{kind}s"),
        };
        let place = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
        cluster.server.put(&format!("{root}/{api}{place}/{plural}/{name}"), document.clone());
    }
}
