//! Requests that ask for another protocol and have content, as those of `docker exec` and `docker attach`.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::network;
use super::octets::{client, over_each_hop};
use super::world::*;
use crate::transport::within::Within;

const CONTENT: &str = r#"{"Detach":false}"#;
const AGREED: &str = "HTTP/1.1 101 UPGRADED\r\nconnection: Upgrade\r\nupgrade: tcp\r\n\r\n";

fn asking(content: &str) -> String {
    let length = content.len();
    format!(
        "POST /exec/1/start HTTP/1.1\r\nhost: reviews:9080\r\ncontent-length: {length}\r\nconnection: Upgrade\r\nupgrade: tcp\r\n\r\n{content}"
    )
}

async fn read_until(stream: &mut Within, end: &str) -> Option<String> {
    let mut all = Vec::new();
    while !all.ends_with(end.as_bytes()) {
        all.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(all).ok()
}

/// The next request's head and content, of as many octets as it says.
async fn next_request(stream: &mut Within) -> Option<(String, String)> {
    let head = read_until(stream, "\r\n\r\n").await?.to_ascii_lowercase();
    if head.contains("\r\ntransfer-encoding: chunked\r\n") {
        return Some((head, read_until(stream, "\r\n0\r\n\r\n").await?));
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut content = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut content).await.ok()?;
    Some((head, String::from_utf8(content).ok()?))
}

/// An application that agrees to what asks for `tcp`, and returns what comes in upper case. What it answers to all else, with the
/// number of that.
fn shouts(host: u8, agrees: bool) -> Rc<RefCell<Vec<(String, String)>>> {
    let seen = Rc::<RefCell<Vec<_>>>::default();
    let requests = Rc::clone(&seen);
    network::listen(application_at(host), move |mut stream| {
        let seen = Rc::clone(&seen);
        async move {
            while let Some((head, content)) = next_request(&mut stream).await {
                let asks =
                    head.contains("\r\nupgrade: tcp\r\n") && head.contains("\r\nconnection: upgrade\r\n");
                seen.borrow_mut().push((head, content));
                if !(agrees && asks) {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain").await.unwrap();
                    continue;
                }
                stream.write_all(AGREED.as_bytes()).await.unwrap();
                let mut octets = [0; 64];
                while let Ok(read @ 1..) = stream.read(&mut octets).await {
                    stream.write_all(octets[..read].to_ascii_uppercase().as_slice()).await.unwrap();
                }
                stream.write_all(b"bye").await.unwrap();
                return;
            }
        }
    });
    requests
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_takes_effect_behind_the_content_of_its_request() {
    over_each_hop(async |_mesh| {
        let seen = shouts(2, true);
        for content in [CONTENT.to_owned(), "x".repeat(100_000)] {
            let mut stream = client().await;
            let (mut reader, mut writer) = tokio::io::split(&mut stream);
            let sending = async { writer.write_all(asking(&content).as_bytes()).await.unwrap() };
            let hearing = async {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(reader.read_u8().await.unwrap());
                }
                String::from_utf8(head).unwrap()
            };
            let ((), head) = tokio::join!(sending, hearing);
            assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("upgrade: tcp\r\n"), "{head}");
            for word in ["hello", "get / http/1.1\r\nhost: reviews:9080\r\n\r\n"] {
                stream.write_all(word.as_bytes()).await.unwrap();
                let answer = read_until(&mut stream, &word.to_ascii_uppercase()).await.unwrap();
                assert_eq!(answer, word.to_ascii_uppercase());
            }
            stream.shutdown().await.unwrap();
            let mut rest = String::new();
            stream.read_to_string(&mut rest).await.unwrap();
            assert_eq!(rest, "bye", "one side may end before the other");
            let (head, received) = seen.borrow_mut().pop().unwrap();
            assert_eq!(received, content, "{head}");
            assert!(seen.borrow().is_empty());
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_at_once_with_the_content_waits_for_the_upgrade() {
    over_each_hop(async |_mesh| {
        shouts(2, true);
        let mut stream = client().await;
        stream.write_all(format!("{}early", asking(CONTENT)).as_bytes()).await.unwrap();
        assert!(read_until(&mut stream, "\r\n\r\n").await.unwrap().starts_with("HTTP/1.1 101 "));
        assert_eq!(read_until(&mut stream, "EARLY").await.unwrap(), "EARLY");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn where_it_is_not_agreed_to_what_follows_is_the_next_request() {
    over_each_hop(async |_mesh| {
        let seen = shouts(2, false);
        let mut stream = client().await;
        let get = "GET /next HTTP/1.1\r\nhost: reviews:9080\r\n\r\n";
        stream.write_all(format!("{}{get}{}{get}", asking(CONTENT), asking("")).as_bytes()).await.unwrap();
        for _ in 0..4 {
            let answer = read_until(&mut stream, "\r\n\r\nplain").await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
        let seen = seen.borrow();
        let lines: Vec<_> = seen.iter().map(|(head, _)| head.lines().next().unwrap()).collect();
        let (post, get) = ("post /exec/1/start http/1.1", "get /next http/1.1");
        assert_eq!(lines, [post, get, post, get]);
        assert_eq!(seen[0].1, CONTENT);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn content_in_chunks_or_for_another_version_of_http_goes_on_without_the_upgrade() {
    over_each_hop(async |_mesh| {
        let seen = shouts(2, true);
        let chunked =
            asking("").replace("content-length: 0", "transfer-encoding: chunked") + "4\r\nbody\r\n0\r\n\r\n";
        let h2c = asking("body").replace("upgrade: tcp", "upgrade: h2c");
        for request in [chunked, h2c] {
            let mut stream = client().await;
            stream.write_all(request.repeat(2).as_bytes()).await.unwrap();
            for _ in 0..2 {
                let answer = read_until(&mut stream, "\r\n\r\nplain").await;
                assert!(answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 200 OK\r\n")), "{request}");
            }
        }
        assert!(seen.borrow().iter().all(|(head, _)| !head.contains("upgrade")), "{seen:?}");
    })
    .await;
}
