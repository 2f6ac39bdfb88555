//! Small requests over HTTP/1.1: to admin servers here or in a pod, and through a sidecar.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use http::header::HOST;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// An answer takes milliseconds, or as long as a sidecar waits for its control plane; who hasn't answered by then is
/// stopped or overloaded.
const PATIENCE: Duration = Duration::from_secs(4);
/// More than the metrics or the configuration of a sidecar of a large mesh.
const BODY_MAX: usize = 64 << 20;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

/// A connection that takes one request after the other.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: http1::SendRequest<Empty<Bytes>>,
    host: String,
    /// Ends the connection with this.
    driven: JoinHandle<()>,
}

impl Connection {
    /// Speaks HTTP/1.1 over a stream to a server of this name.
    pub(crate) async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        host: &str,
    ) -> anyhow::Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // How the connection ends shows in the answer.
        let driven = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, host: host.to_owned(), driven })
    }

    /// One request; `target` is a path, or for an HTTP proxy a URL.
    pub(crate) async fn ask(&mut self, method: Method, target: &str) -> anyhow::Result<Answer> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, &self.host)
            .body(Empty::<Bytes>::new())?;
        let exchanging = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body =
                Limited::new(body, BODY_MAX).collect().await.map_err(anyhow::Error::from_boxed)?.to_bytes();
            let text = String::from_utf8_lossy(&body).into_owned();
            anyhow::Ok(Answer { status: head.status, headers: head.headers, text })
        };
        timeout(PATIENCE, exchanging).await.with_context(|| format!("{} does not answer", self.host))?
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driven.abort();
    }
}

/// One request to a server.
pub(crate) async fn ask(method: Method, server: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    open(server, &server.to_string()).await?.ask(method, path).await
}

/// A GET of a URL of host and path through an HTTP proxy.
pub(crate) async fn through(proxy: SocketAddr, host: &str, path: &str) -> anyhow::Result<Answer> {
    open(proxy, host).await?.ask(Method::GET, &format!("http://{host}{path}")).await
}

/// A connection to a server that goes by this name.
pub(crate) async fn open(server: SocketAddr, host: &str) -> anyhow::Result<Connection> {
    let stream = timeout(PATIENCE, TcpStream::connect(server))
        .await
        .with_context(|| format!("{server} does not answer"))??;
    Connection::over(stream, host).await
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn one_answer(listener: TcpListener, answer: &'static str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    }

    #[tokio::test]
    async fn a_proxy_is_asked_with_the_whole_url() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = listener.local_addr().unwrap();
        let answer = "HTTP/1.1 200 OK\r\nx-version: v2\r\ncontent-length: 2\r\n\r\nhi";
        let (request, answer) =
            tokio::join!(one_answer(listener, answer), through(proxy, "web:8080", "/product/1"));
        assert!(
            request.starts_with("GET http://web:8080/product/1 HTTP/1.1\r\nhost: web:8080\r\n"),
            "{request}"
        );
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "hi"));
        assert_eq!(answer.headers.get("x-version").unwrap(), "v2");
    }

    #[tokio::test]
    async fn nobody_there_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = listener.local_addr().unwrap();
        drop(listener);
        assert!(ask(Method::GET, gone, "/ready").await.is_err());
    }
}
