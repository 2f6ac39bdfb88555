//! The cluster itself: its API server, what it knows of Gateway API, and clocks.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use weft_resource::Kind;

use super::{Check, some};
use crate::cluster::{Cluster, is_missing};

/// Kubernetes' minor version that brought native sidecars.
const NATIVE_SIDECARS: (u64, u64) = (1, 29);
/// Where the kinds of Gateway API come from.
const GATEWAY_API: &str = "kubectl apply --server-side -f \
https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.6.3/standard-install.yaml";
/// The clock of a pod may be that far from the control plane's before something goes wrong: certificates are valid from
/// five minutes before they are made.
const APART: i64 = 4 * 60;
/// Answers and leases are dated to a second, and take a moment.
const CLOSE: i64 = 5;
/// A kubelet renews its lease every ten seconds.
const SILENT: i64 = 60;

/// Whether there is an API server, of what version, and which kinds of routes it knows.
pub(super) async fn check(cluster: &Cluster) -> Vec<Check> {
    let about = "API server";
    let version = match cluster.get("/version").await {
        Ok(version) => version,
        Err(trouble) => {
            let hint = "kubectl config current-context says which cluster is meant; kubectl get --raw /version tries the same";
            return vec![Check::failure("api-server", about, trouble.to_string(), hint)];
        }
    };
    let text = |field: &str| version[field].as_str().unwrap_or("?");
    let found = format!(
        "Kubernetes {}.{} ({}) at {}",
        text("major"),
        text("minor"),
        text("gitVersion"),
        cluster.server()
    );
    let mut checks = vec![Check::ok("api-server", about, found), judge_version(&version)];
    checks.push(gateway_api(cluster).await);
    checks
}

fn judge_version(version: &Value) -> Check {
    let (id, about) = ("kubernetes-version", "native sidecars");
    let number = |field: &str| {
        let text = version[field].as_str().unwrap_or_default();
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().unwrap_or_default()
    };
    let found = (number("major"), number("minor"));
    if found >= NATIVE_SIDECARS {
        return Check::ok(id, about, "sidecars are native: they start before and end after the application");
    }
    Check::warning(
        id,
        about,
        format!(
            "Kubernetes {}.{} has none: sidecars are plain containers, and Jobs get none",
            found.0, found.1
        ),
        "update the cluster to Kubernetes 1.29 or later",
    )
}

