//! Certificates that a peer presents, and whether they are believed.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use rcgen::{BasicConstraints, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use weft_identity::tls::{self, ALPN_WEFT};
use weft_identity::{
    Descent, ExpectedIdentities, Generation, Grants, KeyAndCsr, Reason, Revoked, TrustBundle,
    WorkloadCertificate, peer_identity,
};

use crate::world::{
    DAY, Forged, World, both_refuse, by_peer, client_refuses, local, now, pem_key, server_refuses, shake,
    shake_at, uri, web_to_cart,
};

#[test]
fn a_client_accepts_only_whom_it_expects() {
    let world = World::new("mesh.test");
    let web = world.generation("web");
    let cart = world.generation("cart").mesh_server(&[ALPN_WEFT]);
    let with = |expected| shake(&web.client(expected, &[ALPN_WEFT]), &cart);
    let identities =
        |accounts: &[&str]| accounts.iter().map(|account| world.identity(account)).collect::<Vec<_>>();
    for expected in [
        ExpectedIdentities::exactly(identities(&["bank", "cart"])),
        ExpectedIdentities::AnyIn(world.trust_domain.clone()),
    ] {
        assert!(with(expected).accepted());
    }
    for expected in [
        ExpectedIdentities::exactly(identities(&["bank", "a", "b", "c", "d"])),
        ExpectedIdentities::exactly([]),
        ExpectedIdentities::AnyIn("mesh.tes".parse().unwrap()),
    ] {
        assert_eq!(with(expected).client, local(Reason::UnexpectedIdentity));
    }
}

#[test]
fn a_certificate_is_good_from_its_first_second_to_its_last() {
    let world = World::new("mesh.test");
    let (client, server) = web_to_cart(&world);
    let second = Duration::from_secs(1);
    let (first, last) = (now() - Duration::from_mins(5), now() + DAY);
    assert!(shake_at(&client, &server, first).accepted());
    assert!(shake_at(&client, &server, last).accepted());
    assert_eq!(shake_at(&client, &server, last + second).client, local(Reason::Expired));
    assert_eq!(shake_at(&client, &server, first - second).client, local(Reason::NotYetValid));
}

#[test]
fn expired_and_early_certificates_are_refused_on_both_sides() {
    let world = World::new("mesh.test");
    let expired = world.forge(|params| params.not_after = (now() - Duration::from_secs(1)).into());
    both_refuse(&world, &expired, Reason::Expired);
    assert_eq!(server_refuses(&world, &expired).client, by_peer(Reason::Expired), "the client is told");
    let early = world.forge(|params| params.not_before = (now() + Duration::from_secs(1)).into());
    both_refuse(&world, &early, Reason::NotYetValid);
}

#[test]
fn a_mesh_server_wants_a_certificate() {
    let world = World::new("mesh.test");
    let bare = tls::bundle_client(world.bundle(), world.expect("cart"), &[ALPN_WEFT]);
    let outcome = shake(&bare, &world.generation("cart").mesh_server(&[ALPN_WEFT]));
    assert_eq!(outcome.server, local(Reason::NoCertificate));
    assert_eq!(outcome.client, by_peer(Reason::NoCertificate));
}

#[test]
fn a_peer_of_another_trust_domain_is_refused_until_its_roots_are_in_the_bundle() {
    let (ours, theirs) = (World::new("mesh.test"), World::new("other.test"));
    let stranger = theirs.generation("cart");
    let server = stranger.mesh_server(&[ALPN_WEFT]);
    let client = ours.generation("web").client(theirs.expect("cart"), &[ALPN_WEFT]);
    assert_eq!(shake(&client, &server).client, local(Reason::WrongTrustDomain));

    let mut both = TrustBundle::clone(&ours.bundle());
    both.merge(&theirs.bundle());
    let both = Arc::new(both);
    let client = Generation::new(ours.certificate_at("web", now()), both.clone());
    let client = client.client(theirs.expect("cart"), &[ALPN_WEFT]);
    assert_eq!(shake(&client, &server).server, local(Reason::WrongTrustDomain));
    let server = Generation::new(theirs.certificate_at("cart", now()), both).mesh_server(&[ALPN_WEFT]);
    assert!(shake(&client, &server).accepted());
}

#[test]
fn a_federated_root_vouches_for_its_own_trust_domain_alone() {
    let (ours, theirs) = (World::new("mesh.test"), World::new("other.test"));
    let mut both = TrustBundle::clone(&ours.bundle());
    both.merge(&theirs.bundle());
    // Signed by the other trust domain's root, but in our name.
    let forged = theirs.forge(|params| params.subject_alt_names = vec![uri(ours.identity("cart").as_str())]);
    let server =
        Generation::new(ours.certificate_at("cart", now()), Arc::new(both)).mesh_server(&[ALPN_WEFT]);
    assert_eq!(shake(&forged.client(&ours, "cart"), &server).server, local(Reason::UnknownIssuer));
}

