//! What the definitions of our own kinds refuse in a cluster is what is refused of a file, and `kubectl get` shows what tells
//! one from another. The definitions are tried under a group of their own, beside those that are installed.

// Tests end where they go wrong, helpers included.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use weft_cluster_tests::{Cluster, Namespace};
use weft_resource::{Age, Severity, decode};

const GROUP: &str = "mesh.weft.dev";

/// The definitions in a cluster; they go with the test.
struct Definitions<'a> {
    cluster: &'a Cluster,
    group: String,
}

impl<'a> Definitions<'a> {
    fn install(cluster: &'a Cluster) -> Self {
        let group = format!("weft-test-{:x}.example.com", std::process::id());
        let definitions = Self { cluster, group };
        cluster.apply(&definitions.files());
        let established = |_: &Cluster| {
            let kinds = cluster
                .try_kubectl(&["api-resources", "--api-group", &definitions.group, "-o", "name"], "")
                .ok()?;
            (kinds.lines().count() == 6).then_some(())
        };
        cluster.until("the definitions", established);
        definitions
    }

    fn files(&self) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds");
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert_eq!(files.len(), 6);
        let parts = files
            .iter()
            .map(|file| format!("---\n{}", fs::read_to_string(file).unwrap().replace(GROUP, &self.group)));
        parts.collect::<Vec<_>>().concat()
    }

    /// What the API server says of a resource; nothing when it takes it.
    fn refused(&self, namespace: &Namespace<'_>, kind: &str, spec: &Value) -> Option<String> {
        let text = resource(kind, &namespace.name, spec).to_string().replace(GROUP, &self.group);
        self.cluster.try_kubectl(&["create", "--dry-run=server", "--validate=strict", "-f", "-"], &text).err()
    }
}

impl Drop for Definitions<'_> {
    fn drop(&mut self) {
        let _ = self.cluster.try_kubectl(&["delete", "--wait=false", "-f", "-"], &self.files());
    }
}

fn resource(kind: &str, namespace: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": kind,
        "metadata": {"name": "tried", "namespace": namespace},
        "spec": spec,
    })
}

/// Whether a file that holds it would be refused.
fn wrong_in_a_file(kind: &str, spec: &Value) -> bool {
    let decoded = decode(&resource(kind, "shop", spec), Age::Written("tried.yaml".into(), 0));
    decoded.problems.iter().any(|problem| problem.severity == Severity::Error)
}

