use parking_lot::Mutex;
use weft_identity::CaMaterial;

use super::*;
use crate::kubernetes::Trust;

fn domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

/// What is revoked: nothing.
fn nobody() -> watch::Receiver<Arc<Revoked>> {
    watch::channel(Arc::default()).1
}

fn material() -> Material {
    Material { own: CaMaterial::generate(&domain(), SystemTime::now()).unwrap(), roots: String::new() }
}

/// One that signs under `signer`, and has the roots of `others`, too.
fn beside(signer: &Material, others: &[&Material]) -> Material {
    let roots: Vec<&str> = others.iter().map(|other| &*other.own.certificate_pem).collect();
    Material { own: signer.own.clone(), roots: roots.concat() }
}

fn roots(material: &Material) -> TrustBundle {
    CertificateAuthority::from_pem(&material.own, &material.roots, &domain(), SystemTime::now())
        .unwrap()
        .bundle()
        .clone()
}

/// A replica of the control plane, as far as its authority goes.
struct Replica {
    secret: SharedAuthority,
    trust: Trust,
    authority: Arc<Authority>,
    seen: Seen,
}

impl Replica {
    /// Starts with what the Secret holds, and what the list of roots is that others have written.
    fn start(secret: &SharedAuthority, listed: Option<&Replica>) -> Self {
        let trust = Trust::empty(domain());
        if let Some(listed) = listed {
            listed.trust.write_to(&[&trust]);
        }
        let source = Source::Secret(Arc::clone(secret));
        let life = Duration::from_hours(1);
        let (authority, _) = Authority::open(source, &domain(), life, nobody(), Some(trust.clone())).unwrap();
        Self { secret: Arc::clone(secret), trust, authority: Arc::new(authority), seen: Seen::default() }
    }

    /// Looks as often as it would in this time.
    async fn pass(&mut self, time: Duration) {
        for _ in 0..time.as_secs() / RELOAD.as_secs() {
            sleep(RELOAD).await;
            self.authority.look(&mut self.seen);
            self.authority.take_believed();
        }
    }

    fn trouble(&self) -> Option<String> {
        self.authority.state().borrow().trouble.clone()
    }

    fn is_usable(&self) -> bool {
        self.authority.state().borrow().is_usable
    }

    /// Whether what it signs now is believed by who believes what `other` tells.
    fn is_believed_at(&self, other: &Self) -> bool {
        self.authority.current().is_believed_by(&other.authority.believed(), SystemTime::now())
    }
}

fn secret(material: &Material) -> SharedAuthority {
    Arc::new(Mutex::new(Ok(material.clone())))
}

const LOOKS: Duration = Duration::from_secs(2 * RELOAD.as_secs());

