//! Who calls: what the transport proved, and what that allows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tonic::Status;
use tonic::metadata::MetadataMap;
use weft_identity::{Lineage, Refused as NotBelieved, Revoked};
use weft_mesh::name::Identity;
use weft_xds::server::{Identify, Peer};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::compile::SYSTEM_NAMESPACE;
use crate::handshake_errors::HandshakeErrors;
use crate::metrics::Refused;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// Who its certificate says it is; none if it presented none.
    pub(crate) certified: Option<Certified>,
}

/// Someone with a certificate that was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certified {
    pub(crate) identity: Identity,
    /// A connection may live longer than the certificate that opened it.
    pub(crate) not_after: SystemTime,
    /// What the certificate descends from; `None` if it does not say.
    pub(crate) lineage: Option<Lineage>,
}

impl Certified {
    /// Reads a chain, leaf first, that a verifier has accepted.
    pub(crate) fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let identity = weft_identity::peer_identity(chain).ok()?;
        let certificate = chain.first()?;
        let lineage = Lineage::of(certificate).ok()?;
        let (_, leaf) = X509Certificate::from_der(certificate).ok()?;
        let seconds = u64::try_from(leaf.validity().not_after.timestamp()).ok()?;
        Some(Self { identity, not_after: UNIX_EPOCH + Duration::from_secs(seconds), lineage })
    }

    /// Refuses a certificate that was revoked since it was shown.
    pub(crate) fn check(&self, revoked: &Revoked) -> Result<(), NotBelieved> {
        let lineage = self.lineage.as_ref();
        let issued_at = lineage.map(|lineage| lineage.issued_at);
        revoked.check(&self.identity, lineage.and_then(Lineage::token), issued_at)
    }
}

/// Authenticates calls and tells of those that were refused. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Authenticator {
    refusals: Arc<HandshakeErrors>,
    revoked: watch::Receiver<Arc<Revoked>>,
}

// A status is tonic's one way to refuse a call.
#[allow(clippy::result_large_err)]
impl Authenticator {
    pub(crate) fn new(refusals: Arc<HandshakeErrors>, revoked: watch::Receiver<Arc<Revoked>>) -> Self {
        Self { refusals, revoked }
    }

    /// What is revoked now.
    pub(crate) fn revoked(&self) -> Arc<Revoked> {
        Arc::clone(&self.revoked.borrow())
    }

    /// The identity that the caller's certificate proves.
    pub(crate) fn identity(&self, extensions: &http::Extensions) -> Result<Identity, Status> {
        self.certified(extensions).map(|(certified, _)| certified.identity.clone())
    }

    /// The caller's certificate, if it is good still, and where the caller is.
    pub(crate) fn certified<'a>(
        &self,
        extensions: &'a http::Extensions,
    ) -> Result<(&'a Certified, SocketAddr), Status> {
        let caller = caller(extensions)?;
        match &caller.certified {
            Some(certified) if certified.not_after >= SystemTime::now() => {
                match certified.check(&self.revoked.borrow()) {
                    Ok(()) => Ok((certified, caller.address)),
                    Err(revoked) => Err(self.unauthenticated(caller, revoked.to_string())),
                }
            }
            Some(certified) => {
                let problem =
                    format!("the certificate of {} has expired; connect with a new one", certified.identity);
                Err(self.unauthenticated(caller, problem))
            }
            None => Err(self.unauthenticated(
                caller,
                "a client certificate is needed; get one with Identity.Issue".to_owned(),
            )),
        }
    }

    /// The identity of someone who may look at everything.
    pub(crate) fn operator(&self, extensions: &http::Extensions) -> Result<Identity, Status> {
        let identity = self.identity(extensions)?;
        if identity.namespace() == SYSTEM_NAMESPACE {
            return Ok(identity);
        }
        let problem = format!("{identity} may not do this; use an identity in namespace {SYSTEM_NAMESPACE}");
        Err(self.forbidden(extensions, problem))
    }

    /// Refuses a call whose credentials are no good.
    pub(crate) fn unauthenticated(&self, caller: &Caller, problem: String) -> Status {
        self.refusals.refuse(caller.address.ip(), Refused::Unauthenticated, &problem);
        Status::unauthenticated(problem)
    }

    /// Refuses a call that this caller may not make.
    pub(crate) fn forbidden(&self, extensions: &http::Extensions, problem: String) -> Status {
        if let Ok(caller) = caller(extensions) {
            self.refusals.refuse(caller.address.ip(), Refused::Forbidden, &problem);
        }
        Status::permission_denied(problem)
    }
}

impl Identify for Authenticator {
    fn identify(&self, _: &MetadataMap, extensions: &http::Extensions) -> Result<Peer, Status> {
        let identity = self.identity(extensions)?;
        Ok(Peer { identity: identity.as_str().into(), namespace: identity.namespace().into() })
    }
}

/// Who is at the other end of the connection of a call.
#[allow(clippy::result_large_err)]
pub(crate) fn caller(extensions: &http::Extensions) -> Result<&Caller, Status> {
    extensions.get().ok_or_else(|| Status::internal("the call came over a connection that is not known"))
}
