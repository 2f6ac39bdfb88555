//! Clients that stop, or go on so slowly that it comes to the same: heads have 15 s, and a request on which nothing moves
//! either way five minutes, to the minute.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};
use weft_mesh::violation::Violation;

use super::frames::*;
use super::network;
use super::side::both;
use super::world::*;
use crate::transport::within::Within;

/// When a connection closes, and what came until then.
async fn end(stream: &mut Within) -> (Duration, String) {
    let (began, mut answer) = (Instant::now(), Vec::new());
    let _ = timeout(Duration::from_hours(2), stream.read_to_end(&mut answer)).await.expect("it never closes");
    (began.elapsed(), String::from_utf8_lossy(&answer).into_owned())
}

fn is_five_minutes(time: Duration) -> bool {
    (Duration::from_mins(5)..=Duration::from_secs(6 * 60 + 2)).contains(&time)
}

#[tokio::test(start_paused = true)]
async fn a_head_that_takes_too_long_is_answered_with_408() {
    both(async |side| {
        let (mut read, mut write) = tokio::io::split(side.connect().await);
        let began = Instant::now();
        let sending = async {
            write.write_all(b"GET / HTTP/1.1\r\nhost: reviews:9080\r\nx: ").await.unwrap();
            while write.write_all(b"y").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        };
        let mut answer = String::new();
        tokio::select! {
            () = sending => {}
            read = read.read_to_string(&mut answer) => { read.unwrap(); }
        }
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
        assert!(answer.contains("x-weft-error: client_timeout\r\n"), "{answer}");
        let time = began.elapsed();
        assert!((Duration::from_secs(15)..Duration::from_secs(18)).contains(&time), "{time:?}");
        assert_eq!(side.violations(Violation::SlowHead), 1);
        assert!(side.seen.borrow().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_second_head_has_no_more_time_than_the_first() {
    both(async |side| {
        let mut stream = side.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: reviews:9080\r\n\r\nGET / HT").await.unwrap();
        let (time, answers) = end(&mut stream).await;
        assert!(answers.starts_with("HTTP/1.1 200 ") && answers.contains("HTTP/1.1 408 "), "{answers}");
        assert!((Duration::from_secs(15)..Duration::from_secs(18)).contains(&time), "{time:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_before_it_is_known_what_it_speaks_is_cut_off() {
    both(async |side| {
        for start in ["G", "PRI * HTT"] {
            let mut stream = side.connect().await;
            stream.write_all(start.as_bytes()).await.unwrap();
            let (time, _) = end(&mut stream).await;
            assert!(time < Duration::from_secs(35), "{start}: {time:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_body_on_which_nothing_moves_is_given_up() {
    both(async |side| {
        sweep(&side.worker);
        let mut stream = side.connect().await;
        let head = "POST / HTTP/1.1\r\nhost: reviews:9080\r\ncontent-length: 10\r\n\r\nhello";
        stream.write_all(head.as_bytes()).await.unwrap();
        let (time, answer) = end(&mut stream).await;
        assert!(is_five_minutes(time), "{time:?}");
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("\r\nx-weft-error: client_timeout\r\n"), "{answer}");
        assert_eq!(side.violations(Violation::Idle), 1);
        let totals = totals(&side.worker);
        assert_eq!((totals.failures, totals.retries), (0, 0));
        assert!(side.seen.borrow().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_slowly_arrives() {
    both(async |side| {
        let mut stream = side.connect().await;
        let head = "POST / HTTP/1.1\r\nhost: reviews:9080\r\ncontent-length: 8\r\nconnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..8 {
            sleep(Duration::from_mins(4)).await;
            stream.write_all(b"x").await.unwrap();
        }
        let (_, answer) = end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(side.violations(Violation::Idle), 0);
    })
    .await;
}

/// An application that answers with more than anyone reads; says how much it could write, and whether it was let go.
fn endless() -> (Rc<Cell<usize>>, Rc<Cell<bool>>) {
    let (written, left) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    let (told, gone) = (Rc::clone(&written), Rc::clone(&left));
    network::listen(application_at(2), move |mut stream| {
        let (told, gone) = (Rc::clone(&told), Rc::clone(&gone));
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut head).await.unwrap_or_default() == 0 {
                    return;
                }
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n";
            if stream.write_all(answer).await.is_err() {
                return;
            }
            while stream.write_all(&[b'x'; 1000]).await.is_ok() {
                told.set(told.get() + 1000);
            }
            gone.set(true);
        }
    });
    (written, left)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_given_up_and_its_application_let_go() {
    both(async |side| {
        let (written, left) = endless();
        let mut stream = side.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: reviews:9080\r\n\r\n").await.unwrap();
        sleep(Duration::from_secs(280)).await;
        assert!((1..1_000_000).contains(&written.get()) && !left.get(), "{}", written.get());
        sleep(Duration::from_secs(142)).await;
        assert!(left.get(), "nobody let the application go");
        assert_eq!(side.violations(Violation::Idle), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn streams_whose_client_opens_no_window_hold_little_and_are_given_up() {
    both(async |side| {
        let (written, left) = endless();
        // Nothing may be sent on any stream.
        let mut client = Client::new(side.connect().await, &[(4, 0)]).await;
        let streams: Vec<u32> = (0..20).map(|number| number * 2 + 1).collect();
        client.say(&streams.iter().flat_map(|stream| get(*stream)).collect::<Vec<_>>()).await;
        // It may say that it is there, which moves no stream.
        for _ in 0..10 {
            sleep(Duration::from_secs(28)).await;
            client.say(&frame(PING, 0, 0, &[0; 8])).await;
        }
        assert!((1..4_000_000).contains(&written.get()) && !left.get(), "{}", written.get());
        sleep(Duration::from_secs(140)).await;
        client.say(&[]).await;
        for stream in &streams {
            assert_eq!(client.got(RST_STREAM, *stream).map(Received::code), Some(8), "{stream}");
        }
        assert!(left.get(), "nobody let the application go");
        assert_eq!(side.violations(Violation::Idle), 20);
        assert!(!client.closed);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_on_which_nothing_moves_is_given_up_alone() {
    both(async |side| {
        sweep(&side.worker);
        let mut client = Client::new(side.connect().await, &[]).await;
        client.say(&[post(1, 0, &[]), frame(DATA, 0, 1, b"hello")].concat()).await;
        let mut stream = 3;
        for _ in 0..7 {
            sleep(Duration::from_secs(55)).await;
            client.say(&get(stream)).await;
            assert_eq!(client.status(stream), Some(200));
            stream += 2;
        }
        assert_eq!(client.status(1), Some(408));
        assert_eq!(side.violations(Violation::Idle), 1);
        let totals = totals(&side.worker);
        assert_eq!((totals.failures, totals.retries), (0, 0));
    })
    .await;
}

/// In the middle of a frame nobody else on the connection can say anything.
#[tokio::test(start_paused = true)]
async fn a_client_that_stops_in_a_frame_is_cut_off() {
    both(async |side| {
        let _endless = endless();
        let mut client = Client::new(side.connect().await, &[(4, 0)]).await;
        client.say(&[get(1), frame(PING, 0, 0, &[0; 8])[..11].to_vec()].concat()).await;
        sleep(Duration::from_mins(7)).await;
        client.say(&[]).await;
        assert!(client.closed);
        assert_eq!(side.violations(Violation::Idle), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn how_long_a_request_may_stand_still_is_a_setting() {
    for (idle, expected) in [(Duration::from_mins(20), [Some(20), Some(21)]), (Duration::ZERO, [None, None])]
    {
        both(async |side| {
            side.worker.shared.set_stream_idle(idle);
            sweep(&side.worker);
            let mut stream = side.connect().await;
            let head = "POST / HTTP/1.1\r\nhost: reviews:9080\r\ncontent-length: 10\r\n\r\nhello";
            stream.write_all(head.as_bytes()).await.unwrap();
            let (began, mut answer) = (Instant::now(), Vec::new());
            let reading = timeout(Duration::from_hours(5), stream.read_to_end(&mut answer));
            let closed = reading.await.is_ok();
            let minutes = closed.then(|| began.elapsed().as_secs() / 60);
            assert!(expected.contains(&minutes), "{minutes:?}");
        })
        .await;
    }
}
