//! Replacing the root of a folder without a moment in which two workloads don't believe each other.
//!
//! 1. [`prepare`]: a new root is made and believed, but doesn't sign yet. Wait until every workload believes it.
//! 2. [`activate`]: it signs; the old one is still believed, its key is gone. Wait until every certificate was renewed.
//! 3. [`retire`]: the old one is no longer believed.
//!
//! After each step the control plane opens the folder again. A step that was cut short is finished by the next one or
//! by opening.

use std::path::Path;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use weft_mesh::name::TrustDomain;

use super::CaMaterial;
use super::folder::{CERTIFICATE, KEY, ROOTS};
use crate::{Error, Fingerprint, files, pem};

const NEXT_CERTIFICATE: &str = "next.pem";
const NEXT_KEY: &str = "next.key";

/// Makes the next root and adds it to those that are believed; gives its fingerprint. When there is a next root
/// already, that one is kept.
pub fn prepare(folder: &Path, trust_domain: &TrustDomain, now: SystemTime) -> Result<Fingerprint, Error> {
    finish_interrupted(folder)?;
    let certificate_path = folder.join(NEXT_CERTIFICATE);
    if files::read_if_present(&certificate_path)?.is_none() {
        let material = CaMaterial::generate(trust_domain, now)?;
        files::replace(&folder.join(NEXT_KEY), material.key_pem.as_bytes())?;
        files::replace(&certificate_path, material.certificate_pem.as_bytes())?;
    }
    let next = only_certificate(&certificate_path)?;
    believe(folder, &next)?;
    Ok(Fingerprint::of(&next))
}

/// Lets the next root sign. The old one stays believed; its key is overwritten, so that there is no way back.
pub fn activate(folder: &Path) -> Result<(), Error> {
    finish_interrupted(folder)?;
    let next_key = folder.join(NEXT_KEY);
    if files::read_if_present(&folder.join(NEXT_CERTIFICATE))?.is_none() {
        return Err(
            Error::invalid("root rotation", "there is no next root; prepare one first").in_file(folder)
        );
    }
    believe(folder, &only_certificate(&folder.join(CERTIFICATE))?)?;
    files::rename(&next_key, &folder.join(KEY))?;
    finish_interrupted(folder)
}

/// Ends the belief in every root but the one that signs. Refused while a next root waits to be activated.
pub fn retire(folder: &Path) -> Result<(), Error> {
    finish_interrupted(folder)?;
    if files::read_if_present(&folder.join(NEXT_CERTIFICATE))?.is_some() {
        let problem =
            "the next root has not been activated; retiring now would remove it from those believed";
        return Err(Error::invalid("root rotation", problem).in_file(folder));
    }
    files::remove(&folder.join(ROOTS))
}

/// A next certificate whose key is no longer beside it: the key was moved, the certificate was not yet.
pub(super) fn finish_interrupted(folder: &Path) -> Result<(), Error> {
    let certificate = folder.join(NEXT_CERTIFICATE);
    let waiting = files::read_if_present(&certificate)?.is_some();
    if waiting && files::read_if_present(&folder.join(NEXT_KEY))?.is_none() {
        files::rename(&certificate, &folder.join(CERTIFICATE))?;
    }
    Ok(())
}

/// Adds a root to those that are believed.
fn believe(folder: &Path, root: &CertificateDer<'static>) -> Result<(), Error> {
    let path = folder.join(ROOTS);
    let mut roots = match files::read_if_present(&path)? {
        Some(text) => pem::certificates(&text).map_err(|error| error.in_file(&path))?,
        None => Vec::new(),
    };
    if !roots.contains(root) {
        roots.push(root.clone());
        files::replace(&path, pem::encode_certificates(&roots).as_bytes())?;
    }
    Ok(())
}

fn only_certificate(path: &Path) -> Result<CertificateDer<'static>, Error> {
    pem::certificates(&files::read(path)?)
        .map_err(|error| error.in_file(path))?
        .into_iter()
        .next()
        .ok_or_else(|| Error::invalid("certificates", "none").in_file(path))
}
