//! The serial number of a certificate.

use std::fmt::Write as _;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
/// The version, `[0] EXPLICIT`.
const VERSION: u8 = 0xa0;

/// The serial number of a certificate in DER (RFC 5280, section 4.1.2.2), as hexadecimal digits, two
/// for each byte; `None` for what is no certificate.
pub(super) fn of(certificate: &[u8]) -> Option<String> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (fields, _) = element(certificate, SEQUENCE)?;
    // A certificate of version 1 has no version.
    let fields = element(fields, VERSION).map_or(fields, |(_, rest)| rest);
    let (serial, _) = element(fields, INTEGER)?;
    // DER puts a zero in front of a number that would look negative.
    let serial = serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(serial);
    let mut digits = String::with_capacity(2 * serial.len());
    for byte in serial {
        // Writing to a string does not fail.
        let _ = write!(digits, "{byte:02x}");
    }
    Some(digits)
}

/// The content of the first element, which has to have this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    if *found != tag {
        return None;
    }
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(*first) {
        short @ ..0x80 => (short, rest),
        long => {
            let (length, rest) = rest.split_at_checked(long - 0x80)?;
            let add = |sum: usize, byte: &u8| sum.checked_mul(256)?.checked_add(usize::from(*byte));
            (length.iter().try_fold(0, add)?, rest)
        }
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;
    use weft_identity::{CaMaterial, CertificateAuthority, KeyAndCsr};

    use super::*;

    #[test]
    fn it_is_the_serial_that_the_authority_gave() {
        let (now, trust_domain) = (SystemTime::now(), "mesh".parse().unwrap());
        let material = CaMaterial::generate(&trust_domain, now).unwrap();
        let authority = CertificateAuthority::from_pem(&material, "", &trust_domain, now).unwrap();
        let request = KeyAndCsr::generate().unwrap();
        let identity = "spiffe://mesh/ns/shop/sa/web".parse().unwrap();
        let issued = authority.sign(request.csr_der(), &identity, Duration::from_mins(1), now).unwrap();
        // One whose first byte is zero is written without it.
        let serial = issued.serial.strip_prefix("00").unwrap_or(&issued.serial);
        assert_eq!(of(&issued.chain[0]).unwrap(), serial);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = of(&[&[SEQUENCE, 30, SEQUENCE, 28][..], &bytes].concat());
            let _ = of(&bytes);
        }
    }
}
