//! Whether to believe a peer: SPIFFE verification of X.509 certificates for rustls.
//!
//! webpki checks names of hosts, not SPIFFE ids, so the verifiers here are our own: the chain by webpki, then the one
//! URI among the leaf's names (SPIFFE X.509-SVID, section 5).

mod chain;
mod refusal;
mod verifiers;

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use weft_mesh::name::{Identity, TrustDomain};

pub(crate) use chain::verify_chain;
pub use refusal::{Origin, Reason, Refusal, Refused};
pub(crate) use verifiers::{ClientVerifier, Pinned, ServerVerifier, verify_client};

use crate::x509;

/// The scheme of a SPIFFE id.
const SCHEME: &str = "spiffe://";

/// Whom a client takes for an answer. Whoever is trusted to be somebody isn't trusted to be everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedIdentities {
    /// One of these. With an empty set nobody is accepted.
    Exactly(Arc<BTreeSet<Identity>>),
    /// Anyone in a trust domain.
    AnyIn(TrustDomain),
}

impl ExpectedIdentities {
    /// One identity.
    pub fn one(identity: Identity) -> Self {
        Self::exactly([identity])
    }

    /// One of several identities.
    pub fn exactly(identities: impl IntoIterator<Item = Identity>) -> Self {
        Self::Exactly(Arc::new(identities.into_iter().collect()))
    }

    /// Whether the identity is among those expected.
    pub fn contains(&self, identity: &Identity) -> bool {
        match self {
            Self::Exactly(identities) => identities.contains(identity),
            Self::AnyIn(trust_domain) => identity.trust_domain_str() == trust_domain.as_str(),
        }
    }

    /// What was expected, for an error.
    fn describe(&self) -> String {
        /// A service seldom has more; the rest would hide the message.
        const SHOWN: usize = 3;
        match self {
            Self::AnyIn(trust_domain) => format!("any in {trust_domain}"),
            Self::Exactly(identities) => {
                let shown: Vec<_> = identities.iter().take(SHOWN).map(Identity::as_str).collect();
                match identities.len().saturating_sub(SHOWN) {
                    0 if shown.is_empty() => "nobody".to_owned(),
                    0 => shown.join(" or "),
                    more => format!("{} or {more} more", shown.join(" or ")),
                }
            }
        }
    }
}

/// The identity in a certificate chain (leaf first), as rustls gives it after a handshake. Believe it only of a chain
/// that one of this crate's verifiers has accepted.
pub fn peer_identity(chain: &[CertificateDer<'_>]) -> Result<Identity, Refused> {
    let leaf = chain
        .first()
        .ok_or_else(|| Refused::new(Reason::NoCertificate, "the peer presented no certificate"))?;
    leaf_identity(leaf)
}

/// The identity of a leaf, which has to be one (SPIFFE X.509-SVID, sections 2 and 4: exactly one URI, no authority,
/// may not sign certificates).
fn leaf_identity(leaf: &CertificateDer<'_>) -> Result<Identity, Refused> {
    let certificate = x509::parse(leaf).map_err(|error| Refused::new(Reason::Other, error.to_string()))?;
    let uris = x509::uri_sans(&certificate)?;
    let uri = match uris.as_slice() {
        [uri] => *uri,
        [] => return Err(Refused::new(Reason::NoSpiffeId, "the peer's certificate has no SPIFFE id")),
        several => {
            let problem = format!("the peer's certificate has {} URIs, not one: {several:?}", several.len());
            return Err(Refused::new(Reason::SeveralUriSans, problem));
        }
    };
    if !uri.starts_with(SCHEME) {
        let problem = format!("the peer's certificate is for {uri:?}, which is no SPIFFE id");
        return Err(Refused::new(Reason::NoSpiffeId, problem));
    }
    let identity: Identity =
        uri.parse().map_err(|error: weft_mesh::Error| Refused::new(Reason::NoSpiffeId, error.to_string()))?;
    let may_sign = certificate
        .key_usage()
        .map_err(|_| Refused::new(Reason::Other, "the key usage of the peer's certificate can't be read"))?
        .is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign());
    if may_sign || certificate.is_ca() {
        let problem =
            format!("the certificate of {identity} may sign certificates, which a workload's must not");
        return Err(Refused::new(Reason::Other, problem));
    }
    Ok(identity)
}
