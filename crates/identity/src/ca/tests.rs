mod intermediate;
mod kept;

use rcgen::{
    BasicConstraints, CustomExtension, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
};
use weft_mesh::name::TrustDomain;

use super::*;
use crate::{KeyAndCsr, peer_identity, x509};

const DAY: Duration = Duration::from_hours(24);

fn now() -> SystemTime {
    from_unix(1_900_000_000)
}

fn domain() -> TrustDomain {
    "mesh.test".parse().unwrap()
}

fn cart() -> Identity {
    Identity::new(&domain(), "shop", "cart").unwrap()
}

fn own() -> CertificateAuthority {
    let material = CaMaterial::generate(&domain(), now()).unwrap();
    CertificateAuthority::from_pem(&material, "", &domain(), now()).unwrap()
}

fn csr(params: &CertificateParams, algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
    let key = KeyPair::generate_for(algorithm).unwrap();
    params.serialize_request(&key).unwrap().der().to_vec()
}

fn text_of(error: &Error) -> String {
    error.to_string()
}

#[test]
fn a_certificate_holds_the_identity_and_nothing_else() {
    let request = KeyAndCsr::generate().unwrap();
    let issued = own().sign(request.csr_der(), &cart(), DAY, now()).unwrap();
    assert_eq!(peer_identity(&issued.chain).unwrap(), cart());
    assert_eq!(issued.chain.len(), 1, "the root is not sent");

    let leaf = x509::parse(&issued.chain[0]).unwrap();
    assert!(leaf.subject().iter().next().is_none());
    assert!(!leaf.is_ca());
    let sans = leaf.subject_alternative_name().unwrap().unwrap();
    assert!(sans.critical, "as the subject is empty");
    assert_eq!(sans.value.general_names.len(), 1);
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign());
    let purposes = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(purposes.client_auth && purposes.server_auth && !purposes.any && !purposes.code_signing);
    assert_eq!(
        leaf.raw_serial_as_string().replace(':', "").trim_start_matches("00"),
        issued.serial.trim_start_matches("00")
    );

    assert_eq!(issued.not_before, now() - BACKDATE.min(Duration::from_mins(5)));
    assert_eq!(issued.not_after, now() + DAY);
    assert_eq!(x509::validity(&leaf), (issued.not_before, issued.not_after));
    let certificate = request.into_certificate(issued.chain).unwrap();
    assert_eq!(certificate.identity(), &cart());
}

#[test]
fn a_request_that_asks_for_more_gets_none_of_it() {
    let mut greedy = CertificateParams::new(vec!["bank.example".to_owned()]).unwrap();
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.subject_alt_names.push(uri_san("spiffe://mesh.test/ns/bank/sa/vault").unwrap());
    greedy.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
    // A private extension, marked critical.
    greedy.custom_extensions =
        vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0])];
    let issued = own().sign(&csr(&greedy, &rcgen::PKCS_ECDSA_P256_SHA256), &cart(), DAY, now()).unwrap();

    let leaf = x509::parse(&issued.chain[0]).unwrap();
    assert_eq!(x509::uri_sans(&leaf).unwrap(), [cart().as_str()]);
    assert_eq!(leaf.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 1);
    assert!(!leaf.is_ca());
    assert!(!leaf.key_usage().unwrap().unwrap().value.key_cert_sign());
    assert!(!leaf.extended_key_usage().unwrap().unwrap().value.any);
    assert!(leaf.subject().iter().next().is_none());
    assert_eq!(leaf.extensions().len(), 4, "names, usage, extended usage and the issuer's key id");
}

#[test]
fn only_strong_elliptic_curve_keys_are_certified() {
    let authority = own();
    let sign = |csr: &[u8]| authority.sign(csr, &cart(), DAY, now());
    let params = CertificateParams::default();
    sign(&csr(&params, &PKCS_ECDSA_P384_SHA384)).unwrap();
    for (algorithm, named) in
        [(&PKCS_ED25519, "1.3.101.112"), (&PKCS_ECDSA_P521_SHA512, "an elliptic curve key on another curve")]
    {
        let error = sign(&csr(&params, algorithm)).unwrap_err();
        assert!(text_of(&error).contains(named), "{error}");
        assert!(text_of(&error).contains("use an ECDSA key on P-256 or P-384"), "{error}");
    }
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let error = sign(params.serialize_request(&rsa).unwrap().der()).unwrap_err();
    assert!(text_of(&error).contains("an RSA key of 2048 bits"), "{error}");
}

