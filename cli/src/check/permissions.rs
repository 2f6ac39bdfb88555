//! Whether who asks may make what an installation is made of.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Check, some};
use crate::cluster::{Cluster, Try, is_forbidden, kinds};
use crate::install::{NAMESPACE, Values, manifest};

/// What `kubectl apply` does to objects.
const VERBS: [&str; 3] = ["get", "create", "patch"];

/// May the objects of these values be made?
pub(super) async fn check(cluster: &Cluster, values: &Values) -> Vec<Check> {
    let wanted = manifest(values);
    vec![objects(cluster, &wanted).await, roles(cluster, &wanted).await]
}

async fn objects(cluster: &Cluster, wanted: &[Value]) -> Check {
    let (id, about) = ("permissions", "what weft install makes");
    let names: BTreeSet<&str> = wanted.iter().filter_map(|document| document["kind"].as_str()).collect();
    let (mut asked, mut denied) = (0, Vec::new());
    for kind in names.into_iter().filter_map(kinds::of) {
        let mut verbs = Vec::new();
        for verb in VERBS {
            let mut attributes = json!({"verb": verb, "group": kind.group(), "resource": kind.plural});
            if kind.namespaced {
                attributes["namespace"] = json!(NAMESPACE);
            }
            let review = json!({
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            });
            let answer =
                cluster.review("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await;
            asked += 1;
            match answer {
                Ok(answer) if answer["status"]["allowed"] == true => {}
                Ok(_) => verbs.push(verb),
                Err(trouble) => return Check::trouble(id, about, &trouble),
            }
        }
        if !verbs.is_empty() {
            let group = if kind.group().is_empty() { String::new() } else { format!(".{}", kind.group()) };
            denied.push(format!("{} {}{group}", verbs.join("/"), kind.plural));
        }
    }
    if denied.is_empty() {
        return Check::ok(id, about, format!("all {asked} permissions for it are there"));
    }
    Check::failure(
        id,
        about,
        format!("you may not {}", some(&denied)),
        "install it as somebody with the ClusterRole cluster-admin; kubectl auth whoami says who you are",
    )
}

/// Who makes a role has to have what it gives, or may escalate: only the API server can tell.
async fn roles(cluster: &Cluster, wanted: &[Value]) -> Check {
    let (id, about) = ("permissions-roles", "roles of the control plane");
    for role in wanted.iter().filter(|document| document["kind"] == "ClusterRole") {
        match cluster.dry_run(role, Try::Apply).await {
            Ok(_) => {}
            Err(trouble) if is_forbidden(&trouble) || trouble.to_string().contains("escalat") => {
                let hint = "install it as somebody with the ClusterRole cluster-admin, who may give what the control plane needs";
                return Check::failure(id, about, trouble.to_string(), hint);
            }
            Err(trouble) => return Check::trouble(id, about, &trouble),
        }
    }
    Check::ok(id, about, "you may give what they ask for")
}
