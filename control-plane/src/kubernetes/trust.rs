//! The roots that the mesh believes, in a Secret of its own namespace.
//!
//! Replicas may hold different authorities for a while, such as when the authority's Secret was replaced and only some of them
//! have read it. If each told its own roots, workloads would be split by the replica that they ask. So there is one list, which
//! all replicas tell, and one writer: the replica that holds the Lease. It adds the roots of its authority and takes none away.
//! A root goes when an operator retires it, by its fingerprint in the Secret, and no authority of ours has it any more.
//!
//! It is a Secret though nothing in it is secret, because who writes it decides whom the mesh believes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt as _, pin_mut};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::watcher::{Config, Event};
use kube::{Client, Error as KubeError};
use tokio::sync::watch;
use weft_identity::{Fingerprint, TrustBundle};
use weft_mesh::name::TrustDomain;

use super::{FIELD_MANAGER, SYSTEM_NAMESPACE, secrets, watched};
use crate::Error;

/// Name of the Secret.
pub(crate) const NAME: &str = "weft-trust";
const ROOTS: &str = "roots.pem";
/// Fingerprints of roots that are to be believed no longer, with blanks or commas between.
const RETIRED: &str = "retired";
/// Time until what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// What the mesh believes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Believed {
    /// Empty before the first replica has written it.
    pub(crate) roots: TrustBundle,
    retired: BTreeSet<Fingerprint>,
}

impl Believed {
    fn of(secret: &Secret, trust_domain: &TrustDomain) -> Result<Self, String> {
        let text = |key: &str| {
            let bytes = secret.data.iter().flatten().find(|(name, _)| *name == key);
            bytes.map(|(_, bytes)| String::from_utf8_lossy(&bytes.0).into_owned()).unwrap_or_default()
        };
        let roots = match text(ROOTS) {
            none if none.trim().is_empty() => TrustBundle::new(),
            text => {
                TrustBundle::from_pem(trust_domain, &text).map_err(|error| format!("{ROOTS}: {error}"))?
            }
        };
        let mut retired = BTreeSet::new();
        for word in text(RETIRED).split([',', ' ', '\n']).map(str::trim).filter(|word| !word.is_empty()) {
            retired.insert(word.parse().map_err(|error| format!("{RETIRED}: {error}"))?);
        }
        Ok(Self { roots, retired })
    }

    /// What is believed when the Secret says this: nothing goes that was not retired, whoever has taken it out.
    fn followed_by(&self, told: Self, trust_domain: &TrustDomain) -> Self {
        let mut kept = self.roots.clone();
        kept.retain(trust_domain, |root| !told.retired.contains(root));
        let mut roots = told.roots;
        roots.merge(&kept);
        Self { roots, retired: told.retired }
    }

    /// What is to be written so that the roots of the writer's authority are believed; `None` if they are, and nothing is
    /// to be retired. What the authority has is not retired.
    fn with(&self, wanted: &TrustBundle, trust_domain: &TrustDomain) -> Option<TrustBundle> {
        let in_use = wanted.fingerprints(trust_domain);
        let mut roots = self.roots.clone();
        roots.retain(trust_domain, |root| !self.retired.contains(root) || in_use.contains(root));
        roots.merge(wanted);
        (roots != self.roots && !roots.is_empty()).then_some(roots)
    }
}

/// The list, as all of a replica see it.
#[derive(Clone)]
pub(crate) struct Trust {
    believed: watch::Sender<Believed>,
    wanted: watch::Sender<TrustBundle>,
    domain: TrustDomain,
}

impl Trust {
    /// A list that holds this.
    fn new(believed: Believed, domain: TrustDomain) -> Self {
        Self { believed: watch::Sender::new(believed), wanted: watch::Sender::default(), domain }
    }

    /// Reads the list as it is.
    pub(super) async fn open(client: &Client, trust_domain: &TrustDomain) -> Result<Self, Error> {
        let api: Api<Secret> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
        let found = api.get_opt(NAME).await.map_err(|error| secrets::failed("read", NAME, &error))?;
        let believed = match &found {
            None => Believed::default(),
            Some(secret) => Believed::of(secret, trust_domain).map_err(|problem| unreadable(&problem))?,
        };
        Ok(Self::new(believed, trust_domain.clone()))
    }

    /// What is believed, now and later.
    pub(crate) fn watch(&self) -> watch::Receiver<Believed> {
        self.believed.subscribe()
    }

    /// Says which roots this replica's authority has. Where it is the writer, they are added.
    pub(crate) fn want(&self, roots: &TrustBundle) {
        self.wanted.send_if_modified(|wanted| {
            let changed = *wanted != *roots;
            wanted.clone_from(roots);
            changed
        });
    }

