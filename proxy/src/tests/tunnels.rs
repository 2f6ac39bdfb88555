//! Streams of HTTP/2 that carry bytes both ways.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, Version};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::http::body::Body;
use crate::http::local::LocalExecutor;
use crate::transport::within::Within;

/// A client of HTTP/2 that knows by now what its server can do.
async fn client() -> SendRequest<Body> {
    let stream = network::connect(outbound()).unwrap().await.unwrap();
    let (mut sender, connection) = handshake(LocalExecutor, TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(connection);
    let request = Request::get("http://reviews:9080/").body(Body::Empty).unwrap();
    sender.send_request(request).await.unwrap();
    sender
}

async fn opened(mut sender: SendRequest<Body>, request: Request<Body>) -> (Response<()>, TokioIo<Upgraded>) {
    let mut response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let upgraded = hyper::upgrade::on(&mut response).await.unwrap();
    (response.map(drop), TokioIo::new(upgraded))
}

/// Reverses five bytes of a WebSocket.
async fn reverse(mut request: Request<hyper::body::Incoming>) -> Response<Body> {
    if !request.headers().contains_key("upgrade") {
        return Response::new(Body::Empty);
    }
    assert_eq!((request.method(), request.version()), (&Method::GET, Version::HTTP_11));
    assert_eq!(request.uri(), "/chat?room=1");
    for (name, value) in [("upgrade", "websocket"), ("host", "reviews:9080"), ("sec-websocket-version", "13")]
    {
        assert_eq!(request.headers()[name], value);
    }
    assert_eq!(request.headers()["sec-websocket-key"].len(), 24);
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::task::spawn_local(async move {
        let mut stream = TokioIo::new(upgrade.await.unwrap());
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).await.unwrap();
        bytes.reverse();
        stream.write_all(&bytes).await.unwrap();
    });
    let answer =
        Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
    answer.header("sec-websocket-accept", "of its key").body(Body::Empty).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_extended_connect_reaches_an_application_as_an_upgrade_through_every_kind_of_hop() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            mesh.sidecar(2, &v1::Inbound::default());
            application(2, reverse);
            let request = Request::connect("http://reviews:9080/chat?room=1")
                .extension(Protocol::from_static("websocket"))
                .header("sec-websocket-version", "13")
                .body(Body::Empty)
                .unwrap();
            let (head, mut stream) = opened(client().await, request).await;
            for field in ["upgrade", "connection", "sec-websocket-accept"] {
                assert!(!head.headers().contains_key(field), "{field}");
            }
            stream.write_all(b"hello").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "olleh");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn connect_over_http2_opens_a_tunnel_whose_requests_are_routed() {
    local(async {
        let _mesh = Mesh::with_sidecars(&[2]);
        echo(2);
        let request = Request::connect("reviews:9080").body(Body::Empty).unwrap();
        let (_, mut stream) = opened(client().await, request).await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: elsewhere\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("x-host: 2"), "{answer}");
    })
    .await;
}

/// What both sides of these tests speak: HTTP/1.1 at the client, and HTTP/2 at the application, which says so.
async fn over_each_hop_to_http2<F: Future<Output = ()>>(test: impl Fn() -> F) {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let backend = v1::Backend { protocol: v1::Protocol::Http2.into(), ..backend("reviews") };
            let destination = v1::Destination { backend: Some(backend), ..destination() };
            let mesh = Mesh::new(&destination, &[endpoint(2, hop)]);
            let port = v1::InboundPort { protocol: v1::Protocol::Http2.into(), ..v1::InboundPort::default() };
            mesh.sidecar(2, &v1::Inbound { default_port: Some(port), ..v1::Inbound::default() });
            test().await;
        })
        .await;
    }
}

/// Asks for a WebSocket by HTTP/1.1, and gives the head of the answer.
async fn websocket() -> (String, Within) {
    websocket_by(outbound()).await
}

/// As [`websocket`], of whoever takes connections at an address.
async fn websocket_by(address: SocketAddr) -> (String, Within) {
    let mut stream = network::connect(address).unwrap().await.unwrap();
    let head = "GET /chat?room=1 HTTP/1.1\r\nhost: reviews:9080\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    (String::from_utf8(answer).unwrap(), stream)
}

