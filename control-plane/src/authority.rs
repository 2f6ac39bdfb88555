//! The certificate authority in use: it signs for workloads and for the control plane itself, and follows its folder
//! when a root is rotated there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio::time::sleep;
use weft_identity::ca::IntermediateFiles;
use weft_identity::tls::ALPN_H2;
use weft_identity::{
    CertificateAuthority, Descent, Error as IdentityError, Generation, IssuedCertificate, KeyAndCsr, Revoked,
    Rotation, TrustBundle,
};
use weft_mesh::name::{Identity, TrustDomain};

use crate::Error;
use crate::compile::SYSTEM_NAMESPACE;
use crate::kubernetes::{Material, SharedAuthority};

/// Service account of the control plane's identity.
const ACCOUNT: &str = "control-plane";
/// How often the authority's files are looked at.
const RELOAD: Duration = Duration::from_secs(2);

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
    revoked: watch::Receiver<Arc<Revoked>>,
    tls: Arc<ArcSwap<ServerConfig>>,
}

impl Authority {
    /// Opens the authority and issues the control plane's own certificate.
    pub(crate) fn open(
        source: Source,
        trust_domain: &TrustDomain,
        life: Duration,
        revoked: watch::Receiver<Arc<Revoked>>,
    ) -> Result<(Self, Rotation), Error> {
        let now = SystemTime::now();
        let authority = source.open(trust_domain, now)?;
        let identity = Identity::new(trust_domain, SYSTEM_NAMESPACE, ACCOUNT)?;
        let (config, rotation) = own(&authority, &revoked, &identity, life, now)?;
        let tls = Arc::new(ArcSwap::new(config));
        let current = ArcSwap::from_pointee(authority);
        Ok((
            Self { source, trust_domain: trust_domain.clone(), identity, life, current, revoked, tls },
            rotation,
        ))
    }

    /// What the listener presents and believes; swapped when it changes.
    pub(crate) fn tls(&self) -> &Arc<ArcSwap<ServerConfig>> {
        &self.tls
    }

    /// The authority as it is now.
    pub(crate) fn current(&self) -> Arc<CertificateAuthority> {
        self.current.load_full()
    }

    /// Whom to believe now: the authority's roots, without what is revoked.
    pub(crate) fn bundle(&self) -> TrustBundle {
        believed(&self.current(), &self.revoked)
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
        let mut told = false;
        let mut revoked = self.revoked.clone();
        loop {
            let wait = rotation.wait(SystemTime::now());
            let revoked = tokio::select! {
                () = sleep(wait.min(RELOAD)) => false,
                changed = revoked.changed() => changed.is_ok(),
            };
            let reloaded = self.reload(&mut told) || revoked;
            if reloaded {
                changed(&self.bundle());
            }
            let now = SystemTime::now();
            if !reloaded && rotation.wait(now) > Duration::ZERO {
                continue;
            }
            match own(&self.current(), &self.revoked, &self.identity, self.life, now) {
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

    /// Takes what the files hold now, if it is something else. A half-written change is left for the next time.
    ///
    /// Roots of which none is believed now are left too, and told of once: all of the mesh would be cut in two at this
    /// moment. A rotation goes through a time in which both are believed.
    fn reload(&self, told: &mut bool) -> bool {
        let current = self.current();
        let Ok(read) = self.source.open(&self.trust_domain, SystemTime::now()) else { return false };
        if read.bundle() == current.bundle() && read.not_after() == current.not_after() {
            return false;
        }
        let roots = read.bundle().roots(&self.trust_domain);
        let believed = current.bundle().roots(&self.trust_domain);
        if !roots.iter().any(|root| believed.contains(root)) {
            if !std::mem::replace(told, true) {
                tracing::error!(
                    "the certificate authority was replaced by one that no workload believes; the one in memory stays: \
                     restore the files, or restart and let every workload join again"
                );
            }
            return false;
        }
        *told = false;
        tracing::info!(roots = roots.len(), "the certificate authority changed");
        self.current.store(Arc::new(read));
        true
    }
}

impl Source {
    fn open(&self, trust_domain: &TrustDomain, now: SystemTime) -> Result<CertificateAuthority, Error> {
        Ok(match self {
            Self::Folder(folder) => CertificateAuthority::open(folder, trust_domain, now)?,
            Self::Secret(held) => {
                let Material { own, roots } = held.lock().clone();
                CertificateAuthority::from_pem(&own, &roots, trust_domain, now)?
            }
            Self::Files(files) => CertificateAuthority::from_files(files, trust_domain, now)?,
        })
    }
}

/// The control plane's own certificate, as its listener presents it, and when to renew it.
fn own(
    authority: &CertificateAuthority,
    revoked: &watch::Receiver<Arc<Revoked>>,
    identity: &Identity,
    life: Duration,
    now: SystemTime,
) -> Result<(Arc<ServerConfig>, Rotation), Error> {
    let key = KeyAndCsr::generate()?;
    let issued = authority.sign(key.csr_der(), identity, life, now)?;
    let certificate = key.into_certificate(issued.chain)?;
    let generation = Generation::new(certificate, Arc::new(believed(authority, revoked)));
    let rotation = Rotation::new(now, issued.not_after, fastrand::f64());
    Ok((generation.control_plane_server(&[ALPN_H2]), rotation))
}

fn believed(authority: &CertificateAuthority, revoked: &watch::Receiver<Arc<Revoked>>) -> TrustBundle {
    authority.bundle().clone().with_revoked(Revoked::clone(&revoked.borrow()))
}
