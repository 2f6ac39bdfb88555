//! `Expect: 100-continue`: the application decides whether the body is sent, over every hop.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};
use weft_proto::v1;

use super::network;
use super::octets::{client, over_each_hop, read_until};
use super::world::*;

const HEAD: &str =
    "PUT /upload HTTP/1.1\r\nHost: reviews:9080\r\nExpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
const GO_ON: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const REFUSAL: &str = "HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\n\r\nno";

/// What an application does once it has a head.
#[derive(Clone, Copy)]
enum Does {
    /// Answers without asking for the body.
    Refuses,
    /// Asks for it after a time, and answers when it has it.
    Asks(Duration),
    /// Waits for it without a word.
    Waits,
}

/// An application of HTTP/1.1, and the heads that it has got.
fn application_that(host: u8, does: Does) -> Rc<RefCell<Vec<String>>> {
    let heads = Rc::<RefCell<Vec<String>>>::default();
    let seen = Rc::clone(&heads);
    network::listen(application_at(host), move |mut stream| {
        let seen = Rc::clone(&seen);
        async move {
            while let Some(head) = read_until(&mut stream, "\r\n\r\n").await {
                seen.borrow_mut().push(head);
                if let Does::Asks(after) = does {
                    sleep(after).await;
                    stream.write_all(GO_ON.as_bytes()).await.unwrap();
                }
                if let Does::Refuses = does {
                    stream.write_all(REFUSAL.as_bytes()).await.unwrap();
                    // Whatever comes now is no body that was asked for.
                    assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0, "the body was sent");
                    return;
                }
                let mut body = [0; 4];
                if stream.read_exact(&mut body).await.is_err() {
                    return;
                }
                assert_eq!(&body, b"body");
                stream.write_all(ANSWER.as_bytes()).await.unwrap();
            }
        }
    });
    heads
}

