//! Clients of HTTP/2 that do not read, do not end what they send, or cancel; and those that only want an answer.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use futures_util::future::join_all;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response, Uri};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use super::Others;
use weft_harness::load::Held;
use weft_harness::protocol::Protocol;
use weft_harness::server::{BODY_LENGTH, HUGE, NEVER, PIECE, SINK};
use weft_harness::testbed::Testbed;

/// Time for the answer to a short request.
const SOON: Duration = Duration::from_secs(2);
/// Time for all streams of one measurement to be opened.
const OPENING: Duration = Duration::from_mins(1);
/// Short requests of each measurement, and how many of them are under way at a time.
const SHORT: u32 = 100;
const AT_A_TIME: u32 = 10;
/// Streams that a client has at a time: what every server takes.
const STREAMS: usize = 100;

/// A stream that is held open, whatever of it still lives.
pub(super) enum Stream {
    Answered(#[expect(dead_code, reason = "it is held")] Response<RecvStream>),
    Uploading(
        #[expect(dead_code, reason = "they are held")] ResponseFuture,
        #[expect(dead_code, reason = "held")] SendStream<Bytes>,
    ),
}

/// Where a pair is reached.
#[derive(Clone)]
pub(super) struct Target {
    address: SocketAddr,
    authority: String,
}

impl Target {
    pub(super) fn of(stage: &Testbed) -> Self {
        Self { address: stage.connect, authority: stage.authority.clone() }
    }

    fn request(&self, method: Method, path: &str) -> anyhow::Result<Request<()>> {
        let uri =
            Uri::builder().scheme("http").authority(self.authority.as_str()).path_and_query(path).build()?;
        Ok(Request::builder().method(method).uri(uri).version(http::Version::HTTP_2).body(())?)
    }

    /// Opens a connection whose streams may send this much before they are read.
    async fn open(&self, window: u32) -> anyhow::Result<SendRequest<Bytes>> {
        let stream = TcpStream::connect(self.address).await.context("connecting to the client's sidecar")?;
        stream.set_nodelay(true)?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(1 << 20).enable_push(false);
        let (sender, connection): (_, Connection<_, Bytes>) = builder.handshake(stream).await?;
        tokio::task::spawn_local(connection);
        Ok(sender.ready().await?)
    }

    /// Opens streams whose answer is large, `STREAMS` on a connection, and reads no more than the head.
    pub(super) async fn unread(&self, streams: usize, window: u32) -> anyhow::Result<Vec<Stream>> {
        let mut opened = Vec::new();
        for first in (0..streams).step_by(STREAMS) {
            let mut sender = self.open(window).await?;
            let mut answers = Vec::new();
            for _ in first..streams.min(first + STREAMS) {
                sender = sender.ready().await?;
                answers.push(sender.send_request(self.request(Method::GET, HUGE)?, true)?.0);
            }
            let answers = timeout(OPENING, join_all(answers)).await.context("waiting for heads")?;
            for answer in answers {
                opened.push(Stream::Answered(answer?));
            }
        }
        Ok(opened)
    }

    /// Opens streams on connections of their own, and reads no more than the head.
    pub(super) async fn unread_alone(&self, streams: usize) -> anyhow::Result<Vec<Stream>> {
        let mut opened = Vec::new();
        for _ in 0..streams {
            opened.extend(self.unread(1, 65_535).await?);
        }
        Ok(opened)
    }

    /// Opens streams with a body to which nobody listens, so many on a connection; gives the last connection, too.
    pub(super) async fn uploads(
        &self,
        streams: usize,
        on_each: usize,
    ) -> anyhow::Result<(Vec<Stream>, SendRequest<Bytes>)> {
        let mut opened = Vec::new();
        let mut sender = self.open(65_535).await?;
        for count in 0..streams {
            if count > 0 && count % on_each == 0 {
                sender = self.open(65_535).await?;
            }
            sender = sender.ready().await?;
            let (answer, mut body) = sender.send_request(self.request(Method::POST, NEVER)?, false)?;
            // The library keeps what does not fit into the window.
            for _ in 0..32 {
                body.send_data(Bytes::from_static(&PIECE), false)?;
            }
            opened.push(Stream::Uploading(answer, body));
        }
        Ok((opened, sender))
    }

