//! Which sidecar a command is about: one on this machine by its address, or that of a pod.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use serde_json::Value;
use weft_control_plane::default_state_dir;

use crate::admin::{PROXY_PORT, Place};
use crate::cluster::pod::Pod;
use crate::cluster::{Cluster, Kubeconfig, Target};
use crate::run::record::Record;

/// Options that say which sidecar is meant.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Sidecar {
    /// Whose sidecar: POD, POD.NAMESPACE, deploy/NAME, sts/NAME, ds/NAME, job/NAME [default: one on this machine]
    #[arg(value_name = "TARGET")]
    target: Option<Target>,
    /// Namespace [default: that of the context]
    #[arg(short, long, value_name = "NAME", conflicts_with = "proxy")]
    namespace: Option<String>,
    /// Admin address of a sidecar, such as 127.0.0.1:15000, instead of a pod
    #[arg(long, value_name = "ADDRESS", conflicts_with = "target", value_parser = admin_address)]
    proxy: Option<SocketAddr>,
    /// State folder, which tells what runs on this machine [default: ~/.local/state/weft]
    #[arg(long, value_name = "DIR", env = "WEFT_STATE")]
    state: Option<PathBuf>,
    #[command(flatten)]
    kubeconfig: Kubeconfig,
}

/// The address of an admin server, as it is, or as the URL that people copy.
pub(crate) fn admin_address(text: &str) -> Result<SocketAddr, String> {
    if text.starts_with("https://") {
        return Err("an admin server has no TLS; write http://127.0.0.1:15000, or 127.0.0.1:15000".to_owned());
    }
    let address = text.strip_prefix("http://").unwrap_or(text);
    let address = address.split_once('/').map_or(address, |(address, _)| address);
    let numeric = address.replacen("localhost:", "127.0.0.1:", 1);
    numeric
        .parse()
        .map_err(|_| "write the IP address and port of its admin server, such as 127.0.0.1:15000".to_owned())
}

/// A sidecar that can be asked.
pub(crate) struct Found {
    /// Its pod's name and namespace; of one that is no pod's, its address and nothing.
    pub(crate) name: String,
    /// See `name`.
    pub(crate) namespace: String,
    /// What people call its workload: that of a Deployment's pods is the Deployment.
    pub(crate) workload: String,
    /// Its admin server.
    pub(crate) place: Place,
}

impl Found {
    fn of(cluster: &Cluster, pod: Pod<'_>) -> Self {
        let owner = pod.owner();
        let workload = owner.split_once('/').map_or(owner.as_str(), |(_, name)| name).to_owned();
        let place = Place::Pod {
            cluster: cluster.clone(),
            namespace: pod.namespace().to_owned(),
            name: pod.name().to_owned(),
            port: PROXY_PORT,
        };
        Self { name: pod.name().to_owned(), namespace: pod.namespace().to_owned(), workload, place }
    }

    fn run(record: &Record) -> Self {
        let service = record.service.as_ref().map(|service| match &record.version {
            Some(version) => format!("{service}-{version}"),
            None => service.clone(),
        });
        Self {
            name: record.workload.clone(),
            namespace: record.namespace.clone(),
            workload: service.unwrap_or_else(|| record.workload.clone()),
            place: Place::Address(record.info.admin),
        }
    }

    fn at(address: SocketAddr) -> Self {
        let name = address.to_string();
        Self { workload: "this".to_owned(), name, namespace: String::new(), place: Place::Address(address) }
    }
}

impl Sidecar {
    /// The sidecar of a pod that is named otherwise than as the first argument.
    pub(crate) fn of_pod(target: Target, namespace: Option<String>, kubeconfig: Kubeconfig) -> Self {
        Self { target: Some(target), namespace, proxy: None, state: None, kubeconfig }
    }

    /// The one on this machine.
    pub(crate) fn here(state: Option<PathBuf>, kubeconfig: Kubeconfig) -> Self {
        Self { target: None, namespace: None, proxy: None, state, kubeconfig }
    }

