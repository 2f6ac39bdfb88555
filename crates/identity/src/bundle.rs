//! Whom to believe: the roots of each trust domain.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use rustls::pki_types::{CertificateDer, TrustAnchor};
use weft_mesh::name::TrustDomain;

use crate::{Error, Revoked, pem, x509};

const SHA256_LEN: usize = 32;

/// The SHA-256 of a certificate's DER, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; SHA256_LEN]);

impl Fingerprint {
    /// The fingerprint of a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut bytes = [0; SHA256_LEN];
        let digest = digest::digest(&digest::SHA256, certificate);
        for (byte, of_digest) in bytes.iter_mut().zip(digest.as_ref()) {
            *byte = *of_digest;
        }
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed =
            || Error::invalid("fingerprint", format!("{text:?} is not 64 hexadecimal digits of a SHA-256"));
        if text.len() != 2 * SHA256_LEN || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(malformed());
        }
        let mut bytes = [0; SHA256_LEN];
        for (at, byte) in bytes.iter_mut().enumerate() {
            let digits = text.get(2 * at..2 * at + 2).ok_or_else(malformed)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| malformed())?;
        }
        Ok(Self(bytes))
    }
}

/// What a chain may end in; refused for a certificate that isn't marked as an authority.
pub(crate) fn anchor(root: &CertificateDer<'_>) -> Result<TrustAnchor<'static>, Error> {
    if !x509::parse(root)?.is_ca() {
        return Err(Error::invalid(
            "root certificate",
            "not marked as a certificate authority; give the root, not a workload's certificate",
        ));
    }
    let anchor = webpki::anchor_from_trusted_cert(root)
        .map_err(|error| Error::invalid("root certificate", error.to_string()))?;
    Ok(anchor.to_owned())
}

/// The roots of one trust domain, and the same ready to verify against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Roots {
    certificates: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
}

impl Roots {
    fn add(&mut self, certificate: &CertificateDer<'static>, anchor: &TrustAnchor<'static>) {
        if !self.certificates.contains(certificate) {
            self.certificates.push(certificate.clone());
            self.anchors.push(anchor.clone());
        }
    }
}

/// The roots of each trust domain, and what is revoked. A trust domain may have several at once: that is how a root is replaced without
/// a moment in which two workloads don't believe each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustBundle {
    roots: BTreeMap<TrustDomain, Roots>,
    revoked: Revoked,
}

impl TrustBundle {
    /// A bundle that believes nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// The roots of one trust domain from PEM.
    pub fn from_pem(trust_domain: &TrustDomain, text: &str) -> Result<Self, Error> {
        let mut bundle = Self::new();
        for der in pem::certificates(text)? {
            bundle.add(trust_domain, &der)?;
        }
        Ok(bundle)
    }

    /// The same roots, with this and nothing else revoked.
    #[must_use]
    pub fn with_revoked(mut self, revoked: Revoked) -> Self {
        self.revoked = revoked;
        self
    }

    /// What is not believed though its chain leads to a root.
    pub fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// Adds a root; one that is there already is not added again.
    pub fn add(&mut self, trust_domain: &TrustDomain, root: &CertificateDer<'static>) -> Result<(), Error> {
        let anchor = anchor(root)?;
        self.roots.entry(trust_domain.clone()).or_default().add(root, &anchor);
        Ok(())
    }

    /// Adds all roots of another bundle.
    pub fn merge(&mut self, other: &Self) {
        for (trust_domain, added) in &other.roots {
            let roots = self.roots.entry(trust_domain.clone()).or_default();
            for (certificate, anchor) in added.certificates.iter().zip(&added.anchors) {
                roots.add(certificate, anchor);
            }
        }
    }

    /// Keeps the roots of a trust domain that this says yes to.
    pub fn retain(&mut self, trust_domain: &TrustDomain, keep: impl Fn(&Fingerprint) -> bool) {
        let Some(roots) = self.roots.remove(trust_domain) else { return };
        let mut kept = Roots::default();
        for (certificate, anchor) in roots.certificates.iter().zip(&roots.anchors) {
            if keep(&Fingerprint::of(certificate)) {
                kept.add(certificate, anchor);
            }
        }
        if !kept.certificates.is_empty() {
            self.roots.insert(trust_domain.clone(), kept);
        }
    }

    /// The trust domains that have a root.
    pub fn trust_domains(&self) -> impl Iterator<Item = &TrustDomain> {
        self.roots.keys()
    }

    /// The roots of a trust domain, in the order in which they were added.
    pub fn roots(&self, trust_domain: &TrustDomain) -> &[CertificateDer<'static>] {
        self.roots.get(trust_domain).map_or(&[], |roots| &roots.certificates)
    }

    /// The fingerprints of a trust domain's roots.
    pub fn fingerprints(&self, trust_domain: &TrustDomain) -> Vec<Fingerprint> {
        self.roots(trust_domain).iter().map(Fingerprint::of).collect()
    }

    /// A trust domain's roots as PEM; empty when it has none.
    pub fn to_pem(&self, trust_domain: &TrustDomain) -> String {
        pem::encode_certificates(self.roots(trust_domain))
    }

    /// Whether there is no root at all.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// What a chain in a trust domain may end in; `None` for a trust domain that the bundle doesn't know.
    pub(crate) fn anchors(&self, trust_domain: &TrustDomain) -> Option<&[TrustAnchor<'static>]> {
        self.roots.get(trust_domain).map(|roots| roots.anchors.as_slice())
    }
}

#[cfg(test)]
mod tests;
