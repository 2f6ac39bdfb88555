//! A side that does not read stops the other one, however much that has to say.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::sleep;

use super::network;
use super::octets::over_each_hop;
use super::world::*;

/// What the proxies of a request may hold between them: a stream's first credit and the buffers of each connection.
const HELD: usize = 512 * 1024;
/// What would be sent.
const ALL: usize = 64 * 1024 * 1024;

async fn say_all(mut stream: impl AsyncWrite + Unpin, said: Rc<Cell<usize>>) {
    let piece = [7; 4096];
    while said.get() < ALL && stream.write_all(&piece).await.is_ok() {
        said.set(said.get() + piece.len());
    }
}

async fn head(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_stops_the_application() {
    over_each_hop(async |_mesh| {
        let said = Rc::new(Cell::new(0));
        let counted = Rc::clone(&said);
        network::listen(application_at(2), move |mut stream| {
            let said = Rc::clone(&counted);
            async move {
                head(&mut stream).await;
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {ALL}\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
                say_all(stream, said).await;
            }
        });
        let mut stream = network::connect(outbound()).unwrap().await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: reviews:9080\r\n\r\n").await.unwrap();
        head(&mut stream).await;
        sleep(Duration::from_secs(5)).await;
        assert!((1..HELD).contains(&said.get()), "{}", said.get());
        let before = said.get();
        stream.read_exact(&mut vec![0; HELD]).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        assert!(said.get() > before, "what is read makes room");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_application_that_does_not_read_stops_the_client() {
    over_each_hop(async |_mesh| {
        network::listen(application_at(2), |mut stream| async move {
            head(&mut stream).await;
            std::future::pending::<()>().await;
        });
        let mut stream = network::connect(outbound()).unwrap().await.unwrap();
        let request = format!("POST / HTTP/1.1\r\nhost: reviews:9080\r\ncontent-length: {ALL}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let said = Rc::new(Cell::new(0));
        let saying = tokio::task::spawn_local(say_all(stream, Rc::clone(&said)));
        sleep(Duration::from_secs(5)).await;
        assert!((1..HELD).contains(&said.get()), "{}", said.get());
        saying.abort();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn bodies_much_longer_than_any_window_arrive_whole_both_ways() {
    const LENGTH: usize = 8 * 1024 * 1024;
    over_each_hop(async |_mesh| {
        network::listen(application_at(2), |mut stream| async move {
            head(&mut stream).await;
            // An application that reads all of it as it comes.
            stream.read_exact(&mut vec![0; LENGTH]).await.unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.write_all(&vec![8; LENGTH]).await.unwrap();
        });
        let mut stream = network::connect(outbound()).unwrap().await.unwrap();
        let request = format!("POST / HTTP/1.1\r\nhost: reviews:9080\r\ncontent-length: {LENGTH}\r\n\r\n");
        let exchange = async {
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.write_all(&vec![7; LENGTH]).await.unwrap();
            head(&mut stream).await;
            let mut answer = vec![0; LENGTH];
            stream.read_exact(&mut answer).await.unwrap();
            assert!(answer.iter().all(|octet| *octet == 8));
        };
        tokio::time::timeout(Duration::from_secs(10), exchange).await.expect("it goes on");
    })
    .await;
}
