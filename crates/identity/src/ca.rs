//! The certificate authority: who signs workloads' certificates.
//!
//! It signs with its own root, kept in a folder ([`CertificateAuthority::open`]), or with an intermediate that someone
//! else issued ([`CertificateAuthority::from_files`]). What goes into a certificate comes from the caller and from
//! policy here; of the request only the public key is kept, because whoever writes a request writes what they like.

mod folder;
mod load;
mod request;
pub mod rotate;

use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use weft_mesh::name::{Identity, TrustDomain};

use crate::time::{Stamp, from_unix, unix};
use crate::{Descent, Error, Lineage, TrustBundle, tls};

/// Certificates begin this long before they are issued: clocks differ between machines, and a peer whose clock is
/// behind would refuse a certificate that is new.
const BACKDATE: Duration = Duration::from_mins(5);
/// 128 random bits: RFC 5280 allows 20 octets, and nobody can guess these.
const SERIAL_LEN: usize = 16;

/// A certificate authority's certificate and private key as PEM, for callers that keep them elsewhere than in a
/// folder, such as in a Kubernetes Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct CaMaterial {
    /// The certificate that signs, then those between it and the root, if any.
    pub certificate_pem: String,
    /// The private key to the first certificate: a secret.
    pub key_pem: String,
}

impl fmt::Debug for CaMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaMaterial").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// Where an intermediate is, all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntermediateFiles {
    /// The certificate that signs, then those between it and the root, if any.
    pub chain: PathBuf,
    /// The private key to the first of the chain.
    pub key: PathBuf,
    /// The roots that workloads are to believe; the chain has to lead to one of them.
    pub roots: PathBuf,
}

/// A certificate that was just signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// The leaf and the intermediates in DER, without the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The first moment of its validity; before it was issued.
    pub not_before: SystemTime,
    /// The last second of its validity.
    pub not_after: SystemTime,
    /// The leaf's serial number in hexadecimal, for the audit log.
    pub serial: String,
}

/// Signs certificates of one trust domain.
pub struct CertificateAuthority {
    trust_domain: TrustDomain,
    issuer: Issuer<'static, KeyPair>,
    /// What signs.
    certificate: CertificateDer<'static>,
    /// What goes after the leaf.
    intermediates: Vec<CertificateDer<'static>>,
    bundle: TrustBundle,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl CertificateAuthority {
    /// The trust domain that it vouches for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The roots that workloads of the trust domain are to believe.
    pub fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    /// Whether another authority is the same: it signs with the same key under the same certificates, and has the same roots.
    pub fn is_same(&self, other: &Self) -> bool {
        self.signs_like(other) && self.bundle == other.bundle
    }

    /// Whether another authority signs with the same key under the same certificates, whatever roots it has. A renewed
    /// certificate is another one, also if it ends when the one before does.
    pub fn signs_like(&self, other: &Self) -> bool {
        self.certificate == other.certificate && self.intermediates == other.intermediates
    }

    /// Whether what it signs is believed by those who believe these roots.
    pub fn is_believed_by(&self, roots: &TrustBundle, now: SystemTime) -> bool {
        self.prove(roots, now).is_ok()
    }

    /// The last second in which it can sign.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Certifies the public key of a request (PKCS #10 in DER) for an identity.
    ///
    /// The certificate is valid from five minutes ago for `ttl` from now, but not beyond the authority's own end. Its
    /// only name is the identity; it may authenticate clients and servers, and may not sign certificates. Refused:
    /// identities of other trust domains, requests that aren't signed with their own key, and keys that are neither
    /// ECDSA P-256 nor P-384.
    pub fn sign(
        &self,
        csr_der: &[u8],
        identity: &Identity,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<IssuedCertificate, Error> {
        self.sign_identity(csr_der, identity, None, ttl, now)
    }

    fn sign_identity(
        &self,
        csr_der: &[u8],
        identity: &Identity,
        lineage: Option<&Lineage>,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<IssuedCertificate, Error> {
        if identity.trust_domain_str() != self.trust_domain.as_str() {
            let problem =
                format!("{identity} is not in {}, for which this authority signs", self.trust_domain);
            return Err(Error::invalid("identity to certify", problem));
        }
        self.sign_names(csr_der, vec![uri_san(identity.as_str())?], lineage, ttl, now)
    }

    /// The same with what the certificate descends from written into it, by which its renewal and its peers go.
    pub fn issue(
        &self,
        csr_der: &[u8],
        identity: &Identity,
        descent: &Descent,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<IssuedCertificate, Error> {
        let lineage = Lineage { issued_at: now, descent: descent.clone() };
        self.sign_identity(csr_der, identity, Some(&lineage), ttl, now)
    }

    /// The same for a server that clients outside the mesh know by DNS names, such as the API server its webhooks. It is
    /// no workload's: nobody of the mesh believes it.
    pub fn sign_server(
        &self,
        csr_der: &[u8],
        names: &[&str],
        ttl: Duration,
        now: SystemTime,
    ) -> Result<IssuedCertificate, Error> {
        let names = names.iter().map(|name| {
            let name =
                Ia5String::try_from(*name).map_err(|error| Error::invalid("DNS name", error.to_string()))?;
            Ok(SanType::DnsName(name))
        });
        self.sign_names(csr_der, names.collect::<Result<_, Error>>()?, None, ttl, now)
    }

    fn sign_names(
        &self,
        csr_der: &[u8],
        names: Vec<SanType>,
        lineage: Option<&Lineage>,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<IssuedCertificate, Error> {
        if now > self.not_after {
            return Err(Error::AuthorityExpired { not_after: self.not_after });
        }
        let end = now.checked_add(ttl).unwrap_or(self.not_after).min(self.not_after);
        if unix(end) <= unix(now) {
            return Err(Error::invalid(
                "certificate lifetime",
                format!("{ttl:?} is too short; use seconds or more"),
            ));
        }
        let begin = now.checked_sub(BACKDATE).unwrap_or(now).max(self.not_before);
        let public_key = request::public_key(csr_der)?;
        let mut params = leaf_params(names, begin, end);
        params.custom_extensions = lineage.map(Lineage::extension).transpose()?.into_iter().collect();
        let leaf = params
            .signed_by(&public_key, &self.issuer)
            .map_err(|error| Error::invalid("certificate", error.to_string()))?;
        let chain = [leaf.der().clone()].into_iter().chain(self.intermediates.iter().cloned()).collect();
        Ok(IssuedCertificate {
            chain,
            not_before: from_unix(unix(begin)),
            not_after: from_unix(unix(end)),
            serial: params.serial_number.iter().map(hex).collect(),
        })
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("trust_domain", &self.trust_domain)
            .field("not_after", &format_args!("{}", Stamp(self.not_after)))
            .finish_non_exhaustive()
    }
}

/// All of a certificate but its key.
fn leaf_params(names: Vec<SanType>, not_before: SystemTime, not_after: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = from_unix(unix(not_before)).into();
    params.not_after = from_unix(unix(not_after)).into();
    params.serial_number = Some(serial());
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names;
    params.is_ca = IsCa::NoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

fn uri_san(uri: &str) -> Result<SanType, Error> {
    let uri = Ia5String::try_from(uri).map_err(|error| Error::invalid("SPIFFE id", error.to_string()))?;
    Ok(SanType::URI(uri))
}

fn serial() -> SerialNumber {
    SerialNumber::from_slice(&tls::random::<SERIAL_LEN>())
}

fn hex(serial: &SerialNumber) -> String {
    serial.to_bytes().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
