//! The application behind the sidecars: answers every request with 1 KiB, but for some paths.

use std::convert::Infallible;
use std::net::Ipv4Addr;

use anyhow::Context;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Either, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::protocol::Protocol;

/// Length of every answer's body, but for [`HUGE`].
pub const BODY_LENGTH: usize = 1024;
/// A path whose answer has [`HUGE_LENGTH`] octets.
pub const HUGE: &str = "/huge";
/// A path that is never answered, and the body of whose requests is not read.
pub const NEVER: &str = "/never";
/// A path that is answered once the body of the request has been read.
pub const SINK: &str = "/sink";
/// Length of a large answer's body.
pub const HUGE_LENGTH: usize = 64 << 20;

static BODY: [u8; BODY_LENGTH] = [b'w'; BODY_LENGTH];
/// What large bodies are made of.
pub static PIECE: [u8; 64 << 10] = [b'w'; 64 << 10];

/// Serves on a free port of the loopback interface, after printing its address as one line.
pub async fn serve(protocol: Protocol) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listening on 127.0.0.1")?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await.context("accepting a connection")?;
        stream.set_nodelay(true)?;
        tokio::task::spawn_local(connection(stream, protocol));
    }
}

type Body = Either<Full<Bytes>, StreamBody<stream::Iter<HugeBody>>>;

/// The pieces of a large body.
struct HugeBody(usize);

impl Iterator for HugeBody {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0 = self.0.checked_sub(PIECE.len())?;
        Some(Ok(Frame::data(Bytes::from_static(&PIECE))))
    }
}

/// Answers one request as its path says.
async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    match request.uri().path() {
        HUGE => {
            let body = StreamBody::new(stream::iter(HugeBody(HUGE_LENGTH)));
            return Ok(Response::new(Either::Right(body)));
        }
        NEVER => {
            let _unread = request;
            std::future::pending::<()>().await;
        }
        SINK => {
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.frame().await {}
        }
        _ => {}
    }
    Ok(Response::new(Either::Left(Full::new(Bytes::from_static(&BODY)))))
}

/// A connection that fails is the client's to report, so its error ends it silently.
async fn connection(stream: TcpStream, protocol: Protocol) {
    let io = TokioIo::new(stream);
    let service = service_fn(answer);
    let _ended = match protocol {
        Protocol::H1 => http1::Builder::new().serve_connection(io, service).await,
        // Both limits are above anything that a sidecar which multiplexes all clients onto one connection needs.
        Protocol::H2 => {
            http2::Builder::new(LocalExecutor)
                .max_concurrent_streams(1000)
                // What it does not read of one request takes nothing away from others.
                .initial_stream_window_size(64 << 10)
                .initial_connection_window_size(64 << 20)
                .serve_connection(io, service)
                .await
        }
    };
}

/// Runs hyper's stream tasks on this thread.
#[derive(Clone)]
pub struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