#[tokio::test(start_paused = true)]
async fn material_that_cannot_be_used_is_told_of_and_the_authority_in_memory_stays() {
    let (good, other) = (material(), material());
    let shared = secret(&good);
    let mut replica = Replica::start(&shared, None);
    replica.trust.clone().write_to(&[&replica.trust]);
    replica.pass(LOOKS).await;
    assert_eq!(replica.trouble(), None);
    let wrong_key = CaMaterial { key_pem: other.own.key_pem.clone(), ..good.own.clone() };
    let no_ca = CaMaterial { certificate_pem: "nonsense".to_owned(), ..good.own.clone() };
    let expired = CaMaterial::generate(&domain(), SystemTime::UNIX_EPOCH + Duration::from_hours(1)).unwrap();
    for (material, reason) in [
        (Ok(Material { own: wrong_key, roots: String::new() }), "belongs to another certificate"),
        (Ok(Material { own: no_ca, roots: String::new() }), "certificates"),
        (Ok(Material { own: expired, roots: String::new() }), "expired at"),
        (Err("Secret weft-ca can't be used: it is not there any more".to_owned()), "not there any more"),
    ] {
        *shared.lock() = material;
        replica.pass(RELOAD).await;
        assert_eq!(replica.trouble(), None, "{reason}: it may be half written");
        replica.pass(RELOAD).await;
        let trouble = replica.trouble().unwrap();
        assert!(trouble.contains(reason) && trouble.contains("in memory"), "{trouble}");
        let request = KeyAndCsr::generate().unwrap();
        let cart = Identity::new(&domain(), "shop", "cart").unwrap();
        replica.authority.sign(request.csr_der(), &cart, None, Duration::ZERO).unwrap();
        assert!(replica.is_believed_at(&replica) && replica.is_usable(), "who has a stream keeps it");
        *shared.lock() = Ok(good.clone());
        replica.pass(RELOAD).await;
        assert_eq!(replica.trouble(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_with_another_root_waits_until_all_tell_of_it_and_both_are_believed() {
    let (old, new) = (material(), material());
    let shared = secret(&old);
    let mut writer = Replica::start(&shared, None);
    writer.trust.clone().write_to(&[&writer.trust]);
    writer.pass(LOOKS).await;
    // The Secret is deleted, and another replica is restarted: it makes a new root.
    *shared.lock() = Ok(new.clone());
    let mut restarted = Replica::start(&shared, Some(&writer));
    assert!(!restarted.is_usable());
    assert!(restarted.trouble().unwrap().contains("no workload believes yet"), "{:?}", restarted.trouble());
    writer.pass(LOOKS).await;
    assert!(writer.trouble().is_some(), "the authority that it has in memory is nowhere else");
    restarted.pass(LOOKS).await;
    assert!(!restarted.is_usable(), "nobody has written it yet");
    assert_eq!(*restarted.authority.believed(), roots(&old), "it tells what all tell");
    // The one that writes adds it, and takes none away.
    writer.trust.write_to(&[&writer.trust, &restarted.trust]);
    writer.pass(LOOKS).await;
    restarted.pass(LOOKS).await;
    let mut union = roots(&old);
    union.merge(&roots(&new));
    assert_eq!((&*writer.authority.believed(), &*restarted.authority.believed()), (&union, &union));
    assert_eq!(writer.trouble(), None);
    assert!(!restarted.is_usable(), "proxies have to hear of it first");
    assert!(writer.authority.current().bundle() == &roots(&old), "and it does not sign yet");
    writer.pass(SETTLE).await;
    restarted.pass(SETTLE).await;
    assert!(restarted.is_usable() && restarted.trouble().is_none());
    assert!(writer.authority.current().bundle() == &roots(&new), "one authority in the end");
    assert!(writer.is_believed_at(&restarted) && restarted.is_believed_at(&writer));
    // What the old one signed is believed until its root is retired.
    let before = CertificateAuthority::from_pem(&old.own, "", &domain(), SystemTime::now()).unwrap();
    assert!(before.is_believed_by(&writer.authority.believed(), SystemTime::now()));
    writer.trust.retire(roots(&old).fingerprints(&domain())[0]);
    writer.trust.write_to(&[&writer.trust, &restarted.trust]);
    writer.pass(LOOKS).await;
    assert_eq!(*writer.authority.believed(), roots(&new));
}

#[tokio::test(start_paused = true)]
async fn a_new_key_under_the_same_roots_is_taken() {
    let (old, new) = (material(), material());
    // Both are roots in both: only who signs is another.
    let shared = secret(&beside(&old, &[&new]));
    let mut replica = Replica::start(&shared, None);
    replica.trust.clone().write_to(&[&replica.trust]);
    replica.pass(LOOKS).await;
    let before = replica.authority.current();
    *shared.lock() = Ok(beside(&new, &[&old]));
    replica.pass(LOOKS).await;
    assert!(
        replica.authority.current().signs_like(&before),
        "not before it is known to be believed for a while"
    );
    assert_eq!(replica.trouble(), None);
    replica.pass(SETTLE).await;
    assert!(!replica.authority.current().signs_like(&before));
    assert!(replica.secret.lock().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_holds_another_root_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let open =
        |folder: &std::path::Path| CertificateAuthority::open(folder, &domain(), SystemTime::now()).unwrap();
    open(folder.path());
    let source = Source::Folder(folder.path().to_owned());
    let (authority, _) = Authority::open(source, &domain(), Duration::from_hours(1), nobody(), None).unwrap();
    let mut seen = Seen::default();
    assert!(!authority.look(&mut seen) && authority.state().borrow().trouble.is_none());
    for name in ["ca.key", "ca.pem"] {
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    assert!(!authority.look(&mut seen) && !authority.look(&mut seen));
    let trouble = authority.state().borrow().trouble.clone().unwrap();
    assert!(trouble.contains("no workload believes yet"), "{trouble}");
}