#[test]
fn a_changed_request_never_gets_another_key_certified() {
    let authority = own();
    let request = KeyAndCsr::generate().unwrap();
    let good = request.csr_der();
    let issued = authority.sign(good, &cart(), DAY, now()).unwrap();
    let key = x509::parse(&issued.chain[0]).unwrap().public_key().raw.to_vec();
    for at in 0..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 1;
        // The wrapping of the signature isn't signed itself; what comes of it is still for the same key.
        if let Ok(issued) = authority.sign(&bad, &cart(), DAY, now()) {
            let leaf = x509::parse(&issued.chain[0]).unwrap();
            assert_eq!(leaf.public_key().raw, key, "byte {at}");
        }
        assert!(authority.sign(&good[..at], &cart(), DAY, now()).is_err(), "cut at {at}");
    }
    let followed = [good, b"\0"].concat();
    assert!(
        text_of(&authority.sign(&followed, &cart(), DAY, now()).unwrap_err()).contains("followed by 1 bytes")
    );
    let long = vec![0x30; 20_000];
    assert!(text_of(&authority.sign(&long, &cart(), DAY, now()).unwrap_err()).contains("at most 16384"));
}

#[test]
fn no_certificate_outlives_its_authority() {
    let authority = own();
    let request = KeyAndCsr::generate().unwrap();
    let late = authority.not_after() - Duration::from_mins(30);
    let issued = authority.sign(request.csr_der(), &cart(), DAY, late).unwrap();
    assert_eq!(issued.not_after, authority.not_after());

    let too_late = authority.not_after() + Duration::from_secs(1);
    let error = authority.sign(request.csr_der(), &cart(), DAY, too_late).unwrap_err();
    assert!(matches!(error, Error::AuthorityExpired { .. }), "{error}");
    let error = authority.sign(request.csr_der(), &cart(), Duration::ZERO, now()).unwrap_err();
    assert!(text_of(&error).contains("too short"), "{error}");
}

#[test]
fn identities_of_other_trust_domains_are_not_certified() {
    let stranger: Identity = "spiffe://other.test/ns/shop/sa/cart".parse().unwrap();
    let error = own().sign(KeyAndCsr::generate().unwrap().csr_der(), &stranger, DAY, now()).unwrap_err();
    assert_eq!(
        text_of(&error),
        "identity to certify: spiffe://other.test/ns/shop/sa/cart is not in mesh.test, for which this authority signs"
    );
}

#[test]
fn serial_numbers_are_random() {
    let authority = own();
    let request = KeyAndCsr::generate().unwrap();
    let serial = || authority.sign(request.csr_der(), &cart(), DAY, now()).unwrap().serial;
    let (first, second) = (serial(), serial());
    assert_ne!(first, second);
    assert_eq!(first.len(), 32);
}

#[test]
fn debugging_shows_no_key() {
    let material = CaMaterial::generate(&domain(), now()).unwrap();
    assert!(!format!("{material:?}").contains("PRIVATE"));
    assert!(!format!("{:?}", own()).contains("key"));
}

#[test]
fn a_server_is_certified_for_its_dns_names_and_is_no_workload() {
    let trust_domain: TrustDomain = "cluster.local".parse().unwrap();
    let now = SystemTime::now();
    let material = CaMaterial::generate(&trust_domain, now).unwrap();
    let authority = CertificateAuthority::from_pem(&material, "", &trust_domain, now).unwrap();
    let key = crate::KeyAndCsr::generate().unwrap();
    let names = ["control-plane.weft-system.svc"];
    let issued = authority.sign_server(key.csr_der(), &names, Duration::from_hours(1), now).unwrap();
    assert!(crate::peer_identity(&issued.chain).is_err(), "it has no SPIFFE id");
    let leaf = webpki::EndEntityCert::try_from(issued.chain.first().unwrap()).unwrap();
    for (name, holds) in [("control-plane.weft-system.svc", true), ("other.weft-system.svc", false)] {
        let name = rustls::pki_types::ServerName::try_from(name).unwrap();
        assert_eq!(leaf.verify_is_valid_for_subject_name(&name).is_ok(), holds);
    }
    key.into_server(issued.chain, &[b"http/1.1"]).unwrap();
    let new = crate::KeyAndCsr::generate().unwrap();
    assert!(authority.sign_server(new.csr_der(), &["no name\u{e9}"], Duration::from_hours(1), now).is_err());
}
