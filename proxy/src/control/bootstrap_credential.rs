//! What the workload proves its identity with as long as it has no certificate that would do.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use weft_identity::tls::{ALPN_H2, bundle_client, pinned_client};
use weft_identity::{ExpectedIdentities, JoinToken, TrustBundle};
use weft_mesh::name::Identity;

use super::error::Error;
use crate::config::{self, ServiceAccount};

/// A join token, or a service account of Kubernetes.
#[derive(Debug)]
pub(super) enum Proof {
    Join(JoinToken),
    Account(ServiceAccount),
}

impl Proof {
    pub(super) fn new(proof: &config::Proof, now: SystemTime) -> Result<Self, Error> {
        Ok(match proof {
            config::Proof::Token(text) => {
                let token = JoinToken::parse(text.trim())?;
                token.check_expiry(now)?;
                Self::Join(token)
            }
            config::Proof::ServiceAccount(account) => Self::Account(account.clone()),
        })
    }

    /// Who the workload is.
    pub(super) fn identity(&self) -> &Identity {
        match self {
            Self::Join(token) => &token.claims().identity,
            Self::Account(account) => &account.identity,
        }
    }

    /// Whether it is shown for every certificate: that of a service account is kept fresh by the kubelet.
    pub(super) fn lasts(&self) -> bool {
        matches!(self, Self::Account(_))
    }

    /// What it is called in messages.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Join(_) => "the join token",
            Self::Account(_) => "the service account's token",
        }
    }

    /// What the control plane is shown. A service account's token is read anew: the kubelet renews it.
    pub(super) fn token(&self, now: SystemTime) -> Result<String, Error> {
        match self {
            Self::Join(token) => {
                token.check_expiry(now)?;
                Ok(token.as_str().to_owned())
            }
            Self::Account(account) => {
                let text = read(&account.token, "the service account's token")?;
                Ok(text.trim().to_owned())
            }
        }
    }

    /// How to know the control plane.
    pub(super) fn client(&self, expected: ExpectedIdentities) -> Result<Arc<rustls::ClientConfig>, Error> {
        Ok(match self {
            Self::Join(token) => pinned_client(token.roots().to_vec(), expected, &[ALPN_H2]),
            Self::Account(account) => {
                let text = read(&account.roots, "the mesh's roots")?;
                let bundle = TrustBundle::from_pem(&account.identity.trust_domain(), &text)
                    .map_err(|error| unusable(&account.roots, "the mesh's roots", error.to_string()))?;
                bundle_client(Arc::new(bundle), expected, &[ALPN_H2])
            }
        })
    }
}

/// Kubernetes may bring the file later: a problem with it is no final one.
fn read(path: &Path, what: &'static str) -> Result<String, Error> {
    let text = fs::read_to_string(path).map_err(|error| unusable(path, what, error.to_string()))?;
    if text.trim().is_empty() {
        return Err(unusable(path, what, "the file is empty".to_owned()));
    }
    Ok(text)
}

fn unusable(path: &Path, what: &'static str, problem: String) -> Error {
    Error::File { what, path: path.to_owned(), problem }
}
