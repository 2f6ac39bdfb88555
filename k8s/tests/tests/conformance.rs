//! Gateway API's own suite, and that what it sees is the mesh's doing: some of its tests pass in a cluster without any mesh.

// Tests end where they go wrong, helpers included.
#![allow(clippy::unwrap_used)]

use std::env;
use std::process::Command;

use weft_cluster_tests::{Cluster, sum};

/// The namespace that the suite works in.
const NAMESPACE: &str = "gateway-conformance-mesh";

/// What the mesh says that it supports, and what the suite is to try: the standard's names.
const FEATURES: &str = "Mesh,HTTPRoute,GRPCRoute,MeshClusterIPMatching,MeshConsumerRoute,MeshHTTPRouteRewritePath,\
MeshHTTPRouteSchemeRedirect,MeshHTTPRouteRedirectPort,MeshHTTPRouteRedirectPath,\
MeshHTTPRouteBackendRequestHeaderModification,MeshHTTPRouteQueryParamMatching,MeshHTTPRouteNamedRouteRule,\
HTTPRouteResponseHeaderModification,HTTPRouteParentRefPort,HTTPRoute303RedirectStatusCode,\
HTTPRoute307RedirectStatusCode,HTTPRoute308RedirectStatusCode";

/// The suite's tests of a mesh, and whether their requests come in at a sidecar. Redirects are answered by the caller's
/// own: nobody else would answer them, so that these tests can't pass without a mesh.
const TESTS: [(&str, bool); 22] = [
    ("MeshBasic", true),
    ("MeshConsumerRoute", true),
    ("MeshFrontend", true),
    ("MeshFrontendHostname", true),
    ("MeshGRPCRouteWeight", true),
    ("MeshHTTPRoute303Redirect", false),
    ("MeshHTTPRoute307Redirect", false),
    ("MeshHTTPRoute308Redirect", false),
    ("MeshHTTPRouteBackendRequestHeaderModifier", true),
    ("MeshHTTPRouteMatching", true),
    ("MeshHTTPRouteNamedRule", true),
    ("MeshHTTPRouteQueryParamMatching", true),
    ("MeshHTTPRouteRedirectHostAndStatus", false),
    ("MeshHTTPRouteRedirectPath", false),
    ("MeshHTTPRouteRedirectPort", false),
    ("MeshHTTPRouteRequestHeaderModifier", true),
    ("MeshHTTPRouteRewritePath", true),
    ("MeshHTTPRouteSchemeRedirect", false),
    ("MeshHTTPRouteSimpleSameNamespace", true),
    ("MeshHTTPRouteWeight", true),
    ("MeshPorts", true),
    ("MeshTrafficSplit", true),
];

/// What the suite prints, and whether it is content.
fn suite(program: &str, more: &[&str]) -> (bool, String) {
    let mut words = program.split_whitespace();
    let ran = Command::new(words.next().unwrap())
        .args(words)
        .args([
            "--conformance-profiles=MESH-HTTP,MESH-GRPC",
            "--mesh-name=weft",
            "--organization=weft-mesh",
            "--project=weft",
            "--url=https://github.com/weft-mesh/weft",
            "--contact=https://github.com/weft-mesh/weft/issues",
            "--namespace-labels=mesh.weft.dev/inject=enabled",
            &format!("--version={}", env!("CARGO_PKG_VERSION")),
            &format!("--supported-features={FEATURES}"),
        ])
        .args(more)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    (ran.status.success(), said)
}

/// What the suite's sidecars have counted: requests that came in with mTLS.
fn counted(cluster: &Cluster) -> f64 {
    let pods = cluster.try_kubectl(
        &[
            "get",
            "pods",
            "-A",
            "-l",
            "mesh.weft.dev/proxy",
            "-o",
            "jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {end}",
        ],
        "",
    );
    let mut count = 0.0;
    for (namespace, pod) in pods.unwrap_or_default().split_whitespace().filter_map(|it| it.split_once('/')) {
        if !namespace.starts_with(NAMESPACE) {
            continue;
        }
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:15020/proxy/metrics");
        let Ok(text) = cluster.try_kubectl(&["get", "--raw", &path], "") else { continue };
        count += sum(&text, "weft_requests_total", &["direction=\"inbound\"", "tls=\"mutual\""]);
    }
    count
}

#[test]
fn the_suite_passes_and_its_requests_go_through_two_sidecars() {
    let test = "the_suite_passes_and_its_requests_go_through_two_sidecars";
    let Some(cluster) = Cluster::find(test) else { return };
    let Ok(program) = env::var("WEFT_TEST_CONFORMANCE") else {
        println!(
            "skipped {test}: set WEFT_TEST_CONFORMANCE to the command that runs Gateway API's suite with the flags after it"
        );
        return;
    };
    for (name, crosses) in TESTS {
        let before = counted(&cluster);
        let (content, said) =
            suite(&program, &[&format!("--run-test={name}"), "--cleanup-base-resources=false"]);
        let more = counted(&cluster) - before;
        let passed = said.contains(&format!("--- PASS: TestConformance/{name} "));
        println!("{name}: passed {passed}, requests with mTLS {more}");
        assert!(content && passed, "{name}:\n{said}");
        assert!(!crosses || more > 0.0, "{name} passed without the sidecars");
    }
    let report = env::var("WEFT_TEST_REPORT").unwrap_or_else(|_| "/dev/null".to_owned());
    let (content, said) = suite(&program, &[&format!("--report-output={report}")]);
    assert!(content, "{said}");
}
