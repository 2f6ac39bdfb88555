//! Certificates: the mesh's roots, where everybody has them, and that the API server believes the webhook.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use serde_json::Value;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use weft_identity::Validity;
use weft_identity::tls::named_client;

use super::control_plane::Plane;
use super::{Check, some};
use crate::admin::forward;
use crate::cluster::pod::Pod;
use crate::cluster::{Cluster, Trouble};
use crate::install::{CONTROL_PLANE, INJECT_LABEL, INJECTOR, NAMESPACE};

/// Name of the roots' `ConfigMap` in every namespace.
const ROOTS: &str = "weft-roots";
/// What the control plane makes has this label.
const MADE: &str = "app.kubernetes.io/managed-by=weft-control-plane";
/// Port of the webhook.
const WEBHOOK_PORT: u16 = 15017;
/// Roots are replaced by hand or by another authority: that takes days.
const SOON: Duration = Duration::from_hours(30 * 24);
/// Time for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

pub(super) async fn check(cluster: &Cluster, plane: &Plane) -> Vec<Check> {
    let maps = cluster.list("/api/v1/configmaps", MADE).await;
    let namespaces = cluster.list("/api/v1/namespaces", &format!("{INJECT_LABEL}=enabled")).await;
    let roots = roots_of(&maps, NAMESPACE);
    let mut checks = vec![match &maps {
        Ok(_) => judge_roots(roots.as_deref(), SystemTime::now()),
        Err(trouble) => Check::trouble("roots", "roots", trouble),
    }];
    if let (Ok(_), Ok(namespaces), Some(roots)) = (&maps, &namespaces, &roots) {
        let held = |namespace: &str| roots_of(&maps, namespace);
        checks.push(judge_namespaces(namespaces, roots, held));
    }
    let path = format!("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{INJECTOR}");
    match cluster.find(&path).await {
        Ok(configuration) => {
            let (check, bundle) = judge_configuration(configuration.as_ref(), roots.as_deref());
            checks.push(check);
            if let Some(bundle) = bundle {
                checks.push(served(cluster, plane, &bundle).await);
            }
        }
        Err(trouble) => checks.push(Check::trouble("webhook-bundle", "webhook's caBundle", &trouble)),
    }
    checks
}

fn roots_of(maps: &Result<Vec<Value>, Trouble>, namespace: &str) -> Option<String> {
    let maps = maps.as_ref().ok()?;
    let map = maps
        .iter()
        .find(|map| map["metadata"]["namespace"] == namespace && map["metadata"]["name"] == ROOTS)?;
    map["data"]["roots.pem"].as_str().map(str::to_owned)
}

fn judge_roots(roots: Option<&str>, now: SystemTime) -> Check {
    let (id, about) = ("roots", "roots");
    let Some(roots) = roots else {
        let hint = format!(
            "kubectl -n {NAMESPACE} logs deploy/{CONTROL_PLANE}: it makes ConfigMap {ROOTS} when it starts"
        );
        return Check::failure(id, about, format!("namespace {NAMESPACE} has no ConfigMap {ROOTS}"), hint);
    };
    match Validity::of_pem(roots) {
        Ok(found) => judge_validity(id, about, &found, now, SOON),
        Err(error) => Check::failure(
            id,
            about,
            error.to_string(),
            format!("delete ConfigMap {ROOTS}: the control plane makes it anew"),
        ),
    }
}

