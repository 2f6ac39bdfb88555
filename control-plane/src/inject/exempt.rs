//! Who is not redirected: the kernel knows the sidecar by its user and its group. What runs as either would go around every
//! policy, so a pod that names them for anything else is refused.
//!
//! The group is closed in every form: a process that has it as a supplementary one, or files of it, can make a program that
//! runs in it.

use serde_json::Value;

use super::{PROXY, REDIRECT, USER, items};

/// Fields of a pod's and of a container's `securityContext` that name a user or a group.
const FIELDS: [&str; 4] = ["runAsUser", "runAsGroup", "fsGroup", "supplementalGroups"];

/// Refuses a pod of which something else than the sidecar has its user or group.
pub(super) fn check(spec: &Value) -> Result<(), String> {
    if let Some(field) = named(&spec["securityContext"]) {
        return Err(problem("the pod", field));
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items(spec, list) {
            let ours =
                list != "ephemeralContainers" && [PROXY, REDIRECT].iter().any(|it| container["name"] == **it);
            if let Some(field) = named(&container["securityContext"]).filter(|_| !ours) {
                return Err(problem(&format!("container {}", container["name"]), field));
            }
        }
    }
    Ok(())
}

fn named(context: &Value) -> Option<&'static str> {
    FIELDS.into_iter().find(|field| match &context[*field] {
        Value::Array(groups) => groups.iter().any(is_sidecars),
        one => is_sidecars(one),
    })
}

fn is_sidecars(id: &Value) -> bool {
    id.as_u64() == Some(USER)
}

fn problem(who: &str, field: &str) -> String {
    format!(
        "{who} has {USER} as its {field}, by which the sidecar is known: its connections would not be redirected; choose \
         another {field}"
    )
}
