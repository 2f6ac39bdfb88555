//! A relay between the sidecars that remembers how each connection began and how many bytes went through.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Enough for the first record of either side, also with a hybrid key exchange.
const REMEMBERED: usize = 4096;

/// A running relay; it ends when dropped.
pub(super) struct Relay {
    port: u16,
    seen: Rc<RefCell<Vec<Rc<Connection>>>>,
    task: JoinHandle<()>,
}

/// What went through one connection.
#[derive(Default)]
pub(super) struct Connection {
    client: Direction,
    server: Direction,
}

#[derive(Default)]
struct Direction {
    begin: RefCell<Vec<u8>>,
    bytes: Cell<u64>,
}

impl Relay {
    /// Relays a free port to `target`.
    pub(super) async fn start(target: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let task = tokio::task::spawn_local(accept(listener, target, seen.clone()));
        Ok(Self { port, seen, task })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// All connections so far.
    pub(super) fn seen(&self) -> Vec<Rc<Connection>> {
        self.seen.borrow().clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: u16, seen: Rc<RefCell<Vec<Rc<Connection>>>>) {
    while let Ok((client, _)) = listener.accept().await {
        let connection = Rc::new(Connection::default());
        seen.borrow_mut().push(connection.clone());
        tokio::task::spawn_local(relay(client, target, connection));
    }
}

async fn relay(client: TcpStream, target: u16, connection: Rc<Connection>) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        copy(from_client, to_server, &connection.client),
        copy(from_server, to_client, &connection.server)
    );
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, direction: &Direction) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let (data, _) = buffer.split_at(count);
        direction.note(data);
        if to.write_all(data).await.is_err() {
            break;
        }
    }
    let _closed = to.shutdown().await;
}

impl Direction {
    fn note(&self, data: &[u8]) {
        self.bytes.set(self.bytes.get() + data.len() as u64);
        let mut begin = self.begin.borrow_mut();
        let space = REMEMBERED - begin.len();
        begin.extend(data.iter().take(space));
    }
}

impl Connection {
    /// Bytes of both directions.
    pub(super) fn bytes(&self) -> u64 {
        self.client.bytes.get() + self.server.bytes.get()
    }

    /// The cipher suite, if the client began with a `ClientHello` and the server chose TLS 1.3.
    pub(super) fn tls13_cipher_suite(&self) -> Option<&'static str> {
        let hello = self.client.begin.borrow();
        // Record type handshake, then message type client_hello (RFC 8446 sections 5.1 and 4).
        let [22, 3, _, _, _, 1, ..] = hello.as_slice() else { return None };
        server_hello(&self.server.begin.borrow())
    }
}

/// The name of the cipher suite in a TLS 1.3 `ServerHello` (RFC 8446 section 4.1.3).
fn server_hello(bytes: &[u8]) -> Option<&'static str> {
    // Record header, message header, legacy version, random.
    let [22, 3, _, _, _, 2, ..] = bytes else { return None };
    let session_id = usize::from(*bytes.get(43)?);
    let rest = bytes.get(44 + session_id..)?;
    let (&[high, low], rest) = rest.split_first_chunk()?;
    let (_compression, rest) = rest.split_first()?;
    let (&length, rest) = rest.split_first_chunk()?;
    let mut extensions = rest.get(..usize::from(u16::from_be_bytes(length)))?;
    while let Some((&[kind_high, kind_low, length_high, length_low], rest)) = extensions.split_first_chunk() {
        let (value, after) =
            rest.split_at_checked(usize::from(u16::from_be_bytes([length_high, length_low])))?;
        // supported_versions holds the chosen one: 0x0304 is TLS 1.3.
        if (kind_high, kind_low, value) == (0, 43, &[3, 4]) {
            return Some(match (high, low) {
                (0x13, 1) => "TLS_AES_128_GCM_SHA256",
                (0x13, 2) => "TLS_AES_256_GCM_SHA384",
                (0x13, 3) => "TLS_CHACHA20_POLY1305_SHA256",
                _ => "another",
            });
        }
        extensions = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(version: u8) -> Vec<u8> {
        let mut bytes = vec![22, 3, 3, 0, 0, 2, 0, 0, 0, 3, 3];
        bytes.extend([7; 32]);
        bytes.extend([2, 9, 9]); // session id
        bytes.extend([0x13, 1, 0]);
        bytes.extend([0, 11, 0, 51, 0, 1, 5, 0, 43, 0, 2, 3, version]);
        bytes
    }

    #[test]
    fn the_chosen_version_is_found_among_extensions() {
        assert_eq!(server_hello(&hello(4)), Some("TLS_AES_128_GCM_SHA256"));
        assert_eq!(server_hello(&hello(3)), None);
    }

    #[test]
    fn a_cut_hello_is_no_tls() {
        let whole = hello(4);
        for length in 0..whole.len() {
            assert_eq!(server_hello(&whole[..length]), None, "{length}");
        }
    }
}
