//! Answers that take their time: events that a server sends as they happen, and long polling.

use std::time::Duration;

use http::{Response, StatusCode};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::http::body::Body;

/// Just under what an idle stream of HTTP may be.
const NEARLY: Duration = Duration::from_secs(299);

async fn over_each_hop<F: Future<Output = ()>>(test: impl Fn() -> F) {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            let far = mesh.sidecar(2, &v1::Inbound::default());
            sweep(&mesh.worker);
            sweep(&far);
            test().await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn events_come_as_they_happen_and_with_minutes_between_them() {
    over_each_hop(async || {
        network::listen(application_at(2), |mut stream| async move {
            let _ = stream.read(&mut [0; 1024]).await;
            let head =
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head).await.unwrap();
            for _ in 0..3 {
                sleep(NEARLY).await;
                stream.write_all(b"9\r\ndata: 1\n\n\r\n").await.unwrap();
            }
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        });
        let began = Instant::now();
        let answer = Caller::new().send(request("GET", "/events", Body::Empty)).await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(began.elapsed().as_secs(), 0, "the head comes before the first event");
        let mut body = answer.into_body();
        for number in 1..=3 {
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), "data: 1\n\n");
            assert_eq!(began.elapsed().as_secs(), number * NEARLY.as_secs());
        }
        assert!(body.frame().await.is_none());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_be_waited_for_for_minutes() {
    over_each_hop(async || {
        application(2, |_| async {
            sleep(NEARLY).await;
            Response::new(Body::full("at last"))
        });
        let caller = Caller::new();
        for _ in 0..2 {
            let answer = caller.get("/poll").await;
            assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, &b"at last"[..]));
        }
    })
    .await;
}
