//! Small requests on this machine: to admin servers, and through a sidecar.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use http::header::HOST;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// On one machine an answer takes milliseconds; who hasn't answered by then is stopped or overloaded.
const PATIENCE: Duration = Duration::from_secs(4);
/// More than the metrics of a sidecar in a small mesh.
const BODY_MAX: usize = 4 << 20;

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

/// One request to a server.
pub(super) async fn ask(method: Method, server: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    exchange(method, server, path, &server.to_string()).await
}

/// A GET of a URL of host and path through an HTTP proxy.
pub(super) async fn through(proxy: SocketAddr, host: &str, path: &str) -> anyhow::Result<Answer> {
    exchange(Method::GET, proxy, &format!("http://{host}{path}"), host).await
}

async fn exchange(method: Method, server: SocketAddr, target: &str, host: &str) -> anyhow::Result<Answer> {
    let request =
        Request::builder().method(method).uri(target).header(HOST, host).body(Empty::<Bytes>::new())?;
    let exchanging = async {
        let stream = TcpStream::connect(server).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // How the connection ends shows in the answer.
        let connection = tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body =
            Limited::new(body, BODY_MAX).collect().await.map_err(anyhow::Error::from_boxed)?.to_bytes();
        connection.abort();
        let text = String::from_utf8_lossy(&body).into_owned();
        anyhow::Ok(Answer { status: head.status, headers: head.headers, text })
    };
    timeout(PATIENCE, exchanging).await.with_context(|| format!("{server} does not answer"))?
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
