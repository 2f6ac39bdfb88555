//! `weft install`: what to apply to a cluster.

use std::process::ExitCode;

use crate::install::{Overrides, defaults, manifest, yaml};
use crate::output;

pub(crate) const EXAMPLES: &str = "\
Examples:
  weft install | kubectl apply -f -
  weft install --set controlPlane.replicas=3 --set proxy.redirect=cni --set cni.enabled=true | kubectl apply -f -
  weft install --values mesh.yaml | kubectl diff -f -
  weft install --show-values

Values are those of the Helm chart in k8s/chart, which renders the same, except that `namespace.create` is true here. What
was chosen is kept in ConfigMap weft-install, for weft upgrade. Before it: weft check --pre; afterwards: weft check --wait.
The kinds of Gateway API have to be in the cluster for routes; what it lacks is in the control plane's log.

Exit codes:
  0  the documents are on stdout
  1  a value is unknown or wrong
  2  wrong usage";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    overrides: Overrides,
    /// Print the values that would be used instead of the documents
    #[arg(long)]
    show_values: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let values = args.overrides.apply(&defaults())?;
    let text = if args.show_values {
        yaml::document(&serde_json::to_value(&values)?)
    } else {
        yaml::stream(&manifest(&values))
    };
    // The line break at the end is the printer's.
    let _ = output::line(text.trim_end());
    Ok(ExitCode::SUCCESS)
}
