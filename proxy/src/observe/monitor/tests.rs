use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, TcpListener};

use http::header::{HOST, LOCATION};
use http::{HeaderValue, Response};
use http_body::Body as _;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::*;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// An application that tells what it was asked; some of its paths are special.
fn application() -> u16 {
    let listener = TcpListener::bind((LOCAL, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(respond)),
            );
        }
    });
    port
}

async fn respond(request: Request<Incoming>) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    let field = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("-");
    let (status, location) = match request.uri().path() {
        "/sick" => (500, None),
        "/moved" => (302, Some("/well?again")),
        "/round" => (302, Some("/round")),
        "/away" => (307, Some("http://elsewhere.example/")),
        _ => (200, None),
    };
    let body = format!("{} {} {}", request.uri(), field(HOST.as_str()), field("x-probe"));
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    if let Some(location) = location {
        response.headers_mut().insert(LOCATION, HeaderValue::from_static(location));
    }
    Ok(response)
}

async fn probe(description: &str) -> Result<(u16, String), String> {
    let probes: Probes = format!(r#"{{"app/readiness": {description}}}"#).parse().unwrap();
    let (status, body) = probes.get("app/readiness").unwrap().run(LOCAL, None).await?;
    Ok((status.as_u16(), String::from_utf8(body.to_vec()).unwrap()))
}

#[tokio::test(start_paused = true)]
async fn metrics_are_written_once_a_second_however_often_they_are_asked_for() {
    let (written, mut times) = (Written::default(), 0);
    for _ in 0..3 {
        for _ in 0..100 {
            for format in [Format::accepted(None), Format::accepted(Some("application/openmetrics-text"))] {
                let answer = written.get(format, || {
                    times += 1;
                    text(StatusCode::OK, format.content_type())
                });
                assert_eq!(answer.body().size_hint().exact(), Some(format.content_type().len() as u64));
            }
        }
        tokio::time::advance(METRICS_FOR).await;
    }
    assert_eq!(times, 6);
}

#[tokio::test]
async fn an_http_probe_asks_what_the_kubelet_would_have_asked() {
    let port = application();
    let get = format!(
        r#"{{"httpGet": {{"path": "well", "port": {port}, "httpHeaders": [{{"name": "X-Probe", "value": "1"}}]}}, "periodSeconds": 3}}"#
    );
    assert_eq!(probe(&get).await.unwrap(), (200, format!("/well 127.0.0.1:{port} 1")));
    let named = format!(
        r#"{{"httpGet": {{"port": {port}, "httpHeaders": [{{"name": "Host", "value": "shop.example"}}]}}}}"#
    );
    assert_eq!(probe(&named).await.unwrap(), (200, "/ shop.example -".to_owned()));
    let sick = format!(r#"{{"httpGet": {{"path": "/sick", "port": {port}}}}}"#);
    assert_eq!(probe(&sick).await.unwrap().0, 500);
}

#[tokio::test]
async fn a_redirect_is_followed_within_the_host_and_never_given_to_the_kubelet() {
    let port = application();
    let at = |path: &str| format!(r#"{{"httpGet": {{"path": "{path}", "port": {port}}}}}"#);
    assert_eq!(probe(&at("/moved")).await.unwrap(), (200, format!("/well?again 127.0.0.1:{port} -")));
    assert_eq!(probe(&at("/away")).await.unwrap().0, 200);
    assert_eq!(probe(&at("/round")).await.unwrap_err(), "more than 10 redirects");
}

#[tokio::test]
async fn a_probe_of_a_port_that_nobody_listens_on_fails() {
    let free = TcpListener::bind((LOCAL, 0)).unwrap().local_addr().unwrap().port();
    for kind in ["httpGet", "tcpSocket"] {
        let error = probe(&format!(r#"{{"{kind}": {{"port": {free}}}}}"#)).await.unwrap_err();
        assert!(error.contains(&format!("cannot connect to 127.0.0.1:{free}")), "{error}");
    }
    let error = probe(&format!(r#"{{"grpc": {{"port": {free}}}}}"#)).await.unwrap_err();
    assert!(error.contains(&format!("cannot connect to port {free}")), "{error}");
    let open = application();
    assert_eq!(probe(&format!(r#"{{"tcpSocket": {{"port": {open}}}}}"#)).await.unwrap().0, 200);
}

#[tokio::test]
async fn a_grpc_probe_asks_for_the_health_of_the_service() {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("shop.Cart", tonic_health::ServingStatus::NotServing).await;
    let listener = tokio::net::TcpListener::bind((LOCAL, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(health).serve_with_incoming(incoming));
    assert_eq!(probe(&format!(r#"{{"grpc": {{"port": {port}}}}}"#)).await.unwrap().0, 200);
    let of = |service: &str| format!(r#"{{"grpc": {{"port": {port}, "service": "{service}"}}}}"#);
    assert_eq!(probe(&of("shop.Cart")).await.unwrap_err(), "NOT_SERVING");
    assert!(probe(&of("shop.None")).await.unwrap_err().starts_with("NotFound"));
}

#[tokio::test]
async fn an_https_probe_takes_any_certificate() {
    let key = rcgen::generate_simple_self_signed(["anybody".to_owned()]).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![key.cert.der().clone()],
                key.signing_key.serialize_der().try_into().unwrap(),
            )
            .unwrap();
    let listener = tokio::net::TcpListener::bind((LOCAL, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await.unwrap();
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service_fn(respond));
        let _ = connection.await;
    });
    let get = format!(r#"{{"httpGet": {{"path": "/well", "port": {port}, "scheme": "HTTPS"}}}}"#);
    assert_eq!(probe(&get).await.unwrap().0, 200);
}

#[test]
fn wrong_probes_are_refused_with_their_name() {
    for (text, problem) in [
        ("[]", "not a JSON object of probes"),
        (r#"{"app/liveness": {}}"#, "\"app/liveness\": give exactly one of"),
        (r#"{"app/liveness": {"httpGet": {"port": "http"}}}"#, "not a JSON object of probes"),
        (
            r#"{"app/liveness": {"tcpSocket": {"port": 1}, "grpc": {"port": 1}}}"#,
            "\"app/liveness\": give exactly one of",
        ),
    ] {
        let error = text.parse::<Probes>().unwrap_err();
        assert!(error.contains(problem), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_container_is_held_for_as_long_as_asked() {
    let began = tokio::time::Instant::now();
    assert_eq!(hold("4").await.status(), StatusCode::OK);
    assert_eq!(began.elapsed(), Duration::from_secs(4));
    for wrong in ["", "-1", "61", "soon"] {
        assert_eq!(hold(wrong).await.status(), StatusCode::BAD_REQUEST, "{wrong}");
    }
}
