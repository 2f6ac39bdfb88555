//! `weft explain`.

use std::fs;

use crate::support::{output, text};

const MESH: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: reviews, port: 9080}]
  rules:
  - name: beta
    matches: [{headers: [{name: x-beta, value: 'yes'}]}]
    backendRefs: [{name: reviews-v2, port: 9080}]
  - backendRefs: [{name: reviews-v1, port: 9080, weight: 3}, {name: reviews-v2, port: 9080, weight: 1}]
---
apiVersion: mesh.weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: web-only, namespace: shop}
spec:
  selector: {matchLabels: {app: reviews-v2}}
  action: ALLOW
  rules: [{from: {identities: [shop/web]}}]
";

#[test]
fn a_request_is_explained_from_the_folder_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mesh.yaml"), MESH).unwrap();
    let path = folder.path().to_str().unwrap();
    let url = "http://reviews:9080/1";
    let all = output(&["explain", "GET", url, "--from", "shop/web", "--config", path]);
    let said = text(&all.stdout);
    assert_eq!(all.status.code(), Some(0), "{said}{}", text(&all.stderr));
    assert!(
        said.contains("beta: asks for any path, a value of the header x-beta; there is no header x-beta"),
        "{said}"
    );
    assert!(said.contains("shop/reviews-v1:9080: 75.0 %"), "{said}");
    let beta = [
        "explain",
        "GET",
        url,
        "-H",
        "x-beta: yes",
        "--from",
        "shop/web",
        "--config",
        path,
        "--output",
        "json",
    ];
    let json: serde_json::Value = serde_json::from_slice(&output(&beta).stdout).unwrap();
    assert_eq!(json["backends"][0]["service"], "shop/reviews-v2:9080");
    assert_eq!(json["outcome"]["sent"], true);
    assert_eq!(json["backends"][0]["admission"]["allowed"], true);
    let stranger = ["explain", "GET", url, "-H", "x-beta: yes", "--from", "shop/other", "--config", path];
    let stranger = output(&stranger);
    assert_eq!(stranger.status.code(), Some(1));
    assert!(text(&stranger.stdout).contains("403, denied"), "{}", text(&stranger.stdout));
}

#[test]
fn what_the_mesh_would_refuse_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let missing = MESH.replace("  - backendRefs: [{name: reviews-v1, port: 9080, weight: 3}, {name: reviews-v2, port: 9080, weight: 1}]\n", "");
    fs::write(folder.path().join("mesh.yaml"), missing).unwrap();
    let path = folder.path().to_str().unwrap();
    let none = output(&["explain", "GET", "http://reviews:9080/", "--from", "shop/web", "--config", path]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stdout).contains("404, no_route"), "{}", text(&none.stdout));
    let other = output(&["explain", "GET", "http://reveiws:9080/", "--from", "shop/web", "--config", path]);
    assert!(text(&other.stderr).contains("did you mean \"reviews:9080\"?"), "{}", text(&other.stderr));
}
