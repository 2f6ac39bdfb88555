//! The ends of what is attacked: applications that remember what reached them, and clients that send octets.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Longest wait for an answer. An attempt that gets none within it is taken to have got none.
const PATIENCE: Duration = Duration::from_secs(5);

/// An HTTP/1.1 server that keeps connections open, believes `content-length` and answers before it reads a body, as many
/// servers do, and remembers the head of each request that it read.
#[derive(Clone)]
pub(crate) struct Application {
    pub(crate) address: SocketAddr,
    heads: Rc<RefCell<Vec<String>>>,
}

impl Application {
    /// Starts one that answers each request with its name.
    pub(crate) async fn start(name: &'static str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("binding an application")?;
        let application = Self { address: listener.local_addr()?, heads: Rc::default() };
        let heads = Rc::clone(&application.heads);
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let heads = Rc::clone(&heads);
                tokio::task::spawn_local(async move { serve(stream, name, &heads).await });
            }
        });
        Ok(application)
    }

    /// Something that listens already.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { address, heads: Rc::default() }
    }

    /// Forgets what has reached it.
    pub(crate) fn forget(&self) {
        self.heads.borrow_mut().clear();
    }

    /// The request lines of all that has reached it.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.heads.borrow().iter().filter_map(|head| head.lines().next().map(str::to_owned)).collect()
    }

    /// How many requests of a path have reached it.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.requests().iter().filter(|line| line.split(' ').nth(1) == Some(path)).count()
    }
}

async fn serve(mut stream: TcpStream, name: &str, heads: &RefCell<Vec<String>>) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some(end) = read_until(&mut stream, &mut buffer, b"\r\n\r\n").await? else { return Ok(()) };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end);
        let length = head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        heads.borrow_mut().push(head);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
        stream.write_all(answer.as_bytes()).await?;
        let length = length.unwrap_or(0);
        while buffer.len() < length {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        buffer.drain(..length);
    }
}

/// Reads until `mark` is there; where it ends, or nothing if the stream ends first.
async fn read_until(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    mark: &[u8],
) -> std::io::Result<Option<usize>> {
    loop {
        if let Some(at) = buffer.windows(mark.len()).position(|window| window == mark) {
            return Ok(Some(at + mark.len()));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Answer(String);

impl Answer {
    /// The status of the first answer, if there is one.
    pub(crate) fn status(&self) -> Option<u16> {
        self.0.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
    }

    /// Whether the text is anywhere in it.
    pub(crate) fn has(&self, text: &str) -> bool {
        self.0.contains(text)
    }

    /// Status and reason, in one line.
    pub(crate) fn summary(&self) -> String {
        let Some(line) = self.0.lines().next() else { return "no answer".to_owned() };
        let reason = self.0.lines().find_map(|line| line.strip_prefix("x-weft-error: "));
        reason.map_or_else(|| line.to_owned(), |reason| format!("{line}, x-weft-error: {reason}"))
    }
}

/// Sends octets and reads until the end of the connection, or for as long as [`PATIENCE`].
pub(crate) async fn send(address: SocketAddr, octets: &str) -> Answer {
    match std::net::TcpStream::connect(address)
        .and_then(|stream| stream.set_nonblocking(true).map(|()| stream))
    {
        Ok(stream) => send_on(stream, octets).await,
        Err(_) => Answer(String::new()),
    }
}

/// As [`send`], on a connection that is there.
pub(crate) async fn send_on(stream: std::net::TcpStream, octets: &str) -> Answer {
    let mut text = Vec::new();
    let exchange = async {
        let mut stream = TcpStream::from_std(stream)?;
        stream.write_all(octets.as_bytes()).await?;
        while stream.read_buf(&mut text).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _ended = timeout(PATIENCE, exchange).await;
    Answer(String::from_utf8_lossy(&text).into_owned())
}

/// Sends a GET for a target, with a Host, and reads the answer to its end.
pub(crate) async fn get(address: SocketAddr, target: &str, host: &str) -> Answer {
    send(address, &format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await
}