#[test]
fn another_authority_for_the_same_trust_domain_is_not_believed() {
    let (ours, fake) = (World::new("mesh.test"), World::new("mesh.test"));
    let forged = fake.forge(|_| {});
    both_refuse(&ours, &forged, Reason::UnknownIssuer);
    assert_eq!(server_refuses(&ours, &forged).client, by_peer(Reason::UnknownIssuer));
}

#[test]
fn a_certificate_has_exactly_one_uri() {
    let world = World::new("mesh.test");
    let cart = world.identity("cart");
    let two = world.forge(|params| params.subject_alt_names.push(uri("spiffe://mesh.test/ns/shop/sa/bank")));
    both_refuse(&world, &two, Reason::SeveralUriSans);
    let same_twice = world.forge(|params| params.subject_alt_names.push(uri(cart.as_str())));
    both_refuse(&world, &same_twice, Reason::SeveralUriSans);
    let none = world.forge(|params| params.subject_alt_names.clear());
    both_refuse(&world, &none, Reason::NoSpiffeId);
    let dns = world.forge(|params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("cart.shop".try_into().unwrap())];
    });
    both_refuse(&world, &dns, Reason::NoSpiffeId);
    let beside_dns = world.forge(|params| {
        params.subject_alt_names.push(rcgen::SanType::DnsName("cart.shop".try_into().unwrap()));
    });
    assert!(client_refuses(&world, &beside_dns).accepted(), "names of other kinds don't matter");
}

#[test]
fn a_uri_that_is_no_workloads_id_is_refused() {
    let world = World::new("mesh.test");
    for text in [
        "https://mesh.test/ns/shop/sa/cart",
        "spiffe://mesh.test",
        "spiffe://mesh.test/cart",
        "spiffe://mesh.test/ns/shop/sa/cart/",
        "spiffe://mesh.test/ns/shop/sa/cart?x=y",
        "SPIFFE://mesh.test/ns/shop/sa/cart",
        "spiffe://mesh.test:443/ns/shop/sa/cart",
        "",
    ] {
        let forged = world.forge(|params| params.subject_alt_names = vec![uri(text)]);
        both_refuse(&world, &forged, Reason::NoSpiffeId);
    }
}

#[test]
fn a_second_uri_hidden_in_bytes_that_are_no_text_is_found() {
    let world = World::new("mesh.test");
    let cart = world.identity("cart");
    // GeneralNames: [6] the right id, [6] a byte that is not UTF-8.
    let mut names = vec![0x86, u8::try_from(cart.as_str().len()).unwrap()];
    names.extend(cart.as_str().bytes());
    names.extend([0x86, 1, 0xff]);
    let mut content = vec![0x30, u8::try_from(names.len()).unwrap()];
    content.extend(names);
    let forged = world.forge(|params| {
        params.subject_alt_names.clear();
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], content)];
    });
    both_refuse(&world, &forged, Reason::Other);
}

#[test]
fn a_certificate_for_another_purpose_is_refused() {
    let world = World::new("mesh.test");
    let mail =
        world.forge(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection]);
    both_refuse(&world, &mail, Reason::Other);
    let client_only =
        world.forge(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    assert_eq!(client_refuses(&world, &client_only).client, local(Reason::Other));
    assert!(server_refuses(&world, &client_only).server.is_ok());
    let signer = world.forge(|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign));
    both_refuse(&world, &signer, Reason::Other);
    let authority = world.forge(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    both_refuse(&world, &authority, Reason::Other);
}

#[test]
fn a_workload_can_not_certify_others() {
    let world = World::new("mesh.test");
    let web = world.certificate_at("web", now());
    let key =
        rcgen::KeyPair::from_pem(web.to_pem().split_inclusive("-----END PRIVATE KEY-----").next().unwrap())
            .unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_der(&web.chain()[0], key).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![uri(world.identity("cart").as_str())];
    let own_key = rcgen::KeyPair::generate().unwrap();
    let leaf = params.signed_by(&own_key, &issuer).unwrap();
    let chain = vec![leaf.der().clone(), web.chain()[0].clone()];
    let forged = Forged::new(chain, &pem_key(&own_key.serialize_pem()));
    both_refuse(&world, &forged, Reason::Other);
}

#[test]
fn whoever_has_the_certificate_but_not_its_key_is_refused() {
    let world = World::new("mesh.test");
    let cart = world.certificate_at("cart", now());
    let other_key = pem_key(&world.certificate_at("web", now()).to_pem());
    let stolen = Forged::new(cart.chain().to_vec(), &other_key);
    both_refuse(&world, &stolen, Reason::BadSignature);
    let error = WorkloadCertificate::new(cart.chain().to_vec(), other_key).unwrap_err().to_string();
    assert!(error.starts_with("certificate and private key: "), "{error}");
}

