//! What is revoked: written down in the state folder, or in a `ConfigMap` of the mesh's namespace; followed, and told to
//! everyone who verifies certificates.
//!
//! A token is revoked for good, with every certificate that descends from it, also after it has expired. An identity is
//! revoked until it is given back, and what was issued for it before then stays revoked.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use weft_identity::{JoinToken, Revoked};
use weft_mesh::name::{Identity, TrustDomain};

use crate::Error;
use crate::state::replace;

/// The `ConfigMap`.
pub const REVOCATIONS: &str = "weft-revocations";
const FILE: &str = "revocations.json";
const LOCK: &str = "revocations.lock";
/// Most at once: every proxy holds them all.
const MAX: usize = 10_000;
/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What can be revoked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revocable {
    /// A join token, by its id.
    Token(String),
    /// An identity.
    Identity {
        /// Its namespace.
        namespace: String,
        /// Its service account.
        account: String,
    },
}

/// When something was revoked, in seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Revocation {
    /// When it was.
    pub revoked_at: u64,
    /// When an identity was given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored_at: Option<u64>,
}

impl Revocable {
    /// A token by its id, or by itself.
    pub fn token(text: &str) -> Result<Self, Error> {
        let id =
            JoinToken::parse(text).map_or_else(|_| text.trim().to_owned(), |token| token.claims().id.clone());
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if id.is_empty() || id.len() > 128 || !id.bytes().all(allowed) {
            let problem = "is no token and no id of one; the control plane's log and `weft token create --output json` name ids";
            return Err(Error::Setting(format!("{id:?} {problem}")));
        }
        Ok(Self::Token(id))
    }

    /// Under which name it is written down.
    pub fn key(&self) -> String {
        match self {
            Self::Token(id) => format!("token.{id}"),
            Self::Identity { namespace, account } => format!("identity.{namespace}.{account}"),
        }
    }

    /// What is written down under a name.
    pub fn of_key(key: &str) -> Option<Self> {
        let (kind, rest) = key.split_once('.')?;
        match (kind, rest.split_once('.')) {
            ("token", None) => Some(Self::Token(rest.to_owned())),
            ("identity", Some((namespace, account))) => {
                Some(Self::Identity { namespace: namespace.to_owned(), account: account.to_owned() })
            }
            _ => None,
        }
    }
}

/// An identity: a SPIFFE id, or `NAMESPACE/ACCOUNT`.
impl FromStr for Revocable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, account) = if let Ok(identity) = text.parse::<Identity>() {
            (identity.namespace().to_owned(), identity.service_account().to_owned())
        } else {
            match text.split_once('/') {
                Some((namespace, account)) if !text.contains(':') && !account.contains('/') => {
                    (namespace.to_owned(), account.to_owned())
                }
                _ => {
                    return Err(format!(
                        "{text:?} is no identity: write spiffe://cluster.local/ns/shop/sa/web or shop/web"
                    ));
                }
            }
        };
        let any: TrustDomain = "cluster.local".parse().map_err(|error| format!("{error}"))?;
        Identity::new(&any, &namespace, &account).map_err(|error| error.to_string())?;
        Ok(Self::Identity { namespace, account })
    }
}

/// Revokes something for the control plane of a state folder. Says whether it was not revoked already.
pub fn revoke(state_dir: &Path, what: &Revocable, now: SystemTime) -> Result<bool, Error> {
    change(state_dir, |held| {
        let known = held.get(&what.key()).is_some_and(|known| known.restored_at.is_none());
        if !known {
            held.insert(what.key(), Revocation { revoked_at: unix(now), restored_at: None });
        }
        Ok(!known)
    })
}

/// Gives an identity back: it may be used again, by what is issued from now on.
pub fn restore(state_dir: &Path, what: &Revocable, now: SystemTime) -> Result<(), Error> {
    change(state_dir, |held| match held.get_mut(&what.key()) {
        // A second later: what was issued within this one may be from before.
        Some(held) if held.restored_at.is_none() => {
            held.restored_at = Some(unix(now) + 1);
            Ok(())
        }
        _ => Err(Error::Setting(format!("{what} is not revoked"))),
    })
}

/// What is revoked in a state folder, by [`Revocable::key`].
pub fn revocations(state_dir: &Path) -> Result<BTreeMap<String, Revocation>, Error> {
    read(&state_dir.join(FILE))
}

impl std::fmt::Display for Revocable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token(id) => write!(f, "token {id}"),
            Self::Identity { namespace, account } => write!(f, "identity {namespace}/{account}"),
        }
    }
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Changes what is written down, one at a time.
fn change<T>(
    state_dir: &Path,
    change: impl FnOnce(&mut BTreeMap<String, Revocation>) -> Result<T, Error>,
) -> Result<T, Error> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Path { what: "list of what is revoked", path, source }
    };
    let path = state_dir.join(LOCK);
    let lock: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(fail(&path))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| fail(&path)(error.into()))?;
    let path = state_dir.join(FILE);
    let mut held = read(&path)?;
    let answer = change(&mut held)?;
    if held.len() > MAX {
        return Err(Error::Setting(format!(
            "more than {MAX} are revoked: give identities back, or replace the key of tokens (token.key)"
        )));
    }
    let text = serde_json::to_vec_pretty(&held).unwrap_or_default();
    replace(&path, &text).map_err(fail(&path))?;
    Ok(answer)
}

fn read(path: &Path) -> Result<BTreeMap<String, Revocation>, Error> {
    let fail = |source| Error::Path { what: "list of what is revoked", path: path.to_owned(), source };
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|error| fail(io::Error::new(io::ErrorKind::InvalidData, error))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(fail(error)),
    }
}

