//! Who calls: what the transport proved, and what that allows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use tonic::Status;
use tonic::metadata::MetadataMap;
use weft_mesh::name::Identity;
use weft_xds::server::{Identify, Peer};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::compile::SYSTEM_NAMESPACE;
use crate::metrics::Refused;
use crate::refusals::Refusals;

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
}

impl Certified {
    /// Reads a chain, leaf first, that a verifier has accepted.
    pub(crate) fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let identity = weft_identity::peer_identity(chain).ok()?;
        let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
        let seconds = u64::try_from(leaf.validity().not_after.timestamp()).ok()?;
        Some(Self { identity, not_after: UNIX_EPOCH + Duration::from_secs(seconds) })
    }
}

/// Authenticates calls and tells of those that were refused. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Authenticator {
    refusals: Arc<Refusals>,
}

// A status is tonic's one way to refuse a call.
#[allow(clippy::result_large_err)]
impl Authenticator {
    pub(crate) fn new(refusals: Arc<Refusals>) -> Self {
        Self { refusals }
    }

    /// The identity that the caller's certificate proves.
    pub(crate) fn identity(&self, extensions: &http::Extensions) -> Result<Identity, Status> {
        let caller = caller(extensions)?;
        match &caller.certified {
            Some(certified) if certified.not_after >= SystemTime::now() => Ok(certified.identity.clone()),
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