    /// Follows the list. Never returns.
    pub(super) async fn follow(&self, client: Client) {
        let api: Api<Secret> = Api::namespaced(client, SYSTEM_NAMESPACE);
        let events = watched(api, Config::default().fields(&format!("metadata.name={NAME}")));
        pin_mut!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(secret) | Event::InitApply(secret)) => self.told(&secret),
                // What it said is still believed, and the writer makes it anew.
                Ok(Event::Delete(_)) => self.believed.send_modify(|_| {}),
                Ok(Event::Init | Event::InitDone) => {}
                Err(error) => tracing::debug!(%error, "can't watch the roots that are believed now"),
            }
        }
        std::future::pending::<()>().await;
    }

    fn told(&self, secret: &Secret) {
        match Believed::of(secret, &self.domain) {
            Ok(told) => {
                let now = self.believed.borrow().followed_by(told, &self.domain);
                self.believed.send_if_modified(|believed| {
                    let changed = *believed != now;
                    *believed = now;
                    changed
                });
            }
            Err(problem) => tracing::error!("{}; what is believed stays", unreadable(&problem)),
        }
    }

    /// Writes the list while this replica is the writer. Never returns; may be dropped at any time.
    pub(crate) async fn write(&self, client: Client) {
        let api: Api<Secret> = Api::namespaced(client, SYSTEM_NAMESPACE);
        let (mut believed, mut wanted) = (self.believed.subscribe(), self.wanted.subscribe());
        loop {
            believed.borrow_and_update();
            wanted.borrow_and_update();
            let written = self.write_once(&api).await;
            if let Err(error) = &written {
                tracing::warn!(%error, "can't write the roots that are believed, Secret {NAME}; trying again");
            }
            let retry = async {
                if written.is_err() { tokio::time::sleep(RETRY).await } else { std::future::pending().await }
            };
            tokio::select! {
                Ok(()) = believed.changed() => {}
                Ok(()) = wanted.changed() => {}
                () = retry => {}
            }
        }
    }

    /// With the version that was read: what somebody else has written meanwhile is read first.
    pub(super) async fn write_once(&self, api: &Api<Secret>) -> Result<(), KubeError> {
        let found = api.get_opt(NAME).await?;
        if let Some(secret) = &found {
            self.told(secret);
        }
        let wanted = self.wanted.borrow().clone();
        let believed = self.believed.borrow().clone();
        let held = found.as_ref().and_then(|secret| Believed::of(secret, &self.domain).ok());
        let in_use = wanted.fingerprints(&self.domain);
        if let Some(root) = believed.retired.iter().find(|root| in_use.contains(root)) {
            tracing::warn!(
                %root,
                "this root is retired in Secret {NAME} and is still one of the authority's: it stays until that has it no more"
            );
        }
        let roots = believed.with(&wanted, &self.domain).unwrap_or(believed.roots);
        if roots.is_empty() || held.is_some_and(|held| held.roots == roots) {
            return Ok(());
        }
        let text = roots.to_pem(&self.domain);
        let mut secret = found.unwrap_or_else(new);
        let is_new = secret.metadata.resource_version.is_none();
        secret.data.get_or_insert_default().insert(ROOTS.to_owned(), ByteString(text.into_bytes()));
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let written = if is_new {
            api.create(&params, &secret).await
        } else {
            api.replace(NAME, &params, &secret).await
        }?;
        tracing::info!(roots = roots.roots(&self.domain).len(), "wrote the roots that are believed");
        self.told(&written);
        Ok(())
    }
}

#[cfg(test)]
impl Trust {
    /// A list that nobody has written yet.
    pub(crate) fn empty(domain: TrustDomain) -> Self {
        Self::new(Believed::default(), domain)
    }

    /// Has all of these hear what this one, as the writer, would write.
    pub(crate) fn write_to(&self, all: &[&Self]) {
        let believed = self.believed.borrow().clone();
        let wanted = self.wanted.borrow().clone();
        let roots = believed.with(&wanted, &self.domain).unwrap_or(believed.roots);
        for one in all {
            let told = Believed { roots: roots.clone(), retired: believed.retired.clone() };
            one.believed.send_modify(|held| *held = held.followed_by(told, &self.domain));
        }
    }

    /// Retires a root.
    pub(crate) fn retire(&self, root: Fingerprint) {
        self.believed.send_modify(|believed| {
            believed.retired.insert(root);
        });
    }
}

fn new() -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            labels: Some(BTreeMap::from([(
                "app.kubernetes.io/managed-by".to_owned(),
                FIELD_MANAGER.to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        ..Secret::default()
    }
}

fn unreadable(problem: &str) -> Error {
    Error::Kubernetes(format!(
        "Secret {NAME} in namespace {SYSTEM_NAMESPACE}, the roots that are believed, can't be used: {problem}"
    ))
}

#[cfg(test)]
mod tests;
