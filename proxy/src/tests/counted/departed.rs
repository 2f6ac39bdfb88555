//! Clients that go away, and those that only say that they send no more.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weft_mesh::reason::Reason;

use super::*;
use crate::transport::within::Within;

/// An application that answers after a second; how many requests it has begun, and how many answered.
fn slow() -> Rc<Cell<(u32, u32)>> {
    let seen = Rc::<Cell<(u32, u32)>>::default();
    let told = Rc::clone(&seen);
    application(2, move |_| {
        let told = Rc::clone(&told);
        async move {
            told.set((told.get().0 + 1, told.get().1));
            tokio::time::sleep(Duration::from_secs(1)).await;
            told.set((told.get().0, told.get().1 + 1));
            Response::new(Body::full("hello"))
        }
    });
    seen
}

/// Sends a request and closes the client's own side.
async fn half_closed(head: &str) -> Within {
    let mut stream = network::connect(outbound()).unwrap().await.unwrap();
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    stream.shutdown().await.unwrap();
    stream
}

#[tokio::test(start_paused = true)]
async fn a_client_of_http_1_that_closes_its_side_has_gone_and_its_request_is_cancelled() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            mesh.sidecar(2, &v1::Inbound::default());
            let messages = logging(&mesh.worker);
            let seen = slow();
            let mut stream = half_closed("GET / HTTP/1.1\r\nhost: reviews:9080\r\n").await;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "");
            let counted = counted(&mesh.worker);
            assert_eq!(counted.by_cause.into_iter().collect::<Vec<_>>(), [((0, "cancelled"), 1)]);
            assert_eq!(counted.failures, 0);
            let lines = lines(&messages);
            assert_eq!((lines.len(), lines[0].cut_off, lines[0].status), (1, true, None));
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(seen.get(), (1, 0), "the application hears of it");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_that_it_sends_no_more_and_closes_its_side_gets_its_answer() {
    for head in [
        "GET / HTTP/1.1\r\nhost: reviews:9080\r\nconnection: close\r\n",
        "GET / HTTP/1.1\r\nhost: reviews:9080\r\nconnection: x-mine, Close\r\nx-mine: 1\r\n",
        "GET / HTTP/1.0\r\nhost: reviews:9080\r\n",
    ] {
        local(async {
            let mesh = Mesh::with_sidecars(&[2]);
            mesh.sidecar(2, &v1::Inbound::default());
            let seen = slow();
            let mut stream = half_closed(head).await;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.ends_with("\r\n\r\nhello"), "{head}: {answer}");
            assert_eq!(seen.get(), (1, 1));
            let by_cause: Vec<_> = counted(&mesh.worker).by_cause.into_iter().collect();
            assert_eq!(by_cause, [((2, ""), 1)]);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn requests_of_one_connection_that_come_together_are_answered_in_turn() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        mesh.sidecar(2, &v1::Inbound::default());
        slow();
        let mut stream = network::connect(outbound()).unwrap().await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: reviews:9080\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        // It comes in two pieces while the first is under way.
        stream.write_all(b"GET / HTTP/1.1\r\nhost: rev").await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.write_all(b"iews:9080\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.unwrap();
        assert_eq!(answers.matches("\r\n\r\nhello").count(), 2, "{answers}");
        assert_eq!(counted(&mesh.worker).by_cause.into_iter().collect::<Vec<_>>(), [((2, ""), 2)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_resets_its_stream_while_it_sends_has_gone_and_made_no_mistake() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            mesh.sidecar(2, &v1::Inbound::default());
            let messages = logging(&mesh.worker);
            let app = Rc::<Application>::default();
            application(2, move |request| application_of(Rc::clone(&app), request));
            let caller = Caller::new();
            let body = Body::Test(Frames::stalling([Frame::data(Bytes::from_static(b"beginning"))]));
            let sending = caller.send_http2(request("POST", "http://reviews:9080/hang", body));
            assert!(tokio::time::timeout(Duration::from_secs(1), sending).await.is_err());
            tokio::time::sleep(Duration::from_secs(1)).await;
            let counted = counted(&mesh.worker);
            assert_eq!(counted.by_cause.into_iter().collect::<Vec<_>>(), [((0, "cancelled"), 1)], "{hop:?}");
            assert_eq!((counted.failures, counted.sent), (0, 9));
            let stats = &mesh.worker.shared.stats;
            assert_eq!(stats.answers(Direction::Outbound, Reason::BadRequest), 0);
            let lines = lines(&messages);
            assert_eq!((lines.len(), lines[0].cut_off, lines[0].status), (1, true, None));
        })
        .await;
    }
}
