//! What the control plane keeps in a cluster, and what it asks the cluster: its authority and the key of its tokens in
//! Secrets, the mesh's roots in a `ConfigMap` of every namespace, and whom a service account's token belongs to.

mod accounts;
mod revoked;
mod roots;
mod secrets;
mod trust;
mod watch_backoff;
mod watched;

use std::pin::Pin;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::{Client, Config};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::watch;
use weft_identity::{TokenIssuer, TrustBundle};
use weft_mesh::name::TrustDomain;

pub(crate) use self::accounts::{AUDIENCE, Accounts, Problem};
pub(crate) use self::roots::NAME as ROOTS;
use self::secrets::Secrets;
pub(crate) use self::secrets::{Material, Shared as SharedAuthority};
pub(crate) use self::trust::Trust;
use self::watch_backoff::WatchBackoff;
pub(crate) use self::watched::watched;
use crate::Error;
use crate::compile::SYSTEM_NAMESPACE;
use crate::config::KubernetesConfig;
use crate::revocations::Revocations;

/// Who writes, for the API server.
pub(crate) const FIELD_MANAGER: &str = "weft-control-plane";
/// Time for the API server to answer a request that somebody waits for.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which nothing comes for so long, though something is asked for, is given up. Watches are ended by the
/// API server well before.
const SILENCE: Duration = Duration::from_secs(90);

/// The cluster that the control plane runs in, or that its kubeconfig names.
pub(crate) struct Cluster {
    client: Client,
    secrets: Secrets,
    authority: SharedAuthority,
    tokens: TokenIssuer,
    accounts: Accounts,
    trust: Trust,
    roots: watch::Sender<String>,
    trust_domain: TrustDomain,
}

impl Cluster {
    /// Connects, and takes what is in the Secrets; makes them when they are missing. Replicas that start at the same time
    /// end up with the same.
    pub(crate) async fn open(settings: &KubernetesConfig, trust_domain: &TrustDomain) -> Result<Self, Error> {
        let none = |error: &dyn std::fmt::Display| {
            Error::Kubernetes(format!(
                "no cluster to connect to: {error}; run it in a pod, or set KUBECONFIG to the file that kubectl uses"
            ))
        };
        let mut config = Config::infer().await.map_err(|error| none(&error))?;
        config.connect_timeout = Some(REQUEST_TIMEOUT);
        config.read_timeout = Some(SILENCE);
        let client = ClientBuilder::try_from(config).map_err(|error| none(&error))?;
        Self::with(client.with_layer(&WatchBackoff::default()).build(), settings, trust_domain).await
    }

    async fn with(
        client: Client,
        settings: &KubernetesConfig,
        trust_domain: &TrustDomain,
    ) -> Result<Self, Error> {
        let secrets = Secrets::new(client.clone(), settings.ca_secret.clone());
        let material = secrets.authority(trust_domain).await?;
        let tokens = secrets.tokens().await?;
        let trust = Trust::open(&client, trust_domain).await?;
        Ok(Self {
            accounts: Accounts::new(client.clone(), trust_domain.clone()),
            client,
            secrets,
            authority: Arc::new(Mutex::new(Ok(material))),
            tokens,
            trust,
            roots: watch::Sender::new(String::new()),
            trust_domain: trust_domain.clone(),
        })
    }

    /// The client that everything in the cluster shares.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The authority's certificates and key, now and later.
    pub(crate) fn authority(&self) -> SharedAuthority {
        Arc::clone(&self.authority)
    }

    /// Makes and verifies join tokens for what is no pod.
    pub(crate) fn tokens(&self) -> TokenIssuer {
        self.tokens.clone()
    }

    /// Knows whom a service account's token belongs to.
    pub(crate) fn accounts(&self) -> Accounts {
        self.accounts.clone()
    }

    /// The roots that all replicas agree on.
    pub(crate) fn trust(&self) -> Trust {
        self.trust.clone()
    }

    /// Where the mesh's roots are told from.
    pub(crate) fn watch_roots(&self) -> watch::Receiver<String> {
        self.roots.subscribe()
    }

    /// Whether the cluster knows native sidecars: Kubernetes 1.29 and later.
    pub(crate) async fn native_sidecars(&self) -> bool {
        match self.client.apiserver_version().await {
            Ok(version) => {
                let number = |text: &str| {
                    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
                    text.get(..digits).and_then(|digits| digits.parse::<u32>().ok()).unwrap_or_default()
                };
                (number(&version.major), number(&version.minor)) >= (1, 29)
            }
            Err(error) => {
                tracing::warn!(%error, "can't ask for the cluster's version; taking it for a recent one");
                true
            }
        }
    }

    /// Where the mesh's roots go.
    pub(crate) fn roots(&self) -> Roots {
        Roots { sender: self.roots.clone(), trust_domain: self.trust_domain.clone() }
    }

    /// Takes what is revoked. Nobody is served before it is known.
    pub(crate) async fn read_revocations(&self, revocations: &Revocations) -> Result<(), Error> {
        revoked::read(self.client.clone(), revocations).await
    }

    /// Follows what is revoked. Never returns.
    pub(crate) fn follow_revocations(
        &self,
        revocations: Arc<Revocations>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let client = self.client.clone();
        async move { revoked::follow(client, &revocations).await }
    }

    /// Writes what one replica writes for all: the roots that are believed, and a copy of them in every namespace. Never
    /// returns; may be dropped at any time.
    pub(crate) fn write(&self) -> impl Fn() -> Writing + Send + Sync + use<> {
        let (client, trust, roots) = (self.client.clone(), self.trust.clone(), self.roots.clone());
        move || {
            let (client, trust, roots) = (client.clone(), trust.clone(), roots.subscribe());
            Box::pin(async move {
                tokio::join!(trust.write(client.clone()), roots::keep(client, roots));
            })
        }
    }

    /// Follows the authority's Secret and the roots that are believed. Never returns.
    pub(crate) async fn follow(self) {
        tokio::join!(self.secrets.follow(&self.authority), self.trust.follow(self.client.clone()));
    }
}

/// Work of the replica that writes.
pub(crate) type Writing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tells namespaces of the mesh's roots.
#[derive(Clone)]
pub(crate) struct Roots {
    sender: watch::Sender<String>,
    trust_domain: TrustDomain,
}

impl Roots {
    /// Makes the roots in every namespace the given ones.
    pub(crate) fn set(&self, bundle: &TrustBundle) {
        self.sender.send_replace(bundle.to_pem(&self.trust_domain));
    }
}

#[cfg(test)]
mod tests;
