//! The certificates of the hop: one root, one ECDSA P-256 leaf for each sidecar.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// SPIFFE id of the sidecar beside the client.
pub const CLIENT_ID: &str = "spiffe://bench.test/ns/bench/sa/client";
/// SPIFFE id of the sidecar beside the server.
pub const SERVER_ID: &str = "spiffe://bench.test/ns/bench/sa/server";

/// Where the PEM files of one run are.
#[derive(Clone, Debug)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes new ones in `folder`, and a client certificate of a root that nobody trusts.
    pub fn create(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let certificates = Self { folder: folder.to_owned() };
        let (trusted, trusted_pem) = root("bench root")?;
        let (foreign, _) = root("another root")?;
        certificates.write("ca.pem", &trusted_pem)?;
        certificates.leaf("client", CLIENT_ID, &trusted)?;
        certificates.leaf("server", SERVER_ID, &trusted)?;
        certificates.leaf("stranger", CLIENT_ID, &foreign)?;
        Ok(certificates)
    }

    /// The path of a file: `ca.pem`, or `<who>.{crt,key,pem}`, where `pem` holds certificate and key.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// A sidecar's certificate and key.
    pub fn read(&self, who: &str) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain = CertificateDer::from_pem_file(self.path(&format!("{who}.crt")))?;
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{who}.key")))?;
        Ok((vec![chain], key))
    }

    fn leaf(&self, who: &str, id: &str, issuer: &Issuer<'_, KeyPair>) -> anyhow::Result<()> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = named(who);
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(id)?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, issuer)?.pem();
        let key = key.serialize_pem();
        self.write(&format!("{who}.crt"), &certificate)?;
        self.write(&format!("{who}.key"), &key)?;
        self.write(&format!("{who}.pem"), &format!("{certificate}{key}"))
    }

    fn write(&self, file: &str, content: &str) -> anyhow::Result<()> {
        let path = self.path(file);
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))
    }
}

fn root(name: &str) -> anyhow::Result<(Issuer<'static, KeyPair>, String)> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let pem = params.self_signed(&key)?.pem();
    Ok((Issuer::new(params, key), pem))
}

/// rcgen's defaults hold a validity of many years and a common name of its own; only the name is replaced.
fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