#[test]
fn a_stored_certificate_comes_back_as_it_was() {
    let world = World::new("mesh.test");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("workload.pem");
    assert!(WorkloadCertificate::load(&path).unwrap().is_none());
    let stored = world.certificate_at("cart", now());
    stored.store(&path).unwrap();
    stored.store(&path).unwrap();
    let loaded = WorkloadCertificate::load(&path).unwrap().unwrap();
    assert_eq!(loaded.chain(), stored.chain());
    assert_eq!((loaded.not_before(), loaded.not_after()), (stored.not_before(), stored.not_after()));
    assert!(!loaded.is_expired(now() + DAY) && loaded.is_expired(now() + DAY + Duration::from_secs(1)));
    let client = world.generation("web").client(world.expect("cart"), &[ALPN_WEFT]);
    assert!(shake(&client, &Generation::new(loaded, world.bundle()).mesh_server(&[ALPN_WEFT])).accepted());

    let shown = format!("{stored:?}");
    assert!(shown.contains("shop/sa/cart") && shown.contains("2030-"), "{shown}");
    assert!(!shown.to_lowercase().contains("key"), "{shown}");
    std::fs::write(&path, "nonsense").unwrap();
    assert!(
        WorkloadCertificate::load(&path).unwrap_err().to_string().contains("workload.pem: certificates: ")
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(
        at in any::<Index>(), put in proptest::collection::vec(any::<u8>(), 0..8), cut in any::<Index>(),
    ) {
        let mut der = LEAF.to_vec();
        let at = at.index(der.len());
        der.splice(at..(at + put.len()).min(LEAF.len()), put);
        der.truncate(cut.index(2 * der.len()));
        let _ = peer_identity(&[der.clone().into()]);
        let _ = TrustBundle::new().add(&"mesh.test".parse().unwrap(), &der.into());
    }
}

/// One good certificate to spoil.
static LEAF: LazyLock<Vec<u8>> =
    LazyLock::new(|| World::new("mesh.test").certificate_at("cart", now()).chain()[0].to_vec());

/// A certificate of an account that descends from a join token.
fn descended(world: &World, account: &str, token: &str) -> WorkloadCertificate {
    let key = KeyAndCsr::generate().unwrap();
    let descent = Descent::Token { id: token.to_owned(), grants: Grants::default() };
    let identity = world.identity(account);
    let issued = world.authority.issue(key.csr_der(), &identity, &descent, DAY, now()).unwrap();
    key.into_certificate(issued.chain).unwrap()
}

#[test]
fn what_is_revoked_is_refused_on_both_sides() {
    let world = World::new("mesh.test");
    let outcomes = |revoked: Revoked| {
        let bundle = Arc::new(TrustBundle::clone(&world.bundle()).with_revoked(revoked));
        let peer = Generation::new(descended(&world, "web", "stolen"), world.bundle());
        let judge = Generation::new(world.certificate_at("cart", now()), bundle);
        let as_client =
            shake(&peer.client(world.expect("cart"), &[ALPN_WEFT]), &judge.mesh_server(&[ALPN_WEFT])).server;
        let as_server =
            shake(&judge.client(world.expect("web"), &[ALPN_WEFT]), &peer.mesh_server(&[ALPN_WEFT])).client;
        assert_eq!(judge.verify_client(peer.certificate().chain(), now()).is_ok(), as_client.is_ok());
        (as_client, as_server)
    };
    let accepted = (Ok(()), Ok(()));
    let refused = (local(Reason::Revoked), local(Reason::Revoked));
    let token = |id: &str| {
        let mut revoked = Revoked::new();
        revoked.token(id);
        revoked
    };
    let identity = |account: &str, before| {
        let mut revoked = Revoked::new();
        revoked.identity(world.identity(account), before);
        revoked
    };
    assert_eq!(outcomes(token("another")), accepted);
    assert_eq!(outcomes(token("stolen")), refused);
    assert_eq!(outcomes(identity("bank", None)), accepted);
    assert_eq!(outcomes(identity("web", None)), refused);
    assert_eq!(outcomes(identity("web", Some(now()))), accepted);
    assert_eq!(outcomes(identity("web", Some(now() + Duration::from_secs(1)))), refused);
}

#[test]
fn a_lineage_that_cannot_be_read_is_refused_once_anything_is_revoked() {
    let world = World::new("mesh.test");
    let oid = [2, 25, 7_218_467_361_092_835_177];
    let forged = world.forge(|params| {
        params.custom_extensions = vec![CustomExtension::from_oid_content(&oid, vec![0x0c, 1, b'{'])];
    });
    assert!(server_refuses(&world, &forged).accepted());
    let mut revoked = Revoked::new();
    revoked.token("another");
    let bundle = Arc::new(TrustBundle::clone(&world.bundle()).with_revoked(revoked));
    let cart = Generation::new(world.certificate_at("cart", now()), bundle);
    let outcome = shake(&forged.client(&world, "cart"), &cart.mesh_server(&[ALPN_WEFT]));
    assert_eq!(outcome.server, local(Reason::Other));
}