/// Whether certificates are valid, and will be for `soon`.
fn judge_validity(
    id: &'static str,
    about: &str,
    found: &[Validity],
    now: SystemTime,
    soon: Duration,
) -> Check {
    let until = |validity: &Validity| {
        let time = jiff::Timestamp::try_from(validity.not_after)
            .map(|time| time.strftime("%Y-%m-%d %H:%M UTC").to_string());
        time.unwrap_or_default()
    };
    let named = |validity: &Validity| match &*validity.subject {
        "" => format!("until {}", until(validity)),
        subject => format!("{subject:?} until {}", until(validity)),
    };
    let hint = "put a new one beside it in the authority's Secret, wait until every proxy has it, then take the old one out";
    if let Some(early) = found.iter().find(|it| it.not_before > now) {
        return Check::failure(
            id,
            about,
            format!("{:?} is not valid yet", early.subject),
            "set the clocks by NTP",
        );
    }
    if let Some(over) = found.iter().find(|it| it.not_after < now) {
        return Check::failure(id, about, format!("{} is over", named(over)), hint);
    }
    if let Some(near) = found.iter().find(|it| it.not_after < now + soon) {
        return Check::warning(id, about, format!("{} ends soon", named(near)), hint);
    }
    Check::ok(id, about, format!("valid: {}", some(&found.iter().map(named).collect::<Vec<_>>())))
}

fn judge_namespaces(namespaces: &[Value], roots: &str, held: impl Fn(&str) -> Option<String>) -> Check {
    let (id, about) = ("roots-everywhere", "roots in namespaces with sidecars");
    let names = namespaces.iter().filter(|it| it["metadata"]["deletionTimestamp"].is_null());
    let names: Vec<&str> = names.filter_map(|it| it["metadata"]["name"].as_str()).collect();
    let wrong: Vec<String> = names
        .iter()
        .filter(|name| held(name).as_deref() != Some(roots))
        .map(|name| (*name).to_owned())
        .collect();
    if wrong.is_empty() {
        return Check::ok(id, about, format!("{0} of {0} have those in force", names.len()));
    }
    Check::failure(
        id,
        about,
        format!("no ConfigMap {ROOTS}, or one with other roots: {}", some(&wrong)),
        format!("kubectl -n {NAMESPACE} logs deploy/{CONTROL_PLANE} says why it can't write them"),
    )
}

/// Whether all webhooks of the configuration believe the mesh's roots, and what they believe.
fn judge_configuration(configuration: Option<&Value>, roots: Option<&str>) -> (Check, Option<String>) {
    let (id, about) = ("webhook-bundle", "webhook's caBundle");
    let Some(configuration) = configuration else {
        let hint = "weft upgrade | kubectl apply --server-side -f - brings it";
        let found = format!("there is no MutatingWebhookConfiguration {INJECTOR}: no pod gets a sidecar");
        return (Check::failure(id, about, found, hint), None);
    };
    let webhooks = configuration["webhooks"].as_array().into_iter().flatten();
    let bundles: BTreeSet<String> =
        webhooks.map(|webhook| bundle(&webhook["clientConfig"]["caBundle"])).collect();
    let hint = format!("the control plane writes it: kubectl -n {NAMESPACE} logs deploy/{CONTROL_PLANE}");
    let mut bundles = bundles.into_iter();
    match (bundles.next(), bundles.next()) {
        (None, _) => (Check::failure(id, about, format!("{INJECTOR} has no webhooks"), hint), None),
        (_, Some(_)) => (Check::failure(id, about, "its webhooks have different ones", hint), None),
        (Some(empty), None) if empty.is_empty() => {
            (Check::failure(id, about, "is empty: the API server believes nobody", hint), None)
        }
        (Some(bundle), None) if roots.is_some_and(|roots| roots != bundle) => {
            (Check::failure(id, about, "is not the mesh's roots", hint), Some(bundle))
        }
        (Some(bundle), None) => (Check::ok(id, about, "the mesh's roots"), Some(bundle)),
    }
}

/// The PEM text of a `caBundle`.
fn bundle(field: &Value) -> String {
    let bytes: Option<k8s_openapi::ByteString> = serde_json::from_value(field.clone()).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes.0).ok()).unwrap_or_default()
}

