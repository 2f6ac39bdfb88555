use std::net::TcpListener;

use weft_redirect::{Backend, Rules, apply};
use weft_testkit::namespace::in_own_network;

use super::*;
use crate::transport::socket;

/// Accepts what is redirected to a port, as the proxy's listeners do.
async fn listen(redirection: &Redirection, direction: Direction, port: u16) {
    let listener = tokio::net::TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, port)).await.unwrap();
    loop {
        let (stream, source) = listener.accept().await.unwrap();
        if let Some(original) = socket::original_destination(&stream).unwrap() {
            assert!(redirection.arrived(direction, original, socket::canonical(source)));
        }
    }
}

async fn verified(redirection: &Redirection, directions: &[Direction]) -> Result<(), String> {
    // Both listen before the first connection is opened.
    tokio::select! {
        biased;
        () = listen(redirection, Direction::Outbound, 15001) => unreachable!(),
        () = listen(redirection, Direction::Inbound, 15006) => unreachable!(),
        verified = redirection.verify_once(directions) => verified,
    }
}

#[test]
fn redirection_is_verified_when_the_rules_are_in_force_and_for_the_proxys_own_ports() {
    let name = "transport::redirection::tests::redirection_is_verified_when_the_rules_are_in_force_and_for_the_proxys_own_ports";
    in_own_network(name, &[], || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let redirection = Redirection::default();
        let (out, inb) = (Direction::Outbound, Direction::Inbound);
        let verify = |directions: &[Direction]| runtime.block_on(verified(&redirection, directions));
        let rules = |rules: Rules| {
            // The test is root, who is the sidecar here.
            apply(&Rules { users: vec![0], groups: vec![], ..rules }, Backend::Auto).unwrap();
        };
        let none = verify(&[out, inb]).unwrap_err();
        assert!(
            none.contains("what the workload opens is not redirected") && none.contains("127.0.0.1:15002"),
            "{none}"
        );
        rules(Rules::default());
        verify(&[out, inb]).unwrap();
        rules(Rules { inbound_port: None, ..Rules::default() });
        verify(&[out]).unwrap();
        let outbound_alone = verify(&[out, inb]).unwrap_err();
        assert!(
            outbound_alone.contains("what is opened to the workload is not redirected"),
            "{outbound_alone}"
        );
        rules(Rules { outbound_port: 15006, ..Rules::default() });
        let crossed = verify(&[out]).unwrap_err();
        assert!(crossed.contains("arrived at another listener"), "{crossed}");
        rules(Rules { outbound_port: 15999, ..Rules::default() });
        assert!(verify(&[out]).unwrap_err().contains("failed"), "nobody listens where the rules lead");
        // Somebody who listens there himself changes nothing: only the kernel's word counts.
        weft_redirect::remove().unwrap();
        let _other = TcpListener::bind("127.0.0.1:15002").unwrap();
        assert!(verify(&[out]).unwrap_err().contains("arrived elsewhere"));
        // The rules are for another user: the proxy's own connections would come back to it.
        apply(&Rules::default(), Backend::Auto).unwrap();
        assert!(verify(&[out]).is_err());
    });
}

#[test]
fn only_the_socket_that_was_opened_for_it_proves_something() {
    let redirection = Redirection::default();
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    let (opened, mut arrival) = oneshot::channel();
    redirection.opened.lock().insert(address("127.0.0.1:40000"), opened);
    let arrived = |original: &str, source: &str| {
        redirection.arrived(Direction::Outbound, address(original), address(source))
    };
    assert!(!arrived("10.0.0.1:15002", "127.0.0.1:40000"), "a call of somebody to a port of that number");
    assert!(!arrived("127.0.0.1:80", "127.0.0.1:40000"));
    assert!(arrived("127.0.0.1:15002", "127.0.0.1:40001"), "it is not sent on, and proves nothing");
    assert!(arrival.try_recv().is_err());
    assert!(arrived("127.0.0.1:15002", "127.0.0.1:40000"));
    assert_eq!(arrival.try_recv().unwrap(), Direction::Outbound);
    assert!(redirection.opened.lock().is_empty());
}

#[test]
fn only_listeners_for_redirected_connections_expect_any() {
    assert_eq!(expected(false, false), []);
    assert_eq!(expected(true, false), [Direction::Outbound]);
    assert_eq!(expected(true, true), [Direction::Outbound, Direction::Inbound]);
}
