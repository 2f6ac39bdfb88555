//! The certificate authority in use: it signs for workloads and for the control plane itself, and follows its folder
//! when a root is rotated there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use weft_identity::ca::IntermediateFiles;
use weft_identity::tls::ALPN_H2;
use weft_identity::{
    CertificateAuthority, Descent, Error as IdentityError, Generation, IssuedCertificate, KeyAndCsr, Revoked,
    Rotation, TrustBundle,
};
use weft_mesh::name::{Identity, TrustDomain};

use crate::Error;
use crate::compile::SYSTEM_NAMESPACE;
use crate::kubernetes::{Material, SharedAuthority, Trust};

/// Service account of the control plane's identity.
const ACCOUNT: &str = "control-plane";
/// How often the authority's files are looked at.
const RELOAD: Duration = Duration::from_secs(2);
/// Time from the moment that all replicas may tell of a root until an authority signs under it: every proxy that has a stream
/// hears of it within a second, unless it is very slow.
const SETTLE: Duration = Duration::from_secs(30);

/// Where the authority's certificate and key are.
pub(crate) enum Source {
    Folder(PathBuf),
    Files(IntermediateFiles),
    Secret(SharedAuthority),
}

/// The certificate authority in use.
pub(crate) struct Authority {
    source: Source,
    trust_domain: TrustDomain,
    identity: Identity,
    life: Duration,
    current: ArcSwap<CertificateAuthority>,
    /// The roots that the mesh believes.
    believed: ArcSwap<TrustBundle>,
    /// In a cluster, where several replicas have to agree on them.
    trust: Option<Trust>,
    state: watch::Sender<State>,
    revoked: watch::Receiver<Arc<Revoked>>,
    tls: Arc<ArcSwap<ServerConfig>>,
}

/// How the authority is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// Whether the mesh believes what it signs, so that clients can be served. Once it is so it stays so.
    pub(crate) is_usable: bool,
    /// Why this replica is not ready: what its material lacks.
    pub(crate) trouble: Option<String>,
    /// Until when it can sign.
    pub(crate) not_after: SystemTime,
}

/// What of the material was seen at the looks before.
#[derive(Debug, Default)]
struct Seen {
    /// Why it can't be used, as of the last look.
    problem: Option<String>,
    /// Another authority that the mesh believes, and since when.
    believed: Option<(Arc<CertificateAuthority>, Instant)>,
}

impl Authority {
    /// Opens the authority and issues the control plane's own certificate.
    pub(crate) fn open(
        source: Source,
        trust_domain: &TrustDomain,
        life: Duration,
        revoked: watch::Receiver<Arc<Revoked>>,
        trust: Option<Trust>,
    ) -> Result<(Self, Rotation), Error> {
        let now = SystemTime::now();
        let authority = source.open(trust_domain, now)?;
        if let Some(trust) = &trust {
            trust.want(authority.bundle());
        }
        let believed = Arc::new(believed(trust.as_ref(), &authority, &revoked.borrow()));
        let identity = Identity::new(trust_domain, SYSTEM_NAMESPACE, ACCOUNT)?;
        let (config, rotation) = own(&authority, &believed, &identity, life, now)?;
        let is_usable = authority.is_believed_by(&believed, now);
        let trouble = (!is_usable).then(|| unbelieved(&authority));
        let state = State { is_usable, trouble, not_after: authority.not_after() };
        let opened = Self {
            source,
            trust_domain: trust_domain.clone(),
            identity,
            life,
            current: ArcSwap::from_pointee(authority),
            believed: ArcSwap::new(believed),
            revoked,
            trust,
            state: watch::Sender::new(state),
            tls: Arc::new(ArcSwap::new(config)),
        };
        Ok((opened, rotation))
    }

    /// What the listener presents and believes; swapped when it changes.
    pub(crate) fn tls(&self) -> &Arc<ArcSwap<ServerConfig>> {
        &self.tls
    }

    /// The authority as it is now.
    pub(crate) fn current(&self) -> Arc<CertificateAuthority> {
        self.current.load_full()
    }

    /// The roots that the mesh believes: those of the authority and, in a cluster, those of other replicas' authorities and of
    /// earlier ones that were not retired.
    pub(crate) fn believed(&self) -> Arc<TrustBundle> {
        self.believed.load_full()
    }