    /// Short requests with a connection each.
    pub(super) async fn short(&self) -> Others {
        let mut others = Others { sent: SHORT, answered: 0 };
        for _ in 0..SHORT / AT_A_TIME {
            let asked = (0..AT_A_TIME).map(|_| self.short_one());
            others.answered += join_all(asked).await.into_iter().map(u32::from).sum::<u32>();
        }
        others
    }

    async fn short_one(&self) -> bool {
        matches!(timeout(SOON, Held::open(Protocol::H2, self.address, &self.authority)).await, Ok(Ok(_)))
    }

    /// Short requests with a short body, on a connection that others use, too.
    pub(super) async fn short_uploads(&self, sender: &SendRequest<Bytes>) -> Others {
        let mut others = Others { sent: SHORT, answered: 0 };
        for _ in 0..SHORT / AT_A_TIME {
            let asked = (0..AT_A_TIME).map(|_| timeout(SOON, self.upload(sender.clone(), BODY_LENGTH)));
            let answered = join_all(asked).await.into_iter().filter(|answer| matches!(answer, Ok(Ok(()))));
            others.answered += answered.count() as u32;
        }
        others
    }

    /// Sends a body of this length, and waits for the head of the answer.
    async fn upload(&self, sender: SendRequest<Bytes>, mut length: usize) -> anyhow::Result<()> {
        let mut sender = sender.ready().await?;
        let (answer, mut body) = sender.send_request(self.request(Method::POST, SINK)?, false)?;
        while length > 0 {
            body.reserve_capacity(length.min(PIECE.len()));
            let capacity = poll_fn(|cx| body.poll_capacity(cx)).await.context("the stream has ended")??;
            let piece = Bytes::from_static(PIECE.get(..capacity.min(length)).unwrap_or_default());
            length -= piece.len();
            body.send_data(piece, length == 0)?;
        }
        anyhow::ensure!(answer.await?.status().is_success(), "the upload was refused");
        Ok(())
    }

    /// How many MiB of one upload go through in a second.
    pub(super) async fn upload_rate(&self, mebibytes: usize) -> anyhow::Result<f64> {
        let sender = self.open(65_535).await?;
        let began = Instant::now();
        self.upload(sender, mebibytes << 20).await?;
        Ok(mebibytes as f64 / began.elapsed().as_secs_f64())
    }

    /// Has `clients` cancel so many requests each, while others ask.
    pub(super) async fn cancels(&self, clients: usize, requests: usize) -> anyhow::Result<Others> {
        let mut cancelling = JoinSet::new();
        for _ in 0..clients {
            let target = self.clone();
            cancelling.spawn_local(async move { target.cancel(requests).await });
        }
        let mut asking = JoinSet::new();
        let mut pace = interval(Duration::from_millis(10));
        for _ in 0..SHORT {
            pace.tick().await;
            let target = self.clone();
            asking.spawn_local(async move { target.short_one().await });
        }
        let answered = asking.join_all().await.into_iter().map(u32::from).sum();
        // A pair may end the connections of those who cancel, which is no harm to others.
        let _cancelled = cancelling.join_all().await;
        Ok(Others { sent: SHORT, answered })
    }

    async fn cancel(&self, requests: usize) -> anyhow::Result<()> {
        let mut sender = self.open(65_535).await?;
        for first in (0..requests).step_by(STREAMS / 2) {
            let mut open = Vec::new();
            for _ in first..requests.min(first + STREAMS / 2) {
                sender = sender.ready().await?;
                open.push(sender.send_request(self.request(Method::GET, NEVER)?, true)?);
            }
            // They have to have left before they are given up.
            sleep(Duration::from_millis(100)).await;
            for (_, stream) in &mut open {
                stream.send_reset(Reason::CANCEL);
            }
        }
        Ok(())
    }
}
