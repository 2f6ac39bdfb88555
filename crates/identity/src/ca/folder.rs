//! An own root in a folder: `ca.pem`, `ca.key`, and further roots to believe in `roots.pem`.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::PrivateKeyDer;
use weft_mesh::name::TrustDomain;

use super::{BACKDATE, CaMaterial, CertificateAuthority, rotate, serial, uri_san};
use crate::time::{from_unix, unix};
use crate::{Error, Fingerprint, files, pem};

pub(super) const CERTIFICATE: &str = "ca.pem";
pub(super) const KEY: &str = "ca.key";
/// Roots that are believed but don't sign: the next one, or the previous one.
pub(super) const ROOTS: &str = "roots.pem";

/// Long enough that replacing the root is a decision, not an outage that nobody remembers the reason of.
const ROOT_LIFE: Duration = Duration::from_hours(10 * 365 * 24);

impl CertificateAuthority {
    /// Opens the authority of a folder, and makes one when there is none. The folder is made for its owner alone, and
    /// the key readable by its owner alone. Several processes may do this at once; they end up with the same root.
    ///
    /// Refused are a certificate without its key, a key that every user of the machine may read, and what
    /// [`Self::from_files`] refuses.
    pub fn open(folder: &Path, trust_domain: &TrustDomain, now: SystemTime) -> Result<Self, Error> {
        files::private_folder(folder)?;
        rotate::finish_interrupted(folder)?;
        let material = read_or_create(folder, trust_domain, now)?;
        let roots = files::read_if_present(&folder.join(ROOTS))?.unwrap_or_default();
        Self::from_pem(&material, &roots, trust_domain, now)
            .map_err(|error| error.in_file(&folder.join(CERTIFICATE)))
    }
}

impl CaMaterial {
    /// A new root for a trust domain: ECDSA P-256, ten years, for workloads' certificates only.
    pub fn generate(trust_domain: &TrustDomain, now: SystemTime) -> Result<Self, Error> {
        let key_pem = new_key()?;
        let certificate_pem = self_sign(&key_pem, trust_domain, now)?;
        Ok(Self { certificate_pem, key_pem })
    }
}

/// The key is made first and never replaced, and the certificate is made from the key that is there: whoever comes
/// second, or after a crash in between, goes on with the first one's key.
fn read_or_create(folder: &Path, trust_domain: &TrustDomain, now: SystemTime) -> Result<CaMaterial, Error> {
    let certificate_path = folder.join(CERTIFICATE);
    let key_path = folder.join(KEY);
    // In this order: a key is always there before its certificate is.
    let certificate = files::read_if_present(&certificate_path)?;
    let key = files::read_secret(&key_path)?;
    if certificate.is_some() && key.is_none() {
        let problem = format!(
            "its private key {} is missing; restore it, or remove the certificate to begin a new root, which every \
             workload has to join again",
            key_path.display()
        );
        return Err(Error::invalid("CA certificate", problem).in_file(&certificate_path));
    }
    let key_pem = match key {
        Some(key) => key,
        None => create_or_read(&key_path, new_key()?)?,
    };
    let certificate_pem = if let Some(certificate) = certificate {
        certificate
    } else {
        let certificate = self_sign(&key_pem, trust_domain, now).map_err(|error| error.in_file(&key_path))?;
        create_or_read(&certificate_path, certificate)?
    };
    Ok(CaMaterial { certificate_pem, key_pem })
}

/// The file's content: ours if there was none, else that of whoever was first.
fn create_or_read(path: &Path, content: String) -> Result<String, Error> {
    if files::create_once(path, content.as_bytes())? {
        return Ok(content);
    }
    files::read(path)
}

fn new_key() -> Result<String, Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .map_err(|error| Error::invalid("private key", error.to_string()))?;
    Ok(pem::encode("PRIVATE KEY", key.serialized_der()))
}

fn self_sign(key_pem: &str, trust_domain: &TrustDomain, now: SystemTime) -> Result<String, Error> {
    let failed = |error: rcgen::Error| Error::invalid("root certificate", error.to_string());
    let key: PrivateKeyDer<'_> = pem::private_key(key_pem)?;
    let key = KeyPair::try_from(&key).map_err(failed)?;
    let mut params = CertificateParams::default();
    params.not_before = from_unix(unix(now.checked_sub(BACKDATE).unwrap_or(now))).into();
    params.not_after = from_unix(unix(now.checked_add(ROOT_LIFE).unwrap_or(now))).into();
    params.serial_number = Some(serial());
    params.distinguished_name = DistinguishedName::new();
    // Two roots of a trust domain need different names: a verifier looks for a chain's issuer by name.
    let name = Fingerprint::of(&key.public_key_raw().into()).to_string();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("Weft root {}", name.get(..16).unwrap_or(&name)));
    params.subject_alt_names = vec![uri_san(&format!("spiffe://{trust_domain}"))?];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(pem::encode_certificates([certificate.der()]))
}