    /// How it is, now and later.
    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Signs for a workload, with what its certificate descends from, if that is known. `ttl` of zero is the longest. Nobody
    /// gets the control plane's own identity, by which proxies know it.
    pub(crate) fn sign(
        &self,
        csr: &[u8],
        identity: &Identity,
        descent: Option<&Descent>,
        ttl: Duration,
    ) -> Result<IssuedCertificate, Error> {
        if *identity == self.identity {
            return Err(Error::Identity(IdentityError::Invalid {
                what: "identity to certify",
                problem: format!("{identity} is the control plane's own; use another account"),
            }));
        }
        let ttl = if ttl.is_zero() { self.life } else { ttl.min(self.life) };
        let (authority, now) = (self.current(), SystemTime::now());
        Ok(match descent {
            Some(descent) => authority.issue(csr, identity, descent, ttl, now)?,
            None => authority.sign(csr, identity, ttl, now)?,
        })
    }

    /// Renews the own certificate and follows the authority's files; tells of what is believed whenever that changes.
    /// Never returns.
    pub(crate) async fn keep(&self, mut rotation: Rotation, changed: impl Fn(&TrustBundle)) {
        let mut seen = Seen::default();
        let mut revoked = self.revoked.clone();
        loop {
            let wait = rotation.wait(SystemTime::now());
            let looks = tokio::select! {
                () = sleep(wait.min(RELOAD)) => true,
                // Who is revoked is told of at once.
                Ok(()) = revoked.changed() => false,
            };
            let signer = looks && self.look(&mut seen);
            let roots = self.take_believed();
            if roots {
                changed(&self.believed());
            }
            let now = SystemTime::now();
            if !signer && !roots && rotation.wait(now) > Duration::ZERO {
                continue;
            }
            match own(&self.current(), &self.believed(), &self.identity, self.life, now) {
                Ok((config, renewed)) => {
                    self.tls.store(config);
                    rotation = renewed;
                    tracing::info!("renewed the control plane's own certificate");
                }
                Err(error) => {
                    rotation.failed(now, fastrand::f64());
                    tracing::error!(%error, "can't renew the control plane's own certificate; trying again");
                }
            }
        }
    }

    /// Looks what the files hold now, and takes it when the mesh believes it. Says whether it did.
    ///
    /// What nobody believes is left: certificates that it signs would be refused by every workload. In a cluster its roots are
    /// told to the writer of the list, and it is taken some time after the list has them; elsewhere a rotation goes through a
    /// time in which both are believed. What can't be used is left, too. A half-written change is no problem before the next
    /// look finds the same.
    fn look(&self, seen: &mut Seen) -> bool {
        let (current, now) = (self.current(), SystemTime::now());
        let read = self.source.open(&self.trust_domain, now);
        let (problem, taken) = match read {
            Err(error) => {
                seen.believed = None;
                (Some(unusable(&error)), None)
            }
            Ok(read) => {
                if let Some(trust) = &self.trust {
                    trust.want(read.bundle());
                }
                self.judge(read, &current, seen, now)
            }
        };
        let expired = (now > current.not_after()).then(|| {
            format!(
                "the certificate authority expired at {}; put a new one in its place",
                text(current.not_after())
            )
        });
        let repeated = problem.is_some() && seen.problem == problem;
        seen.problem.clone_from(&problem);
        if let Some(authority) = &taken {
            tracing::info!(until = text(authority.not_after()), "the certificate authority changed");
            self.current.store(Arc::clone(authority));
        }
        let unusable = problem.filter(|_| repeated).or(expired.filter(|_| taken.is_none()));
        self.tell(unusable, seen.problem.is_none());
        taken.is_some()
    }

    /// What is to be said of an authority that could be read, and whether to take it.
    fn judge(
        &self,
        read: CertificateAuthority,
        current: &CertificateAuthority,
        seen: &mut Seen,
        now: SystemTime,
    ) -> (Option<String>, Option<Arc<CertificateAuthority>>) {
        if !read.is_believed_by(&self.believed(), now) {
            seen.believed = None;
            return (Some(unbelieved(&read)), None);
        }
        let waits = self.trust.is_some() && !(read.signs_like(current) && self.state.borrow().is_usable);
        if !waits {
            seen.believed = None;
            let taken = (!read.is_same(current)).then(|| Arc::new(read));
            return (None, taken);
        }
        match &seen.believed {
            Some((known, since)) if known.is_same(&read) => {
                let taken = (since.elapsed() >= SETTLE).then(|| Arc::clone(known));
                // Who was not usable yet is not before this is over.
                let problem = (taken.is_none() && !self.state.borrow().is_usable).then(|| unbelieved(&read));
                (problem, taken)
            }
            _ => {
                let problem = (!self.state.borrow().is_usable).then(|| unbelieved(&read));
                seen.believed = Some((Arc::new(read), Instant::now()));
                (problem, None)
            }
        }
    }

