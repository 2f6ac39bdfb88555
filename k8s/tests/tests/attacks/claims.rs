//! Resources of one namespace that claim what is another's, and addresses that nobody has vouched for.

use weft_cluster_tests::{Cluster, Namespace, SERVERS};

use crate::world::{Attempts, NODE, Program, address, attacker, curl, from_node};

/// Requests that the servers took from whoever proved an identity of this namespace.
fn proven(namespace: &Namespace<'_>) -> f64 {
    let peer = format!("peer=\"spiffe://cluster.local/ns/{}/", namespace.name);
    namespace.counted(SERVERS, "weft_requests_total", &["direction=\"inbound\"", &peer])
}

/// Somebody who listens where no pod is, and says which version it is; and the ratings that it asks for stars.
fn listener(cluster: &Cluster, version: &str, port: u16) -> Option<[Program; 2]> {
    let (port, stars) = (port.to_string(), (port + 1000).to_string());
    let ratings = Program::start(&["example", "ratings", "--host", NODE, "--port", &stars], &[])?;
    let stars = format!("http://{NODE}:{stars}");
    let arguments =
        ["example", "reviews", "--version", version, "--host", NODE, "--port", &port, "--ratings", &stars];
    let reviews = Program::start(&arguments, &[])?;
    let url = format!("http://{NODE}:{port}/reviews/1");
    cluster.until("a listener on the node", |_| from_node(&[], &url).filter(|said| said.starts_with("200")));
    Some([reviews, ratings])
}

#[test]
fn an_external_service_of_another_namespace_takes_no_host_and_no_address() {
    let test = "an_external_service_of_another_namespace_takes_no_host_and_no_address";
    let Some(cluster) = Cluster::find(test) else { return };
    let namespace = Namespace::new(&cluster, "attack-claims");
    // Its name comes first, which is no right.
    let tenant = Namespace::new(&cluster, "aaa");
    let (Some(_own), Some(_trap)) = (listener(&cluster, "v2", 19081), listener(&cluster, "v3", 19082)) else {
        return;
    };
    namespace.serve(1);
    attacker(&namespace, "insider", true);
    let victim = address(&cluster, &namespace.name, &namespace.servers()[0]);
    let name = &namespace.name;
    let external = |name: &str, hosts: &str, port: &str, endpoint: &str| {
        format!(
            "
apiVersion: mesh.weft.dev/v1alpha1
kind: ExternalService
metadata: {{name: {name}}}
spec:
  hosts: [{hosts}]
  ports: [{{port: 80, targetPort: {port}, appProtocol: http}}]
  endpoints: [{{address: {endpoint}}}]
---"
        )
    };
    let mut attempts = Attempts::new(test);
    let own = external("cluster", &format!("reviews.{name}.svc.cluster.local"), "19082", NODE);
    let refused = cluster.try_kubectl(&["-n", &tenant.name, "apply", "-f", "-"], &own);
    attempts.tried(
        "an ExternalService with the name of a Service as its host",
        "refused by the API server",
        &format!("{refused:?}"),
        refused.as_ref().is_err_and(|said| said.contains("is a name of the cluster itself")),
    );
    let hosts = format!("api.bank.test, reviews.{name}");
    tenant.apply(&external("host", &hosts, "19082", NODE));
    tenant.apply(&external("address", "pay.bank.test", "9080", &victim));
    namespace.apply(&external("bank", "api.bank.test", "19081", NODE));
    for resource in ["host", "address"] {
        let status = cluster.until("a status", |cluster| {
            let path = "jsonpath={.status.conditions[?(@.type==\"Accepted\")].status} {.status.conditions[*].message}";
            let arguments = ["-n", &tenant.name, "get", "externalservice", resource, "-o", path];
            cluster.try_kubectl(&arguments, "").ok().filter(|said| said.len() > 4)
        });
        let what = format!("status of ExternalService {}/{resource}", tenant.name);
        let told = !status.trim().ends_with("True in force");
        attempts.tried(&what, "not accepted, or the conflict named", &status, told);
    }
    let service = format!("http://reviews.{name}.svc.cluster.local/reviews/1");
    let short = format!("http://reviews.{name}/reviews/1");
    let pod = format!("http://{victim}:9080/reviews/1");
    for (what, url) in
        [("the Service's own name", service), ("its shorter name", short), ("the pod's address", pod)]
    {
        let before = proven(&namespace);
        let seen = curl(&namespace, "insider", &[&url]);
        let counted = seen.starts_with("200") && seen.contains("\"v1\"");
        // Of what did not get there nothing is counted.
        let after = if counted {
            cluster.until("the count", |_| Some(proven(&namespace)).filter(|after| *after > before))
        } else {
            before
        };
        let seen = format!("{seen}, {} requests with a proven identity", after - before);
        attempts.tried(
            &format!("curl {url}, {what}"),
            "the caller's service, by mTLS",
            &seen,
            after > before,
        );
    }
    // No resolver knows the name: the sidecar is asked for it, as an HTTP proxy.
    let seen =
        curl(&namespace, "insider", &["-x", "http://127.0.0.1:15001", "http://api.bank.test/reviews/1"]);
    let what = "curl http://api.bank.test/, a host of both namespaces";
    attempts.tried(what, "that of the caller's namespace, v2", &seen, seen.contains("\"v2\""));
    attempts.finish();
}

#[test]
fn an_address_whose_pod_is_not_known_is_not_spoken_to_in_plain_text() {
    let test = "an_address_whose_pod_is_not_known_is_not_spoken_to_in_plain_text";
    let Some(cluster) = Cluster::find(test) else { return };
    let namespace = Namespace::new(&cluster, "attack-ghost");
    let Some(_trap) = listener(&cluster, "v3", 19080) else { return };
    attacker(&namespace, "insider", true);
    namespace.apply(&format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: ghost}}
spec:
  ports: [{{name: http, port: 80, targetPort: 19080, appProtocol: http}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: ghost-1, labels: {{kubernetes.io/service-name: ghost}}}}
addressType: IPv4
ports: [{{name: http, port: 19080}}]
endpoints:
- addresses: [{NODE}]
  conditions: {{ready: true}}
  targetRef: {{kind: Pod, name: ghost-1, namespace: {}}}
",
        namespace.name
    ));
    let mut attempts = Attempts::new(test);
    let mut seen = String::new();
    for _ in 0..5 {
        seen = curl(&namespace, "insider", &["http://ghost/reviews/1"]);
        if seen.starts_with("200") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    let what = "curl http://ghost/ for 5 s, of which the EndpointSlice came before its pod";
    attempts.tried(what, "no answer of that address", &seen, !seen.starts_with("200"));
    attempts.finish();
}
