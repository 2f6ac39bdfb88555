//! One `AdmissionReview`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::inject::{Cluster, Outcome, inject, refuses_ephemeral};
use crate::metrics::Admitted;
use crate::settings::Settings;

const API_VERSION: &str = "admission.k8s.io/v1";

/// What the API server is answered, and what that means; the error is why it asked nothing that can be answered.
pub(super) fn answer(
    body: &[u8],
    settings: &Settings,
    cluster: Cluster,
) -> Result<(Value, Admitted), String> {
    let review: Value =
        serde_json::from_slice(body).map_err(|error| format!("no AdmissionReview: {error}"))?;
    if review["apiVersion"] != API_VERSION || review["kind"] != "AdmissionReview" {
        return Err(format!(
            "no AdmissionReview of {API_VERSION}: it is {} of {}",
            review["kind"], review["apiVersion"]
        ));
    }
    let request = &review["request"];
    let uid = request["uid"].as_str().ok_or("an AdmissionReview without request.uid")?;
    let (response, outcome) = decide(request, settings, cluster);
    let mut response = response;
    response["uid"] = json!(uid);
    Ok((json!({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}), outcome))
}

fn decide(request: &Value, settings: &Settings, cluster: Cluster) -> (Value, Admitted) {
    let pod = &request["object"];
    let subresource = request["subResource"].as_str().unwrap_or_default();
    let is_pod = request["kind"]["kind"] == "Pod";
    if is_pod && subresource == "ephemeralcontainers" {
        return match refuses_ephemeral(pod) {
            None => (json!({"allowed": true}), Admitted::Left),
            Some(reason) => refused(request, &reason),
        };
    }
    if !is_pod || !subresource.is_empty() || request["operation"] != "CREATE" {
        return (json!({"allowed": true}), Admitted::Left);
    }
    match inject(pod, request["namespace"].as_str(), settings, cluster) {
        Outcome::Injected { pod: injected, warnings } => {
            let patch = json_patch::diff(pod, &injected);
            let patch = serde_json::to_vec(&patch).unwrap_or_default();
            let warnings: Vec<String> = warnings.iter().map(|warning| format!("weft: {warning}")).collect();
            (
                json!({
                    "allowed": true,
                    "patchType": "JSONPatch",
                    "patch": STANDARD.encode(patch),
                    "warnings": warnings,
                }),
                Admitted::Injected,
            )
        }
        Outcome::Complete => (json!({"allowed": true}), Admitted::Left),
        Outcome::Left(reason) => {
            tracing::debug!(pod = name(request), reason, "no sidecar");
            (json!({"allowed": true, "warnings": [format!("weft: no sidecar: {reason}")]}), Admitted::Left)
        }
        Outcome::Refused(reason) => refused(request, &reason),
    }
}

fn refused(request: &Value, reason: &str) -> (Value, Admitted) {
    tracing::warn!(pod = name(request), reason, "refused");
    let status = json!({"code": 422, "reason": "Invalid", "message": format!("weft: {reason}")});
    (json!({"allowed": false, "status": status}), Admitted::Refused)
}

/// A pod as logs name it; one that is made by a controller has no name yet.
fn name(request: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &request["object"]["metadata"];
    let name = text(&metadata["name"]);
    let name = if name.is_empty() { text(&metadata["generateName"]) + "*" } else { name };
    format!("{}/{name}", text(&request["namespace"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: Cluster = Cluster { native_sidecars: true };

    fn ask(pod: &Value) -> Value {
        let review = json!({
            "apiVersion": API_VERSION, "kind": "AdmissionReview",
            "request": {"uid": "u-1", "kind": {"kind": "Pod"}, "operation": "CREATE", "namespace": "shop", "object": pod},
        });
        let (answer, _) =
            super::answer(review.to_string().as_bytes(), &Settings::default(), CLUSTER).unwrap();
        assert_eq!(answer["response"]["uid"], "u-1");
        answer["response"].clone()
    }

    #[test]
    fn the_patch_makes_the_injected_pod_of_the_one_that_was_asked_about() {
        let mut pod =
            json!({"metadata": {"generateName": "web-"}, "spec": {"containers": [{"name": "a/b~c"}]}});
        let response = ask(&pod);
        assert_eq!((&response["allowed"], &response["patchType"]), (&json!(true), &json!("JSONPatch")));
        let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
        let Outcome::Injected { pod: expected, .. } = inject(&pod, None, &Settings::default(), CLUSTER)
        else {
            panic!()
        };
        json_patch::patch(&mut pod, &serde_json::from_slice::<json_patch::Patch>(&patch).unwrap()).unwrap();
        assert_eq!(pod, *expected);
    }

    #[test]
    fn a_pod_that_is_left_alone_is_let_through_with_a_warning() {
        let response = ask(&json!({"spec": {"hostNetwork": true, "containers": [{"name": "a"}]}}));
        assert_eq!(response["allowed"], true);
        assert!(response["warnings"][0].as_str().unwrap().contains("hostNetwork"), "{response}");
    }

    #[test]
    fn a_pod_that_would_not_work_is_refused_with_the_reason() {
        let response =
            ask(&json!({"spec": {"securityContext": {"runAsUser": 2102}, "containers": [{"name": "a"}]}}));
        assert_eq!(response["allowed"], false);
        assert!(response["status"]["message"].as_str().unwrap().contains("runAsUser"), "{response}");
    }

    #[test]
    fn an_ephemeral_container_that_would_not_be_redirected_is_refused() {
        let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "a"}]}});
        let Outcome::Injected { pod, .. } = inject(&pod, None, &Settings::default(), CLUSTER) else {
            panic!()
        };
        for (context, allowed) in [
            (json!(null), true),
            (json!({"runAsUser": 0}), true),
            (json!({"runAsUser": 2102}), false),
            (json!({"runAsGroup": 2102}), false),
        ] {
            let mut debugged = pod.clone();
            debugged["spec"]["ephemeralContainers"] = json!([{"name": "debug", "securityContext": context}]);
            let review = json!({
                "apiVersion": API_VERSION, "kind": "AdmissionReview",
                "request": {
                    "uid": "u-1", "kind": {"kind": "Pod"}, "operation": "UPDATE",
                    "subResource": "ephemeralcontainers", "namespace": "shop", "object": debugged,
                },
            });
            let (answer, _) =
                super::answer(review.to_string().as_bytes(), &Settings::default(), CLUSTER).unwrap();
            assert_eq!(answer["response"]["allowed"], allowed, "{context}");
            assert_eq!(answer["response"].get("patch"), None);
        }
    }

    #[test]
    fn what_is_no_review_is_an_error_that_says_so() {
        for (body, problem) in [
            (&b"nonsense"[..], "no AdmissionReview"),
            (br#"{"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview"}"#, "v1beta1"),
            (
                br#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {}}"#,
                "request.uid",
            ),
        ] {
            let error = super::answer(body, &Settings::default(), CLUSTER).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn an_annotation_that_says_nothing_is_warned_of() {
        let notes = json!({"mesh.weft.dev/skip-inbound-port": "80"});
        let response =
            ask(&json!({"metadata": {"annotations": notes}, "spec": {"containers": [{"name": "a"}]}}));
        assert!(response["patch"].is_string(), "{response}");
        let warning = response["warnings"][0].as_str().unwrap();
        assert!(
            warning.starts_with("weft: annotation mesh.weft.dev/skip-inbound-port is unknown"),
            "{warning}"
        );
    }
}
