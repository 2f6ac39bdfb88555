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
//! Time is an argument throughout, except that rustls asks the clock of its own configuration during a handshake.

pub mod bundle;
pub mod ca;
pub mod certificate;
pub mod csr;
mod error;
mod files;
mod pem;
pub mod rotation;
mod time;
pub mod tls;
pub mod token;
pub mod verify;
mod x509;

pub use bundle::{Fingerprint, TrustBundle};
pub use ca::{CaMaterial, CertificateAuthority, IntermediateFiles, IssuedCertificate};
pub use certificate::WorkloadCertificate;
pub use csr::KeyAndCsr;
pub use error::Error;
pub use rotation::{Freshness, Rotation};
pub use tls::Generation;
pub use token::{JoinToken, NewToken, TokenClaims, TokenIssuer};
pub use verify::{ExpectedIdentities, Origin, Reason, Refusal, Refused, peer_identity};
