//! What the access log says of requests and connections.

use std::sync::mpsc::Receiver;

use http::Response;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weft_proto::v1;

use super::detection::dial;
use super::network;
use super::side::both;
use super::world::*;
use crate::http::body::Body;
use crate::observe::access::{Entry, Message, Mode, Share};
use crate::observe::stats::Direction;
use crate::runtime::worker::Worker;

fn logging(worker: &Worker, mode: Mode) -> Receiver<Message> {
    worker.shared.access.set(mode, Share::default());
    worker.shared.access.open().unwrap()
}

fn lines(messages: &Receiver<Message>) -> Vec<Entry> {
    let entries = messages.try_iter().filter_map(|message| match message {
        Message::Line(entry) => Some(*entry),
        Message::End(_) => None,
    });
    entries.collect()
}

#[tokio::test(start_paused = true)]
async fn both_sides_of_a_request_say_the_same_of_it() {
    local(async {
        let mesh = Mesh::new(&routed(v1::HttpRule::default()), &[endpoint(2, v1::Hop::Weft)]);
        let near = logging(&mesh.worker, Mode::All);
        let far = logging(&mesh.sidecar(2, &v1::Inbound::default()), Mode::All);
        echo(2);
        let caller = Caller::new();
        let response = caller.send(request("POST", "/a?b", Body::full("seven b"))).await.unwrap();
        assert_eq!(whole(response).await.body(), "seven b");
        drop(caller);
        let (near, far) = (lines(&near), lines(&far));
        let ([near], [far]) = (&near[..], &far[..]) else { panic!("{near:?} {far:?}") };
        for line in [near, far] {
            assert_eq!((line.method.as_deref(), line.path.as_deref()), (Some("POST"), Some("/a")));
            assert_eq!((line.status, line.failed, line.reason), (Some(200), false, None));
            assert_eq!((line.bytes_received, line.bytes_sent), (7, 7));
            assert_eq!(line.destination.as_ref().unwrap().to_string(), "shop/reviews:9080");
        }
        assert_eq!((near.direction, far.direction), ("outbound", "inbound"));
        assert!(near.request_id.is_some());
        assert_eq!(near.request_id, far.request_id);
        assert_eq!((&*near.route, near.attempts), ("route", Some(1)));
        assert_eq!((&*near.workload, near.endpoint), ("reviews-2", Some(inbound(2))));
        assert_eq!(near.destination_identity.as_ref().unwrap().to_string(), identity("reviews"));
        assert_eq!(far.source_identity.as_ref().unwrap().to_string(), identity("web"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn of_failures_alone_it_says_why_they_failed() {
    local(async {
        let mesh = Mesh::new(&destination(), &[endpoint(2, v1::Hop::Plain)]);
        let log = logging(&mesh.worker, Mode::Errors);
        application(2, |request| async move {
            let status = if request.uri().path() == "/500" { 500 } else { 200 };
            Response::builder().status(status).body(Body::Empty).unwrap()
        });
        let caller = Caller::new();
        caller.get("/200").await;
        caller.get("/500").await;
        mesh.answer_lookups();
        let no_host = http::Request::builder().uri("/").header("host", "").body(Body::Empty).unwrap();
        assert_eq!(caller.send(no_host).await.unwrap().status(), 400);
        let lines = lines(&log);
        let told: Vec<_> = lines.iter().map(|line| (line.status, line.reason, line.failed)).collect();
        assert_eq!(told, [(Some(500), None, true), (Some(400), Some("bad_request"), true)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_opaque_connection_is_one_line_at_its_end() {
    local(async {
        let tcp = v1::Backend { protocol: v1::Protocol::Tcp.into(), ..backend("reviews") };
        let destination =
            v1::Destination { backend: Some(tcp), protocol: v1::Protocol::Tcp.into(), ..destination() };
        let mesh = Mesh::new(&destination, &[endpoint(2, v1::Hop::Weft)]);
        let near = logging(&mesh.worker, Mode::All);
        let far = logging(&mesh.sidecar(2, &v1::Inbound::default()), Mode::All);
        network::listen(application_at(2), |mut stream| async move {
            let mut asked = [0; 4];
            stream.read_exact(&mut asked).await.unwrap();
            stream.write_all(b"answer").await.unwrap();
        });
        let mut stream = dial(&mesh);
        stream.write_all(b"ask!").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        drop(stream);
        assert_eq!(answer, "answer");
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        for log in [near, far] {
            let lines = lines(&log);
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert_eq!((lines[0].protocol, lines[0].failed), ("tcp", false));
            assert_eq!((lines[0].bytes_received, lines[0].bytes_sent), (4, 6));
            assert_eq!(lines[0].destination.as_ref().unwrap().to_string(), "shop/reviews:9080");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_leaves_the_mesh_is_one_line_at_the_end_of_its_answer() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        mesh.answer_lookups();
        let log = logging(&mesh.worker, Mode::All);
        network::listen(at(9, 80), |mut stream| async move {
            let _ = stream.read(&mut [0; 1024]).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfirst").await.unwrap();
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
            stream.write_all(b"last").await.unwrap();
        });
        let request =
            http::Request::post("/x").header("host", "10.0.0.9").body(Body::full("seven b")).unwrap();
        let answer = Caller::new().send(request).await.unwrap();
        assert_eq!(lines(&log).len(), 0, "the answer has not ended");
        assert_eq!(mesh.worker.shared.under_way(), 1);
        assert_eq!(whole(answer).await.body(), "firstlast");
        let lines = lines(&log);
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(
            (line.status, line.bytes_received, line.bytes_sent, line.cut_off),
            (Some(200), 7, 9, false)
        );
        assert_eq!(mesh.worker.shared.under_way(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_read_is_a_line_of_both_sides_without_what_is_unknown() {
    both(async |side| {
        let log = logging(&side.worker, Mode::Errors);
        let too_large = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(70_000));
        for bytes in [
            "GET  / HTTP/1.1\r\nhost: reviews:9080\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: reviews:9080\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            &too_large,
        ] {
            side.answers(bytes.as_bytes()).await;
        }
        let mut slow = side.connect().await;
        slow.write_all(b"GET / HT").await.unwrap();
        slow.read_to_end(&mut Vec::new()).await.unwrap();
        let lines = lines(&log);
        let told: Vec<_> = lines.iter().map(|line| (line.status, line.reason)).collect();
        let expected = [
            (Some(400), Some("bad_request")),
            (Some(400), Some("smuggling_attempt")),
            (Some(431), Some("header_too_large")),
            (Some(408), Some("client_timeout")),
        ];
        assert_eq!(told, expected);
        for line in lines {
            assert!(line.failed);
            assert_eq!((line.direction, line.protocol), (side.direction.name(), "HTTP/1.1"));
            assert!(line.method.is_none() && line.path.is_none() && line.authority.is_none());
            let destination = line.destination.map(|destination| destination.to_string());
            let known = (side.direction == Direction::Inbound).then(|| "shop/reviews:9080".to_owned());
            assert_eq!(destination, known);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_read_is_no_line_while_the_log_is_off() {
    both(async |side| {
        let log = logging(&side.worker, Mode::Off);
        side.answers(b"GET  / HTTP/1.1\r\nhost: reviews:9080\r\n\r\n").await;
        assert!(lines(&log).is_empty());
    })
    .await;
}
