//! What listens in a pod and in the control plane, from where it is for nobody.

use weft_cluster_tests::{Cluster, Namespace};

use crate::world::{Attempts, address, attacker, control_planes, curl, from_node};

/// Ways to write an address of a sidecar's own pod, beside that of the pod itself.
const OWN: [&str; 6] = ["127.0.0.1", "0.0.0.0", "0", "localhost", "[::1]", "[::ffff:127.0.0.1]"];

fn is_served(seen: &str) -> bool {
    seen.starts_with('2')
}

#[test]
fn a_sidecar_does_not_serve_whom_it_was_not_made_for() {
    let test = "a_sidecar_does_not_serve_whom_it_was_not_made_for";
    let Some(cluster) = Cluster::find(test) else { return };
    let namespace = Namespace::new(&cluster, "attack-outbound");
    namespace.serve(1);
    attacker(&namespace, "outsider", false);
    attacker(&namespace, "insider", true);
    let victim = address(&cluster, &namespace.name, &namespace.servers()[0]);
    let mut attempts = Attempts::new(test);
    for pod in ["outsider", "insider"] {
        let proxy = format!("http://{victim}:15001");
        let mut urls = vec![format!("http://reviews.{}/reviews/1", namespace.name)];
        urls.extend(OWN.iter().map(|own| format!("http://{own}:15000/config")));
        urls.push(format!("http://{victim}:15000/config"));
        urls.push("http://127.0.0.1:9080/reviews/1".to_owned());
        // A loop: it takes a place for each time around.
        urls.push("http://127.0.0.1:15001/".to_owned());
        for url in urls {
            let seen = curl(&namespace, pod, &["-x", &proxy, &url]);
            let what = format!("{pod}: curl -x {proxy} {url}");
            attempts.tried(&what, "not served", &seen, !is_served(&seen));
            let tunnel = curl(&namespace, pod, &["-p", "-x", &proxy, &url]);
            attempts.tried(&format!("{what}, by CONNECT"), "not served", &tunnel, !is_served(&tunnel));
        }
        for port in ["15000", "15001", "15008"] {
            let seen = curl(&namespace, pod, &[&format!("http://{victim}:{port}/config")]);
            attempts.tried(
                &format!("{pod}: curl http://{victim}:{port}/config"),
                "not served",
                &seen,
                !is_served(&seen),
            );
        }
    }
    // Its own workload, through its own sidecar, in explicit mode.
    let own = address(&cluster, &namespace.name, "insider");
    for host in OWN.iter().map(|own| (*own).to_owned()).chain([own]) {
        for port in ["15000", "15001", "15006", "15020"] {
            let url = format!("http://{host}:{port}/config");
            let seen = curl(&namespace, "insider", &["-x", "http://127.0.0.1:15001", &url]);
            attempts.tried(
                &format!("insider: curl -x http://127.0.0.1:15001 {url}"),
                "not served",
                &seen,
                !is_served(&seen),
            );
        }
    }
    let seen = curl(&namespace, "insider", &["http://reviews/reviews/1"]);
    attempts.tried("insider: curl http://reviews/reviews/1, afterwards", "200", &seen, is_served(&seen));
    attempts.finish();
}

#[test]
fn what_operators_have_is_closed_to_pods() {
    let test = "what_operators_have_is_closed_to_pods";
    let Some(cluster) = Cluster::find(test) else { return };
    let namespace = Namespace::new(&cluster, "attack-admin");
    namespace.serve(1);
    attacker(&namespace, "outsider", false);
    attacker(&namespace, "insider", true);
    let victim = address(&cluster, &namespace.name, &namespace.servers()[0]);
    let plane = address(&cluster, "weft-system", &control_planes(&cluster)[0]);
    let mut attempts = Attempts::new(test);
    for pod in ["outsider", "insider"] {
        for path in ["/config", "/clients"] {
            let url = format!("http://{plane}:15014{path}");
            let seen = curl(&namespace, pod, &[&url]);
            attempts.tried(&format!("{pod}: curl {url}"), "not served", &seen, !is_served(&seen));
        }
    }
    // The kubelet asks for it, and is known by nothing: it is open, and must not fill what others need.
    let holds = format!(
        "for i in $(seq 400); do curl -s -m 12 -o /dev/null http://{victim}:15020/hold/10 & done; sleep 4; \
         curl -s -m 2 -o /dev/null -w '%{{http_code}}' http://{victim}:15020/ready"
    );
    let exec = ["-n", &namespace.name, "exec", "outsider", "-c", "tools", "--", "sh", "-c", &holds];
    let url = format!("http://{victim}:15020/ready");
    std::thread::scope(|scope| {
        let holding = scope.spawn(|| cluster.try_kubectl(&exec, ""));
        std::thread::sleep(std::time::Duration::from_secs(4));
        let seen = from_node(&[], &url).unwrap_or_default();
        let what = format!("the node: curl {url}, while the outsider holds 400 connections with /hold/10");
        attempts.tried(&what, "200, as for the kubelet", &seen, is_served(&seen));
        // How that ends is the attacker's.
        let _ = holding.join();
    });
    attempts.finish();
}
