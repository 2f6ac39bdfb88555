//! Clients that speak by octets, behind each kind of hop.

use tokio::io::AsyncReadExt;
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::transport::within::Within;

/// A mesh with one endpoint, behind each kind of hop in turn.
pub(super) async fn over_each_hop<F: Future<Output = ()>>(test: impl Fn(Mesh) -> F) {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            mesh.sidecar(2, &v1::Inbound::default());
            test(mesh).await;
        })
        .await;
    }
}

/// A connection of the application to its sidecar.
pub(super) async fn client() -> Within {
    network::connect(outbound()).unwrap().await.unwrap()
}

/// What comes until it ends with this; nothing where the connection ends before.
pub(super) async fn read_until(stream: &mut Within, end: &str) -> Option<String> {
    let mut all = Vec::new();
    while !all.ends_with(end.as_bytes()) {
        all.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(all).ok()
}
