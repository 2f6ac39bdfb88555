use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;
use weft_hop::{Config, Connection, RequestMetadata, ResponseMarks, ResponseMetadata, Role};

use super::client::connect;
use super::link::Link;
use super::server::{Answer, serve};
use crate::error::BoxFailure;
use crate::http::body::Body;
use crate::http::violation_recorder::ViolationRecorder;
use crate::observe::stats::Direction;
use crate::runtime::clock::now;
use crate::runtime::shared::Shared;

/// Joins a client to a handler over a pipe that holds few bytes, so that everything is cut and waits.
fn join<H, F>(pipe: usize, drain: &CancellationToken, handler: H) -> Rc<Link>
where
    H: Fn(Request<Body>, RequestMetadata) -> F + 'static,
    F: Future<Output = Answer> + 'static,
{
    let (near, far) = tokio::io::duplex(pipe);
    let close = CancellationToken::new();
    tokio::task::spawn_local(serve(far, drain.clone(), close, ViolationRecorder::default(), handler));
    connect(near)
}

async fn local<F: Future>(test: impl FnOnce() -> F) -> F::Output {
    LocalSet::new().run_until(async { test().await }).await
}

fn request(body: Body) -> (http::request::Parts, Body) {
    Request::post("/path?query").header("x-a", "1").body(body).unwrap().into_parts()
}

#[allow(clippy::unnecessary_wraps)] // What handlers give.
fn answer(body: Body) -> Answer {
    Ok((
        Response::new(body),
        ResponseMetadata { marks: ResponseMarks::PROCESSED, ..ResponseMetadata::default() },
    ))
}

async fn send(link: &Rc<Link>, body: Body) -> Result<(Response<Body>, ResponseMetadata), BoxFailure> {
    let (parts, body) = request(body);
    // The peer's settings have to arrive before the first stream can be opened on some connections.
    link.request(&parts, body, &RequestMetadata::default()).await.unwrap()
}

async fn read(body: Body) -> Bytes {
    body.collect().await.unwrap().to_bytes()
}