    /// Takes the roots that are believed now, and says whether they are others.
    fn take_believed(&self) -> bool {
        let believed = believed(self.trust.as_ref(), &self.current(), &self.revoked.borrow());
        if believed == *self.believed() {
            return false;
        }
        tracing::info!(
            roots = believed.roots(&self.trust_domain).len(),
            "the roots that are believed changed"
        );
        self.believed.store(Arc::new(believed));
        true
    }

    /// Says how the authority is. `is_clear` is that nothing was found wrong at this look.
    fn tell(&self, unusable: Option<String>, is_clear: bool) {
        self.state.send_if_modified(|state| {
            let trouble = match unusable {
                Some(problem) => Some(problem),
                None if is_clear => None,
                // Not known to be over yet.
                None => state.trouble.clone(),
            };
            let is_usable = state.is_usable || trouble.is_none();
            let now = State { is_usable, trouble, not_after: self.current().not_after() };
            let changed = *state != now;
            if changed {
                match &now.trouble {
                    Some(problem) if now.trouble != state.trouble => tracing::error!("not ready: {problem}"),
                    None if state.trouble.is_some() => {
                        tracing::info!("the certificate authority can be used");
                    }
                    _ => {}
                }
            }
            *state = now;
            changed
        });
    }
}

/// The roots that are believed, without what is revoked: those that all replicas agree on, where there are any.
fn believed(trust: Option<&Trust>, authority: &CertificateAuthority, revoked: &Revoked) -> TrustBundle {
    let agreed = trust.map(|trust| trust.watch().borrow().roots.clone()).filter(|roots| !roots.is_empty());
    agreed.unwrap_or_else(|| authority.bundle().clone()).with_revoked(revoked.clone())
}

fn unusable(error: &Error) -> String {
    format!(
        "{error}; what is signed comes from the authority in memory, and is lost with this process: restore the material before \
         you restart it"
    )
}

fn unbelieved(authority: &CertificateAuthority) -> String {
    let roots: Vec<String> =
        authority.bundle().fingerprints(authority.trust_domain()).iter().map(ToString::to_string).collect();
    format!(
        "the certificate authority is another one, which no workload believes yet (roots {}); in a cluster the replica that \
         holds the Lease adds its roots, elsewhere restore the files, or restart and let every workload join again",
        roots.join(", ")
    )
}

fn text(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map(|time| time.to_string()).unwrap_or_default()
}

impl Source {
    fn open(&self, trust_domain: &TrustDomain, now: SystemTime) -> Result<CertificateAuthority, Error> {
        Ok(match self {
            Self::Folder(folder) => CertificateAuthority::open(folder, trust_domain, now)?,
            Self::Secret(held) => {
                let Material { own, roots } = held.lock().clone().map_err(Error::Kubernetes)?;
                CertificateAuthority::from_pem(&own, &roots, trust_domain, now)?
            }
            Self::Files(files) => CertificateAuthority::from_files(files, trust_domain, now)?,
        })
    }
}

/// The control plane's own certificate, as its listener presents it, and when to renew it.
fn own(
    authority: &CertificateAuthority,
    believed: &Arc<TrustBundle>,
    identity: &Identity,
    life: Duration,
    now: SystemTime,
) -> Result<(Arc<ServerConfig>, Rotation), Error> {
    let key = KeyAndCsr::generate()?;
    let issued = authority.sign(key.csr_der(), identity, life, now)?;
    let certificate = key.into_certificate(issued.chain)?;
    let generation = Generation::new(certificate, Arc::clone(believed));
    let rotation = Rotation::new(now, issued.not_after, fastrand::f64());
    Ok((generation.control_plane_server(&[ALPN_H2]), rotation))
}

#[cfg(test)]
mod tests;
