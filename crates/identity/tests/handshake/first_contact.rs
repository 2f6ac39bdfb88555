//! Clients without a certificate, and how they know the control plane.

use std::sync::Arc;

use weft_identity::tls::{self, ALPN_H2, ALPN_WEFT};
use weft_identity::{KeyAndCsr, Reason, peer_identity};

use crate::world::{DAY, Forged, World, local, now, pem_key, shake, shake_as};

#[test]
fn the_control_plane_takes_clients_without_a_certificate_but_none_with_a_bad_one() {
    let world = World::new("mesh.test");
    let control_plane = world.generation("weft").control_plane_server(&[ALPN_H2]);
    let bare = tls::bundle_client(world.bundle(), world.expect("weft"), &[ALPN_H2]);
    let outcome = shake(&bare, &control_plane);
    assert!(outcome.accepted());
    assert!(outcome.server_end.peer_certificates().is_none());

    let renewing = world.generation("web").client(world.expect("weft"), &[ALPN_H2]);
    let outcome = shake(&renewing, &control_plane);
    assert_eq!(
        peer_identity(outcome.server_end.peer_certificates().unwrap()).unwrap(),
        world.identity("web")
    );

    let expired = world.forge(|params| params.not_after = (now() - DAY / 2).into());
    let control_plane = world.generation("weft").control_plane_server(&[ALPN_WEFT]);
    assert_eq!(shake(&expired.client(&world, "weft"), &control_plane).server, local(Reason::Expired));
}

#[test]
fn who_knows_a_server_by_name_believes_no_other_name_and_no_other_root() {
    let world = World::new("mesh.test");
    let key = KeyAndCsr::generate().unwrap();
    let issued = world.authority.sign_server(key.csr_der(), &["hook.weft-system.svc"], DAY, now()).unwrap();
    let server = Arc::new(key.into_server(issued.chain, &[b"h2"]).unwrap());
    let believes = |world: &World, name: &'static str| {
        let roots = world.authority.bundle().to_pem(&world.trust_domain);
        shake_as(&tls::named_client(&roots).unwrap(), &server, name, now()).client.is_ok()
    };
    assert!(believes(&world, "hook.weft-system.svc"));
    assert!(!believes(&world, "other.weft-system.svc"));
    assert!(!believes(&World::new("mesh.test"), "hook.weft-system.svc"));
    assert!(tls::named_client("no certificate").is_err());
}

#[test]
fn a_root_is_known_by_its_fingerprint_at_first_contact() {
    let world = World::new("mesh.test");
    let control_plane = world.generation("weft").control_plane_server(&[ALPN_H2]);
    let with = |roots: Vec<_>, account: &str| {
        shake(&tls::pinned_client(roots, world.expect(account), &[ALPN_H2]), &control_plane)
    };
    let outcome = with(world.fingerprints(), "weft");
    assert!(outcome.accepted());
    assert_eq!(outcome.client_end.peer_certificates().unwrap().len(), 2, "leaf and root");

    let stranger = World::new("mesh.test");
    let during_rotation = [stranger.fingerprints(), world.fingerprints()].concat();
    assert!(with(during_rotation, "weft").accepted());
    assert_eq!(with(stranger.fingerprints(), "weft").client, local(Reason::UnknownIssuer));
    assert_eq!(with(Vec::new(), "weft").client, local(Reason::UnknownIssuer));
    assert_eq!(with(world.fingerprints(), "other").client, local(Reason::UnexpectedIdentity));

    // A mesh server sends no root: nothing there has the fingerprint.
    let mesh = world.generation("weft").mesh_server(&[ALPN_H2]);
    let pinned = tls::pinned_client(world.fingerprints(), world.expect("weft"), &[ALPN_H2]);
    assert_eq!(shake(&pinned, &mesh).client, local(Reason::UnknownIssuer));
}

#[test]
fn presenting_the_right_root_is_not_enough_at_first_contact() {
    let (world, fake) = (World::new("mesh.test"), World::new("mesh.test"));
    let imposter = fake.certificate_at("weft", now());
    let root = world.authority.bundle().roots(&world.trust_domain)[0].clone();
    let chain = [imposter.chain(), &[root]].concat();
    let server = Forged::new(chain, &pem_key(&imposter.to_pem())).server(&world);
    let pinned = tls::pinned_client(world.fingerprints(), world.expect("weft"), &[ALPN_WEFT]);
    assert_eq!(shake(&pinned, &server).client, local(Reason::UnknownIssuer));

    // A pinned leaf is no root either.
    let leaf = weft_identity::Fingerprint::of(&imposter.chain()[0]);
    let chain = vec![imposter.chain()[0].clone(), imposter.chain()[0].clone()];
    let server = Forged::new(chain, &pem_key(&imposter.to_pem())).server(&world);
    let pinned = tls::pinned_client(vec![leaf], world.expect("weft"), &[ALPN_WEFT]);
    assert_eq!(shake(&pinned, &server).client, local(Reason::UnknownIssuer));
}