/// Whether what the control plane's pods serve is believed by the bundle, as the API server does it.
async fn served(cluster: &Cluster, plane: &Plane, bundle: &str) -> Check {
    let (id, about) = ("webhook-certificate", "webhook's certificate");
    let mut chains = Vec::new();
    for pod in &plane.pods {
        match handshake(cluster, Pod(pod).name(), bundle).await {
            Ok(chain) => chains.extend(chain),
            Err(error) => {
                return Check::failure(
                    id,
                    about,
                    format!("{}: {}", Pod(pod).name(), crate::exit::told(&error)),
                    format!("kubectl -n {NAMESPACE} rollout restart deploy/{CONTROL_PLANE}, if it stays so"),
                );
            }
        }
    }
    if chains.is_empty() {
        return Check::failure(id, about, "no pod of the control plane runs", "see the control plane above");
    }
    // It lives a day, and is renewed at half of that.
    judge_validity(id, about, &chains, SystemTime::now(), Duration::from_hours(1))
}

async fn handshake(cluster: &Cluster, pod: &str, bundle: &str) -> anyhow::Result<Vec<Validity>> {
    let (stream, _) = forward(cluster, NAMESPACE, pod, WEBHOOK_PORT).await?;
    let name = ServerName::try_from(format!("{CONTROL_PLANE}.{NAMESPACE}.svc"))?;
    let connecting = TlsConnector::from(named_client(bundle)?).connect(name, stream);
    let connected = timeout(HANDSHAKE, connecting)
        .await
        .context("no handshake in time")?
        .context("the API server would not believe it")?;
    let (_, session) = connected.get_ref();
    let chain = session.peer_certificates().unwrap_or_default();
    Ok(chain.iter().map(Validity::of).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Outcome;
    use super::*;

    #[test]
    fn certificates_that_end_are_named_before_and_after() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 20_000);
        let day = Duration::from_hours(24);
        let judge = |from: SystemTime, to: SystemTime| {
            let one = Validity { subject: "CN=weft".to_owned(), not_before: from, not_after: to };
            judge_validity("roots", "roots", &[one], now, SOON)
        };
        assert_eq!(judge(now - day, now + 365 * day).outcome, Outcome::Ok);
        let near = judge(now - day, now + 3 * day);
        assert_eq!(
            (near.outcome, &*near.found),
            (Outcome::Warning, "\"CN=weft\" until 2024-10-07 00:00 UTC ends soon")
        );
        assert_eq!(judge(now - 2 * day, now - day).outcome, Outcome::Failure);
        assert!(judge(now + day, now + 2 * day).found.contains("not valid yet"));
        assert_eq!(judge_roots(None, now).outcome, Outcome::Failure);
        assert_eq!(judge_roots(Some("nonsense"), now).outcome, Outcome::Failure);
    }

    #[test]
    fn a_namespace_with_other_roots_is_named() {
        let namespaces = [json!({"metadata": {"name": "shop"}}), json!({"metadata": {"name": "bank"}})];
        let all = judge_namespaces(&namespaces, "r", |_| Some("r".to_owned()));
        assert_eq!(all.outcome, Outcome::Ok);
        let some = judge_namespaces(&namespaces, "r", |name| (name == "shop").then(|| "r".to_owned()));
        assert!(some.outcome == Outcome::Failure && some.found.ends_with(": bank"), "{some:?}");
    }

    #[test]
    fn the_webhooks_bundle_has_to_be_the_roots() {
        let encoded = |text: &str| json!(k8s_openapi::ByteString(text.as_bytes().to_vec()));
        let with = |bundles: &[Value]| {
            let webhooks: Vec<Value> =
                bundles.iter().map(|it| json!({"clientConfig": {"caBundle": it}})).collect();
            judge_configuration(Some(&json!({"webhooks": webhooks})), Some("roots"))
        };
        let (good, bundle) = with(&[encoded("roots"), encoded("roots")]);
        assert_eq!((good.outcome, bundle.as_deref()), (Outcome::Ok, Some("roots")));
        assert!(with(&[Value::Null]).0.found.contains("is empty"));
        assert!(with(&[encoded("other")]).0.found.contains("not the mesh's roots"));
        assert!(with(&[encoded("roots"), encoded("other")]).0.found.contains("different ones"));
        assert!(judge_configuration(None, None).0.found.contains("no MutatingWebhookConfiguration"));
    }
}
