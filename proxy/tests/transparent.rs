//! Redirected connections, by a kernel that redirects them.

// Tests end where they go wrong, helpers included.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use weft_proxy::transport::listener::Bound;
use weft_proxy::transport::socket::original_destination;
use weft_testkit::namespace::{in_own_network, run};

/// What the listener takes for the destination of a connection to `dialled`.
async fn destination_of(listener: &TcpListener, dialled: SocketAddr) -> Option<SocketAddr> {
    let (client, accepted) = tokio::join!(TcpStream::connect(dialled), listener.accept());
    let _client = client.unwrap();
    original_destination(&accepted.unwrap().0).unwrap()
}

#[test]
fn a_redirected_connection_tells_where_it_was_meant_to_go() {
    in_own_network("a_redirected_connection_tells_where_it_was_meant_to_go", &["nft"], || {
        run("ip", &["address", "add", "10.9.9.9/32", "dev", "lo"]);
        run("ip", &["address", "add", "fd00::9/128", "dev", "lo", "nodad"]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dual = Bound::bind("[::]:0".parse().unwrap()).unwrap();
            let v4 = Bound::bind("0.0.0.0:0".parse().unwrap()).unwrap();
            let rules = format!(
                "table inet weft {{
                    chain output {{
                        type nat hook output priority -100
                        tcp dport 8000-8099 redirect to :{}
                        tcp dport 8100-8199 redirect to :{}
                    }}
                }}",
                dual.address().port(),
                v4.address().port()
            );
            run("nft", &[&rules]);
            let (dual_listener, v4_listener) = (dual.listener().unwrap(), v4.listener().unwrap());
            for dialled in ["127.0.0.1:8001", "10.9.9.9:8002", "[::1]:8003", "[fd00::9]:8004"] {
                let dialled: SocketAddr = dialled.parse().unwrap();
                assert_eq!(destination_of(&dual_listener, dialled).await, Some(dialled));
            }
            let dialled: SocketAddr = "10.9.9.9:8100".parse().unwrap();
            assert_eq!(destination_of(&v4_listener, dialled).await, Some(dialled));
            // Who dials the listener itself was not redirected.
            let direct = SocketAddr::from(([127, 0, 0, 1], v4.address().port()));
            assert_eq!(destination_of(&v4_listener, direct).await, None);
            let direct = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], dual.address().port()));
            assert_eq!(destination_of(&dual_listener, direct).await, None);
        });
    });
}
