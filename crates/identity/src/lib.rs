//! Certificates, SPIFFE verification, join tokens and rotation of Weft.
//!
//! Every workload has one identity, `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`, and proves it with
//! a certificate of at most a day (SPIFFE X.509-SVID). This crate holds both halves of that:
//!
//! - the control plane signs: [`CertificateAuthority`], [`TokenIssuer`];
//! - a proxy asks, holds and renews: [`KeyAndCsr`], [`WorkloadCertificate`], [`JoinToken`], [`Rotation`];
//! - both speak TLS with it: [`Generation`] makes the rustls configurations, [`TrustBundle`] says whom to believe,
//!   and [`Refusal`] says in a word why a handshake failed.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::{Duration, SystemTime};
//! use weft_identity::tls::{ALPN_WEFT, Generation};
//! use weft_identity::{CaMaterial, CertificateAuthority, ExpectedIdentities, KeyAndCsr};
//!
//! # fn main() -> Result<(), weft_identity::Error> {
//! let now = SystemTime::now();
//! let trust_domain = "cluster.local".parse()?;
//! let authority =
//!     CertificateAuthority::from_pem(&CaMaterial::generate(&trust_domain, now)?, "", &trust_domain, now)?;
//!
//! let request = KeyAndCsr::generate()?;
//! let identity = "spiffe://cluster.local/ns/shop/sa/web".parse()?;
//! let issued = authority.sign(request.csr_der(), &identity, Duration::from_hours(24), now)?;
//!
//! let bundle = Arc::new(authority.bundle().clone());
//! let generation = Generation::new(request.into_certificate(issued.chain)?, bundle);
//! let inbound = generation.mesh_server(&[ALPN_WEFT]);
//! let cart = ExpectedIdentities::one("spiffe://cluster.local/ns/shop/sa/cart".parse()?);
//! let outbound = generation.client(cart, &[ALPN_WEFT]);
//! # Ok(())
//! # }
//! ```
//!
//! Time is an argument throughout, except that rustls asks the clock of its own configuration during a handshake.

pub mod bundle;
pub mod ca;
pub mod certificate;
pub mod csr;
mod error;
mod files;
pub mod grants;
pub mod lineage;
mod pem;
pub mod revoked;
pub mod rotation;
mod time;
pub mod tls;
pub mod token;
mod validity;
pub mod verify;
mod x509;

pub use bundle::{Fingerprint, TrustBundle};
pub use ca::{CaMaterial, CertificateAuthority, IntermediateFiles, IssuedCertificate};
pub use certificate::WorkloadCertificate;
pub use csr::KeyAndCsr;
pub use error::Error;
pub use grants::Grants;
pub use lineage::{Descent, Lineage};
pub use revoked::Revoked;
pub use rotation::{Freshness, Rotation};
pub use tls::Generation;
pub use token::{JoinToken, NewToken, TokenClaims, TokenIssuer};
pub use validity::Validity;
pub use verify::{ExpectedIdentities, Origin, Reason, Refusal, Refused, peer_identity};
