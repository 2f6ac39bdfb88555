//! Connections of HTTP/1.1. Whoever leaves closes its own.

use std::cell::RefCell;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;

use super::{Came, head, leave, leaves, request};
use crate::chaos::answer::Answer;
use crate::chaos::request::{Call, Kind, When};

/// What the kernel keeps of an answer that is read late: little of a large one.
const BUFFER: u32 = 256 * 1024;

/// Connections that have no request.
#[derive(Default)]
pub(super) struct Pool(RefCell<Vec<Connection>>);

/// A connection; closed when dropped.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Pool {
    /// Sends a request and reads its answer, or leaves.
    pub(super) async fn ask(&self, address: SocketAddr, number: u64, kind: Kind) -> Result<Came, String> {
        let mut connection = self.take(address, kind.call == Call::Large).await?;
        let sending = connection.sender.send_request(request(number, kind).map(Full::new));
        let Some(answer) = head(kind, sending).await else {
            return Ok(Came::Left(When::BeforeHead, None));
        };
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(error) if error.is_incomplete_message() => return Ok(Came::Reset),
            Err(error) => return Err(format!("before an answer: {error}")),
        };
        let status = answer.status();
        let leaving = leaves(kind, status, answer.headers());
        let more = async { matches!(answer.body_mut().frame().await, Some(Ok(_))) };
        if let Some(when) = leave(kind, leaving, more).await {
            return Ok(Came::Left(when, Some(status)));
        }
        let answer = read(answer).await;
        if answer.body.is_ok() && connection.sender.ready().await.is_ok() && kind.call != Call::Large {
            self.0.borrow_mut().push(connection);
        }
        Ok(Came::Answer(Box::new(answer)))
    }

    async fn take(&self, address: SocketAddr, small_buffer: bool) -> Result<Connection, String> {
        if !small_buffer {
            loop {
                let idle = self.0.borrow_mut().pop();
                match idle {
                    Some(connection) if connection.sender.is_ready() => return Ok(connection),
                    Some(_) => {}
                    None => break,
                }
            }
        }
        let opened = async {
            let socket = TcpSocket::new_v4()?;
            if small_buffer {
                socket.set_recv_buffer_size(BUFFER)?;
            }
            let stream = socket.connect(address).await?;
            stream.set_nodelay(true)?;
            std::io::Result::Ok(stream)
        };
        let stream = opened.await.map_err(|error| format!("connecting: {error}"))?;
        let opened = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = opened.map_err(|error| format!("connecting: {error}"))?;
        let driver = tokio::task::spawn_local(async move {
            // What goes wrong is what the request says.
            let _ = connection.await;
        });
        Ok(Connection { sender, driver })
    }
}

/// Reads an answer to its end.
async fn read(answer: Response<Incoming>) -> Answer {
    let (head, mut incoming) = answer.into_parts();
    let mut body = BytesMut::new();
    let ended = loop {
        match incoming.frame().await {
            None => break Ok(body.freeze()),
            Some(Ok(frame)) => body.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            Some(Err(error)) => break Err(error.to_string()),
        }
    };
    Answer { status: head.status, headers: head.headers, body: ended, trailers: None }
}