#[tokio::test(start_paused = true)]
async fn a_request_and_its_answer_arrive_whole() {
    local(|| async {
        let link = join(7, &CancellationToken::new(), |request, metadata| async move {
            assert_eq!(request.uri(), "/path?query");
            assert_eq!(request.headers()["x-a"], "1");
            assert_eq!(metadata.attempt, None);
            let body = read(request.into_body()).await;
            answer(Body::full([b"you said ", &body[..]].concat()))
        });
        let (response, metadata) = send(&link, Body::full("hello")).await.unwrap();
        assert!(metadata.marks.contains(ResponseMarks::PROCESSED));
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(read(response.into_body()).await, "you said hello");
        assert_eq!(link.open_streams(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_any_length_arrives_whole_though_its_handler_is_done_before() {
    for length in [1, 4096, 4097, 20_000, 64 * 1024, 200_000] {
        for sent in [0, 30_000] {
            local(|| async {
                let link = join(1000, &CancellationToken::new(), move |_unread, _| async move {
                    answer(Body::full(vec![7; length]))
                });
                let asked = if sent == 0 { Body::Empty } else { Body::full(vec![1; sent]) };
                let (response, _) = send(&link, asked).await.unwrap();
                assert_eq!(read(response.into_body()).await, vec![7; length], "{length}, {sent}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                assert_eq!(link.open_streams(), 0);
                assert_eq!(link.look(|connection| connection.open_streams()), 0, "{length}, {sent}");
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_large_bodies_go_both_ways_at_once() {
    local(|| async {
        let link =
            join(4096, &CancellationToken::new(), |request, _| async move { answer(request.into_body()) });
        let sent: Vec<Vec<u8>> = (0..10_u8).map(|i| vec![i; 200_000 + usize::from(i)]).collect();
        let answers = sent.iter().map(|bytes| async {
            let (response, _) = send(&link, Body::full(bytes.clone())).await.unwrap();
            read(response.into_body()).await
        });
        let received = futures_util::future::join_all(answers).await;
        assert_eq!(received, sent);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_waited_for_its_own_queue_goes_on_when_that_has_left() {
    local(|| async {
        let (near, mut far) = tokio::io::duplex(4096);
        let link = connect(near);
        let (parts, body) = request(Body::full(vec![7; 600_000]));
        let metadata = RequestMetadata::default();
        let asking = link.request(&parts, body, &metadata);
        // A peer that gives much credit at once, says nothing afterwards and reads on.
        let peer = async {
            let mut settings = BytesMut::new();
            Connection::new(Role::Server, Config::default(), now()).write_into(&mut settings, usize::MAX);
            far.write_all(&settings).await.unwrap();
            let credit = [0, 4, 5, 0, 0, 0, 0, 1, 0, 0x10, 0, 0];
            far.write_all(&credit).await.unwrap();
            let (mut read, mut received) = (vec![0; 4096], 0);
            while received < 600_000 {
                received += far.read(&mut read).await.unwrap();
            }
        };
        tokio::select! {
            _ = asking => panic!("nobody answers"),
            () = peer => {}
            () = tokio::time::sleep(Duration::from_secs(5)) => panic!("the sender stands still"),
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn trailers_follow_the_body() {
    local(|| async {
        let link = join(64, &CancellationToken::new(), |_, _| async {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            let source = Frames::new([Frame::data("body".into()), Frame::trailers(trailers)]);
            answer(Body::Test(source))
        });
        let (response, _) = send(&link, Body::Empty).await.unwrap();
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(collected.to_bytes(), "body");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_stops_the_sender_and_nobody_else() {
    local(|| async {
        let produced = Rc::new(Cell::new(0_usize));
        let counter = Rc::clone(&produced);
        let link = join(4096, &CancellationToken::new(), move |request, _| {
            let counter = Rc::clone(&counter);
            async move {
                if request.headers().contains_key("x-endless") {
                    answer(Body::Test(Frames::endless(counter)))
                } else {
                    answer(Body::full("small"))
                }
            }
        });
        let (mut parts, body) = request(Body::Empty);
        parts.headers.insert("x-endless", "1".parse().unwrap());
        let (endless, _) = link.request(&parts, body, &RequestMetadata::default()).await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        let stopped_at = produced.get();
        assert!(stopped_at < 2 * 1024 * 1024, "{stopped_at} bytes were sent to nobody");
        let (small, _) = send(&link, Body::Empty).await.unwrap();
        assert_eq!(read(small.into_body()).await, "small");
        assert_eq!(produced.get(), stopped_at);
        drop(endless);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_ends_the_work() {
    struct Flag(Rc<Cell<bool>>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    local(|| async {
        let ended = Rc::new(Cell::new(false));
        let flag = Rc::clone(&ended);
        let link = join(4096, &CancellationToken::new(), move |_, _| {
            let flag = Flag(Rc::clone(&flag));
            async move {
                std::future::pending::<()>().await;
                drop(flag);
                answer(Body::Empty)
            }
        });
        let given_up = tokio::time::timeout(Duration::from_secs(1), send(&link, Body::Empty)).await;
        assert!(given_up.is_err());
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(ended.get());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_what_is_under_way_finish_and_takes_nothing_new() {
    local(|| async {
        let drain = CancellationToken::new();
        let link = join(4096, &drain, |_, _| async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            answer(Body::full("late"))
        });
        let slow = send(&link, Body::Empty);
        let check = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drain.cancel();
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(!link.is_usable());
        };
        let (slow, ()) = tokio::join!(slow, check);
        assert_eq!(read(slow.unwrap().0.into_body()).await, "late");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(link.is_closed());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_fails_what_is_under_way() {
    local(|| async {
        let (near, far) = tokio::io::duplex(64);
        let link = connect(near);
        let sending = send(&link, Body::Empty);
        let cut = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(far);
        };
        let (sent, ()) = tokio::join!(sending, cut);
        assert!(sent.unwrap_err().processed);
        assert!(link.is_closed());
    })
    .await;
}

/// A body of the test's own frames.
#[derive(Debug)]
pub struct Frames {
    /// The last one first.
    left: Vec<Frame<Bytes>>,
    endless: Option<Rc<Cell<usize>>>,
    stalls: bool,
}

impl Frames {
    pub(crate) fn new(frames: impl IntoIterator<Item = Frame<Bytes>>) -> Self {
        let mut frames: Vec<_> = frames.into_iter().collect();
        frames.reverse();
        Self { left: frames, endless: None, stalls: false }
    }

    /// These, and then nothing for ever.
    pub(crate) fn stalling(frames: impl IntoIterator<Item = Frame<Bytes>>) -> Self {
        Self { stalls: true, ..Self::new(frames) }
    }

    /// Whether nothing more comes, without an end.
    pub(crate) fn stalls(&self) -> bool {
        self.stalls && self.left.is_empty()
    }

    pub(crate) fn endless(counter: Rc<Cell<usize>>) -> Self {
        Self { left: Vec::new(), endless: Some(counter), stalls: false }
    }

    pub(crate) fn next(&mut self) -> Option<Frame<Bytes>> {
        if let Some(counter) = &self.endless {
            counter.set(counter.get() + 10_000);
            return Some(Frame::data(Bytes::from(vec![0; 10_000])));
        }
        self.left.pop()
    }
}

#[test]
fn a_future_of_a_request_stays_small() {
    let link_body_size = std::mem::size_of::<Body>();
    assert!(link_body_size <= 48, "a body is moved on every request: {link_body_size} bytes");
    let _ = Body::Empty.is_end_stream();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_the_callers_proxy_has_forgotten_ends_alone_after_a_day() {
    local(|| async {
        let (shared, _) = Shared::new(1, weft_mesh::balance::Locality::default());
        let violations = ViolationRecorder::new(&shared, Direction::Inbound);
        let (near, far) = tokio::io::duplex(1000);
        tokio::task::spawn_local(serve(
            far,
            CancellationToken::new(),
            CancellationToken::new(),
            violations,
            |request, _| async move {
                if request.uri().path() == "/path" {
                    std::future::pending::<()>().await;
                }
                answer(Body::full("hello"))
            },
        ));
        let link = connect(near);
        // The other side is there, and says so.
        let ticking = Rc::clone(&link);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                ticking.tick(crate::runtime::clock::now());
            }
        });
        let began = tokio::time::Instant::now();
        let failure = send(&link, Body::Empty).await.unwrap_err();
        assert!(failure.detail.contains("timeout"), "{failure}");
        let time = began.elapsed();
        assert!((Duration::from_hours(24)..=Duration::from_mins(24 * 60 + 2)).contains(&time), "{time:?}");
        let (parts, body) = Request::get("/other").body(Body::Empty).unwrap().into_parts();
        let other = link.request(&parts, body, &RequestMetadata::default()).await.unwrap().unwrap();
        assert_eq!(read(other.0.into_body()).await, "hello");
        assert_eq!(shared.stats.violations(Direction::Inbound, weft_mesh::violation::Violation::Idle), 1);
    })
    .await;
}
