use std::time::SystemTime;

use super::*;
use crate::CaMaterial;

fn root(trust_domain: &TrustDomain) -> String {
    CaMaterial::generate(trust_domain, SystemTime::now()).unwrap().certificate_pem
}

#[test]
fn several_roots_of_several_trust_domains_are_kept_apart() {
    let (ours, theirs): (TrustDomain, TrustDomain) =
        ("mesh.test".parse().unwrap(), "other.test".parse().unwrap());
    let two = root(&ours) + &root(&ours);
    let mut bundle = TrustBundle::from_pem(&ours, &two).unwrap();
    bundle.merge(&TrustBundle::from_pem(&theirs, &root(&theirs)).unwrap());
    bundle.merge(&TrustBundle::from_pem(&ours, &two).unwrap());
    assert_eq!(bundle.to_pem(&ours), two, "in order, and none twice");
    assert_eq!(bundle.roots(&theirs).len(), 1);
    assert_eq!(bundle.trust_domains().collect::<Vec<_>>(), [&ours, &theirs]);
    assert!(bundle.roots(&"third.test".parse().unwrap()).is_empty());
    assert!(!bundle.is_empty() && TrustBundle::new().is_empty());
}

#[test]
fn what_is_no_root_is_refused() {
    let trust_domain: TrustDomain = "mesh.test".parse().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    for (text, problem) in [
        (String::new(), "no block that begins with"),
        (crate::pem::encode("CERTIFICATE", b"nonsense"), "not X.509"),
        (crate::pem::encode_certificates([leaf.der()]), "not marked as a certificate authority"),
    ] {
        let error = TrustBundle::from_pem(&trust_domain, &text).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn a_fingerprint_reads_back_what_it_writes() {
    let fingerprint = Fingerprint::of(&b"abc".as_slice().into());
    let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(fingerprint.to_string(), text);
    assert_eq!(text.parse::<Fingerprint>().unwrap(), fingerprint);
    assert_eq!(text.to_uppercase().parse::<Fingerprint>().unwrap(), fingerprint);
    for bad in ["", "ba78", &text.replace('b', "g"), &text.replace("ba", "é"), &format!("{text}00")] {
        assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
    }
}
