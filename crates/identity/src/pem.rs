//! PEM (RFC 7468) of certificates and keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::Error;

/// The line length that RFC 7468 asks generators for.
const LINE: usize = 64;

/// All certificates of a PEM text, in order; at least one.
pub(crate) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| Error::invalid("certificates", format!("not PEM: {error}")))?;
    if found.is_empty() {
        return Err(Error::invalid("certificates", "no block that begins with -----BEGIN CERTIFICATE-----"));
    }
    Ok(found)
}

/// The first private key of a PEM text.
pub(crate) fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| {
        Error::invalid("private key", format!("no PKCS #8, PKCS #1 or SEC 1 key in PEM: {error}"))
    })
}

/// Certificates as PEM.
pub(crate) fn encode_certificates<'a>(
    certificates: impl IntoIterator<Item = &'a CertificateDer<'a>>,
) -> String {
    certificates.into_iter().map(|der| encode("CERTIFICATE", der)).collect()
}

/// One PEM block.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(LINE) {
        // Base64 is ASCII, so that every cut is on a character.
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text + "-----END " + label + "-----\n"
}