    /// The one sidecar that is meant. Of several pods it is one that runs; standard error says which.
    pub(crate) async fn one(&self, command: &str) -> anyhow::Result<Found> {
        if let Some(address) = self.proxy {
            return Ok(Found::at(address));
        }
        if self.is_here() {
            let runs = self.runs()?;
            return match runs.as_slice() {
                [record] => Ok(Found::run(record)),
                several => bail!("{}", which(several)),
            };
        }
        let (target, cluster) = self.cluster().await?;
        let (pod, count) = target.pod(&cluster, self.namespace.as_deref()).await?;
        if count > 1 {
            eprintln!("{command}: asking {}, one of {count} pods of {target}", Pod(&pod).name());
        }
        Ok(Found::of(&cluster, Pod(&pod)))
    }

    /// The configuration in force of the one sidecar that is meant.
    pub(crate) async fn config(&self, command: &str) -> anyhow::Result<Value> {
        self.one(command).await?.place.open().await?.json("/config").await
    }

    /// The namespace all of whose sidecars are meant.
    pub(crate) fn whole_namespace(&self) -> Option<&str> {
        self.target.as_ref().and_then(Target::whole_namespace)
    }

    /// Every sidecar that is meant and can be asked. Standard error says which can't.
    pub(crate) async fn all(&self, command: &str) -> anyhow::Result<Vec<Found>> {
        if let Some(address) = self.proxy {
            return Ok(vec![Found::at(address)]);
        }
        if self.is_here() {
            let runs = self.runs()?;
            if runs.is_empty() {
                bail!("{}", which(&runs));
            }
            return Ok(runs.iter().map(Found::run).collect());
        }
        let (target, cluster) = self.cluster().await?;
        let pods = target.pods(&cluster, self.namespace.as_deref()).await?;
        if let [pod] = pods.as_slice() {
            crate::cluster::check(&cluster, Pod(pod)).await?;
        }
        let mut found = Vec::new();
        let mut without = Vec::new();
        for pod in pods.iter().map(Pod) {
            if !pod.is_meshed() {
                without.push(pod.name());
            } else if let Some(state) = pod.not_running() {
                eprintln!("{command}: left out: pod {} {state}", pod.title());
            } else {
                found.push(Found::of(&cluster, pod));
            }
        }
        if found.is_empty() {
            bail!(
                "none of the {} pods of {target} has a sidecar that can be asked; weft check says why",
                pods.len()
            );
        }
        if !without.is_empty() {
            eprintln!("{command}: left out, without a sidecar: {}", without.join(", "));
        }
        Ok(found)
    }

    /// Whether neither a pod nor an address is named: then it is about this machine.
    pub(crate) fn is_here(&self) -> bool {
        self.target.is_none() && self.proxy.is_none() && self.namespace.is_none()
    }

    /// The state folder of this machine's commands.
    pub(crate) fn state(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(default_state_dir)
    }

    fn runs(&self) -> anyhow::Result<Vec<Record>> {
        let state = self.state();
        Record::all(&state).with_context(|| format!("cannot read {}", state.display()))
    }

    async fn cluster(&self) -> anyhow::Result<(&Target, Cluster)> {
        let target = self.target.as_ref().context("say which pod: POD, POD.NAMESPACE or deploy/NAME")?;
        Ok((target, self.kubeconfig.connect().await?))
    }
}

/// Which of the sidecars on this machine can be meant.
fn which(runs: &[Record]) -> String {
    if runs.is_empty() {
        return "say whose sidecar: POD, POD.NAMESPACE or deploy/NAME, or --proxy ADDRESS; none runs on this machine by \
                `weft run`"
            .to_owned();
    }
    let each =
        runs.iter().map(|record| format!("{} (--proxy {})", Found::run(record).workload, record.info.admin));
    format!("say which of the sidecars on this machine: {}", each.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_server_is_named_as_people_have_it() {
        let expected = Ok("127.0.0.1:15000".parse().unwrap());
        for text in [
            "127.0.0.1:15000",
            "http://127.0.0.1:15000",
            "http://127.0.0.1:15000/ready",
            "localhost:15000",
            "http://localhost:15000/",
        ] {
            assert_eq!(admin_address(text), expected, "{text}");
        }
        for text in ["https://127.0.0.1:15000", "web:80", "http://web:80/", "127.0.0.1", ""] {
            assert!(admin_address(text).is_err(), "{text}");
        }
    }
}
