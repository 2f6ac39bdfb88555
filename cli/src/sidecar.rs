//! Which sidecar a command is about: one on this machine by its address, or that of a pod.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::admin::{PROXY_PORT, Place};
use crate::cluster::pod::Pod;
use crate::cluster::{Cluster, Kubeconfig, Target};

/// Options that say which sidecar is meant.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Sidecar {
    /// Whose sidecar: POD, POD.NAMESPACE, deploy/NAME, sts/NAME, ds/NAME, job/NAME
    #[arg(value_name = "TARGET", required_unless_present = "proxy")]
    target: Option<Target>,
    /// Namespace [default: that of the context]
    #[arg(short, long, value_name = "NAME", conflicts_with = "proxy")]
    namespace: Option<String>,
    /// Admin address of a sidecar, such as 127.0.0.1:15000, instead of a pod
    #[arg(long, value_name = "ADDRESS", conflicts_with = "target")]
    proxy: Option<SocketAddr>,
    #[command(flatten)]
    kubeconfig: Kubeconfig,
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

    fn at(address: SocketAddr) -> Self {
        let name = address.to_string();
        Self { workload: "this".to_owned(), name, namespace: String::new(), place: Place::Address(address) }
    }
}

impl Sidecar {
    /// The sidecar of a pod that is named otherwise than as the first argument.
    pub(crate) fn of_pod(target: Target, namespace: Option<String>, kubeconfig: Kubeconfig) -> Self {
        Self { target: Some(target), namespace, proxy: None, kubeconfig }
    }

    /// The one sidecar that is meant. Of several pods it is one that runs; standard error says which.
    pub(crate) async fn one(&self, command: &str) -> anyhow::Result<Found> {
        if let Some(address) = self.proxy {
            return Ok(Found::at(address));
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

    async fn cluster(&self) -> anyhow::Result<(&Target, Cluster)> {
        let target = self.target.as_ref().context("say which pod: POD, POD.NAMESPACE or deploy/NAME")?;
        Ok((target, self.kubeconfig.connect().await?))
    }
}
