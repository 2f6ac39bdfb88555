//! What happens to requests when a sidecar is told to end.

use std::time::Duration;

use http::{Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::http::body::Body;

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: reviews:9080\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_connection_that_comes_during_a_drain_has_its_request_answered_and_is_closed() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        echo(2);
        let mut before = network::connect(outbound()).unwrap().await.unwrap();
        before.write_all(&GET[..20]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        mesh.worker.shared.drain.cancel();
        let mut after = network::connect(outbound()).unwrap().await.unwrap();
        after.write_all(GET).await.unwrap();
        before.write_all(&GET[20..]).await.unwrap();
        for mut stream in [before, after] {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.contains("connection: close\r\n"), "{answer}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_of_an_endpoint_costs_no_request_on_any_kind_of_hop() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop), endpoint(3, hop)]);
            let sidecars = [2, 3].map(|host| mesh.sidecar(host, &v1::Inbound::default()));
            for host in [2, 3] {
                application(host, |request| async move {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Response::new(Body::from(request.into_body()))
                });
            }
            let caller = Caller::new();
            let requests = (0..200_u64).map(async |number| {
                tokio::time::sleep(Duration::from_millis(number)).await;
                if number == 100 {
                    sidecars[0].shared.drain.cancel();
                    mesh.configure(&destination(), &[endpoint(3, hop)]);
                }
                let answer = caller.send(request("POST", "/", Body::full("all of it"))).await.unwrap();
                let answer = whole(answer).await;
                assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, &b"all of it"[..]));
            });
            futures_util::future::join_all(requests).await;
            assert_eq!(succeeded(&mesh), 200, "{hop:?}");
        })
        .await;
    }
}