#[tokio::test(start_paused = true)]
async fn an_application_that_refuses_is_heard_and_the_body_is_never_asked_for() {
    over_each_hop(async |_mesh| {
        let heads = application_that(2, Does::Refuses);
        let mut stream = client().await;
        stream.write_all(HEAD.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "no").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 417 Expectation Failed\r\n"), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
        let [head] = &heads.borrow()[..] else { panic!("not one request") };
        assert!(head.contains("\r\nExpect: 100-continue\r\n"), "as it was written: {head}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_application_that_takes_its_time_is_waited_for() {
    over_each_hop(async |_mesh| {
        application_that(2, Does::Asks(Duration::from_millis(1500)));
        let mut stream = client().await;
        for _ in 0..2 {
            let began = Instant::now();
            stream.write_all(HEAD.as_bytes()).await.unwrap();
            assert_eq!(read_until(&mut stream, "\r\n\r\n").await.unwrap(), GO_ON);
            assert!((1500..1600).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
            stream.write_all(b"body").await.unwrap();
            let answer = read_until(&mut stream, "\r\n\r\nok").await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_wait_is_served() {
    over_each_hop(async |_mesh| {
        for does in [Does::Waits, Does::Asks(Duration::ZERO), Does::Asks(Duration::from_secs(3))] {
            application_that(2, does);
            for after in [Duration::ZERO, Duration::from_secs(1)] {
                let mut stream = client().await;
                if after.is_zero() {
                    stream.write_all(format!("{HEAD}body").as_bytes()).await.unwrap();
                } else {
                    stream.write_all(HEAD.as_bytes()).await.unwrap();
                    sleep(after).await;
                    stream.write_all(b"body").await.unwrap();
                }
                let answer = read_until(&mut stream, "\r\n\r\nok").await.unwrap();
                assert!(answer.contains("HTTP/1.1 200 OK\r\n"), "{answer}");
                let told = usize::from(!matches!(does, Does::Waits));
                assert_eq!(answer.matches(GO_ON).count(), told, "{answer}");
            }
            // The application behind the kept connection is another one the next time.
            sleep(Duration::from_mins(10)).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_head_in_pieces_in_any_case_and_before_others_stays_what_it_is() {
    over_each_hop(async |_mesh| {
        let heads = application_that(2, Does::Waits);
        let mut stream = client().await;
        let shouted = HEAD.replace("Expect: 100-continue", "EXPECT:100-Continue");
        for octet in shouted.bytes() {
            stream.write_all(&[octet]).await.unwrap();
            sleep(Duration::from_millis(1)).await;
        }
        stream.write_all(b"body").await.unwrap();
        read_until(&mut stream, "\r\n\r\nok").await.unwrap();
        let quiet = HEAD.replace("Expect: 100-continue\r\n", "");
        let three = format!("{quiet}body{HEAD}body{quiet}body");
        stream.write_all(three.as_bytes()).await.unwrap();
        for _ in 0..3 {
            read_until(&mut stream, "\r\n\r\nok").await.unwrap();
        }
        let heads = heads.borrow();
        assert!(heads[0].contains("\r\nEXPECT: 100-Continue\r\n"), "{}", heads[0]);
        let expects =
            heads.iter().map(|head| head.to_ascii_lowercase().contains("\r\nexpect: 100-continue\r\n"));
        assert_eq!(expects.collect::<Vec<_>>(), [true, false, true, false]);
        assert!(heads.iter().all(|head| !head.contains('~')), "{heads:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whoever_expects_nothing_or_speaks_http_1_0_is_told_nothing() {
    over_each_hop(async |_mesh| {
        let heads = application_that(2, Does::Asks(Duration::ZERO));
        for head in [HEAD.replace("Expect: 100-continue\r\n", ""), HEAD.replace("HTTP/1.1", "HTTP/1.0")] {
            let mut stream = client().await;
            stream.write_all(format!("{head}body").as_bytes()).await.unwrap();
            let answer = read_until(&mut stream, "ok").await.unwrap();
            assert!(answer.contains(" 200 OK\r\n") && !answer.contains(" 100 "), "{answer}");
        }
        assert!(heads.borrow().iter().all(|head| !head.to_ascii_lowercase().contains("expect")), "{heads:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_can_still_be_sent_elsewhere() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2, 3]);
        network::refuse(inbound(2));
        application_that(3, Does::Asks(Duration::from_secs(1)));
        for _ in 0..4 {
            let mut stream = client().await;
            stream.write_all(HEAD.as_bytes()).await.unwrap();
            assert_eq!(read_until(&mut stream, "\r\n\r\n").await.unwrap(), GO_ON);
            stream.write_all(b"body").await.unwrap();
            let answer = read_until(&mut stream, "\r\n\r\nok").await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
        assert_eq!(succeeded(&mesh), 4);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_request_goes_on_while_its_client_waits() {
    local(async {
        let rule = v1::HttpRule { request_timeout: Some(millis(2000)), ..v1::HttpRule::default() };
        let mesh = Mesh::new(&routed(rule), &[endpoint(2, v1::Hop::Weft)]);
        mesh.sidecar(2, &v1::Inbound::default());
        application_that(2, Does::Asks(Duration::from_secs(5)));
        let mut stream = client().await;
        let began = Instant::now();
        stream.write_all(HEAD.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "\r\n\r\n").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
        assert_eq!(began.elapsed().as_secs(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn where_an_application_speaks_http2_its_clients_of_http1_are_told_to_go_on() {
    local(async {
        let backend = v1::Backend { protocol: v1::Protocol::Http2.into(), ..backend("reviews") };
        let http2 = v1::Destination { backend: Some(backend), ..destination() };
        let _mesh = Mesh::new(&http2, &[endpoint(2, v1::Hop::Plain)]);
        echo(2);
        let mut stream = client().await;
        stream.write_all(HEAD.as_bytes()).await.unwrap();
        let told = timeout(Duration::from_secs(1), read_until(&mut stream, "\r\n\r\n")).await;
        assert_eq!(told.unwrap().unwrap(), GO_ON);
        stream.write_all(b"body").await.unwrap();
        let answer = read_until(&mut stream, "body").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    })
    .await;
}
