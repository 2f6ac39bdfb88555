use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::http::body::Body;
use crate::http::guard::WAKING;
use crate::http::informational::Informational;
use crate::http::limits::HEAD_TIMEOUT;
use crate::http::server::{ServerVersion, serve};
use crate::http::violation_recorder::ViolationRecorder;
use crate::transport::stream::Transport;

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const HOUR: Duration = Duration::from_hours(1);
/// Longer than it takes until a connection rests.
const LONG: Duration = Duration::from_secs(3);

/// A connection whose server notes how much room it has for what comes next.
struct Roomy(DuplexStream, Arc<AtomicUsize>);

impl AsyncRead for Roomy {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.1.store(buf.remaining(), Ordering::Relaxed);
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Transport for Roomy {
    fn abort(&self) {}
}

impl AsyncWrite for Roomy {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The client of a connection that is served.
struct Client {
    stream: DuplexStream,
    room: Arc<AtomicUsize>,
    drain: CancellationToken,
}

impl Client {
    fn connect(pipe: usize) -> Self {
        let (stream, far) = duplex(pipe);
        let (room, drain) = (Arc::<AtomicUsize>::default(), CancellationToken::new());
        let far = Roomy(far, Arc::clone(&room));
        tokio::task::spawn_local(serve(
            far,
            ServerVersion::Http1,
            drain.clone(),
            ViolationRecorder::default(),
            answer,
            |_| (),
        ));
        Self { stream, room, drain }
    }

