//! From when and until when certificates are valid, for people who look after them.

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use crate::{Error, pem, x509};

/// The validity of a certificate; both ends are within it (RFC 5280, section 4.1.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its subject, as a distinguished name; may be empty.
    pub subject: String,
    /// The first second in which it is valid.
    pub not_before: SystemTime,
    /// The last second in which it is valid.
    pub not_after: SystemTime,
}

impl Validity {
    /// Of a certificate.
    pub fn of(der: &CertificateDer<'_>) -> Result<Self, Error> {
        let certificate = x509::parse(der)?;
        let (not_before, not_after) = x509::validity(&certificate);
        Ok(Self { subject: certificate.subject().to_string(), not_before, not_after })
    }

    /// Of every certificate of a PEM text, in order; at least one.
    pub fn of_pem(text: &str) -> Result<Vec<Self>, Error> {
        pem::certificates(text)?.iter().map(Self::of).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::CaMaterial;

    #[test]
    fn the_validity_of_an_authority_is_that_of_its_certificate() {
        let now = SystemTime::now();
        let made = CaMaterial::generate(&"cluster.local".parse().unwrap(), now).unwrap();
        let found = Validity::of_pem(&made.certificate_pem).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].not_before <= now && found[0].not_after > now + Duration::from_hours(24));
        assert!(Validity::of_pem("no certificate").is_err());
    }
}
