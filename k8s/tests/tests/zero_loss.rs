//! Under constant load, not one request fails: whatever is rolled out, taken away, or gone for a while.

use std::env;
use std::thread::sleep;
use std::time::Duration;

use weft_cluster_tests::{Cluster, Namespace, SERVERS, node};

/// Sends requests for so long while something is done, and wants every one answered, through two sidecars.
fn nothing_is_lost(test: &str, seconds: u32, replicas: u32, what: impl FnOnce(&Namespace<'_>)) {
    let Some(cluster) = Cluster::find(test) else { return };
    let namespace = Namespace::new(&cluster, &test.replace('_', "-"));
    namespace.serve(replicas);
    let load = namespace.load(seconds);
    sleep(Duration::from_secs(2));
    what(&namespace);
    let mutual =
        namespace.counted(SERVERS, "weft_requests_total", &["direction=\"inbound\"", "tls=\"mutual\""]);
    load.finish(test);
    assert!(mutual > 0.0, "no request came through both sidecars with mTLS");
}

/// The same for a test that stops parts of the cluster: it gets the program that starts them.
fn nothing_is_lost_of_a_cluster(test: &str, seconds: u32, what: impl FnOnce(&Namespace<'_>, &str)) {
    let Ok(program) = env::var("WEFT_TEST_CLUSTER") else {
        println!(
            "skipped {test}: set WEFT_TEST_CLUSTER to the program whose command `up` starts the cluster"
        );
        return;
    };
    nothing_is_lost(test, seconds, 2, |namespace| what(namespace, &program));
}

fn restart(namespace: &Namespace<'_>) {
    namespace.kubectl(&["rollout", "restart", "deployment/server"]);
    namespace.rolled_out();
}

#[test]
fn rolling_update_and_rollback() {
    nothing_is_lost("rolling_update_and_rollback", 50, 3, |namespace| {
        restart(namespace);
        namespace.kubectl(&["rollout", "undo", "deployment/server"]);
        namespace.rolled_out();
    });
}

#[test]
fn scaling_up_and_down() {
    nothing_is_lost("scaling_up_and_down", 50, 1, |namespace| {
        for replicas in ["--replicas=10", "--replicas=1"] {
            namespace.kubectl(&["scale", "deployment/server", replicas]);
            namespace.rolled_out();
            sleep(Duration::from_secs(3));
        }
    });
}

#[test]
fn upgrade_of_the_control_plane() {
    nothing_is_lost("upgrade_of_the_control_plane", 40, 2, |namespace| {
        let system =
            |arguments: &[&str]| namespace.cluster.kubectl(&[&["-n", "weft-system"], arguments].concat());
        system(&["rollout", "restart", "deployment/control-plane"]);
        system(&["rollout", "status", "deployment/control-plane", "--timeout=120s"]);
    });
}

#[test]
fn control_plane_gone_for_a_minute() {
    nothing_is_lost("control_plane_gone_for_a_minute", 80, 2, |namespace| {
        let system =
            |arguments: &[&str]| namespace.cluster.kubectl(&[&["-n", "weft-system"], arguments].concat());
        let replicas = system(&["get", "deployment/control-plane", "-o", "jsonpath={.spec.replicas}"]);
        system(&["scale", "deployment/control-plane", "--replicas=0"]);
        system(&[
            "delete",
            "pods",
            "-l",
            "app.kubernetes.io/name=control-plane",
            "--grace-period=0",
            "--force",
            "--ignore-not-found",
        ]);
        sleep(Duration::from_mins(1));
        system(&["scale", "deployment/control-plane", &format!("--replicas={replicas}")]);
        system(&["rollout", "status", "deployment/control-plane", "--timeout=120s"]);
    });
}

#[test]
fn every_sidecar_of_the_servers_restarted() {
    nothing_is_lost("every_sidecar_of_the_servers_restarted", 50, 3, |namespace| {
        for pod in namespace.servers() {
            node::restart_sidecar(namespace, &pod);
        }
    });
}

#[test]
fn api_server_gone_for_a_minute() {
    nothing_is_lost_of_a_cluster("api_server_gone_for_a_minute", 170, |namespace, program| {
        node::kill("kube-apiserver", namespace.cluster);
        sleep(Duration::from_mins(1));
        node::up(program, namespace.cluster);
        // What changes as soon as it is back has to be heard of as soon. At first no node was heard of for a minute, and
        // all pods are said to be not ready for a while.
        restart(namespace);
    });
}

#[test]
fn a_node_that_is_not_heard_of() {
    nothing_is_lost_of_a_cluster("a_node_that_is_not_heard_of", 110, |namespace, _| {
        let until_servers_are = |ready: &str| {
            let conditions = "jsonpath={.items[*].endpoints[*].conditions.ready}";
            let slices = "kubernetes.io/service-name=reviews";
            namespace.cluster.until("what its endpoints are said to be", |_| {
                let said = namespace.kubectl(&["get", "endpointslices", "-l", slices, "-o", conditions]);
                (!said.is_empty() && said.split_whitespace().all(|said| said == ready)).then_some(())
            });
        };
        // The kubelet says nothing any more, and its pods go on. Before a minute is over, all are said to be not ready.
        let silent = node::stop("kubelet");
        until_servers_are("false");
        sleep(Duration::from_secs(10));
        drop(silent);
        until_servers_are("true");
    });
}

#[test]
fn etcd_restarted() {
    nothing_is_lost_of_a_cluster("etcd_restarted", 30, |namespace, program| {
        node::kill("etcd", namespace.cluster);
        node::up(program, namespace.cluster);
    });
}

#[test]
fn an_invalid_route() {
    nothing_is_lost("an_invalid_route", 20, 2, |namespace| {
        let name = &namespace.name;
        let route = |retry: &str| {
            format!(
                "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: reviews}}
spec:
  parentRefs: [{{group: '', kind: Service, name: reviews, port: 80}}]
  rules:
  - backendRefs: [{{name: reviews, port: 80}}]
    filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: x-test, value: '{name}'}}]}}}}]
    {retry}
"
            )
        };
        namespace.apply(&route(""));
        let accepted = |status: &str| {
            namespace.cluster.until("the route's status", |_| {
                let path = "jsonpath={.status.parents[0].conditions[?(@.type==\"Accepted\")].status}";
                let said = namespace.kubectl(&["get", "httproute", "reviews", "-o", path]);
                (said == status).then_some(())
            });
        };
        accepted("True");
        // The API server takes what its schema lets through; a pattern that is none is for the mesh to find.
        namespace.apply(&route("matches: [{path: {type: RegularExpression, value: '/re(views'}}]"));
        accepted("False");
    });
}
