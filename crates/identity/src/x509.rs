//! What this crate reads from certificates beyond what webpki does.

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::time::from_unix;
use crate::{Error, Reason, Refused};

/// Parses a certificate that is all of the bytes.
pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(Error::invalid("certificate", "followed by bytes that are not part of it")),
        Err(error) => Err(Error::invalid("certificate", format!("not X.509: {error}"))),
    }
}

/// The validity of a certificate; both ends are within it (RFC 5280, section 4.1.2.5).
pub(crate) fn validity(certificate: &X509Certificate<'_>) -> (SystemTime, SystemTime) {
    let at = |seconds: i64| from_unix(u64::try_from(seconds).unwrap_or(0));
    let validity = certificate.validity();
    (at(validity.not_before.timestamp()), at(validity.not_after.timestamp()))
}

/// All URIs among the subject's alternative names. Names that can't be read are refused rather than skipped, for a
/// second URI may hide in one.
pub(crate) fn uri_sans<'a>(certificate: &'a X509Certificate<'_>) -> Result<Vec<&'a str>, Refused> {
    let unreadable =
        || Refused::new(Reason::Other, "the certificate's subject alternative names can't be read");
    let Some(extension) = certificate.subject_alternative_name().map_err(|_| unreadable())? else {
        return Ok(Vec::new());
    };
    let mut uris = Vec::new();
    for name in &extension.value.general_names {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            GeneralName::Invalid(..) => return Err(unreadable()),
            _ => {}
        }
    }
    Ok(uris)
}
