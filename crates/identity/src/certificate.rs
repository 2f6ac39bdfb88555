//! A workload's certificate together with its private key.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use weft_mesh::name::Identity;

use crate::time::Stamp;
use crate::{Error, files, pem, tls, verify, x509};

/// What a workload proves its identity with (an X.509-SVID): the chain without its root, and the key to it.
#[derive(Clone)]
pub struct WorkloadCertificate {
    certified: Arc<CertifiedKey>,
    key: Arc<PrivateKeyDer<'static>>,
    identity: Identity,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl WorkloadCertificate {
    /// Puts a chain (leaf first) and the key to its leaf together. Refused when they don't belong to each other or
    /// when the leaf carries no identity; whether anyone believes the chain shows in the handshake.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, Error> {
        let identity = verify::peer_identity(&chain)?;
        let Some(leaf) = chain.first() else {
            return Err(Error::invalid("certificate chain", "empty"));
        };
        let (not_before, not_after) = x509::validity(&x509::parse(leaf)?);
        let certified = CertifiedKey::from_der(chain, key.clone_key(), tls::provider())
            .map_err(|error| Error::invalid("certificate and private key", error.to_string()))?;
        Ok(Self { certified: Arc::new(certified), key: Arc::new(key), identity, not_before, not_after })
    }

    /// Reads what [`Self::to_pem`] wrote.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        Self::new(pem::certificates(text)?, pem::private_key(text)?)
    }

    /// The private key and the chain as PEM, in one text so that they can't be separated: it is a secret.
    pub fn to_pem(&self) -> String {
        let label = match self.key.as_ref() {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        pem::encode(label, self.key.secret_der()) + &pem::encode_certificates(self.chain())
    }

    /// Reads a file that [`Self::store`] wrote; `None` when there is none. Refused while every user of the machine
    /// may read it.
    pub fn load(path: &Path) -> Result<Option<Self>, Error> {
        let Some(text) = files::read_secret(path)? else { return Ok(None) };
        Self::from_pem(&text).map(Some).map_err(|error| error.in_file(path))
    }

    /// Writes key and chain to one file, readable by its owner alone, in place of the one that is there. A machine
    /// that joined by a token comes back with it after a restart, when the token has long expired.
    pub fn store(&self, path: &Path) -> Result<(), Error> {
        files::replace(path, self.to_pem().as_bytes())
    }

    /// The chain, leaf first, without the root.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// Whom the certificate stands for.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The first moment of its validity. Certificates are backdated, so that this is not when it was issued.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// The last second of its validity.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Whether it is past its end.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        now > self.not_after
    }

    /// The chain and a key that signs, as rustls wants them.
    pub(crate) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

impl fmt::Debug for WorkloadCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkloadCertificate")
            .field("identity", &self.identity)
            .field("not_before", &format_args!("{}", Stamp(self.not_before)))
            .field("not_after", &format_args!("{}", Stamp(self.not_after)))
            .finish_non_exhaustive()
    }
}
