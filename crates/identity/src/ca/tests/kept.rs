//! The root in its folder: made once, kept, replaced.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;

use tempfile::tempdir;

use super::super::rotate;
use super::*;
use crate::Fingerprint;

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
