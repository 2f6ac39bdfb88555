//! Refusals as the proxy meets them: as errors of asynchronous streams.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weft_identity::tls::{self, ALPN_WEFT};
use weft_identity::{
    CaMaterial, CertificateAuthority, ExpectedIdentities, Generation, KeyAndCsr, Origin, Reason, Refusal,
};

use crate::world::{DAY, World, web_to_cart};

#[tokio::test]
async fn the_reason_is_found_in_the_errors_of_asynchronous_streams() {
    let world = World::new("mesh.test");
    // The streams below have the machine's own clock, for which these certificates are not valid yet, or long past.
    let (client, server) = web_to_cart(&world);
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let (client, server) = tokio::join!(
        tokio_rustls::TlsConnector::from(client).connect(name.clone(), near),
        tokio_rustls::TlsAcceptor::from(server).accept(far),
    );
    let refusal = Refusal::of_io(&client.unwrap_err()).unwrap();
    assert!([Reason::Expired, Reason::NotYetValid].contains(&refusal.reason));
    assert_eq!(refusal.origin, Origin::Local);
    assert_eq!(
        Refusal::of_io(&server.unwrap_err()).unwrap(),
        Refusal { reason: Reason::Expired, origin: Origin::Peer }
    );
    assert_eq!(Refusal::of_io(&std::io::ErrorKind::ConnectionReset.into()), None);
}

#[tokio::test]
async fn a_client_learns_of_the_servers_refusal_when_it_first_reads() {
    let authority = authority_of_today();
    let bare = tls::bundle_client(Arc::new(authority.bundle().clone()), any(&authority), &[ALPN_WEFT]);
    let server = generation_of_today(&authority).mesh_server(&[ALPN_WEFT]);
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let accept = tokio::spawn(tokio_rustls::TlsAcceptor::from(server).accept(far));
    let mut stream = tokio_rustls::TlsConnector::from(bare).connect(name, near).await.unwrap();
    let _ = stream.write_all(b"hello").await;
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(
        Refusal::of_io(&error).unwrap(),
        Refusal { reason: Reason::NoCertificate, origin: Origin::Peer }
    );
    let error = accept.await.unwrap().unwrap_err();
    assert_eq!(Refusal::of_io(&error).unwrap().to_string(), "no_certificate (local)");
}

fn authority_of_today() -> CertificateAuthority {
    let trust_domain = "mesh.test".parse().unwrap();
    let today = SystemTime::now();
    let material = CaMaterial::generate(&trust_domain, today).unwrap();
    CertificateAuthority::from_pem(&material, "", &trust_domain, today).unwrap()
}

fn any(authority: &CertificateAuthority) -> ExpectedIdentities {
    ExpectedIdentities::AnyIn(authority.trust_domain().clone())
}

fn generation_of_today(authority: &CertificateAuthority) -> Generation {
    let request = KeyAndCsr::generate().unwrap();
    let identity = "spiffe://mesh.test/ns/shop/sa/cart".parse().unwrap();
    let issued = authority.sign(request.csr_der(), &identity, DAY, SystemTime::now()).unwrap();
    Generation::new(request.into_certificate(issued.chain).unwrap(), Arc::new(authority.bundle().clone()))
}

#[test]
fn labels_are_stable_and_all_different() {
    let labels: Vec<_> = Reason::ALL.iter().map(|reason| reason.label()).collect();
    assert_eq!(
        labels,
        [
            "no_certificate",
            "expired",
            "not_yet_valid",
            "unknown_issuer",
            "wrong_trust_domain",
            "no_spiffe_id",
            "several_uri_sans",
            "unexpected_identity",
            "revoked",
            "bad_signature",
            "other"
        ]
    );
}
