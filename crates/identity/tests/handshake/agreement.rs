//! What two sides that believe each other agree on.

use std::sync::Arc;

use rustls::{HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig};
use weft_identity::tls::{self, ALPN_H2, ALPN_WEFT, ALPN_WEFT_TCP};
use weft_identity::{Origin, Reason, Refusal, peer_identity};

use crate::world::{World, now, pem_key, shake, web_to_cart};

#[test]
fn two_workloads_know_each_other_after_a_handshake() {
    let world = World::new("mesh.test");
    let (client, server) = web_to_cart(&world);
    let outcome = shake(&client, &server);
    assert!(outcome.accepted());
    assert_eq!(
        peer_identity(outcome.client_end.peer_certificates().unwrap()).unwrap(),
        world.identity("cart")
    );
    assert_eq!(
        peer_identity(outcome.server_end.peer_certificates().unwrap()).unwrap(),
        world.identity("web")
    );
    assert_eq!(outcome.server_end.alpn_protocol(), Some(ALPN_WEFT));
    assert_eq!(outcome.server_end.server_name(), None, "nothing is told in the clear about who is called");
}

#[test]
fn the_key_exchange_is_hybrid_post_quantum_under_tls_1_3() {
    let world = World::new("mesh.test");
    let (client, server) = web_to_cart(&world);
    let outcome = shake(&client, &server);
    let group = outcome.client_end.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    assert_eq!(outcome.client_end.handshake_kind(), Some(HandshakeKind::Full), "without a retry");
    assert_eq!(outcome.client_end.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let suite = outcome.client_end.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
}

#[test]
fn a_peer_without_the_hybrid_costs_no_round_trip() {
    let world = World::new("mesh.test");
    let (client, _) = web_to_cart(&world);
    let mut classic = rustls::crypto::CryptoProvider::clone(tls::provider());
    classic.kx_groups.retain(|group| group.name() == NamedGroup::X25519);
    let cart = world.certificate_at("cart", now());
    let pem = cart.to_pem();
    let server = ServerConfig::builder_with_provider(Arc::new(classic))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(cart.chain().to_vec(), pem_key(&pem))
        .unwrap();
    let outcome = shake(&client, &Arc::new(server));
    assert_eq!(outcome.client, Ok(()));
    assert_eq!(outcome.client_end.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519);
    assert_eq!(outcome.client_end.handshake_kind(), Some(HandshakeKind::Full));
}

#[test]
fn every_handshake_is_a_whole_one() {
    let world = World::new("mesh.test");
    let (client, server) = web_to_cart(&world);
    for _ in 0..2 {
        let outcome = shake(&client, &server);
        assert_eq!(outcome.client_end.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(outcome.client_end.tls13_tickets_received(), 0);
    }
}

/// A handshake message in a record (RFC 5246, sections 6.2.1 and 7.4).
fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let message = [&[kind, 0], &u16::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat();
    [&[22, 3, 3], &u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat()
}

#[test]
fn a_client_of_tls_1_2_is_refused() {
    let world = World::new("mesh.test");
    let (_, server) = web_to_cart(&world);
    let mut server = rustls::ServerConnection::new(server).unwrap();
    // Version 1.2, a random, no session, ECDHE-ECDSA-AES128-GCM, no compression; group x25519, ECDSA P-256 with SHA-256.
    let extensions = [0, 10, 0, 4, 0, 2, 0, 29, 0, 13, 0, 4, 0, 2, 4, 3];
    let hello = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 16], &extensions].concat();
    server.read_tls(&mut record(1, &hello).as_slice()).unwrap();
    let error = server.process_new_packets().unwrap_err();
    assert!(matches!(error, rustls::Error::PeerIncompatible(_)), "{error}");
    assert_eq!(Refusal::of(&error), Refusal { reason: Reason::Other, origin: Origin::Local });
}

#[test]
fn a_server_of_tls_1_2_is_refused() {
    let world = World::new("mesh.test");
    let (client, _) = web_to_cart(&world);
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let mut client = rustls::ClientConnection::new(client, name).unwrap();
    client.write_tls(&mut Vec::new()).unwrap();
    let hello = [&[3, 3][..], &[7; 32], &[0, 0xc0, 0x2b, 0]].concat();
    client.read_tls(&mut record(2, &hello).as_slice()).unwrap();
    let error = client.process_new_packets().unwrap_err();
    assert!(matches!(error, rustls::Error::PeerIncompatible(_)), "{error}");
}

#[test]
fn protocols_have_to_match() {
    let world = World::new("mesh.test");
    let web = world.generation("web");
    let server = world.generation("cart").mesh_server(&[ALPN_WEFT, ALPN_H2, ALPN_WEFT_TCP]);
    let with = |alpn: &[&[u8]]| shake(&web.client(world.expect("cart"), alpn), &server);
    let outcome = with(&[ALPN_WEFT_TCP]);
    assert_eq!(outcome.client_end.alpn_protocol(), Some(ALPN_WEFT_TCP));
    assert!(!with(&[b"spdy/3"]).accepted());
}