/// What is revoked, for those who have to know.
#[derive(Debug)]
pub(crate) struct Revocations {
    trust_domain: TrustDomain,
    told: watch::Sender<Arc<Revoked>>,
}

impl Revocations {
    /// Nothing yet.
    pub(crate) fn new(trust_domain: TrustDomain) -> Self {
        Self { trust_domain, told: watch::Sender::new(Arc::default()) }
    }

    /// What is revoked, now and later.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Revoked>> {
        self.told.subscribe()
    }

    /// Makes what is revoked this, by [`Revocable::key`], with [`Revocation`] in JSON. What can't be read says by its name
    /// alone what is revoked.
    pub(crate) fn set<'a>(&self, held: impl Iterator<Item = (&'a str, Option<Revocation>)>) {
        let mut revoked = Revoked::new();
        for (key, revocation) in held.take(MAX) {
            let identity = match Revocable::of_key(key) {
                Some(Revocable::Token(id)) => {
                    revoked.token(id);
                    continue;
                }
                Some(Revocable::Identity { namespace, account }) => {
                    Identity::new(&self.trust_domain, &namespace, &account).ok()
                }
                None => None,
            };
            let Some(identity) = identity else {
                tracing::error!(
                    key,
                    "what is revoked by this name is not known: write token.ID or identity.NAMESPACE.ACCOUNT"
                );
                continue;
            };
            let restored_at = revocation.and_then(|revocation| revocation.restored_at);
            revoked.identity(identity, restored_at.map(|at| UNIX_EPOCH + Duration::from_secs(at)));
        }
        self.told.send_if_modified(|told| {
            let changed = **told != revoked;
            if changed {
                let (tokens, identities) = (revoked.tokens().count(), revoked.identities().count());
                tracing::info!(tokens, identities, "what is revoked changed");
                *told = Arc::new(revoked);
            }
            changed
        });
    }

    /// Takes what a state folder says. Nobody is served before it can be read.
    pub(crate) fn open(&self, state_dir: &Path) -> Result<(), Error> {
        let held = revocations(state_dir)?;
        self.set(held.iter().map(|(key, revocation)| (key.as_str(), Some(*revocation))));
        Ok(())
    }

    /// Follows a state folder. What can't be read leaves in force what is. Never returns.
    pub(crate) async fn follow(&self, state_dir: PathBuf) {
        let mut told = false;
        loop {
            tokio::time::sleep(LOOK).await;
            match self.open(&state_dir) {
                Ok(()) => told = false,
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!(%error, "what was revoked before stays so, and nothing else is");
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(text: &str) -> Revocable {
        text.parse().unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn opened(folder: &Path) -> Arc<Revoked> {
        let revocations = Revocations::new("cluster.local".parse().unwrap());
        revocations.open(folder).unwrap();
        Arc::clone(&revocations.watch().borrow())
    }

    #[test]
    fn what_is_revoked_is_so_after_a_restart_and_until_it_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let web: Identity = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
        assert!(opened(path).is_empty());
        assert!(revoke(path, &identity(web.as_str()), at(10)).unwrap());
        assert!(!revoke(path, &identity("shop/web"), at(11)).unwrap());
        assert!(revoke(path, &Revocable::token("abc").unwrap(), at(12)).unwrap());
        assert!(opened(path).check(&web, None, Some(at(99))).is_err());
        restore(path, &identity("shop/web"), at(20)).unwrap();
        let revoked = opened(path);
        assert!(revoked.check(&web, None, Some(at(20))).is_err());
        assert!(revoked.check(&web, None, Some(at(21))).is_ok());
        assert!(revoked.check(&web, Some("abc"), Some(at(21))).is_err());
        assert!(
            restore(path, &identity("shop/web"), at(30)).unwrap_err().to_string().contains("is not revoked")
        );
        assert!(revoke(path, &identity("shop/web"), at(40)).unwrap(), "again");
        assert!(opened(path).check(&web, None, Some(at(41))).is_err());
    }

    #[test]
    fn names_stand_for_what_they_were_made_of() {
        for what in [Revocable::token("a-_9").unwrap(), identity("shop/web.v1"), identity("a-b/c")] {
            assert_eq!(Revocable::of_key(&what.key()), Some(what));
        }
        for wrong in ["", "token", "token.a.b", "identity.web", "other.a.b"] {
            assert_eq!(Revocable::of_key(wrong), None, "{wrong}");
        }
        for wrong in ["web", "shop/", "/web", "a/b/c", "spiffe://x/ns/a", "Shop/web"] {
            assert!(wrong.parse::<Revocable>().is_err(), "{wrong}");
        }
        assert!(Revocable::token("a.b").unwrap_err().to_string().contains("no token"));
    }

    #[test]
    fn what_cannot_be_read_revokes_by_its_name() {
        let revocations = Revocations::new("cluster.local".parse().unwrap());
        revocations.set([("identity.shop.web", None), ("nonsense", None), ("token.abc", None)].into_iter());
        let revoked = revocations.watch().borrow().clone();
        let web = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
        assert!(revoked.check(&web, None, Some(SystemTime::now())).is_err());
        assert_eq!(revoked.tokens().collect::<Vec<_>>(), ["abc"]);
    }

    #[test]
    fn a_list_that_cannot_be_read_is_named_and_leaves_in_force_what_is() {
        let folder = tempfile::tempdir().unwrap();
        revoke(folder.path(), &identity("shop/web"), at(10)).unwrap();
        let revocations = Revocations::new("cluster.local".parse().unwrap());
        revocations.open(folder.path()).unwrap();
        fs::write(folder.path().join(FILE), "{").unwrap();
        let error = revocations.open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(FILE), "{error}");
        assert!(!revocations.watch().borrow().is_empty());
    }
}
