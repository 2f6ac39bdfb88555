//! Starting services and asking them.

use std::net::SocketAddr;

use clap::Args;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weft_examples::serving::Bound;
use weft_examples::{Error, echo, ratings, reviews, web};

/// Arguments as they would be typed.
pub(crate) fn args<A: Args>(typed: &[&str]) -> A {
    let command = A::augment_args(clap::Command::new("test").no_binary_name(true));
    A::from_arg_matches(&command.get_matches_from(typed)).unwrap()
}

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) ended: JoinHandle<Result<(), Error>>,
}

impl Running {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn serve(bound: Bound) -> Running {
    let stop = CancellationToken::new();
    Running { address: bound.address(), ended: tokio::spawn(bound.serve(stop.clone())), stop }
}

pub(crate) async fn start_web(typed: &[&str]) -> Running {
    serve(web::bind(args(&[&["--port=0"], typed].concat())).await.unwrap())
}

pub(crate) async fn start_reviews(typed: &[&str]) -> Running {
    serve(reviews::bind(args(&[&["--port=0"], typed].concat())).await.unwrap())
}

pub(crate) async fn start_ratings(typed: &[&str]) -> Running {
    serve(ratings::bind(args(&[&["--port=0"], typed].concat())).await.unwrap())
}

pub(crate) async fn start_echo() -> Running {
    serve(echo::bind(args(&["--port=0"])).await.unwrap())
}

/// A port that refuses connections and that nobody else can take meanwhile.
pub(crate) struct Nowhere {
    /// Bound and never listening.
    _socket: TcpSocket,
    pub(crate) url: String,
}

pub(crate) fn nowhere() -> Nowhere {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    Nowhere { url: format!("http://{}", socket.local_addr().unwrap()), _socket: socket }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    send(address, &format!("GET {path} HTTP/1.1"), "").await
}

/// Sends one request on a connection of its own. `headers` are whole lines.
pub(crate) async fn send(address: SocketAddr, request_line: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{request_line}\r\nhost: test\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Stands in for `reviews` (or a proxy before it): gives the head of each request to the test, and answers when told.
pub(crate) struct Stand {
    pub(crate) address: SocketAddr,
    pub(crate) requests: mpsc::UnboundedReceiver<(String, oneshot::Sender<()>)>,
}

pub(crate) async fn stand_in_for_reviews() -> Stand {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (arrived, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_when_told(stream, arrived.clone()));
        }
    });
    Stand { address, requests }
}

async fn answer_when_told(
    mut stream: TcpStream,
    arrived: mpsc::UnboundedSender<(String, oneshot::Sender<()>)>,
) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap().into());
    }
    let (release, released) = oneshot::channel();
    arrived.send((head, release)).unwrap();
    released.await.unwrap();
    let body = r#"{"product":1,"version":"v9","reviews":[]}"#;
    let head = format!(
        "HTTP/1.1 200 OK\r\nx-version: v9\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
}
