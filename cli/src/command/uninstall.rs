//! `weft uninstall`: what to delete so that nothing of the mesh is left.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{bail, ensure};
use serde_json::Value;

use crate::cluster::pod::Pod;
use crate::cluster::{Cluster, Kubeconfig};
use crate::install::{By, Existing, meshed_pods, yaml};
use crate::output;
use crate::runtime;

pub(crate) const EXAMPLES: &str = "\
Examples:
  weft uninstall | kubectl delete -f -            everything but the kinds and what is of them
  weft uninstall --crds | kubectl delete -f -     with the kinds, and so every policy of them in every namespace
  weft uninstall --force | kubectl delete -f -    although pods have sidecars

Pods come first: those with a sidecar go on without a control plane for as long as their certificates last, and new ones of
them can't start. So the documents are printed when no pod has a sidecar any more:
  kubectl label namespace shop mesh.weft.dev/inject-
  kubectl -n shop rollout restart deployment

Exit codes:
  0  the documents are on stdout
  1  there is nothing to delete, or pods have sidecars; the last line on stderr says what to do
  2  wrong usage";

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Delete the definitions of Weft's kinds, too: every BackendPolicy, AuthorizationPolicy and so on goes with them
    #[arg(long)]
    crds: bool,
    /// Print it although pods have sidecars
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    kubeconfig: Kubeconfig,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    runtime::on_this_thread(async {
        let cluster = args.kubeconfig.connect().await?;
        uninstall(args, &cluster).await
    })
}

async fn uninstall(args: &Args, cluster: &Cluster) -> anyhow::Result<ExitCode> {
    let Some(existing) = Existing::read(cluster).await? else {
        bail!("nothing of Weft is in the cluster at {}", cluster.server());
    };
    if let By::Helm(release) = &existing.by {
        bail!(
            "release {release} of Helm installed it: helm uninstall {release} --namespace weft-system takes it away"
        );
    }
    let users = users(&meshed_pods(cluster).await?);
    for line in &users {
        eprintln!("weft uninstall: {line}");
    }
    ensure!(
        users.is_empty() || args.force,
        "pods have sidecars; take the label mesh.weft.dev/inject from their namespaces and restart them, or --force"
    );
    let going = existing.everything(cluster, args.crds).await?;
    if args.crds {
        for (kind, count) in lost(cluster, &existing.objects).await {
            eprintln!("weft uninstall: {count} {kind} go with their definition");
        }
    } else {
        eprintln!(
            "weft uninstall: the definitions of Weft's kinds stay, and what is of them; --crds takes them too"
        );
    }
    let _ = output::line(yaml::stream(&going).trim_end());
    Ok(ExitCode::SUCCESS)
}

/// Who has sidecars, by namespace and what made the pods.
fn users(pods: &[Value]) -> Vec<String> {
    let mut counts: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for pod in pods.iter().map(Pod) {
        *counts.entry((pod.namespace(), pod.owner())).or_default() += 1;
    }
    let line = |((namespace, owner), count): ((&str, String), usize)| {
        let pods =
            if count == 1 { "1 pod has a sidecar".to_owned() } else { format!("{count} pods have sidecars") };
        format!("{owner} in namespace {namespace}: {pods}")
    };
    counts.into_iter().map(line).collect()
}

/// How many resources there are of each kind whose definition would go.
async fn lost(cluster: &Cluster, objects: &[Value]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for definition in objects.iter().filter(|object| object["kind"] == "CustomResourceDefinition") {
        let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (group, plural) = (text("/spec/group"), text("/spec/names/plural"));
        let version = text("/spec/versions/0/name");
        // What can't be counted goes all the same; the definitions are named in what is printed.
        let listed = cluster.list(&format!("/apis/{group}/{version}/{plural}"), "").await.unwrap_or_default();
        if !listed.is_empty() {
            found.push((plural.to_owned(), listed.len()));
        }
    }
    found
}

#[cfg(test)]
mod tests;
