//! `weft inject`: manifests with sidecars, without a webhook.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::Value;
use weft_control_plane::Settings;
use weft_control_plane::inject::{Cluster, Outcome, inject};

use crate::output;

pub(crate) const EXAMPLES: &str = "\
Examples:
  weft inject -f deployment.yaml | kubectl apply -f -
  kubectl get deployment web -o yaml | weft inject -f - | kubectl apply -f -
  weft inject -f pod.yaml --settings settings.yaml

Pods that get no sidecar pass unchanged; standard error says which and why.

Exit codes:
  0  every manifest was written
  1  a pod would not work with a sidecar, or the input can't be read
  2  wrong usage";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Manifests, YAML or JSON, several in one file or as a List; `-` reads standard input
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Settings of the injector, as in ConfigMap weft-settings [default: the built-in ones]
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// For a cluster without native sidecars (before Kubernetes 1.29)
    #[arg(long)]
    no_native_sidecars: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let text = if args.file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        text
    } else {
        std::fs::read_to_string(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?
    };
    let settings = args.settings.as_deref().map_or_else(|| Ok(Settings::default()), Settings::read)?;
    let cluster = Cluster { native_sidecars: !args.no_native_sidecars };
    let (written, notes) = manifests(&text, &settings, cluster)?;
    for note in notes {
        eprintln!("weft inject: {note}");
    }
    // Whoever reads it may have gone.
    let _ = output::line(written.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// The manifests with sidecars, and what is to be said of those without.
fn manifests(text: &str, settings: &Settings, cluster: Cluster) -> anyhow::Result<(String, Vec<String>)> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("the manifests are not YAML")?;
    let (mut written, mut notes) = (String::new(), Vec::new());
    for mut document in documents.into_iter().filter(|document| !document.is_null()) {
        one(&mut document, settings, cluster, &mut notes)?;
        written.push_str("---\n");
        written.push_str(&serde_saphyr::to_string(&document).context("cannot write the manifest as YAML")?);
        if !written.ends_with('\n') {
            written.push('\n');
        }
    }
    Ok((written, notes))
}

fn one(
    manifest: &mut Value,
    settings: &Settings,
    cluster: Cluster,
    notes: &mut Vec<String>,
) -> anyhow::Result<()> {
    if let Some(items) = manifest.get_mut("items").and_then(Value::as_array_mut) {
        return items.iter_mut().try_for_each(|item| one(item, settings, cluster, notes));
    }
    let kind = manifest["kind"].as_str().unwrap_or_default().to_owned();
    let place = match &*kind {
        "Pod" => "",
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" | "Job" => {
            "/spec/template"
        }
        "CronJob" => "/spec/jobTemplate/spec/template",
        _ => return Ok(()),
    };
    let name =
        manifest.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("without a name").to_owned();
    let namespace = manifest.pointer("/metadata/namespace").and_then(Value::as_str).map(str::to_owned);
    let Some(pod) = manifest.pointer_mut(place) else {
        bail!("{kind} {name} has no {}", place.trim_start_matches('/').replace('/', "."));
    };
    match inject(pod, namespace.as_deref(), settings, cluster) {
        Outcome::Injected { pod: injected, warnings } => {
            notes.extend(warnings.into_iter().map(|warning| format!("{kind} {name}: {warning}")));
            *pod = *injected;
        }
        Outcome::Complete => {}
        Outcome::Left(reason) => notes.push(format!("{kind} {name} gets no sidecar: {reason}")),
        Outcome::Refused(reason) => bail!("{kind} {name}: {reason}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: Cluster = Cluster { native_sidecars: true };

    fn run(text: &str) -> anyhow::Result<(Vec<Value>, Vec<String>)> {
        let (written, notes) = manifests(text, &Settings::default(), CLUSTER)?;
        Ok((serde_saphyr::from_multiple(&written)?, notes))
    }

    #[test]
    fn every_kind_that_makes_pods_gets_sidecars_and_the_rest_passes() {
        let template = "{spec: {containers: [{name: app, image: a}]}}";
        let text = format!(
            "{{kind: Service, metadata: {{name: web}}}}\n---\n{{kind: Deployment, metadata: {{name: web}}, spec: {{template: {template}}}}}\n---\n\
             {{kind: CronJob, metadata: {{name: tick}}, spec: {{jobTemplate: {{spec: {{template: {template}}}}}}}}}\n---\n\
             {{kind: List, items: [{{kind: Pod, metadata: {{name: one}}, spec: {{containers: [{{name: app}}]}}}}]}}\n"
        );
        let (written, notes) = run(&text).unwrap();
        assert_eq!(notes, [""; 0]);
        assert_eq!(written[0], serde_json::json!({"kind": "Service", "metadata": {"name": "web"}}));
        for (index, place) in [(1, "/spec/template"), (2, "/spec/jobTemplate/spec/template"), (3, "/items/0")]
        {
            let found = written[index].pointer(&format!("{place}/spec/initContainers/1/name"));
            assert_eq!(found, Some(&Value::from("weft-proxy")), "{place}");
        }
    }

    #[test]
    fn what_gets_none_is_told_and_what_would_not_work_ends_it() {
        let (written, notes) =
            run("{kind: Pod, metadata: {name: node}, spec: {hostNetwork: true, containers: [{name: a}]}}")
                .unwrap();
        assert_eq!(written[0].pointer("/spec/initContainers"), None);
        assert!(
            notes[0].starts_with("Pod node gets no sidecar: it uses the network of its node"),
            "{notes:?}"
        );
        let error = run(
            "{kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, securityContext: {runAsUser: 2102}}]}}",
        );
        assert!(error.unwrap_err().to_string().starts_with("Pod a: container"));
        assert!(
            run("{kind: Job, metadata: {name: j}}")
                .unwrap_err()
                .to_string()
                .contains("Job j has no spec.template")
        );
    }
}
