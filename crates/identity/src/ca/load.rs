//! Loading an authority, and finding out at once whether what it signs would be believed.

use std::time::SystemTime;

use rcgen::{Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use webpki::KeyUsage;
use weft_mesh::name::{Identity, TrustDomain};
use x509_parser::certificate::X509Certificate;

use super::{BACKDATE, CaMaterial, CertificateAuthority, IntermediateFiles};
use crate::time::{Stamp, pki};
use crate::{Error, KeyAndCsr, TrustBundle, files, pem, verify, x509};

impl CertificateAuthority {
    /// An intermediate that someone else issued, from files. Refused, with the file and the problem, when the key
    /// doesn't match, the certificate may not sign or isn't valid now, or the chain doesn't lead to one of the roots.
    pub fn from_files(
        files: &IntermediateFiles,
        trust_domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, Error> {
        let certificates =
            pem::certificates(&files::read(&files.chain)?).map_err(|error| error.in_file(&files.chain))?;
        let key = parse_key(&files::read(&files.key)?).map_err(|error| error.in_file(&files.key))?;
        let roots = TrustBundle::from_pem(trust_domain, &files::read(&files.roots)?)
            .map_err(|error| error.in_file(&files.roots))?;
        Self::load(&certificates, key, roots, trust_domain, now).map_err(|error| error.in_file(&files.chain))
    }

    /// An authority from PEM that is kept elsewhere. `roots_pem` holds the roots to believe besides the first
    /// certificate itself when that is a root; it may be empty then.
    pub fn from_pem(
        material: &CaMaterial,
        roots_pem: &str,
        trust_domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, Error> {
        let certificates = pem::certificates(&material.certificate_pem)?;
        let key = parse_key(&material.key_pem)?;
        let mut roots = TrustBundle::new();
        if let Some(first) = certificates.first().filter(|first| is_self_issued(first)) {
            roots.add(trust_domain, first)?;
        }
        if !roots_pem.trim().is_empty() {
            roots.merge(&TrustBundle::from_pem(trust_domain, roots_pem)?);
        }
        Self::load(&certificates, key, roots, trust_domain, now)
    }

    fn load(
        certificates: &[CertificateDer<'static>],
        key: KeyPair,
        bundle: TrustBundle,
        trust_domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, Error> {
        let first = certificates.first().ok_or_else(|| invalid("there is none"))?;
        let parsed = x509::parse(first)?;
        check_purpose(&parsed)?;
        check_trust_domain(&parsed, trust_domain)?;
        let (not_before, not_after) = x509::validity(&parsed);
        if now > not_after {
            return Err(Error::AuthorityExpired { not_after });
        }
        if now < not_before {
            let problem = format!("not valid before {}; check this machine's clock", Stamp(not_before));
            return Err(invalid(problem));
        }
        if parsed.public_key().subject_public_key.as_ref() != key.public_key_raw() {
            return Err(invalid(
                "the private key belongs to another certificate; give the two that belong together",
            ));
        }
        let issuer = Issuer::from_ca_cert_der(first, key)
            .map_err(|error| invalid(format!("can't be signed with: {error}")))?;
        // Roots are left out: who believes one has it already.
        let intermediates =
            certificates.iter().filter(|certificate| !is_self_issued(certificate)).cloned().collect();
        let authority = Self {
            trust_domain: trust_domain.clone(),
            issuer,
            certificate: first.clone(),
            intermediates,
            bundle,
            not_before,
            not_after,
        };
        authority.prove(&authority.bundle, now)?;
        Ok(authority)
    }

    /// Signs a certificate for nobody and verifies it as a peer with these roots would. That covers what can be wrong with a chain:
    /// signatures, names, path length, name constraints, purposes, and validity of each certificate.
    pub(super) fn prove(&self, roots: &TrustBundle, now: SystemTime) -> Result<(), Error> {
        let nobody = Identity::new(&self.trust_domain, "weft", "nobody")?;
        let issued = self.sign(KeyAndCsr::generate()?.csr_der(), &nobody, BACKDATE, now);
        let chain = match issued {
            Ok(issued) => issued.chain,
            // In its last second it can't sign for anybody.
            Err(Error::Invalid { .. }) => return Err(Error::AuthorityExpired { not_after: self.not_after }),
            Err(error) => return Err(error),
        };
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Err(invalid("signs nothing"));
        };
        let anchors = roots.anchors(&self.trust_domain).unwrap_or_default();
        for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
            verify::verify_chain(leaf, intermediates, anchors, usage, pki(now)).map_err(|error| {
                invalid(format!(
                    "what it signs would not be believed by those who believe the given roots ({error}); the chain \
                     has to hold every certificate up to one of the roots"
                ))
            })?;
        }
        Ok(())
    }
}

fn invalid(problem: impl Into<String>) -> Error {
    Error::invalid("CA certificate", problem)
}

fn parse_key(text: &str) -> Result<KeyPair, Error> {
    let key = pem::private_key(text)?;
    KeyPair::try_from(&key).map_err(|_| {
        Error::invalid(
            "private key",
            "neither ECDSA (P-256, P-384, P-521) nor Ed25519 nor RSA of 2048 bits or more",
        )
    })
}

fn check_purpose(certificate: &X509Certificate<'_>) -> Result<(), Error> {
    if !certificate.is_ca() {
        return Err(invalid(
            "not marked as a certificate authority; the one that signs has to be the first in its file",
        ));
    }
    let usage = certificate.key_usage().map_err(|error| invalid(format!("key usage: {error}")))?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(invalid("its key usage does not include keyCertSign"));
    }
    Ok(())
}

/// An authority's own SPIFFE id, if it has one, is its trust domain's (SPIFFE X.509-SVID, section 4.2).
fn check_trust_domain(certificate: &X509Certificate<'_>, trust_domain: &TrustDomain) -> Result<(), Error> {
    let own = format!("spiffe://{trust_domain}");
    let other = x509::uri_sans(certificate)?
        .into_iter()
        .find(|uri| uri.starts_with("spiffe://") && uri.trim_end_matches('/') != own);
    match other {
        Some(uri) => Err(invalid(format!(
            "made for {uri}, but the trust domain is {trust_domain}; set that trust domain or use another authority"
        ))),
        None => Ok(()),
    }
}

fn is_self_issued(certificate: &CertificateDer<'_>) -> bool {
    x509::parse(certificate)
        .is_ok_and(|parsed| parsed.tbs_certificate.subject.as_raw() == parsed.tbs_certificate.issuer.as_raw())
}
