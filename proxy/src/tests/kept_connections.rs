//! Kept connections of HTTP/1: which request may go on one that its server may be closing.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::http::body::Body;
use crate::http::client::{Client, HttpVersion};
use crate::transport::own_listeners::OwnListeners;
use crate::transport::within::Within;
use crate::upstream::connect::Connector;

/// What an application has seen.
#[derive(Default)]
struct Seen {
    connections: Cell<usize>,
    open: Cell<usize>,
    most: Cell<usize>,
    /// Requests that came just as it closed the connection.
    lost: Cell<usize>,
    served: RefCell<Vec<String>>,
}

/// The head of the next request, if one comes; its body is as long as it says.
async fn next_request(stream: &mut Within) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    stream.read_exact(&mut vec![0; length.unwrap_or(0)]).await.ok()?;
    Some(head)
}

/// An application that gives up a connection which has been idle for this long, and notices that only when something comes on
/// it: so every request that goes there is one that meets its end on the way.
fn gives_up_after(host: u8, idle: Duration, fields: &'static str) -> Rc<Seen> {
    let seen = Rc::<Seen>::default();
    let of = Rc::clone(&seen);
    network::listen(application_at(host), move |mut stream| {
        let seen = Rc::clone(&of);
        async move {
            seen.connections.set(seen.connections.get() + 1);
            seen.open.set(seen.open.get() + 1);
            seen.most.set(seen.most.get().max(seen.open.get()));
            let mut answered: Option<Instant> = None;
            while let Some(head) = next_request(&mut stream).await {
                if answered.is_some_and(|answered| answered.elapsed() >= idle) {
                    seen.lost.set(seen.lost.get() + 1);
                    break;
                }
                seen.served.borrow_mut().push(head.lines().next().unwrap_or_default().to_owned());
                let answer = format!("HTTP/1.1 200 OK\r\n{fields}content-length: 2\r\n\r\nok");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
                answered = Some(Instant::now());
            }
            seen.open.set(seen.open.get() - 1);
        }
    });
    seen
}

/// A mesh with one endpoint, behind each kind of hop in turn.
async fn over_each_hop<F: Future<Output = ()>>(test: impl Fn(v1::Hop) -> F) {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            sweep(&mesh.worker);
            sweep(&mesh.sidecar(2, &v1::Inbound::default()));
            test(hop).await;
        })
        .await;
    }
}

