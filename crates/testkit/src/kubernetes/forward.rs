//! Ports of pods over a WebSocket (Kubernetes, subprotocol `v4.channel.k8s.io`): even channels hold data, odd ones what went
//! wrong; the first message of each is its port.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

const DATA: u8 = 0;
const ERROR: u8 = 1;

/// `namespace/name` of `/api/v1/namespaces/NAMESPACE/pods/NAME/portforward`.
pub(super) fn pod(path: &str) -> String {
    let mut parts = path.trim_start_matches("/api/v1/namespaces/").split('/');
    let namespace = parts.next().unwrap_or_default();
    format!("{namespace}/{}", parts.nth(1).unwrap_or_default())
}

/// Switches protocols, and forwards what comes to `to`.
pub(super) fn accept(
    mut request: Request<Incoming>,
    port: u16,
    to: Option<SocketAddr>,
) -> Response<Full<Bytes>> {
    let key = request
        .headers()
        .get(SEC_WEBSOCKET_KEY)
        .map(|key| derive_accept_key(key.as_bytes()))
        .unwrap_or_default();
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrading.await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        // Whoever goes away early knows why.
        let _ = forward(socket, port, to).await;
    });
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, key)
        .header(SEC_WEBSOCKET_PROTOCOL, "v4.channel.k8s.io");
    response.body(Full::default()).expect("the headers are good")
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

async fn forward(socket: Socket, port: u16, to: Option<SocketAddr>) -> Option<()> {
    let (mut sink, mut stream) = socket.split();
    let message = |channel: u8, bytes: &[u8]| Message::Binary([&[channel], bytes].concat().into());
    for channel in [DATA, ERROR] {
        sink.send(message(channel, &port.to_le_bytes())).await.ok()?;
    }
    let Some(to) = to else {
        let problem = format!("dial tcp4 127.0.0.1:{port}: connect: connection refused");
        sink.send(message(ERROR, problem.as_bytes())).await.ok()?;
        return sink.close().await.ok();
    };
    let (mut reader, mut writer) = TcpStream::connect(to).await.ok()?.into_split();
    let back = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = reader.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
            sink.send(message(DATA, buffer.get(..count)?)).await.ok()?;
        }
    };
    let forth = async {
        while let Some(Ok(received)) = stream.next().await {
            if let Message::Binary(bytes) = received
                && let Some((&DATA, data)) = bytes.split_first()
            {
                writer.write_all(data).await.ok()?;
            }
        }
        Some(())
    };
    tokio::select! {
        done = back => done,
        done = forth => done,
    }
}
