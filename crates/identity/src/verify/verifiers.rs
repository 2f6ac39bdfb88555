//! The verifiers that rustls asks during a handshake.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, PeerIncompatible, SignatureScheme};
use webpki::KeyUsage;
use weft_mesh::name::{Identity, TrustDomain};

use super::{ExpectedIdentities, Reason, Refused, leaf_identity, verify_chain};
use crate::bundle::anchor;
use crate::{Fingerprint, TrustBundle, tls};

/// Verifies clients: any identity whose chain leads to its own trust domain's roots. What it may do is up to
/// authorization.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    bundle: Arc<TrustBundle>,
    mandatory: bool,
}

impl ClientVerifier {
    /// A verifier for clients that must, or may, present a certificate; one that is presented has to be good.
    pub(crate) fn new(bundle: Arc<TrustBundle>, mandatory: bool) -> Self {
        Self { bundle, mandatory }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    /// None: a workload has one certificate and sends it whatever is hinted, so names would be bytes for nothing in
    /// every handshake.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        verify_in_bundle(&self.bundle, leaf, intermediates, KeyUsage::client_auth(), now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls::provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Verifies servers. The name that was dialled plays no part: the identity is what counts.
#[derive(Debug)]
pub(crate) struct ServerVerifier<T> {
    trust: T,
    expected: ExpectedIdentities,
}

impl<T: Trust> ServerVerifier<T> {
    /// A verifier for servers with one of the expected identities.
    pub(crate) fn new(trust: T, expected: ExpectedIdentities) -> Self {
        Self { trust, expected }
    }
}

impl<T: Trust> ServerCertVerifier for ServerVerifier<T> {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let identity = self.trust.verify(leaf, intermediates, now)?;
        if !self.expected.contains(&identity) {
            let problem = format!("the peer is {identity}, expected was {}", self.expected.describe());
            return Err(Refused::new(Reason::UnexpectedIdentity, problem).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls::provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Where a server's chain has to lead.
pub(crate) trait Trust: std::fmt::Debug + Send + Sync + 'static {
    /// The identity of a leaf whose chain is good.
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Identity, rustls::Error>;
}

impl Trust for Arc<TrustBundle> {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Identity, rustls::Error> {
        verify_in_bundle(self, leaf, intermediates, KeyUsage::server_auth(), now)
    }
}

/// Roots of which only the fingerprints are known: whoever has one must present it.
#[derive(Debug)]
pub(crate) struct Pinned(pub(crate) Arc<[Fingerprint]>);

impl Trust for Pinned {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Identity, rustls::Error> {
        let identity = leaf_identity(leaf)?;
        let anchors: Vec<_> = intermediates
            .iter()
            .filter(|presented| self.0.contains(&Fingerprint::of(presented)))
            .filter_map(|presented| anchor(presented).ok())
            .collect();
        if anchors.is_empty() {
            return Err(CertificateError::UnknownIssuer.into());
        }
        verify_chain(leaf, intermediates, &anchors, KeyUsage::server_auth(), now)?;
        Ok(identity)
    }
}

/// Verifies the chain of a client outside a handshake: the roots may have changed since.
pub(crate) fn verify_client(
    bundle: &TrustBundle,
    chain: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<Identity, rustls::Error> {
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Err(Refused::new(Reason::NoCertificate, "the peer presented no certificate").into());
    };
    verify_in_bundle(bundle, leaf, intermediates, KeyUsage::client_auth(), now)
}

/// Verifies a chain against the roots of the trust domain that its leaf claims, so that a root can vouch for its own
/// trust domain alone, and against what is revoked.
fn verify_in_bundle(
    bundle: &TrustBundle,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    usage: KeyUsage,
    now: UnixTime,
) -> Result<Identity, rustls::Error> {
    let identity = leaf_identity(leaf)?;
    let Some(anchors) = bundle.anchors(&identity.trust_domain()) else {
        let trusted: Vec<_> = bundle.trust_domains().map(TrustDomain::as_str).collect();
        let problem = format!("the peer is {identity}, whose trust domain is not among {trusted:?}");
        return Err(Refused::new(Reason::WrongTrustDomain, problem).into());
    };
    verify_chain(leaf, intermediates, anchors, usage, now)?;
    bundle.revoked().check_certificate(&identity, leaf)?;
    Ok(identity)
}

fn verify_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    verify_tls13_signature(
        message,
        certificate,
        signature,
        &tls::provider().signature_verification_algorithms,
    )
}
