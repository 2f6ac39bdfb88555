//! An authority that someone else issued.

use std::fs;

use rcgen::BasicConstraints;
use tempfile::{TempDir, tempdir};

use super::*;
use crate::pem;

/// A root and an intermediate that it issued, as files.
struct Company {
    folder: TempDir,
    root: (CertificateParams, KeyPair, String),
    files: IntermediateFiles,
}

impl Company {
    fn new(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let folder = tempdir().unwrap();
        let root_key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let mut root = authority_params("Company root");
        root.not_after = (now() + 100 * DAY).into();
        let root_pem = pem::encode_certificates([root.self_signed(&root_key).unwrap().der()]);
        let key = KeyPair::generate().unwrap();
        let mut params = authority_params("Company mesh");
        change(&mut params);
        let chain = params.signed_by(&key, &Issuer::from_params(&root, &root_key)).unwrap();
        let files = IntermediateFiles {
            chain: folder.path().join("tls.crt"),
            key: folder.path().join("tls.key"),
            roots: folder.path().join("roots.crt"),
        };
        fs::write(&files.chain, pem::encode_certificates([chain.der()]) + &root_pem).unwrap();
        fs::write(&files.key, pem::encode("PRIVATE KEY", key.serialized_der())).unwrap();
        fs::write(&files.roots, &root_pem).unwrap();
        Self { folder, root: (root, root_key, root_pem), files }
    }

    fn open(&self) -> Result<CertificateAuthority, Error> {
        CertificateAuthority::from_files(&self.files, &domain(), now())
    }

    fn refusal(&self) -> String {
        text_of(&self.open().unwrap_err())
    }
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = (now() - DAY).into();
    params.not_after = (now() + 30 * DAY).into();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

#[test]
fn an_intermediate_signs_under_its_root() {
    let company = Company::new(|_| {});
    let authority = company.open().unwrap();
    assert_eq!(authority.bundle().to_pem(&domain()), company.root.2);
    let issued = authority.sign(KeyAndCsr::generate().unwrap().csr_der(), &cart(), DAY, now()).unwrap();
    assert_eq!(issued.chain.len(), 2, "leaf and intermediate, without the root");
    let long = authority.sign(KeyAndCsr::generate().unwrap().csr_der(), &cart(), 400 * DAY, now()).unwrap();
    assert_eq!(long.not_after, now() + 30 * DAY);
}

#[test]
fn an_intermediate_may_have_a_key_in_any_usual_form() {
    let company = Company::new(|_| {});
    for algorithm in [&rcgen::PKCS_RSA_SHA256, &PKCS_ED25519, &PKCS_ECDSA_P384_SHA384] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let issuer = Issuer::from_params(&company.root.0, &company.root.1);
        let chain = authority_params("Company mesh").signed_by(&key, &issuer).unwrap();
        fs::write(&company.files.chain, pem::encode_certificates([chain.der()])).unwrap();
        fs::write(&company.files.key, pem::encode("PRIVATE KEY", key.serialized_der())).unwrap();
        company.open().unwrap();
    }
}

#[test]
fn an_intermediate_that_nobody_would_believe_is_refused_when_loaded() {
    let expired = Company::new(|params| params.not_after = (now() - Duration::from_secs(1)).into());
    assert!(
        matches!(expired.open(), Err(Error::InFile { source, .. }) if matches!(*source, Error::AuthorityExpired { .. }))
    );
    assert!(expired.refusal().contains("tls.crt"));
    assert!(expired.refusal().contains("expired at 2030-"), "{}", expired.refusal());

    let early = Company::new(|params| params.not_before = (now() + DAY).into());
    assert!(early.refusal().contains("not valid before 2030-"), "{}", early.refusal());

    let leaf = Company::new(|params| params.is_ca = IsCa::NoCa);
    assert!(leaf.refusal().contains("not marked as a certificate authority"), "{}", leaf.refusal());

    let usage = Company::new(|params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    assert!(usage.refusal().contains("keyCertSign"), "{}", usage.refusal());

    let purpose =
        Company::new(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection]);
    assert!(purpose.refusal().contains("would not be believed"), "{}", purpose.refusal());

    let domain =
        Company::new(|params| params.subject_alt_names = vec![uri_san("spiffe://other.test").unwrap()]);
    assert!(domain.refusal().contains("made for spiffe://other.test"), "{}", domain.refusal());
}

#[test]
fn files_that_do_not_belong_together_are_named() {
    let company = Company::new(|_| {});
    let other = Company::new(|_| {});
    let with = |change: fn(&mut IntermediateFiles, &Company), other: &Company| {
        let mut files = company.files.clone();
        change(&mut files, other);
        text_of(&CertificateAuthority::from_files(&files, &domain(), now()).unwrap_err())
    };
    let error = with(|files, other| files.key.clone_from(&other.files.key), &other);
    assert!(error.contains("tls.crt") && error.contains("belongs to another certificate"), "{error}");
    let error = with(|files, other| files.roots.clone_from(&other.files.roots), &other);
    assert!(error.contains("would not be believed by those who believe the given roots"), "{error}");
    let error = with(|files, other| files.key = other.folder.path().join("absent.key"), &other);
    assert!(error.contains("cannot read") && error.contains("absent.key"), "{error}");
    let error = with(|files, _| files.roots.clone_from(&files.key), &other);
    assert!(error.contains("tls.key: certificates: no block"), "{error}");
    let error = with(|files, _| files.key.clone_from(&files.chain), &other);
    assert!(error.contains("tls.crt: private key: no PKCS #8"), "{error}");
}