    fn rests(&self) -> bool {
        self.room.load(Ordering::Relaxed) <= WAKING
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Reads up to and with `end`.
    async fn hear(&mut self, end: &str) -> String {
        let mut heard = Vec::new();
        while !heard.ends_with(end.as_bytes()) {
            heard.push(self.stream.read_u8().await.expect("an answer"));
        }
        String::from_utf8(heard).unwrap()
    }

    async fn get(&mut self) {
        self.say(GET).await;
        assert!(self.hear("answered").await.starts_with("HTTP/1.1 200 OK\r\n"));
    }

    /// As after a request, and a while.
    async fn rested(pipe: usize) -> Self {
        let mut client = Self::connect(pipe);
        client.get().await;
        sleep(LONG).await;
        assert!(client.rests(), "it holds a buffer of {:?}", client.room);
        client
    }

    async fn is_closed(&mut self) -> bool {
        timeout(Duration::from_millis(1), self.stream.read(&mut [0]))
            .await
            .is_ok_and(|read| read.unwrap() == 0)
    }
}

/// Answers with what was sent, an echo of it where a tunnel is asked for, or with as many octets as the path says.
async fn answer(mut request: Request<Incoming>) -> Response<Body> {
    if request.method() == Method::CONNECT {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::task::spawn_local(async move {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
            tokio::io::copy(&mut read, &mut write).await
        });
        return Response::new(Body::Empty);
    }
    if let Some(interim) = request.extensions().get::<Informational>()
        && request.headers().contains_key("hints")
    {
        interim.put(StatusCode::EARLY_HINTS, HeaderMap::new());
    }
    if let Ok(length) = request.uri().path().trim_start_matches('/').parse() {
        return Response::new(Body::full(vec![b'a'; length]));
    }
    let mut words = request.into_body().collect().await.unwrap().to_bytes().to_vec();
    words.extend_from_slice(b"answered");
    Response::new(Body::full(words))
}

async fn local(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_between_requests_gives_its_buffers_back_and_goes_on_with_the_next_octet() {
    local(async {
        let mut client = Client::connect(1 << 16);
        for _ in 0..3 {
            client.get().await;
            client.get().await;
            assert!(!client.rests(), "it rests while it is busy");
            sleep(LONG).await;
            assert!(client.rests(), "it holds a buffer of {:?}", client.room);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_come_at_once_or_in_pieces_to_a_connection_that_rests_are_all_answered() {
    local(async {
        let mut client = Client::rested(1 << 16).await;
        client.say(&GET.repeat(200)).await;
        for _ in 0..200 {
            client.hear("answered").await;
        }
        sleep(LONG).await;
        assert!(client.rests());
        for octet in GET {
            client.say(&[*octet]).await;
            sleep(Duration::from_millis(400)).await;
        }
        client.hear("answered").await;
        sleep(LONG).await;
        assert!(client.rests());
        let body = vec![b'b'; 100_000];
        client.say(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n").await;
        client.say(&body).await;
        assert!(client.hear("answered").await.len() > body.len());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_its_client_does_not_read_is_kept_however_long_that_takes() {
    local(async {
        let mut client = Client::connect(64);
        client.say(b"GET /9000 HTTP/1.1\r\nhost: a\r\n\r\n").await;
        sleep(Duration::from_mins(10)).await;
        assert!(!client.rests());
        client.hear(&"a".repeat(9000)).await;
        sleep(LONG).await;
        assert!(client.rests());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_its_time_is_no_rest() {
    local(async {
        let mut client = Client::rested(1 << 16).await;
        client.say(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab").await;
        sleep(Duration::from_mins(4)).await;
        assert!(!client.rests());
        client.say(b"cd").await;
        assert!(client.hear("answered").await.ends_with("abcdanswered"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_rests_is_closed_when_the_proxy_ends_or_its_client_does() {
    local(async {
        let mut client = Client::rested(1 << 16).await;
        client.drain.cancel();
        assert!(client.is_closed().await);

        let mut client = Client::rested(1 << 16).await;
        client.stream.shutdown().await.unwrap();
        assert!(client.is_closed().await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_meets_the_end_of_the_proxy_on_a_connection_that_rests_is_answered() {
    local(async {
        let mut client = Client::rested(1 << 16).await;
        client.say(GET).await;
        client.drain.cancel();
        client.hear("answered").await;
        assert!(client.is_closed().await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_have_no_request_for_an_hour() {
    local(async {
        let mut client = Client::connect(1 << 16);
        for pause in [Duration::ZERO, Duration::from_mins(59)] {
            sleep(pause).await;
            client.get().await;
        }
        let began = Instant::now();
        assert_eq!(client.stream.read(&mut [0]).await.unwrap(), 0);
        assert!(began.elapsed().abs_diff(HOUR) < Duration::from_secs(1), "{:?}", began.elapsed());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_time_for_a_head_begins_with_the_octet_that_ends_the_rest() {
    local(async {
        let mut client = Client::rested(1 << 16).await;
        sleep(Duration::from_mins(10)).await;
        let began = Instant::now();
        client.say(b"GET ").await;
        assert!(client.hear("\r\n").await.starts_with("HTTP/1.1 408 "));
        assert!(began.elapsed().abs_diff(HEAD_TIMEOUT) < Duration::from_secs(1), "{:?}", began.elapsed());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_none_is_refused_also_after_a_rest() {
    local(async {
        let mut client = Client::rested(1 << 16).await;
        client.say(b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n").await;
        assert!(client.hear("\r\n").await.starts_with("HTTP/1.1 400 "));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_http_1_0_that_is_kept_rests_too() {
    local(async {
        let mut client = Client::connect(1 << 16);
        for _ in 0..2 {
            client.say(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
            client.hear("answered").await;
            sleep(LONG).await;
            assert!(client.rests());
        }
        client.say(b"GET / HTTP/1.0\r\n\r\n").await;
        client.hear("answered").await;
        assert!(client.is_closed().await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_and_interim_answers_work_after_a_rest() {
    local(async {
        let mut client = Client::rested(1 << 16).await;
        client.say(b"GET / HTTP/1.1\r\nhost: a\r\nhints: yes\r\n\r\n").await;
        let heard = client.hear("answered").await;
        assert!(heard.starts_with("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n"), "{heard}");
        sleep(LONG).await;
        assert!(client.rests());
        client.say(b"CONNECT b:1 HTTP/1.1\r\nhost: b:1\r\n\r\n").await;
        client.hear("\r\n\r\n").await;
        client.say(b"through").await;
        sleep(LONG).await;
        assert!(!client.rests(), "a tunnel is no request that is awaited");
        client.say(b" the tunnel").await;
        assert_eq!(client.hear("tunnel").await, "through the tunnel");
    })
    .await;
}
