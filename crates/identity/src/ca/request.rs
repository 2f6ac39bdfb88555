//! What is kept of a certificate signing request: its public key.

use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData as _, SubjectPublicKeyInfo};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;

use crate::Error;

/// A request for one key has a few hundred bytes; a stranger's longer one isn't worth parsing.
const MAX_LEN: usize = 16 * 1024;

/// The public key of a request, once its signature shows that the sender holds the private one.
pub(super) fn public_key(csr_der: &[u8]) -> Result<SubjectPublicKeyInfo, Error> {
    let invalid = |problem: String| Error::invalid("certificate request", problem);
    if csr_der.len() > MAX_LEN {
        return Err(invalid(format!("{} bytes, at most {MAX_LEN} are allowed", csr_der.len())));
    }
    let (rest, request) = X509CertificationRequest::from_der(csr_der)
        .map_err(|error| invalid(format!("not PKCS #10 in DER: {error}")))?;
    if !rest.is_empty() {
        return Err(invalid(format!("followed by {} bytes that are not part of it", rest.len())));
    }
    let key = &request.certification_request_info.subject_pki;
    let public_key = SubjectPublicKeyInfo::from_der(key.raw).ok().filter(|key| {
        key.algorithm() == &PKCS_ECDSA_P256_SHA256 || key.algorithm() == &PKCS_ECDSA_P384_SHA384
    });
    let Some(public_key) = public_key else {
        let kind = match key.parsed() {
            Ok(PublicKey::RSA(rsa)) => format!("an RSA key of {} bits", rsa.key_size()),
            Ok(PublicKey::EC(_)) => "an elliptic curve key on another curve".to_owned(),
            _ => format!("a key of type {}", key.algorithm.algorithm),
        };
        return Err(invalid(format!("{kind}; use an ECDSA key on P-256 or P-384")));
    };
    request
        .verify_signature()
        .map_err(|_| invalid("not signed with the private key to its public key".to_owned()))?;
    Ok(public_key)
}
