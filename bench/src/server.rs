//! The application behind the sidecars: answers every request with 1 KiB.

use std::convert::Infallible;
use std::net::Ipv4Addr;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::workload::Protocol;

/// Length of every answer's body.
pub(crate) const BODY_LENGTH: usize = 1024;

static BODY: [u8; BODY_LENGTH] = [b'w'; BODY_LENGTH];

/// Serves on a free port of the loopback interface, after printing its address as one line.
pub(crate) async fn serve(protocol: Protocol) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listening on 127.0.0.1")?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await.context("accepting a connection")?;
        stream.set_nodelay(true)?;
        tokio::task::spawn_local(connection(stream, protocol));
    }
}

/// A connection that fails is the client's to report, so its error ends it silently.
async fn connection(stream: TcpStream, protocol: Protocol) {
    let io = TokioIo::new(stream);
    let service =
        service_fn(async |_| Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(&BODY)))));
    let _ended = match protocol {
        Protocol::H1 => http1::Builder::new().serve_connection(io, service).await,
        // Both limits are above anything that a sidecar which multiplexes all clients onto one connection needs.
        Protocol::H2 => {
            http2::Builder::new(LocalExecutor)
                .max_concurrent_streams(1000)
                .initial_connection_window_size(4 << 20)
                .serve_connection(io, service)
                .await
        }
    };
}

/// Runs hyper's stream tasks on this thread.
#[derive(Clone)]
pub(crate) struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
