//! Requests on which nothing moves because nothing comes from who answers: what their clients are told, for how long that may
//! be, and who keeps them.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};
use weft_proto::v1;

use super::frames::*;
use super::network;
use super::side::{Side, both};
use super::world::*;
use crate::observe::stats::Direction;
use crate::transport::within::Within;

/// An application that answers with these octets, and nothing more.
fn answers_with(host: u8, octets: &'static [u8]) {
    network::listen(application_at(host), move |mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await.unwrap_or_default() == 0 {
                return;
            }
        }
        stream.write_all(octets).await.unwrap();
        // Until it is let go.
        let _ = stream.read_buf(&mut head).await;
    });
}

const BEGUN: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";

/// Minutes until the answer to a GET has ended, and what came.
async fn asked(mut stream: Within, most: Duration) -> (Option<u64>, String) {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: reviews:9080\r\nconnection: close\r\n\r\n").await.unwrap();
    let (began, mut answer) = (Instant::now(), Vec::new());
    let ended = timeout(most, stream.read_to_end(&mut answer)).await;
    let minutes = ended.is_ok().then(|| began.elapsed().as_secs() / 60);
    (minutes, String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_an_answer_that_does_not_come_is_told_so() {
    both(async |side| {
        sweep(&side.worker);
        answers_with(2, b"");
        let (minutes, answer) = asked(side.connect().await, Duration::from_hours(1)).await;
        assert!(matches!(minutes, Some(5 | 6)), "{minutes:?}");
        assert!(
            answer.starts_with("HTTP/1.1 504 ") && answer.contains("x-weft-error: idle_timeout"),
            "{answer}"
        );

        let mut client = Client::new(side.connect().await, &[]).await;
        client.say(&join(&[get(1), post(3, END_STREAM, &[("content-type", "application/grpc")])])).await;
        sleep(Duration::from_mins(7)).await;
        client.say(&[]).await;
        assert_eq!((client.status(1), client.status(3)), (Some(504), Some(200)));
        let grpc = String::from_utf8_lossy(&client.got(HEADERS, 3).unwrap().payload).into_owned();
        assert!(grpc.contains("idle") || !grpc.is_empty(), "{grpc}");
        let (totals, expected) = (totals(&side.worker), 3);
        assert_eq!((totals.requests(), totals.failures), (expected, expected));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stands_still_is_cancelled() {
    both(async |side| {
        sweep(&side.worker);
        answers_with(2, BEGUN);
        let mut client = Client::new(side.connect().await, &[]).await;
        client.say(&get(1)).await;
        assert_eq!(client.status(1), Some(200));
        sleep(Duration::from_mins(7)).await;
        client.say(&get(3)).await;
        assert_eq!(client.got(RST_STREAM, 1).map(Received::code), Some(8));
        assert_eq!(client.status(3), Some(200), "others go on");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_of_http2_that_pings_keeps_its_streams() {
    both(async |side| {
        sweep(&side.worker);
        answers_with(2, BEGUN);
        let mut client = Client::new(side.connect().await, &[]).await;
        client.say(&get(1)).await;
        for _ in 0..20 {
            sleep(Duration::from_mins(3)).await;
            client.say(&frame(PING, 0, 0, &[0; 8])).await;
        }
        assert_eq!(client.got(RST_STREAM, 1), None);
        sleep(Duration::from_mins(8)).await;
        client.say(&[]).await;
        assert_eq!(client.got(RST_STREAM, 1).map(Received::code), Some(8));
    })
    .await;
}

/// How many minutes a request lasts that goes to a sidecar on weft/1 and gets no answer.
async fn minutes_of(rule: v1::HttpRule, policy: v1::BackendPolicy) -> Option<u64> {
    local(async {
        let mesh = Mesh::new(&routed_and_protected(rule, policy), &[endpoint(2, v1::Hop::Weft)]);
        let sidecar = mesh.sidecar(2, &v1::Inbound::default());
        sweep(&mesh.worker);
        sweep(&sidecar);
        answers_with(2, b"");
        let stream = network::connect(outbound()).unwrap().await.unwrap();
        let (minutes, answer) = asked(stream, Duration::from_hours(3)).await;
        assert!(minutes.is_none() || answer.contains("x-weft-error: idle_timeout"), "{answer}");
        minutes
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_service_and_a_route_say_for_how_long_nothing_may_move() {
    let idle = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let rule = |seconds| v1::HttpRule { stream_idle_timeout: seconds, ..v1::HttpRule::default() };
    let policy = |seconds| v1::BackendPolicy { stream_idle_timeout: seconds, ..v1::BackendPolicy::default() };
    for (of_route, of_service, expected) in [
        (None, None, Some(6)),
        (None, idle(1200), Some(21)),
        (None, idle(60), Some(2)),
        (idle(600), idle(1200), Some(11)),
        (idle(0), idle(60), None),
        (None, idle(0), None),
    ] {
        let minutes = minutes_of(rule(of_route), policy(of_service)).await;
        let near = match (minutes, expected) {
            (Some(minutes), Some(expected)) => minutes == expected || minutes + 1 == expected,
            (minutes, expected) => minutes == expected,
        };
        assert!(near, "{of_route:?} {of_service:?}: {minutes:?}");
    }
}

/// A request that is watched costs a place in a list, which is given back.
#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_requests_that_have_ended() {
    local(async {
        let side = Side::new(Direction::Outbound);
        for _ in 0..50 {
            side.answers(b"GET / HTTP/1.1\r\nhost: reviews:9080\r\nconnection: close\r\n\r\n").await;
        }
        assert_eq!(side.worker.recorder.waiting.places(), 1);
    })
    .await;
}

fn join(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.concat()
}