fn target(more: &Value) -> Value {
    let mut spec = json!({"targetRefs": [{"kind": "Service", "name": "cart"}]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

/// Specs that are right.
fn right() -> Vec<(&'static str, Value)> {
    vec![
        ("FaultFilter", json!({"delay": {"duration": "2s", "percentage": 0.5}})),
        ("FaultFilter", json!({"abort": {"grpcStatus": 14}})),
        ("RateLimitFilter", json!({"requests": 10, "key": {"header": "x-user"}})),
        ("RateLimitFilter", json!({"requests": 10, "key": {"sourceAddress": true}})),
        (
            "RateLimitFilter",
            json!({"global": {"service": {"name": "limits", "port": 8081}, "domain": "shop", "descriptors": [{"entries": [{"header": "x-user"}, {"path": true}]}]}}),
        ),
        ("BackendPolicy", target(&json!({"hedging": {"delay": "80ms", "attempts": 3}}))),
        ("BackendPolicy", target(&json!({"splitKey": {"header": "x-user"}}))),
        (
            "BackendPolicy",
            target(&json!({"balancing": {"algorithm": "Maglev", "hashKey": {"cookie": "id"}}})),
        ),
        (
            "BackendPolicy",
            target(&json!({"outlierDetection": {"baseEjection": "1s", "maxEjection": "1m30s"}})),
        ),
        ("BackendPolicy", target(&json!({"retry": {"codes": [503], "grpcCodes": [14]}}))),
        (
            "BackendPolicy",
            json!({"targetRefs": [{"group": GROUP, "kind": "ExternalService", "name": "bank"}]}),
        ),
        ("AuthorizationPolicy", json!({"rules": [{}]})),
        (
            "AuthorizationPolicy",
            json!({"action": "DENY", "rules": [{
                "from": {"identities": ["shop/web", "spiffe://mesh.example/ns/shop/sa/web"], "namespaces": ["shop"], "ipBlocks": ["10.0.0.0/8", "2001:db8::1"]},
                "to": {"ports": [80], "methods": ["GET"], "paths": ["/", "/a*", "*.png", "*"]},
            }]}),
        ),
        ("MeshPolicy", json!({"tls": {"mode": "STRICT", "ports": [{"port": 80, "mode": "DISABLED"}]}})),
        (
            "MeshPolicy",
            json!({"proxyProtocol": [{"port": 80, "acceptFrom": ["10.0.0.0/8"]}, {"port": 81, "send": "V2"}]}),
        ),
        ("MeshPolicy", json!({"adaptiveConcurrency": {"minRequests": 4, "maxRequests": 4}})),
        ("MeshPolicy", json!({"pathMode": "NORMALIZE"})),
        (
            "ExternalService",
            json!({"hosts": ["api.example.com"], "ports": [{"port": 443}], "endpoints": [{"address": "192.0.2.1"}, {"address": "2001:db8::1"}]}),
        ),
        (
            "ExternalService",
            json!({"exportTo": ["web", "*"], "ports": [{"port": 443}], "endpoints": [{"address": "192.0.2.1"}]}),
        ),
    ]
}

/// Specs that are wrong, and a part of what the API server says.
fn wrong() -> Vec<(&'static str, Value, &'static str)> {
    [wrong_filters(), wrong_policies()].concat()
}

fn wrong_filters() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("FaultFilter", json!({}), "write delay, abort, or both"),
        (
            "FaultFilter",
            json!({"abort": {"status": 503, "grpcStatus": 14}}),
            "exactly one of status and grpcStatus",
        ),
        ("FaultFilter", json!({"abort": {"percentage": 5}}), "exactly one of status and grpcStatus"),
        ("FaultFilter", json!({"delay": {"duration": "two seconds"}}), "should match"),
        ("RateLimitFilter", json!({"requests": 1, "key": {}}), "exactly one of header, cookie"),
        (
            "RateLimitFilter",
            json!({"requests": 1, "key": {"sourceAddress": false}}),
            "exactly one of header, cookie",
        ),
        (
            "RateLimitFilter",
            json!({"requests": 1, "key": {"header": "a", "cookie": "b"}}),
            "exactly one of header, cookie",
        ),
        ("RateLimitFilter", json!({"requests": 1, "key": {"header": "x user"}}), "should match"),
        ("RateLimitFilter", json!({"requests": 0}), "greater than or equal to 1"),
        ("RateLimitFilter", json!({}), "write requests, global, or both"),
        (
            "RateLimitFilter",
            json!({"interval": "1s", "global": {"address": "limits:8081", "domain": "shop", "descriptors": [{"entries": [{"value": "all"}]}]}}),
            "interval and key go with requests",
        ),
        (
            "RateLimitFilter",
            json!({"global": {"domain": "shop", "descriptors": [{"entries": [{"value": "all"}]}]}}),
            "exactly one of service and address",
        ),
        (
            "RateLimitFilter",
            json!({"global": {"address": "limits:8081", "domain": "shop", "descriptors": [{"entries": [{"path": true, "method": true}]}]}}),
            "exactly one of value, header",
        ),
        (
            "RateLimitFilter",
            json!({"global": {"address": "limits:8081", "domain": "shop", "timeout": "0s", "descriptors": [{"entries": [{"value": "all"}]}]}}),
            "in which nobody answers",
        ),
    ]
}

fn wrong_policies() -> Vec<(&'static str, Value, &'static str)> {
    let external = |ports: Value, hosts: Value, endpoints: Value| json!({"ports": ports, "hosts": hosts, "endpoints": endpoints});
    let ports = || json!([{"port": 443}]);
    let endpoints = || json!([{"address": "192.0.2.1"}]);
    vec![
        ("BackendPolicy", target(&json!({"hedging": {"delay": "0s"}})), "every request would be sent twice"),
        (
            "BackendPolicy",
            target(&json!({"balancing": {"algorithm": "RingHash"}})),
            "RingHash and Maglev need it",
        ),
        (
            "BackendPolicy",
            target(&json!({"outlierDetection": {"baseEjection": "1m", "maxEjection": "59s"}})),
            "make it longer",
        ),
        ("BackendPolicy", target(&json!({"retry": {"codes": [200]}})), "greater than or equal to 400"),
        ("BackendPolicy", target(&json!({"retry": {"grpcCodes": [17]}})), "less than or equal to 16"),
        ("BackendPolicy", json!({"targetRefs": []}), "at least 1 items"),
        (
            "BackendPolicy",
            json!({"targetRefs": [{"group": GROUP, "kind": "Service", "name": "cart"}]}),
            "the group does not go with the kind",
        ),
        (
            "BackendPolicy",
            json!({"targetRefs": [{"kind": "Service", "name": "cart"}, {"kind": "Service", "name": "cart"}]}),
            "Duplicate value",
        ),
        ("AuthorizationPolicy", json!({"rules": [{"from": {"identities": ["web"]}}]}), "should match"),
        ("AuthorizationPolicy", json!({"rules": [{"from": {"namespaces": ["Shop"]}}]}), "should match"),
        ("AuthorizationPolicy", json!({"rules": [{"from": {"ipBlocks": ["everywhere"]}}]}), "should match"),
        ("AuthorizationPolicy", json!({"rules": [{"from": {"ipBlocks": ["10.0.0.0/33"]}}]}), "should match"),
        ("AuthorizationPolicy", json!({"rules": [{"from": {"ipBlocks": ["::/129"]}}]}), "should match"),
        ("AuthorizationPolicy", json!({"rules": [{"from": {"ipBlocks": []}}]}), "at least 1"),
        ("AuthorizationPolicy", json!({"rules": [{"from": {}}]}), "at least 1"),
        ("AuthorizationPolicy", json!({"rules": [{"to": {"ports": [0]}}]}), "greater than or equal to 1"),
        ("AuthorizationPolicy", json!({"rules": [{"to": {"paths": ["/a*b"]}}]}), "should match"),
        ("AuthorizationPolicy", json!({"rules": [{"to": {"paths": ["a"]}}]}), "should match"),
        ("AuthorizationPolicy", json!({"rules": [{"to": {"methods": ["G ET"]}}]}), "should match"),
        ("AuthorizationPolicy", json!({"action": "PERMIT"}), "Unsupported value"),
        ("MeshPolicy", json!({"proxyProtocol": [{"port": 80}]}), "says nothing of its port"),
        (
            "MeshPolicy",
            json!({"proxyProtocol": [{"port": 80, "send": "V1"}, {"port": 80, "send": "V2"}]}),
            "Duplicate value",
        ),
        (
            "MeshPolicy",
            json!({"tls": {"ports": [{"port": 80, "mode": "STRICT"}, {"port": 80, "mode": "DISABLED"}]}}),
            "Duplicate value",
        ),
        (
            "MeshPolicy",
            json!({"adaptiveConcurrency": {"minRequests": 5, "maxRequests": 4}}),
            "a minimum that is not above",
        ),
        ("ExternalService", external(ports(), json!(["Api.example.com"]), endpoints()), "should match"),
        ("ExternalService", external(ports(), json!(["192.0.2.1"]), endpoints()), "write a host name"),
        ("ExternalService", external(ports(), json!(["a.b", "a.b"]), endpoints()), "Duplicate value"),
        (
            "ExternalService",
            external(ports(), json!(["cart.shop.svc"]), endpoints()),
            "name of the cluster itself",
        ),
        (
            "ExternalService",
            json!({"exportTo": ["Web"], "ports": ports(), "endpoints": endpoints()}),
            "should match",
        ),
        (
            "ExternalService",
            external(json!([{"port": 1}, {"port": 2, "name": "b"}]), json!([]), endpoints()),
            "each needs a name",
        ),
        (
            "ExternalService",
            external(json!([{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]), json!([]), endpoints()),
            "Duplicate value",
        ),
        ("ExternalService", external(ports(), json!([]), json!([{"address": "here"}])), "should match"),
        (
            "ExternalService",
            external(ports(), json!([]), json!([{"address": "192.0.2.1"}, {"address": "192.0.2.1"}])),
            "Duplicate value",
        ),
        ("MeshPolicy", json!({"tsl": {}}), "unknown field"),
    ]
}

#[test]
fn what_is_tried_in_a_cluster_is_judged_likewise_in_a_file() {
    for (kind, spec) in right() {
        assert!(!wrong_in_a_file(kind, &spec), "{kind} {spec}");
    }
    for (kind, spec, _) in wrong() {
        assert!(wrong_in_a_file(kind, &spec), "{kind} {spec}");
    }
}

#[test]
fn a_cluster_refuses_what_a_file_is_refused_for() {
    let Some(cluster) = Cluster::find("a_cluster_refuses_what_a_file_is_refused_for") else { return };
    let definitions = Definitions::install(&cluster);
    let namespace = Namespace::new(&cluster, "definitions");
    for (kind, spec) in right() {
        let said = definitions.refused(&namespace, kind, &spec);
        assert_eq!(said, None, "{kind} {spec}");
    }
    for (kind, spec, expected) in wrong() {
        let said =
            definitions.refused(&namespace, kind, &spec).unwrap_or_else(|| panic!("{kind} {spec} is taken"));
        assert!(said.contains(expected), "{kind} {spec}: {said}");
    }
}

#[test]
fn what_tells_resources_from_each_other_is_shown() {
    let Some(cluster) = Cluster::find("what_tells_resources_from_each_other_is_shown") else { return };
    let definitions = Definitions::install(&cluster);
    let namespace = Namespace::new(&cluster, "columns");
    for (kind, spec, shown) in [
        ("FaultFilter", json!({"delay": {"duration": "2s"}, "abort": {"status": 503}}), &["2s", "503"][..]),
        ("RateLimitFilter", json!({"requests": 17, "interval": "10s"}), &["17", "10s"]),
        (
            "MeshPolicy",
            json!({"tls": {"mode": "STRICT"}, "selector": {"matchLabels": {"app": "a"}}}),
            &["STRICT", "{\"app\":\"a\"}"],
        ),
        ("AuthorizationPolicy", json!({"rules": [{}]}), &["ALLOW"]),
        ("BackendPolicy", target(&json!({"balancing": {}})), &["cart", "PeakEwma"]),
        (
            "ExternalService",
            json!({"hosts": ["a.example"], "ports": [{"port": 443}], "endpoints": [{"address": "192.0.2.1"}]}),
            &["a.example", "443"],
        ),
    ] {
        let text = resource(kind, &namespace.name, &spec).to_string().replace(GROUP, &definitions.group);
        namespace.apply(&text);
        let name = format!("{}.{}", kind.to_lowercase(), definitions.group);
        let table = namespace.kubectl(&["get", &name]);
        for word in shown {
            assert!(table.contains(word), "{kind}: {table}");
        }
        assert!(table.contains("ACCEPTED") && table.contains("AGE"), "{kind}: {table}");
    }
}
