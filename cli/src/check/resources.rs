//! Routes and policies: what is not in force, and why.

use serde_json::Value;
use weft_control_plane::CONTROLLER;
use weft_resource::{Kind, custom_resource_definitions};

use super::control_plane::Plane;
use super::{Check, some};
use crate::cluster::{Cluster, Trouble, is_missing};

const ROUTES: [(Kind, &str); 4] = [
    (Kind::HttpRoute, "httproutes"),
    (Kind::GrpcRoute, "grpcroutes"),
    (Kind::TlsRoute, "tlsroutes"),
    (Kind::TcpRoute, "tcproutes"),
];

pub(super) async fn check(cluster: &Cluster, plane: &Plane) -> Vec<Check> {
    let mut routes = Vec::new();
    let mut trouble = None;
    for (kind, plural) in ROUTES {
        match list(cluster, kind, plural).await {
            Ok(found) => routes.extend(found.into_iter().map(|route| (kind, route))),
            Err(error) => trouble = Some(error),
        }
    }
    let routes = match trouble {
        Some(trouble) => Check::trouble("routes", "routes of Services", &trouble),
        None => judge_routes(&routes),
    };
    vec![routes, policies(cluster).await, read(cluster, plane).await]
}

/// All routes of a kind, in the first version that the cluster serves.
async fn list(cluster: &Cluster, kind: Kind, plural: &str) -> Result<Vec<Value>, Trouble> {
    for version in kind.versions() {
        match cluster.list(&format!("/apis/{}/{version}/{plural}", kind.group()), "").await {
            Err(trouble) if is_missing(&trouble) => {}
            listed => return listed,
        }
    }
    Ok(Vec::new())
}

fn judge_routes(routes: &[(Kind, Value)]) -> Check {
    let mut judged = Vec::new();
    for (kind, route) in routes {
        let parents = route["status"]["parents"].as_array().into_iter().flatten();
        let ours: Vec<&Value> = parents.filter(|parent| parent["controllerName"] == CONTROLLER).collect();
        if !ours.is_empty() {
            let conditions = ours.into_iter().flat_map(|parent| conditions(&parent["conditions"]));
            judged.push(refused(kind.as_str(), route, conditions));
        }
    }
    judge("routes", "routes of Services", &judged)
}

/// All resources of Weft's own kinds: whether the mesh goes by them.
async fn policies(cluster: &Cluster) -> Check {
    let (id, about) = ("policies", "policies and other kinds of Weft");
    let mut judged = Vec::new();
    for (plural, definition) in custom_resource_definitions() {
        let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let path = format!("/apis/{}/{}/{plural}", text("/spec/group"), text("/spec/versions/0/name"));
        match cluster.list(&path, "").await {
            Ok(listed) => judged.extend(
                listed
                    .iter()
                    .map(|it| refused(text("/spec/names/kind"), it, conditions(&it["status"]["conditions"]))),
            ),
            // The definition is missing, which another check says.
            Err(trouble) if is_missing(&trouble) => {}
            Err(trouble) => return Check::trouble(id, about, &trouble),
        }
    }
    judge(id, about, &judged)
}

fn conditions(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// What of an object is not in force, by the conditions of its status.
fn refused<'a>(kind: &str, object: &Value, conditions: impl Iterator<Item = &'a Value>) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    let mut said: Vec<String> = conditions
        .filter(|condition| condition["status"] == "False")
        .map(|condition| {
            format!(
                "{kind} {}/{}: {} ({})",
                text(&metadata["namespace"]),
                text(&metadata["name"]),
                text(&condition["message"]),
                text(&condition["reason"])
            )
        })
        .collect();
    // Of several parents, all say the same.
    said.dedup();
    said
}

/// One entry for each object, with what is not in force of it.
fn judge(id: &'static str, about: &str, judged: &[Vec<String>]) -> Check {
    let wrong: Vec<String> = judged.concat();
    if wrong.is_empty() {
        return Check::ok(id, about, format!("{0} of {0} are in force", judged.len()));
    }
    let hint = "correct them; weft check DIR finds the same in files, before they are applied";
    Check::failure(id, about, some(&wrong), hint)
}

