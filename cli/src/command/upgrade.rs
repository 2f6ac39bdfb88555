//! `weft upgrade`: what to apply to a cluster that has Weft, of this version, with the values that it was installed with.

use std::process::ExitCode;

use anyhow::{bail, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::cluster::kinds::{path, title};
use crate::cluster::pod::Pod;
use crate::cluster::{Cluster, Kubeconfig, Try};
use crate::install::{
    By, Change, Existing, Overrides, VERSION, Values, Version, changes, defaults, manifest, meshed_pods, yaml,
};
use crate::output::{self, Format};
use crate::runtime;

pub(crate) const EXAMPLES: &str = "\
Examples:
  weft upgrade --diff                                     what would change
  weft upgrade | kubectl apply --server-side -f -         to this version, with the values that are in force
  weft upgrade --set controlPlane.replicas=3 | kubectl apply --server-side -f -
  weft upgrade --prune | kubectl delete -f -              afterwards: what earlier versions had and this one has not
  weft check --wait 2m

What was chosen at the installation is kept in the cluster (ConfigMap weft-install in weft-system), and comes first; then
--values, then --set. A control plane works with proxies of its own minor version and of the one before: pods that are
further behind are named, and so is what restarts them.

Exit codes:
  0  the documents, or the differences, are on stdout
  1  there is nothing to upgrade, or it would not work; the last line on stderr says what to do
  2  wrong usage";

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    overrides: Overrides,
    /// Take the defaults of this version, without the values that the cluster was installed with
    #[arg(long)]
    reset_values: bool,
    #[command(flatten)]
    instead: Instead,
    /// Go on where versions are too far apart
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    kubeconfig: Kubeconfig,
    /// How to print the differences: `json` is one object with `changed`, `new` and `pruned`
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", requires = "diff")]
    output: Format,
}

/// What to print instead of the documents.
#[derive(Clone, Debug, clap::Args)]
#[group(multiple = false)]
struct Instead {
    /// Say what would change, field by field, as the API server sees it; nothing is changed
    #[arg(long)]
    diff: bool,
    /// Print what has to be deleted: objects of an earlier installation that are no part of this one
    #[arg(long)]
    prune: bool,
    /// Print the values that would be used
    #[arg(long)]
    show_values: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    runtime::on_this_thread(async {
        let cluster = args.kubeconfig.connect().await?;
        upgrade(args, &cluster).await
    })
}

