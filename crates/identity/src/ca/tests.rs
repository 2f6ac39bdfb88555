use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;

use rcgen::{
    BasicConstraints, CustomExtension, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
};
use tempfile::{TempDir, tempdir};
use weft_mesh::name::TrustDomain;

use super::*;
use crate::{Fingerprint, KeyAndCsr, peer_identity, pem, x509};

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

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_folder_keeps_its_root_and_its_key_to_itself() {
    let parent = tempdir().unwrap();
    let folder = parent.path().join("deep/ca");
    let first = CertificateAuthority::open(&folder, &domain(), now()).unwrap();
    let again = CertificateAuthority::open(&folder, &domain(), now()).unwrap();
    assert_eq!(first.bundle(), again.bundle());
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("ca.key")), 0o600);
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["ca.key", "ca.pem"], "nothing temporary is left");

    fs::set_permissions(folder.join("ca.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = CertificateAuthority::open(&folder, &domain(), now()).unwrap_err();
    assert!(text_of(&error).contains("ca.key") && text_of(&error).contains("mode 0644"), "{error}");
}

#[test]
fn processes_that_start_at_once_end_up_with_the_same_root() {
    let parent = tempdir().unwrap();
    let folder = parent.path().join("ca");
    let roots: Vec<String> = thread::scope(|scope| {
        let starts: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    CertificateAuthority::open(&folder, &domain(), now()).unwrap().bundle().to_pem(&domain())
                })
            })
            .collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert!(roots.iter().all(|root| *root == roots[0] && !root.is_empty()));
}

#[test]
fn a_creation_that_was_cut_short_is_finished_with_the_same_key() {
    let folder = tempdir().unwrap();
    CertificateAuthority::open(folder.path(), &domain(), now()).unwrap();
    let key = fs::read_to_string(folder.path().join("ca.key")).unwrap();
    fs::remove_file(folder.path().join("ca.pem")).unwrap();
    CertificateAuthority::open(folder.path(), &domain(), now()).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("ca.key")).unwrap(), key);
}

#[test]
fn a_root_without_its_key_is_not_replaced() {
    let folder = tempdir().unwrap();
    CertificateAuthority::open(folder.path(), &domain(), now()).unwrap();
    fs::remove_file(folder.path().join("ca.key")).unwrap();
    let error = CertificateAuthority::open(folder.path(), &domain(), now()).unwrap_err();
    assert!(
        text_of(&error).contains("ca.pem") && text_of(&error).contains("is missing; restore it"),
        "{error}"
    );
    assert!(!folder.path().join("ca.key").exists());
}

#[test]
fn a_folder_of_another_trust_domain_is_refused() {
    let folder = tempdir().unwrap();
    CertificateAuthority::open(folder.path(), &domain(), now()).unwrap();
    let error = CertificateAuthority::open(folder.path(), &"other.test".parse().unwrap(), now()).unwrap_err();
    assert!(
        text_of(&error).contains("made for spiffe://mesh.test, but the trust domain is other.test"),
        "{error}"
    );
}

/// A root and an intermediate that it issued, as files.
struct Company {
    folder: TempDir,
    root: (CertificateParams, KeyPair, String),
    files: IntermediateFiles,
}

impl Company {
    fn new(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let folder = tempdir().unwrap();
        let root_key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let mut root = authority_params("Company root");
        root.not_after = (now() + 100 * DAY).into();
        let root_pem = pem::encode_certificates([root.self_signed(&root_key).unwrap().der()]);
        let key = KeyPair::generate().unwrap();
        let mut params = authority_params("Company mesh");
        change(&mut params);
        let chain = params.signed_by(&key, &Issuer::from_params(&root, &root_key)).unwrap();
        let files = IntermediateFiles {
            chain: folder.path().join("tls.crt"),
            key: folder.path().join("tls.key"),
            roots: folder.path().join("roots.crt"),
        };
        fs::write(&files.chain, pem::encode_certificates([chain.der()]) + &root_pem).unwrap();
        fs::write(&files.key, pem::encode("PRIVATE KEY", key.serialized_der())).unwrap();
        fs::write(&files.roots, &root_pem).unwrap();
        Self { folder, root: (root, root_key, root_pem), files }
    }

    fn open(&self) -> Result<CertificateAuthority, Error> {
        CertificateAuthority::from_files(&self.files, &domain(), now())
    }

    fn refusal(&self) -> String {
        text_of(&self.open().unwrap_err())
    }
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = (now() - DAY).into();
    params.not_after = (now() + 30 * DAY).into();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

#[test]
fn an_intermediate_signs_under_its_root() {
    let company = Company::new(|_| {});
    let authority = company.open().unwrap();
    assert_eq!(authority.bundle().to_pem(&domain()), company.root.2);
    let issued = authority.sign(KeyAndCsr::generate().unwrap().csr_der(), &cart(), DAY, now()).unwrap();
    assert_eq!(issued.chain.len(), 2, "leaf and intermediate, without the root");
    let long = authority.sign(KeyAndCsr::generate().unwrap().csr_der(), &cart(), 400 * DAY, now()).unwrap();
    assert_eq!(long.not_after, now() + 30 * DAY);
}

#[test]
fn an_intermediate_may_have_a_key_in_any_usual_form() {
    let company = Company::new(|_| {});
    for algorithm in [&rcgen::PKCS_RSA_SHA256, &PKCS_ED25519, &PKCS_ECDSA_P384_SHA384] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let issuer = Issuer::from_params(&company.root.0, &company.root.1);
        let chain = authority_params("Company mesh").signed_by(&key, &issuer).unwrap();
        fs::write(&company.files.chain, pem::encode_certificates([chain.der()])).unwrap();
        fs::write(&company.files.key, pem::encode("PRIVATE KEY", key.serialized_der())).unwrap();
        company.open().unwrap();
    }
}