#[tokio::test(start_paused = true)]
async fn a_websocket_of_http1_reaches_an_application_of_http2_by_an_extended_connect() {
    over_each_hop_to_http2(async || {
        application(2, |mut request| async move {
            assert_eq!((request.method(), request.version()), (&Method::CONNECT, Version::HTTP_2));
            assert_eq!(request.uri(), "http://reviews:9080/chat?room=1");
            assert_eq!(request.extensions().get::<Protocol>().unwrap().as_str(), "websocket");
            assert_eq!(request.headers()["sec-websocket-version"], "13");
            for field in ["sec-websocket-key", "connection", "upgrade"] {
                assert!(!request.headers().contains_key(field), "{field}");
            }
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::task::spawn_local(async move {
                let mut stream = TokioIo::new(upgrade.await.unwrap());
                let mut bytes = [0; 5];
                stream.read_exact(&mut bytes).await.unwrap();
                bytes.reverse();
                stream.write_all(&bytes).await.unwrap();
                stream.shutdown().await.unwrap();
            });
            Response::new(Body::Empty)
        });
        let (head, mut stream) = websocket().await;
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
        stream.write_all(b"hello").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "olleh");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_websocket_that_an_application_of_http2_does_not_take_is_told_so() {
    over_each_hop_to_http2(async || {
        network::listen(application_at(2), |stream| async move {
            let service = hyper::service::service_fn(|_| async {
                Ok::<_, std::convert::Infallible>(Response::new(Body::Empty))
            });
            let server = hyper::server::conn::http2::Builder::new(LocalExecutor);
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
        let (head, _) = websocket().await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        assert!(head.contains("x-weft-error: upstream_protocol\r\n"), "{head}");
    })
    .await;
}

/// An application that says its news twice, nearly an hour after each other, when it is told to, and closes
/// nothing. Gives when a tunnel to it has ended.
fn with_news() -> Rc<Cell<Option<Instant>>> {
    let ended = Rc::<Cell<Option<Instant>>>::default();
    let told = Rc::clone(&ended);
    application(2, move |mut request| {
        let told = Rc::clone(&told);
        async move {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::task::spawn_local(async move {
                let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
                reader.read_exact(&mut [0; 5]).await.unwrap();
                for _ in 0..2 {
                    sleep(Duration::from_mins(59)).await;
                    writer.write_all(b"news!").await.unwrap();
                }
                let _ = reader.read_to_end(&mut Vec::new()).await;
                told.set(Some(Instant::now()));
                std::future::pending::<()>().await;
                drop(writer);
            });
            let answer = Response::builder().status(101).header("connection", "upgrade");
            answer.header("upgrade", "websocket").body(Body::Empty).unwrap()
        }
    });
    ended
}

/// A tunnel lives for as long as there is a byte within an hour, whichever way, and not much longer.
async fn lives_for_an_hour_without_a_byte(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    ended: &Cell<Option<Instant>>,
) {
    sleep(Duration::from_mins(59)).await;
    stream.write_all(b"news?").await.unwrap();
    for _ in 0..2 {
        stream.read_exact(&mut [0; 5]).await.unwrap();
    }
    let quiet = Instant::now();
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_hours(3), stream.read_to_end(&mut rest)).await.expect("it never ends");
    let an_hour = Duration::from_hours(1)..Duration::from_mins(63);
    assert!(rest.is_empty() && an_hour.contains(&quiet.elapsed()), "{:?}", quiet.elapsed());
    sleep(Duration::from_mins(3)).await;
    let ended = ended.get().expect("the application is not let go");
    assert!(an_hour.contains(&ended.duration_since(quiet)), "{:?}", ended.duration_since(quiet));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_ends_after_an_hour_without_a_byte_on_every_kind_of_hop() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            mesh.sidecar(2, &v1::Inbound::default());
            let ended = with_news();
            let (head, stream) = websocket().await;
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            lives_for_an_hour_without_a_byte(stream, &ended).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_of_a_caller_without_a_sidecar_ends_after_an_hour_without_a_byte() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        let ended = with_news();
        let (head, stream) = websocket_by(inbound(2)).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        lives_for_an_hour_without_a_byte(stream, &ended).await;
        drop(mesh);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_over_http2_ends_after_an_hour_without_a_byte_on_every_kind_of_hop() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            mesh.sidecar(2, &v1::Inbound::default());
            application(2, async |_| Response::new(Body::Empty));
            let client = client().await;
            let ended = with_news();
            let request = Request::connect("http://reviews:9080/")
                .extension(Protocol::from_static("websocket"))
                .body(Body::Empty)
                .unwrap();
            let (_, stream) = opened(client, request).await;
            lives_for_an_hour_without_a_byte(stream, &ended).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_out_of_the_mesh_ends_after_an_hour_without_a_byte() {
    local(async {
        let mesh = Mesh::new(&destination(), &[]);
        mesh.change(|snapshot| drop(snapshot.destinations.insert("reviews:9080".into(), None)));
        network::name("reviews:9080", &[application_at(2)]);
        let ended = with_news();
        let (head, stream) = websocket().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        lives_for_an_hour_without_a_byte(stream, &ended).await;
    })
    .await;
}
