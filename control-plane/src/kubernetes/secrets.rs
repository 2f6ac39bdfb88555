//! The authority's key and the key of join tokens, in Secrets of the mesh's namespace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::{StreamExt as _, pin_mut};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::watcher::{Config, Event};
use kube::{Client, Error as KubeError};
use parking_lot::Mutex;
use weft_identity::{CaMaterial, TokenIssuer};
use weft_mesh::name::TrustDomain;

use super::{FIELD_MANAGER, SYSTEM_NAMESPACE, watched};
use crate::Error;

/// Secret of the mesh's own root.
const AUTHORITY: &str = "weft-ca";
/// Secret of the key that signs join tokens.
const TOKENS: &str = "weft-tokens";
const TOKEN_KEY: &str = "token.key";

/// What an authority is made of, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Material {
    pub(crate) own: CaMaterial,
    /// Roots to believe besides.
    pub(crate) roots: String,
}

/// The material as the Secret holds it now, or why it holds none.
pub(crate) type Shared = Arc<Mutex<Result<Material, String>>>;

/// The Secrets of the mesh.
pub(super) struct Secrets {
    api: Api<Secret>,
    /// One that somebody else keeps, such as cert-manager.
    given: Option<String>,
}

impl Secrets {
    pub(super) fn new(client: Client, given: Option<String>) -> Self {
        Self { api: Api::namespaced(client, SYSTEM_NAMESPACE), given }
    }

    /// What to sign with. An own root is made when there is none.
    pub(super) async fn authority(&self, trust_domain: &TrustDomain) -> Result<Material, Error> {
        let name = self.authority_name();
        let secret = match self.get(name).await? {
            Some(secret) => secret,
            None if self.given.is_some() => {
                return Err(Error::Kubernetes(format!(
                    "there is no Secret {name} in namespace {SYSTEM_NAMESPACE}, which --ca-secret names; make it with \
                     tls.crt, tls.key and ca.crt, or leave the option out for an own root"
                )));
            }
            None => {
                let made = CaMaterial::generate(trust_domain, SystemTime::now())?;
                self.create(name, [("ca.crt", made.certificate_pem), ("ca.key", made.key_pem)]).await?
            }
        };
        read(name, &secret).map_err(Error::Kubernetes)
    }

    /// What makes and verifies join tokens.
    pub(super) async fn tokens(&self) -> Result<TokenIssuer, Error> {
        let secret = match self.get(TOKENS).await? {
            Some(secret) => secret,
            None => self.create(TOKENS, [(TOKEN_KEY, TokenIssuer::generate_key())]).await?,
        };
        let key = text(&secret, TOKEN_KEY).map_err(|problem| Error::Kubernetes(wrong(TOKENS, &problem)))?;
        Ok(TokenIssuer::from_key(&key)?)
    }

    /// Keeps the authority's material what its Secret says. Never returns.
    pub(super) async fn follow(&self, held: &Shared) {
        let name = self.authority_name();
        let only = Config::default().fields(&format!("metadata.name={name}"));
        let events = watched(self.api.clone(), only);
        pin_mut!(events);
        let gone = || Err(wrong(name, "it is not there any more"));
        let mut listed = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed = Some(gone()),
                Ok(Event::InitApply(secret)) => listed = Some(read(name, &secret)),
                Ok(Event::InitDone) => *held.lock() = listed.take().unwrap_or_else(gone),
                Ok(Event::Apply(secret)) => *held.lock() = read(name, &secret),
                Ok(Event::Delete(_)) => *held.lock() = gone(),
                Err(error) => tracing::debug!(%error, "can't watch the authority's Secret now"),
            }
        }
        std::future::pending::<()>().await;
    }

    fn authority_name(&self) -> &str {
        self.given.as_deref().unwrap_or(AUTHORITY)
    }

    async fn get(&self, name: &str) -> Result<Option<Secret>, Error> {
        self.api.get_opt(name).await.map_err(|error| failed("read", name, &error))
    }

    /// Makes a Secret, or takes the one that another replica has made meanwhile.
    async fn create<const N: usize>(&self, name: &str, data: [(&str, String); N]) -> Result<Secret, Error> {
        let data = data.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())));
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(BTreeMap::from([(
                    "app.kubernetes.io/managed-by".to_owned(),
                    FIELD_MANAGER.to_owned(),
                )])),
                ..ObjectMeta::default()
            },
            data: Some(data.collect()),
            ..Secret::default()
        };
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match self.api.create(&params, &secret).await {
            Ok(made) => {
                tracing::info!(secret = name, "made in namespace {SYSTEM_NAMESPACE}");
                Ok(made)
            }
            Err(KubeError::Api(status)) if status.code == 409 => {
                self.get(name).await?.ok_or_else(|| Error::Kubernetes(wrong(name, "it comes and goes")))
            }
            Err(error) => Err(failed("make", name, &error)),
        }
    }
}

fn read(name: &str, secret: &Secret) -> Result<Material, String> {
    material(secret).map_err(|problem| wrong(name, &problem))
}

/// Reads both forms: the own one, and that of `kubernetes.io/tls` as cert-manager writes it.
fn material(secret: &Secret) -> Result<Material, String> {
    let has = |key: &str| secret.data.iter().flatten().any(|(name, _)| name == key);
    if has("tls.crt") {
        return Ok(Material {
            own: CaMaterial { certificate_pem: text(secret, "tls.crt")?, key_pem: text(secret, "tls.key")? },
            roots: text(secret, "ca.crt")?,
        });
    }
    Ok(Material {
        own: CaMaterial { certificate_pem: text(secret, "ca.crt")?, key_pem: text(secret, "ca.key")? },
        roots: if has("roots.pem") { text(secret, "roots.pem")? } else { String::new() },
    })
}

fn text(secret: &Secret, key: &str) -> Result<String, String> {
    let bytes = secret.data.as_ref().and_then(|data| data.get(key)).ok_or(format!("it has no {key}"))?;
    String::from_utf8(bytes.0.clone()).map_err(|_| format!("its {key} is no text"))
}

fn wrong(name: &str, problem: &str) -> String {
    format!("Secret {name} in namespace {SYSTEM_NAMESPACE} can't be used: {problem}")
}

pub(super) fn failed(verb: &str, name: &str, error: &KubeError) -> Error {
    let hint = match error {
        KubeError::Api(status) if status.code == 403 => {
            "; the control plane's Role lacks the permission: `weft install` renders one that has it"
        }
        KubeError::Api(status) if status.code == 404 => {
            "; make the namespace first: `weft install` renders it"
        }
        _ => "",
    };
    Error::Kubernetes(format!("can't {verb} Secret {name} in namespace {SYSTEM_NAMESPACE}: {error}{hint}"))
}
