//! Clients that send without end what costs them little: each is cut off and counted, and nobody beside it notices.

use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_mesh::violation::Violation;

use super::frames::*;
use super::side::{Side, both};

const CALM: u32 = 11;

/// What a client sends first, and what it then sends again and again, by its number.
struct Flood {
    name: &'static str,
    begins: Vec<u8>,
    again: fn(u32) -> Vec<u8>,
    violation: Violation,
}

fn flood(name: &'static str, begins: &[Vec<u8>], violation: Violation, again: fn(u32) -> Vec<u8>) -> Flood {
    Flood { name, begins: begins.concat(), again, violation }
}

/// The stream of the request with this number.
fn stream(number: u32) -> u32 {
    number * 2 + 1
}

fn floods() -> Vec<Flood> {
    vec![
        flood("PING", &[], Violation::PingFlood, |_| frame(PING, 0, 0, &[0; 8])),
        flood("SETTINGS", &[], Violation::SettingsFlood, |_| settings(&[(3, 100)])),
        flood("empty DATA", &[post(1, 0, &[])], Violation::EmptyFrameFlood, |_| frame(DATA, 0, 1, &[])),
        flood("DATA of padding alone", &[post(1, 0, &[])], Violation::EmptyFrameFlood, |_| {
            frame(DATA, PADDED, 1, &[2, 0, 0])
        }),
        flood("CONTINUATION", &[frame(HEADERS, 0, 1, &fields(&GET))], Violation::ContinuationFlood, |_| {
            frame(CONTINUATION, 0, 1, &fields(&[("x", "y")]))
        }),
        flood(
            "empty CONTINUATION",
            &[frame(HEADERS, 0, 1, &fields(&GET))],
            Violation::ContinuationFlood,
            |_| frame(CONTINUATION, 0, 1, &[]),
        ),
        flood(
            "trailers",
            &[post(1, 0, &[]), frame(HEADERS, END_STREAM, 1, &[])],
            Violation::ContinuationFlood,
            |_| frame(CONTINUATION, 0, 1, &fields(&[("x", "y")])),
        ),
        flood("rapid reset", &[], Violation::RapidReset, |number| {
            [get(stream(number)), frame(RST_STREAM, 0, stream(number), &[0, 0, 0, 8])].concat()
        }),
        flood("WINDOW_UPDATE", &[], Violation::FrameFlood, |number| {
            // Of the connection, and so seldom that its window does not overflow.
            frame(WINDOW_UPDATE, 0, 0, &(number % 2 + 1).to_be_bytes())
        }),
        flood("PRIORITY", &[], Violation::FrameFlood, |number| {
            frame(PRIORITY, 0, stream(number), &[0, 0, 0, 0, 1])
        }),
        flood("unknown frames", &[], Violation::FrameFlood, |_| frame(0xf0, 0, 0, &[])),
    ]
}

/// Sends until the proxy has had enough; says how many frames that took.
async fn send(side: &Side, flood: &Flood) -> Client {
    let mut client = Client::new(side.connect().await, &[]).await;
    client.say(&flood.begins).await;
    for batch in 0..20 {
        let frames: Vec<u8> = (0..1000).flat_map(|number| (flood.again)(batch * 1000 + number)).collect();
        client.say(&frames).await;
        if client.closed {
            return client;
        }
    }
    panic!("{}: nothing ends it", flood.name);
}

#[tokio::test(start_paused = true)]
async fn every_flood_is_ended_and_counted() {
    both(async |side| {
        for flood in floods() {
            let before = side.violations(flood.violation);
            let client = send(&side, &flood).await;
            assert_eq!(side.violations(flood.violation), before + 1, "{}", flood.name);
            let gone = client.received.iter().find(|frame| frame.kind == GOAWAY).map(Received::code);
            assert_eq!(gone, Some(CALM), "{}", flood.name);
        }
    })
    .await;
}

/// One octet for each of thousands of fields, which are large only when they are taken out (RFC 7541 section 7.3).
#[tokio::test(start_paused = true)]
async fn a_head_that_is_small_only_while_it_is_compressed_reaches_nobody() {
    both(async |side| {
        let mut block = fields(&GET);
        // With incremental indexing, so that the next octets are each all of it.
        let bomb = fields(&[("x-bomb", &"y".repeat(4000))]);
        block.push(0x40);
        block.extend(&bomb[1..]);
        block.extend([0xbe; 12_000]);
        let mut client = Client::new(side.connect().await, &[]).await;
        client.say(&frame(HEADERS, WHOLE, 1, &block)).await;
        let answered = client.got(HEADERS, 1).is_some() && client.status(1) == Some(431);
        let ended = client
            .received
            .iter()
            .any(|frame| matches!(frame.kind, RST_STREAM | GOAWAY) && frame.code() != 0);
        assert!(answered || ended, "{:?}", client.received);
        assert!(side.seen.borrow().is_empty());
        let counted = side.violations(Violation::HeadTooLarge) + side.violations(Violation::Http2Refused);
        assert_eq!(counted, 1);
    })
    .await;
}

/// Twenty requests, one after the other, each answered.
async fn good_client(side: Rc<Side>) {
    let mut stream = side.connect().await;
    for _ in 0..20 {
        stream.write_all(b"GET /good HTTP/1.1\r\nhost: reviews:9080\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_beside_hostile_clients_notices_them() {
    both(async |side| {
        let side = Rc::new(side);
        let good: Vec<_> =
            (0..3).map(|_| tokio::task::spawn_local(good_client(Rc::clone(&side)))).collect();
        let mut hostile = Vec::new();
        for flood in floods() {
            let side = Rc::clone(&side);
            hostile.push(tokio::task::spawn_local(async move {
                send(&side, &flood).await;
            }));
        }
        let octets: [&[u8]; 6] = [
            b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            b"POST / HTTP/1.1\r\nhost: reviews:9080\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nhost: reviews:9080\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
            b"GET / HTTP/1.1\r\nhost: reviews:9080\r\nx:\0\r\n\r\n",
            b"\0\x01\x02\x03\r\n\r\n",
            b"GET /\nhost: reviews:9080\r\n\r\n",
        ];
        for octets in octets {
            let side = Rc::clone(&side);
            hostile.push(tokio::task::spawn_local(async move {
                for _ in 0..20 {
                    side.answers(octets).await;
                }
            }));
        }
        // These hold a connection and say next to nothing.
        let mut slow = Vec::new();
        for octets in ["GET / HT", "POST / HTTP/1.1\r\nhost: reviews:9080\r\ncontent-length: 5\r\n\r\nh", "PRI * HTTP/2.0"] {
            let mut stream = side.connect().await;
            stream.write_all(octets.as_bytes()).await.unwrap();
            slow.push(stream);
        }
        for client in good.into_iter().chain(hostile) {
            client.await.unwrap();
        }
    })
    .await;
}