/// Gaps of all lengths, many of them around those after which servers give up connections.
fn gaps() -> impl Iterator<Item = Duration> {
    [0, 1, 9, 11, 50, 99, 100, 101, 150, 500, 999, 1000, 1001, 1500, 2000, 5000, 30_000]
        .into_iter()
        .map(Duration::from_millis)
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_sent_twice_meets_no_connection_that_is_being_closed() {
    over_each_hop(async |hop| {
        for method in ["POST", "PATCH", "PUT"] {
            let seen = gives_up_after(2, Duration::from_millis(100), "");
            let caller = Caller::new();
            for gap in gaps() {
                let answer = caller.send(request(method, "/", Body::full("body"))).await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK, "{hop:?} {method} before {gap:?}");
                drop(whole(answer).await);
                sleep(gap).await;
            }
            assert_eq!(seen.lost.get(), 0, "{hop:?} {method}");
            assert_eq!(seen.served.borrow().len(), gaps().count());
            // The end of the one that makes way may be heard of after the new one.
            assert!(seen.most.get() <= 2, "{} at once", seen.most.get());
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn requests_close_to_each_other_share_a_connection() {
    over_each_hop(async |hop| {
        let seen = gives_up_after(2, Duration::from_secs(5), "");
        let caller = Caller::new();
        for _ in 0..100 {
            drop(whole(caller.send(request("POST", "/", Body::full("body"))).await.unwrap()).await);
            sleep(Duration::from_millis(50)).await;
        }
        assert_eq!((seen.connections.get(), seen.served.borrow().len()), (1, 100), "{hop:?}");
        for _ in 0..3 {
            sleep(Duration::from_secs(3)).await;
            caller.get("/").await;
        }
        assert_eq!(seen.connections.get(), 1, "what may be sent twice goes on an older one, {hop:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_may_be_sent_twice_is_when_its_connection_was_being_closed() {
    // Nobody on the way tries again: a plain client speaks to the sidecar in front of the application.
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        let seen = gives_up_after(2, Duration::from_secs(5), "");
        let client = Client::new(Connector::plain(inbound(2), &OwnListeners::default()));
        for number in 0..5 {
            for method in [Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS] {
                let request = Request::builder().method(&method).uri("/").header("host", "reviews:9080");
                let request = Box::new(request.body(Body::Empty).unwrap());
                let answer = client.send(request, HttpVersion::Http1).await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK, "{method} {number}");
                if method != Method::HEAD {
                    drop(whole(answer).await);
                }
                sleep(Duration::from_secs(6)).await;
            }
        }
        assert!(seen.lost.get() > 0, "nothing was tried");
        drop(mesh);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_server_says_of_its_connections_is_obeyed() {
    over_each_hop(async |hop| {
        for (fields, gap, connections) in [
            ("keep-alive: timeout=3\r\n", 1900, 1),
            ("keep-alive: timeout=3\r\n", 2100, 4),
            ("keep-alive: timeout=3, max=100\r\n", 2100, 4),
            ("keep-alive: timeout=0\r\n", 0, 4),
            ("", 2100, 1),
        ] {
            let seen = gives_up_after(2, Duration::from_secs(3), fields);
            let caller = Caller::new();
            for _ in 0..4 {
                assert_eq!(caller.get("/").await.status(), StatusCode::OK);
                sleep(Duration::from_millis(gap)).await;
            }
            assert_eq!(
                (seen.connections.get(), seen.lost.get()),
                (connections, 0),
                "{hop:?} {fields:?} {gap}"
            );
            // The sweep of the sidecar closes what no request may use any more.
            sleep(Duration::from_secs(4)).await;
            let expected = usize::from(fields.is_empty());
            assert_eq!(seen.open.get(), expected, "{hop:?} {fields:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_time_that_connections_to_the_application_are_kept_can_be_set() {
    local(async {
        let mesh = Mesh::new(&destination(), &[endpoint(2, v1::Hop::Weft)]);
        let sidecar = mesh.sidecar(2, &v1::Inbound::default());
        sweep(&sidecar);
        let seen = gives_up_after(2, Duration::from_hours(1), "");
        let caller = Caller::new();
        for (idle, before, after) in [(60, 58, 62), (5, 3, 7), (300, 298, 302)] {
            sidecar.shared.set_application_idle(Duration::from_secs(idle));
            caller.get("/").await;
            sleep(Duration::from_secs(before)).await;
            assert_eq!(seen.open.get(), 1, "{idle} s");
            sleep(Duration::from_secs(after - before)).await;
            assert_eq!(seen.open.get(), 0, "{idle} s");
        }
    })
    .await;
}

/// On sockets of the kernel, where a connection can be closed while the worker is busy.
#[tokio::test]
async fn a_connection_that_was_closed_while_nobody_looked_gets_no_request() {
    use std::io::{Read as _, Write as _};
    use std::sync::mpsc;

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (closed, is_closed) = mpsc::channel();
    // Answers one request on each connection and closes it soon after, without having said so.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                head.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let _ = stream.read(&mut byte);
            drop(stream);
            if closed.send(()).is_err() {
                return;
            }
        }
    });
    local(async {
        let client = Client::new(Connector::plain(address, &OwnListeners::default()));
        // A task, as requests are in a proxy.
        let asking = tokio::task::spawn_local(async move {
            for number in 0..10 {
                let request = Request::post("/").header("host", "reviews").body(Body::Empty).unwrap();
                let answer = client.send(Box::new(request), HttpVersion::Http1).await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK, "{number}");
                drop(answer);
                // This thread is held up, so that it has not heard of the end when the next request comes.
                is_closed.recv().unwrap();
            }
        });
        asking.await.unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_have_as_many_fields_as_a_request() {
    over_each_hop(async |hop| {
        for (count, status) in [(99, StatusCode::OK), (198, StatusCode::OK), (210, StatusCode::BAD_GATEWAY)] {
            network::listen(application_at(2), move |mut stream| async move {
                while next_request(&mut stream).await.is_some() {
                    let fields: Vec<_> =
                        (0..count).map(|number| format!("x-{number}: {number}\r\n")).collect();
                    let fields = fields.concat();
                    let answer = format!("HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n");
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
            let client = Client::new(Connector::plain(outbound(), &OwnListeners::default()));
            let answer =
                client.send(Box::new(request("GET", "/", Body::Empty)), HttpVersion::Http1).await.unwrap();
            assert_eq!(answer.status(), status, "{hop:?} {count}");
            if status == StatusCode::OK {
                let arrived = answer.headers().keys().filter(|name| name.as_str().starts_with("x-")).count();
                assert_eq!(arrived, count, "{hop:?}");
            }
            // The application behind the kept connection is another one the next time.
            sleep(Duration::from_mins(2)).await;
        }
    })
    .await;
}