/// What the control plane says of everything that it reads: warnings too, and what it refused before it has a status.
async fn read(cluster: &Cluster, plane: &Plane) -> Check {
    let (id, about) = ("configuration", "everything that the control plane reads");
    let Some(admin) = plane.admins(cluster).next() else {
        return Check::warning(
            id,
            about,
            "can't tell: no pod of the control plane that runs is known",
            "see the control plane above",
        );
    };
    let asked = async { admin.open().await?.json("/config").await };
    match asked.await {
        Ok(said) => judge_read(&said),
        Err(error) => Check::warning(
            id,
            about,
            format!("can't tell: {}", crate::exit::told(&error)),
            "it takes `create` and `get` of pods/portforward in namespace weft-system",
        ),
    }
}

fn judge_read(said: &Value) -> Check {
    let (id, about) = ("configuration", "everything that the control plane reads");
    let told = |field: &str| -> Vec<String> {
        let found = said[field].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        found
            .map(|it| match text(&it["field"]) {
                place if place.is_empty() => format!("{}: {}", text(&it["resource"]), text(&it["reason"])),
                place => format!("{}: {place}: {}", text(&it["resource"]), text(&it["reason"])),
            })
            .collect()
    };
    let (errors, warnings) = (told("errors"), told("warnings"));
    let resources = said["resources"].as_array().map_or(0, Vec::len);
    if !errors.is_empty() {
        let hint = "correct them; policies among them deny what they could have meant, and what others said before is \
                    in force as long as the control plane runs";
        return Check::failure(id, about, some(&errors), hint);
    }
    if !warnings.is_empty() {
        return Check::warning(
            id,
            about,
            some(&warnings),
            "they are in force, and probably not what was meant",
        );
    }
    Check::ok(id, about, format!("{resources} of {resources} resources are good"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Outcome;
    use super::*;

    fn route(controller: &str, status: &str) -> (Kind, Value) {
        let condition = json!({"type": "Accepted", "status": status, "reason": "NoMatchingParent", "message": "there is no Service shop/x"});
        let parents = json!([{"controllerName": controller, "conditions": [condition]}]);
        (
            Kind::HttpRoute,
            json!({"metadata": {"name": "r", "namespace": "shop"}, "status": {"parents": parents}}),
        )
    }

    #[test]
    fn a_route_that_is_not_in_force_is_named_with_the_reason() {
        assert_eq!(judge_routes(&[route(CONTROLLER, "True")]).found, "1 of 1 are in force");
        let wrong = judge_routes(&[route(CONTROLLER, "False")]);
        assert_eq!(wrong.found, "HTTPRoute shop/r: there is no Service shop/x (NoMatchingParent)");
        assert_eq!(wrong.outcome, Outcome::Failure);
        assert_eq!(
            judge_routes(&[route("example.com/gateway", "False")]).outcome,
            Outcome::Ok,
            "somebody else's"
        );
    }

    #[test]
    fn a_policy_that_the_mesh_does_not_go_by_is_named_with_the_reason() {
        let policy = |status: &str| {
            json!({"metadata": {"name": "p", "namespace": "shop"}, "status": {"conditions": [
                {"type": "Accepted", "status": status, "reason": "TargetNotFound", "message": "there is no Service shop/x"}]}})
        };
        let judged = |status: &str| {
            let policy = policy(status);
            judge(
                "policies",
                "policies",
                &[refused("BackendPolicy", &policy, conditions(&policy["status"]["conditions"]))],
            )
        };
        assert_eq!(judged("True").found, "1 of 1 are in force");
        let wrong = judged("False");
        assert_eq!(
            (wrong.outcome, &*wrong.found),
            (Outcome::Failure, "BackendPolicy shop/p: there is no Service shop/x (TargetNotFound)")
        );
    }

    #[test]
    fn what_the_control_plane_refuses_is_told() {
        let good = judge_read(&json!({"resources": ["a", "b"], "errors": [], "warnings": []}));
        assert_eq!((good.outcome, &*good.found), (Outcome::Ok, "2 of 2 resources are good"));
        let problem = json!([{"resource": "BackendPolicy/shop/x", "field": "spec.timeout", "reason": "is no duration"}]);
        let bad = judge_read(&json!({"resources": [], "errors": problem, "warnings": []}));
        assert_eq!(
            (bad.outcome, &*bad.found),
            (Outcome::Failure, "BackendPolicy/shop/x: spec.timeout: is no duration")
        );
        assert_eq!(judge_read(&json!({"errors": [], "warnings": problem})).outcome, Outcome::Warning);
    }
}
