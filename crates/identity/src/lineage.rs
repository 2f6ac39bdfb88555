//! What a certificate descends from. The authority writes it into the certificate, in an extension of its own, so that
//! every replica of a control plane knows it after any restart, and every peer can tell what was revoked.

use std::sync::LazyLock;
use std::time::SystemTime;

use rcgen::CustomExtension;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::der_parser::oid::Oid;

use crate::time::{from_unix, unix};
use crate::{Error, Grants, x509};

/// Of the extension: in the arc that needs no registration (ITU-T X.667, 2.25), with a number drawn at random.
const OID: [u64; 3] = [2, 25, 7_218_467_361_092_835_177];
/// DER's tag of a `UTF8String`.
const UTF8_STRING: u8 = 0x0c;
/// Longest content: that of a token with all that it may grant is shorter, and a peer's longer one isn't worth parsing.
const MAX_LEN: usize = 16 * 1024;

static EXTENSION: LazyLock<Oid<'static>> =
    LazyLock::new(|| Oid::from(&OID).expect("the first two arcs are 2 and at most 39"));

/// By what a workload proved who it is when its first certificate was issued; what a renewal hands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Descent {
    /// A service account of Kubernetes, which is asked again at each renewal.
    Account,
    /// A join token.
    Token {
        /// Its id.
        id: String,
        /// What it grants.
        grants: Grants,
    },
}

/// What a certificate descends from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// When this certificate was issued, to a second. Its validity begins earlier.
    pub issued_at: SystemTime,
    /// What its first ancestor was issued for.
    pub descent: Descent,
}

/// As it is written. Fields that a newer version adds are left out.
#[derive(Serialize, Deserialize)]
struct Wire {
    iat: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tok: Option<String>,
    #[serde(flatten)]
    grants: Grants,
}

impl Lineage {
    /// The lineage of a certificate; `None` for one without, as earlier versions and other authorities issue.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Option<Self>, Error> {
        let certificate = x509::parse(certificate)?;
        let unreadable = |problem: &str| Error::invalid("lineage of the certificate", problem);
        let found = certificate
            .get_extension_unique(&EXTENSION)
            .map_err(|_| unreadable("there are several of it"))?;
        let Some(found) = found else { return Ok(None) };
        let text = utf8(found.value).ok_or_else(|| unreadable("not a UTF8String in DER"))?;
        let wire: Wire = serde_json::from_str(text).map_err(|error| unreadable(&error.to_string()))?;
        wire.grants.check()?;
        let descent = match wire.tok {
            Some(id) => Descent::Token { id, grants: wire.grants },
            None => Descent::Account,
        };
        Ok(Some(Self { issued_at: from_unix(wire.iat), descent }))
    }

    /// The token that it descends from, if it was one.
    pub fn token(&self) -> Option<&str> {
        match &self.descent {
            Descent::Token { id, .. } => Some(id),
            Descent::Account => None,
        }
    }

    /// The extension that says this.
    pub(crate) fn extension(&self) -> Result<CustomExtension, Error> {
        let (tok, grants) = match &self.descent {
            Descent::Account => (None, Grants::default()),
            Descent::Token { id, grants } => (Some(id.clone()), grants.clone()),
        };
        let wire = Wire { iat: unix(self.issued_at), tok, grants };
        let text =
            serde_json::to_string(&wire).map_err(|error| Error::invalid("lineage", error.to_string()))?;
        if text.len() > MAX_LEN {
            return Err(Error::invalid(
                "lineage",
                format!("{} bytes, at most {MAX_LEN} are allowed", text.len()),
            ));
        }
        // DER wants the shortest form of a length (X.690, 10.1).
        let [high, low] = (text.len() as u16).to_be_bytes();
        let mut content = vec![UTF8_STRING];
        match (high, low) {
            (0, 0..=0x7f) => content.push(low),
            (0, _) => content.extend([0x81, low]),
            _ => content.extend([0x82, high, low]),
        }
        content.extend(text.into_bytes());
        Ok(CustomExtension::from_oid_content(&OID, content))
    }
}

/// The text of a `UTF8String` in DER that is all of the bytes.
fn utf8(der: &[u8]) -> Option<&str> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, text) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => rest.split_first().map(|(length, text)| (usize::from(*length), text))?,
        0x82 => rest.split_first_chunk().map(|(length, text)| (u16::from_be_bytes(*length).into(), text))?,
        _ => return None,
    };
    let whole = tag == UTF8_STRING && text.len() == length && length <= MAX_LEN;
    std::str::from_utf8(text).ok().filter(|_| whole)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::{CaMaterial, CertificateAuthority, KeyAndCsr};

    fn now() -> SystemTime {
        from_unix(1_800_000_000)
    }

    fn authority() -> CertificateAuthority {
        let domain = "cluster.local".parse().unwrap();
        CertificateAuthority::from_pem(&CaMaterial::generate(&domain, now()).unwrap(), "", &domain, now())
            .unwrap()
    }

    fn token(id: &str, services: &[String]) -> Descent {
        let grants = Grants::new(Some(services.to_vec()), vec!["10.0.0.0/8".parse().unwrap()]).unwrap();
        Descent::Token { id: id.to_owned(), grants }
    }

    fn issued(descent: &Descent) -> Lineage {
        let identity = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
        let key = KeyAndCsr::generate().unwrap();
        let hour = Duration::from_hours(1);
        let issued = authority().issue(key.csr_der(), &identity, descent, hour, now()).unwrap();
        Lineage::of(&issued.chain[0]).unwrap().unwrap()
    }

    #[test]
    fn a_certificate_says_what_it_descends_from() {
        let lineage = issued(&token("abc", &["web".to_owned(), "web-*".to_owned()]));
        assert_eq!((lineage.issued_at, lineage.token()), (now(), Some("abc")));
        assert_eq!(lineage.descent, token("abc", &["web".to_owned(), "web-*".to_owned()]));
        assert_eq!(issued(&Descent::Account).descent, Descent::Account);
    }

    #[test]
    fn a_certificate_without_a_lineage_is_told_apart() {
        let identity = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
        let key = KeyAndCsr::generate().unwrap();
        let issued = authority().sign(key.csr_der(), &identity, Duration::from_hours(1), now()).unwrap();
        assert_eq!(Lineage::of(&issued.chain[0]).unwrap(), None);
    }

    #[test]
    fn every_length_is_written_as_der_wants_it() {
        for services in [0, 1, 4, 32] {
            let names: Vec<_> = (0..services).map(|number| format!("{number:a>60}")).collect();
            let descent = token("abc", &names);
            assert_eq!(issued(&descent).descent, descent, "{services}");
        }
    }

    proptest! {
        #[test]
        fn whatever_an_extension_holds_it_is_refused_or_read(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..300), framed in any::<bool>(),
        ) {
            if framed {
                bytes.truncate(0x7f);
                bytes = [&[UTF8_STRING, bytes.len() as u8], &*bytes].concat();
            }
            let _ = utf8(&bytes).map(serde_json::from_str::<Wire>);
        }
    }
}
