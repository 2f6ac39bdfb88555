//! Who is let in, and whom a client talks to.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use weft_identity::tls::ALPN_WEFT;
use weft_identity::{ExpectedIdentities, Generation};
use weft_mesh::violation::Violation;
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::http::body::Body;
use crate::observe::stats::Direction;

fn strict() -> v1::Inbound {
    let port = v1::InboundPort { tls_mode: v1::TlsMode::Strict.into(), ..v1::InboundPort::default() };
    v1::Inbound { default_port: Some(port), ..v1::Inbound::default() }
}

#[tokio::test(start_paused = true)]
async fn a_client_refuses_an_endpoint_with_another_identity() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        echo(2);
        let wrong = v1::Endpoint { identities: vec![identity("ratings")], ..endpoint(2, v1::Hop::Weft) };
        mesh.configure(&destination(), &[wrong]);
        let response = Caller::new().get("/").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["x-weft-error"], "connect_failed");
        let detail = String::from_utf8_lossy(response.body()).into_owned();
        assert!(detail.contains(&identity("reviews")), "{detail}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn plain_text_is_refused_where_only_mesh_tls_is_let_in() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        let sidecar = mesh.sidecar(2, &strict());
        echo(2);
        let mut stream = network::connect(inbound(2)).unwrap().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty(), "{answer:?}");
        assert_eq!(sidecar.shared.stats.refusals(), 1);
    })
    .await;
}

/// Whether a client with this certificate gets an answer from the sidecar.
async fn is_let_in(generation: &Generation) -> bool {
    let config =
        generation.client(ExpectedIdentities::one(identity("reviews").parse().unwrap()), &[ALPN_WEFT]);
    let stream = network::connect(inbound(2)).unwrap().await.unwrap();
    let name = rustls::pki_types::ServerName::from(inbound(2).ip());
    let Ok(mut stream) = TlsConnector::from(config).connect(name, stream).await else { return false };
    // In TLS 1.3 a client learns only by reading that its certificate was refused.
    let mut settings = [0; 1];
    stream.read_exact(&mut settings).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn only_valid_certificates_of_the_trust_domain_are_let_in() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        let sidecar = mesh.sidecar(2, &strict());
        echo(2);
        let (now, hour) = (SystemTime::now(), Duration::from_hours(1));
        let good = mesh.authority.issue("web", hour, now);
        let bundle = Arc::clone(good.bundle());
        let with_our_roots =
            |other: Generation| Generation::new(other.certificate().clone(), Arc::clone(&bundle));
        assert!(is_let_in(&good).await);
        let expired = mesh.authority.issue("web", Duration::from_mins(1), now - Duration::from_mins(3));
        assert!(!is_let_in(&expired).await);
        let foreign = Authority::new("other.test").issue("web", hour, now);
        assert!(!is_let_in(&with_our_roots(foreign)).await);
        let forged = Authority::new("mesh.test").issue("web", hour, now);
        assert!(!is_let_in(&with_our_roots(forged)).await);
        assert_eq!(sidecar.shared.stats.refusals(), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_no_policy_allows_is_denied_with_the_callers_name() {
    local(async {
        let port = v1::InboundPort { deny_by_default: true, ..v1::InboundPort::default() };
        let mesh = Mesh::with_sidecars(&[2]);
        mesh.sidecar(2, &v1::Inbound { default_port: Some(port), ..v1::Inbound::default() });
        echo(2);
        let response = Caller::new().get("/").await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(response.headers()["x-weft-error"], "denied");
        let detail = String::from_utf8_lossy(response.body()).into_owned();
        assert!(detail.contains(&identity("web")), "{detail}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_http_does_not_reach_a_port_of_http_past_its_policies() {
    local(async {
        let mesh = Mesh::new(&destination(), &[endpoint(2, v1::Hop::Weft)]);
        let port = v1::InboundPort { protocol: v1::Protocol::Http1.into(), ..v1::InboundPort::default() };
        mesh.sidecar(2, &v1::Inbound { default_port: Some(port), ..v1::Inbound::default() });
        let reached = Rc::new(Cell::new(false));
        let told = Rc::clone(&reached);
        network::listen(application_at(2), move |_| {
            told.set(true);
            async {}
        });
        let mut stream = network::connect(inbound(2)).unwrap().await.unwrap();
        stream.write_all(b"\x00\x01 is no HTTP\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(!reached.get());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn fields_of_one_connection_alone_end_at_a_sidecar_whatever_its_peer_is() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        let sidecar = mesh.sidecar(2, &strict());
        application(2, async |request: Request<Incoming>| {
            let names: Vec<_> = request.headers().keys().map(http::HeaderName::as_str).collect();
            Response::new(Body::full(names.join(" ")))
        });
        let own = mesh.authority.issue("web", Duration::from_hours(1), SystemTime::now());
        let expected = ExpectedIdentities::one(identity("reviews").parse().unwrap());
        let stream = network::connect(inbound(2)).unwrap().await.unwrap();
        let name = rustls::pki_types::ServerName::from(inbound(2).ip());
        let stream =
            TlsConnector::from(own.client(expected, &[ALPN_WEFT])).connect(name, stream).await.unwrap();
        let link = crate::hop::client::connect(stream);
        let ask = async |fields: &[(&str, &str)]| {
            let mut request = Request::get("/");
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let (parts, body) = request.body(Body::Empty).unwrap().into_parts();
            let sent = link.request(&parts, body, &weft_hop::RequestMetadata::default()).await;
            whole(sent.unwrap().unwrap().0).await
        };
        let host = ("host", "reviews:9080");
        let fields = [
            host,
            ("connection", "x-one"),
            ("x-one", "1"),
            ("keep-alive", "5"),
            ("te", "gzip"),
            ("x-two", "2"),
        ];
        let answer = ask(&fields).await;
        assert_eq!(answer.body(), "host x-two x-forwarded-client-cert");
        for wrong in [&[][..], &[host, host]] {
            let answer = ask(wrong).await;
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
            assert_eq!(answer.headers()["x-weft-error"], "bad_request");
        }
        let counted = sidecar.shared.stats.violations(Direction::Inbound, Violation::Host);
        assert_eq!(counted, 2);
    })
    .await;
}
