//! What a proxy sends to have a certificate signed.

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{Error, WorkloadCertificate, tls};

/// A new private key and the request (PKCS #10, RFC 2986) to certify it.
///
/// The request names nobody: the certificate authority takes the identity from the authenticated caller. Make a new
/// one for every renewal, so that a key that leaked is worth no more than one certificate's life.
pub struct KeyAndCsr {
    key: PrivateKeyDer<'static>,
    csr: Vec<u8>,
}

impl KeyAndCsr {
    /// Makes an ECDSA P-256 key and a request that is signed with it.
    pub fn generate() -> Result<Self, Error> {
        let failed = |error: rcgen::Error| Error::invalid("certificate request", error.to_string());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut request = CertificateParams::default();
        request.distinguished_name = DistinguishedName::new();
        let csr = request.serialize_request(&key).map_err(failed)?.der().to_vec();
        Ok(Self { key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(), csr })
    }

    /// Puts the key and the chain (leaf first) that answered the request together, for a server that is no workload.
    pub fn into_server(
        self,
        chain: Vec<CertificateDer<'static>>,
        alpn: &[&[u8]],
    ) -> Result<ServerConfig, Error> {
        tls::named_server(chain, self.key, alpn)
    }

    /// The request in DER.
    pub fn csr_der(&self) -> &[u8] {
        &self.csr
    }

    /// Puts the key and the chain (leaf first) that answered the request together; refused when the chain is for
    /// another key.
    pub fn into_certificate(self, chain: Vec<CertificateDer<'static>>) -> Result<WorkloadCertificate, Error> {
        WorkloadCertificate::new(chain, self.key)
    }
}

impl fmt::Debug for KeyAndCsr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyAndCsr").finish_non_exhaustive()
    }
}