#[test]
fn an_intermediate_that_nobody_would_believe_is_refused_when_loaded() {
    let expired = Company::new(|params| params.not_after = (now() - Duration::from_secs(1)).into());
    assert!(
        matches!(expired.open(), Err(Error::InFile { source, .. }) if matches!(*source, Error::AuthorityExpired { .. }))
    );
    assert!(expired.refusal().contains("tls.crt"));
    assert!(expired.refusal().contains("expired at 2030-"), "{}", expired.refusal());

    let early = Company::new(|params| params.not_before = (now() + DAY).into());
    assert!(early.refusal().contains("not valid before 2030-"), "{}", early.refusal());

    let leaf = Company::new(|params| params.is_ca = IsCa::NoCa);
    assert!(leaf.refusal().contains("not marked as a certificate authority"), "{}", leaf.refusal());

    let usage = Company::new(|params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    assert!(usage.refusal().contains("keyCertSign"), "{}", usage.refusal());

    let purpose =
        Company::new(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection]);
    assert!(purpose.refusal().contains("would not be believed"), "{}", purpose.refusal());

    let domain =
        Company::new(|params| params.subject_alt_names = vec![uri_san("spiffe://other.test").unwrap()]);
    assert!(domain.refusal().contains("made for spiffe://other.test"), "{}", domain.refusal());
}

#[test]
fn files_that_do_not_belong_together_are_named() {
    let company = Company::new(|_| {});
    let other = Company::new(|_| {});
    let with = |change: fn(&mut IntermediateFiles, &Company), other: &Company| {
        let mut files = company.files.clone();
        change(&mut files, other);
        text_of(&CertificateAuthority::from_files(&files, &domain(), now()).unwrap_err())
    };
    let error = with(|files, other| files.key.clone_from(&other.files.key), &other);
    assert!(error.contains("tls.crt") && error.contains("belongs to another certificate"), "{error}");
    let error = with(|files, other| files.roots.clone_from(&other.files.roots), &other);
    assert!(error.contains("would not be believed by those who believe the given roots"), "{error}");
    let error = with(|files, other| files.key = other.folder.path().join("absent.key"), &other);
    assert!(error.contains("cannot read") && error.contains("absent.key"), "{error}");
    let error = with(|files, _| files.roots.clone_from(&files.key), &other);
    assert!(error.contains("tls.key: certificates: no block"), "{error}");
    let error = with(|files, _| files.key.clone_from(&files.chain), &other);
    assert!(error.contains("tls.crt: private key: no PKCS #8"), "{error}");
}

#[test]
fn a_root_is_replaced_in_three_steps_and_every_step_is_believed_by_its_neighbours() {
    let folder = tempdir().unwrap();
    let open = || CertificateAuthority::open(folder.path(), &domain(), now()).unwrap();
    let prints = |authority: &CertificateAuthority| authority.bundle().fingerprints(&domain());
    let before = open();
    let [old] = prints(&before)[..] else { panic!("one root") };
    assert!(rotate::activate(folder.path()).is_err(), "nothing is prepared");

    let next = rotate::prepare(folder.path(), &domain(), now()).unwrap();
    assert_eq!(
        rotate::prepare(folder.path(), &domain(), now()).unwrap(),
        next,
        "preparing again changes nothing"
    );
    assert_eq!(prints(&open()), [old, next]);
    assert!(text_of(&rotate::retire(folder.path()).unwrap_err()).contains("has not been activated"));
    assert!(believes(&before, &open()));

    rotate::activate(folder.path()).unwrap();
    let during = open();
    assert_eq!(prints(&during), [next, old]);
    assert!(!believes(&before, &during), "who knows only the old root has to learn of the new one first");

    rotate::retire(folder.path()).unwrap();
    assert_eq!(prints(&open()), [next]);
    assert!(believes(&open(), &during) && believes(&during, &open()));
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(names.len(), 2);
}

/// Whether someone with the first authority's bundle believes what the second one signs.
fn believes(reader: &CertificateAuthority, signer: &CertificateAuthority) -> bool {
    let issued = signer.sign(KeyAndCsr::generate().unwrap().csr_der(), &cart(), DAY, now()).unwrap();
    let (leaf, rest) = issued.chain.split_first().unwrap();
    let anchors = reader.bundle().anchors(&domain()).unwrap();
    crate::verify::verify_chain(leaf, rest, anchors, webpki::KeyUsage::client_auth(), crate::time::pki(now()))
        .is_ok()
}

#[test]
fn a_replacement_that_was_cut_short_is_finished_on_opening() {
    let folder = tempdir().unwrap();
    CertificateAuthority::open(folder.path(), &domain(), now()).unwrap();
    let next = rotate::prepare(folder.path(), &domain(), now()).unwrap();
    fs::rename(folder.path().join("next.key"), folder.path().join("ca.key")).unwrap();
    let opened = CertificateAuthority::open(folder.path(), &domain(), now()).unwrap();
    assert_eq!(Fingerprint::of(&opened.bundle().roots(&domain())[0]), next);
}

#[test]
fn debugging_shows_no_key() {
    let material = CaMaterial::generate(&domain(), now()).unwrap();
    assert!(!format!("{material:?}").contains("PRIVATE"));
    assert!(!format!("{:?}", own()).contains("key"));
}