async fn upgrade(args: &Args, cluster: &Cluster) -> anyhow::Result<ExitCode> {
    let existing = Existing::read(cluster).await?;
    let Some(existing) = existing else {
        bail!(
            "Weft is not in the cluster at {}; weft install | kubectl apply -f - installs it",
            cluster.server()
        );
    };
    if let By::Helm(release) = &existing.by {
        bail!(
            "release {release} of Helm installed it, and goes on keeping it: \
             helm upgrade {release} k8s/chart --namespace weft-system"
        );
    }
    let values = values(args, &existing)?;
    if args.instead.show_values {
        let _ = output::line(yaml::document(&serde_json::to_value(&values)?).trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = manifest(&values);
    let over = existing.left_over(&wanted);
    if args.instead.prune {
        if over.is_empty() {
            eprintln!("weft upgrade: nothing has to be deleted");
        }
        let _ = output::line(yaml::stream(&over).trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let pods = meshed_pods(cluster).await?;
    let problems = skew(&existing.version, Version::own(), &pods);
    for problem in &problems {
        eprintln!("weft upgrade: {problem}");
    }
    ensure!(
        problems.is_empty() || args.force || args.instead.diff,
        "not from {} to {VERSION}; see above, or --force",
        existing.version
    );
    if args.instead.diff {
        return differences(args, cluster, &wanted, &over).await;
    }
    let _ = output::line(yaml::stream(&wanted).trim_end());
    eprintln!("weft upgrade: from {} to {VERSION}", existing.version);
    if !over.is_empty() {
        let names: Vec<String> = over.iter().map(title).collect();
        eprintln!(
            "weft upgrade: no part of it any more: {}; afterwards: weft upgrade --prune | kubectl delete -f -",
            names.join(", ")
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The values that were chosen, with what is wanted otherwise now.
fn values(args: &Args, existing: &Existing) -> anyhow::Result<Values> {
    let base = if args.reset_values { defaults() } else { existing.values().map_err(anyhow::Error::msg)? };
    Ok(args.overrides.apply(&base)?)
}

/// Why a control plane of version `to` would not work with what there is.
fn skew(installed: &str, to: Version, pods: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    match installed.parse::<Version>() {
        Ok(from) if from > to => problems.push(format!(
            "version {from} is installed and this command is {to}: use a command of version {from} or later"
        )),
        Ok(from) => {
            if let Some(between) = to.by_way_of(from) {
                problems.push(format!("version {from} is installed: upgrade to {between} first, then to {to}"));
            }
        }
        Err(problem) => problems.push(format!(
            "the Deployment control-plane in weft-system does not say its version in label app.kubernetes.io/version: {problem}"
        )),
    }
    let mut behind: Vec<(String, String)> = Vec::new();
    for pod in pods.iter().map(Pod) {
        let proxy = pod.proxy_version();
        // One whose version can't be told is no reason to stop everybody.
        let works = proxy.parse().map_or(true, |proxy| proxy > to || to.works_with_proxy(proxy));
        let owner = (pod.namespace().to_owned(), pod.owner());
        if !works && !behind.contains(&owner) {
            problems.push(format!(
                "proxies of {} in namespace {} are of version {proxy}, too old for a control plane of {to}: \
                 kubectl -n {} rollout restart {}",
                owner.1, owner.0, owner.0, owner.1
            ));
            behind.push(owner);
        }
    }
    problems
}

/// What would change.
#[derive(Serialize)]
struct Differences {
    /// Objects that change, with their fields.
    changed: Vec<(String, Vec<Change>)>,
    /// Objects that are not there yet.
    new: Vec<String>,
    /// Objects that `--prune` prints.
    pruned: Vec<String>,
}

async fn differences(
    args: &Args,
    cluster: &Cluster,
    wanted: &[Value],
    over: &[Value],
) -> anyhow::Result<ExitCode> {
    let mut found =
        Differences { changed: Vec::new(), new: Vec::new(), pruned: over.iter().map(title).collect() };
    for document in wanted {
        let path = path(document).map_err(anyhow::Error::msg)?;
        let Some(mut now) = cluster.find(&path).await? else {
            found.new.push(title(document));
            continue;
        };
        let mut then = cluster.dry_run(document, Try::Apply).await?;
        for object in [&mut now, &mut then] {
            // It is not always said where just one object is answered.
            object["apiVersion"] = document["apiVersion"].clone();
            object["kind"] = document["kind"].clone();
        }
        let changed = changes(&now, &then);
        if !changed.is_empty() {
            found.changed.push((title(document), changed));
        }
    }
    let _ = match args.output {
        Format::Json => output::json(&found),
        Format::Text => output::line(&text(&found, wanted.len())),
    };
    Ok(ExitCode::SUCCESS)
}

fn text(found: &Differences, all: usize) -> String {
    let mut lines = Vec::new();
    for (title, changes) in &found.changed {
        lines.push(format!("~ {title}"));
        for line in
            changes.iter().flat_map(|change| change.text().lines().map(str::to_owned).collect::<Vec<_>>())
        {
            lines.push(format!("    {line}"));
        }
    }
    lines.extend(found.new.iter().map(|title| format!("+ {title}")));
    lines.extend(found.pruned.iter().map(|title| format!("- {title} (by weft upgrade --prune)")));
    let same = all - found.changed.len() - found.new.len();
    lines.push(format!("= {same} objects stay as they are"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, version: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "shop", "labels": {"mesh.weft.dev/proxy": version}}})
    }

    #[test]
    fn versions_that_are_too_far_apart_are_named_with_what_to_do() {
        let to: Version = "0.4.0".parse().unwrap();
        assert_eq!(skew("0.3.1", to, &[pod("a", "0.3.1"), pod("b", "0.4.0")]), [""; 0]);
        let said = skew("0.3.1", to, &[pod("a", "0.2.0"), pod("a", "0.2.0")]);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].contains("0.2.0, too old") && said[0].contains("kubectl -n shop rollout restart pod/a"),
            "{said:?}"
        );
        assert!(skew("0.5.0", to, &[])[0].contains("use a command of version 0.5.0"));
        assert!(skew("0.1.0", to, &[])[0].contains("upgrade to 0.2 first"));
        assert!(skew("", to, &[])[0].contains("does not say its version"));
    }

    #[test]
    fn differences_are_told_by_object() {
        let change =
            Change { field: "spec.replicas".to_owned(), before: Some(json!(2)), after: Some(json!(3)) };
        let found = Differences {
            changed: vec![("Deployment weft-system/control-plane".to_owned(), vec![change])],
            new: vec!["ConfigMap weft-system/weft-install".to_owned()],
            pruned: vec!["ClusterRole old".to_owned()],
        };
        let expected = "\
~ Deployment weft-system/control-plane
    spec.replicas: 2 -> 3
+ ConfigMap weft-system/weft-install
- ClusterRole old (by weft upgrade --prune)
= 3 objects stay as they are";
        assert_eq!(text(&found, 5), expected);
    }
}