async fn gateway_api(cluster: &Cluster) -> Check {
    let (id, about) = ("gateway-api", "Gateway API");
    let kinds = [Kind::HttpRoute, Kind::GrpcRoute, Kind::ReferenceGrant, Kind::TlsRoute, Kind::TcpRoute];
    let mut served: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for version in kinds.iter().flat_map(|kind| kind.versions()) {
        if served.contains_key(*version) {
            continue;
        }
        let listed = match cluster.get(&format!("/apis/{}/{version}", Kind::HttpRoute.group())).await {
            Ok(listed) => listed,
            Err(trouble) if is_missing(&trouble) => Value::Null,
            Err(trouble) => return Check::trouble(id, about, &trouble),
        };
        let names = listed["resources"].as_array().into_iter().flatten();
        let names = names.filter_map(|resource| resource["kind"].as_str()).map(str::to_owned).collect();
        served.insert((*version).to_owned(), names);
    }
    let definition = cluster
        .find("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/httproutes.gateway.networking.k8s.io")
        .await;
    let bundle = definition.ok().flatten();
    let annotation = |name: &str| {
        let notes = bundle
            .as_ref()
            .map(|it| &it["metadata"]["annotations"][format!("gateway.networking.k8s.io/{name}")]);
        notes.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    judge_gateway_api(&kinds, &served, &annotation("bundle-version"), &annotation("channel"))
}

fn judge_gateway_api(
    kinds: &[Kind],
    served: &BTreeMap<String, Vec<String>>,
    bundle: &str,
    channel: &str,
) -> Check {
    let (id, about) = ("gateway-api", "Gateway API");
    let has = |kind: Kind| {
        let of = |version: &&str| {
            served.get(*version).is_some_and(|names| names.iter().any(|name| name == kind.as_str()))
        };
        kind.versions().iter().any(of)
    };
    let missing: Vec<String> = kinds.iter().filter(|kind| !has(**kind)).map(ToString::to_string).collect();
    let needed = [Kind::HttpRoute, Kind::GrpcRoute, Kind::ReferenceGrant].iter().any(|kind| !has(*kind));
    let version = match (bundle, channel) {
        ("", _) => String::new(),
        (bundle, "") => format!(" of {bundle}"),
        (bundle, channel) => format!(" of {bundle}, {channel} channel"),
    };
    if needed {
        let found = format!(
            "the cluster does not know {}{version}: Services are in the mesh, without routes of theirs",
            some(&missing)
        );
        return Check::warning(id, about, found, GATEWAY_API);
    }
    let without = if missing.is_empty() { String::new() } else { format!("; without {}", some(&missing)) };
    Check::ok(id, about, format!("routes{version}{without}"))
}

/// Whether clocks agree: this machine's with the API server's, and nodes' with that.
pub(super) async fn clocks(cluster: &Cluster) -> Vec<Check> {
    let (id, about) = ("clock-here", "this machine's clock");
    let asked = Timestamp::now();
    let time = match cluster.time().await {
        Ok(Some(time)) => time,
        Ok(None) => {
            return vec![Check::warning(id, about, "can't tell: the API server's answers have no date", "")];
        }
        Err(trouble) => return vec![Check::trouble(id, about, &trouble)],
    };
    let mut checks = vec![judge_clock(seconds(asked, time))];
    let (id, about) = ("clock-nodes", "nodes' clocks");
    let leases = cluster.list("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", "").await;
    checks.push(match leases {
        Ok(leases) => judge_nodes(&leases, Timestamp::now(), seconds(asked, time)),
        Err(trouble) => Check::trouble(id, about, &trouble),
    });
    checks
}

fn seconds(from: Timestamp, to: Timestamp) -> i64 {
    to.duration_since(from).as_secs()
}

fn judge_clock(ahead: i64) -> Check {
    let (id, about) = ("clock-here", "this machine's clock");
    let (apart, direction) = (ahead.abs(), if ahead > 0 { "behind" } else { "ahead of" });
    let found = format!("{apart} s {direction} the API server's");
    let hint = "set it by NTP: tokens and certificates are judged by it";
    match apart {
        0..=CLOSE => Check::ok(id, about, "agrees with the API server's"),
        _ if apart <= APART => Check::warning(id, about, found, hint),
        _ => Check::failure(id, about, found, hint),
    }
}

/// A node's lease is dated by its kubelet; `ahead` is what the API server's clock is ahead of this machine's.
fn judge_nodes(leases: &[Value], now: Timestamp, ahead: i64) -> Check {
    let (id, about) = ("clock-nodes", "nodes' clocks");
    let (mut wrong, mut silent) = (Vec::new(), Vec::new());
    for lease in leases {
        let renewed = lease["spec"]["renewTime"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
        let (Some(name), Some(renewed)) = (lease["metadata"]["name"].as_str(), renewed) else { continue };
        let age = seconds(renewed, now) + ahead;
        if age < -CLOSE {
            wrong.push(format!("{name} is {} s ahead of the API server", -age));
        } else if age > SILENT {
            silent.push(format!("{name} said so {age} s ago"));
        }
    }
    let hint = "set the nodes' clocks by NTP: certificates are not valid yet, or not any more, where a clock is wrong";
    match (wrong.is_empty(), silent.is_empty()) {
        (false, _) => Check::failure(id, about, some(&wrong), hint),
        (true, false) => Check::warning(
            id,
            about,
            format!("a node tells every 10 s that it is there: {}", some(&silent)),
            "its kubelet does not run, or its clock is behind: kubectl get nodes, then its clock",
        ),
        (true, true) => Check::ok(id, about, format!("{0} of {0} agree with the API server's", leases.len())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Outcome;
    use super::*;

    #[test]
    fn native_sidecars_are_there_from_1_29_on() {
        let judge = |minor: &str| judge_version(&json!({"major": "1", "minor": minor})).outcome;
        assert_eq!((judge("28"), judge("29"), judge("34+")), (Outcome::Warning, Outcome::Ok, Outcome::Ok));
    }

    #[test]
    fn kinds_of_routes_that_are_missing_are_named() {
        let kinds = [Kind::HttpRoute, Kind::GrpcRoute, Kind::ReferenceGrant, Kind::TcpRoute];
        let served = |names: &[&str]| {
            BTreeMap::from([("v1".to_owned(), names.iter().map(|name| (*name).to_owned()).collect())])
        };
        let all = judge_gateway_api(
            &kinds,
            &served(&["HTTPRoute", "GRPCRoute", "ReferenceGrant"]),
            "v1.6.3",
            "standard",
        );
        assert_eq!(
            (all.outcome, &*all.found),
            (Outcome::Ok, "routes of v1.6.3, standard channel; without TCPRoute")
        );
        let none = judge_gateway_api(&kinds, &BTreeMap::new(), "", "");
        assert_eq!(none.outcome, Outcome::Warning);
        assert!(none.found.contains("HTTPRoute") && none.hint.contains("standard-install.yaml"));
    }

    #[test]
    fn clocks_that_are_apart_are_told_by_how_much() {
        assert_eq!(judge_clock(-3).outcome, Outcome::Ok);
        let behind = judge_clock(90);
        assert_eq!((behind.outcome, &*behind.found), (Outcome::Warning, "90 s behind the API server's"));
        assert_eq!(judge_clock(-400).outcome, Outcome::Failure);
        let now: Timestamp = "2026-11-25T10:00:00Z".parse().unwrap();
        let lease = |name: &str, time: &str| json!({"metadata": {"name": name}, "spec": {"renewTime": time}});
        let good = lease("a", "2026-11-25T09:59:55.123456Z");
        assert_eq!(judge_nodes(std::slice::from_ref(&good), now, 0).outcome, Outcome::Ok);
        let ahead = judge_nodes(&[good.clone(), lease("b", "2026-11-25T10:01:00Z")], now, 0);
        assert_eq!((ahead.outcome, &*ahead.found), (Outcome::Failure, "b is 60 s ahead of the API server"));
        let silent = judge_nodes(&[good, lease("c", "2026-11-25T09:50:00Z")], now, 0);
        assert_eq!(silent.outcome, Outcome::Warning);
        // This machine's own clock is the wrong one.
        assert_eq!(judge_nodes(&[lease("d", "2026-11-25T10:01:00Z")], now, 60).outcome, Outcome::Ok);
    }
}
