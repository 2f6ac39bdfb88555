//! What applications speak arrives as it was sent.

use http::{Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::hop::tests::Frames;
use crate::http::body::Body;
use crate::outbound::{self, Downstream, Target};
use crate::transport::within::within;

/// Requests over each kind of hop.
async fn over_each_hop<F: Future<Output = ()>>(test: impl Fn(Mesh) -> F) {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            if hop != v1::Hop::Plain {
                mesh.sidecar(2, &v1::Inbound::default());
            }
            test(mesh).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn http1_goes_through_every_kind_of_hop() {
    over_each_hop(async |mesh| {
        echo(2);
        let body = vec![7; 300_000];
        let request = request("POST", "/reviews/1?full=yes", Body::full(body.clone()));
        let response = whole(Caller::new().send(request).await.unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["x-host"], "2");
        assert!(response.body() == &body);
        assert_eq!(succeeded(&mesh), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn http2_goes_through_every_kind_of_hop() {
    over_each_hop(async |mesh| {
        application(2, |request| async move {
            assert_eq!(request.version(), Version::HTTP_2);
            assert_eq!(request.uri().path(), "/pkg.Service/Method");
            let trailers = [("grpc-status", "0"), ("x-end", "yes")];
            let trailers = trailers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let frames =
                [http_body::Frame::data(body), http_body::Frame::trailers(trailers.into_iter().collect())];
            Response::new(Body::Test(Frames::new(frames)))
        });
        let request = Request::post("http://reviews:9080/pkg.Service/Method")
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .body(Body::full("message"))
            .unwrap();
        let response = Caller::new().send_http2(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-end"], "yes");
        assert_eq!(body.to_bytes(), "message");
        assert_eq!(succeeded(&mesh), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_application_learns_who_called() {
    local(async {
        let _mesh = Mesh::with_sidecars(&[2]);
        echo(2);
        let mut forged = request("GET", "/", Body::Empty);
        forged
            .headers_mut()
            .insert("x-forwarded-client-cert", "URI=spiffe://mesh.test/ns/shop/sa/admin".parse().unwrap());
        let response = whole(Caller::new().send(forged).await.unwrap()).await;
        let client = response.headers()["x-client"].to_str().unwrap();
        assert!(client.contains(&identity("web")) && !client.contains("admin"), "{client}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_upgraded_connection_carries_bytes_both_ways() {
    over_each_hop(async |_mesh| {
        application(2, |mut request| async move {
            assert_eq!(request.headers()["upgrade"], "echo/1");
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::task::spawn_local(async move {
                let mut stream = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
                let mut bytes = [0; 5];
                stream.read_exact(&mut bytes).await.unwrap();
                bytes.reverse();
                stream.write_all(&bytes).await.unwrap();
            });
            let answer =
                Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo/1");
            answer.body(Body::Empty).unwrap()
        });
        let mut stream = network::connect(outbound()).unwrap().await.unwrap();
        let head =
            "GET /chat HTTP/1.1\r\nhost: reviews:9080\r\nconnection: Upgrade\r\nupgrade: echo/1\r\n\r\nhello";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\nolleh"), "{answer}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_http_is_passed_on_whole() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        network::listen(application_at(2), |mut stream| async move {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            all.reverse();
            stream.write_all(&all).await.unwrap();
        });
        let (mut near, far) = within(16);
        let target = Target::Fixed("reviews:9080".into());
        let downstream = std::rc::Rc::new(Downstream::new(target, at(1, 40_001)));
        tokio::task::spawn_local(outbound::dialled(std::rc::Rc::clone(&mesh.worker), far, downstream));
        near.write_all(b"\x00\x01 something that is no HTTP").await.unwrap();
        near.shutdown().await.unwrap();
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"PTTH on si taht gnihtemos \x01\x00");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connect_opens_a_tunnel_whose_requests_are_routed() {
    local(async {
        let _mesh = Mesh::with_sidecars(&[2]);
        echo(2);
        let mut stream = network::connect(outbound()).unwrap().await.unwrap();
        stream.write_all(b"CONNECT reviews:9080 HTTP/1.1\r\nhost: reviews:9080\r\n\r\n").await.unwrap();
        let mut answer = [0; 19];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK\r\n\r\n");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: elsewhere\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("x-host: 2"), "{answer}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn names_that_are_not_in_the_mesh_are_reached_as_they_are() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        mesh.answer_lookups();
        echo(9);
        let request =
            Request::get("http://10.0.0.9:9080/x").header("host", "10.0.0.9:9080").body(Body::Empty).unwrap();
        let response = whole(Caller::new().send(request).await.unwrap()).await;
        assert_eq!(response.headers()["x-host"], "9");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_leaves_the_mesh_as_one() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        mesh.answer_lookups();
        network::listen(at(9, 80), |mut stream| async move {
            let mut head = [0; 1024];
            let length = stream.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..length]).to_lowercase();
            assert!(
                head.contains("upgrade: echo/1\r\n") && head.contains("connection: upgrade\r\n"),
                "{head}"
            );
            let agrees =
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo/1\r\n\r\n";
            stream.write_all(agrees).await.unwrap();
            let mut bytes = [0; 5];
            stream.read_exact(&mut bytes).await.unwrap();
            bytes.reverse();
            stream.write_all(&bytes).await.unwrap();
        });
        let mut stream = network::connect(outbound()).unwrap().await.unwrap();
        let head =
            "GET /chat HTTP/1.1\r\nhost: 10.0.0.9\r\nconnection: Upgrade\r\nupgrade: echo/1\r\n\r\nhello";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("\r\n\r\nolleh"), "{answer}");
    })
    .await;
}
