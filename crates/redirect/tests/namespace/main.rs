//! The rules in network namespaces: what the kernel does with real connections.

// Tests end where they go wrong, helpers included.
#![allow(clippy::unwrap_used)]

mod world;

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use rustix::thread::{Uid, set_thread_res_uid};
use socket2::{Domain, Socket, Type};
use weft_redirect::{Backend, Error, Families, Inbound, List, Rules, Used, apply, nft, plan, remove, show};
use weft_testkit::namespace::{Neighbour, in_own_network, run};
use world::{
    APPLICATION, Caller, FAR, OTHER, POD, SIDECAR, address, answer, call, listener, pod, serve, surroundings,
};

fn rules() -> Rules {
    Rules {
        skip_inbound_ports: "2222".parse::<List<_>>().unwrap().0,
        skip_outbound_ports: "22,8000-8010".parse::<List<_>>().unwrap().0,
        skip_outbound_addresses: "10.77.0.0/30,fd77::2".parse::<List<_>>().unwrap().0,
        skip_users: "3000-3010".parse::<List<_>>().unwrap().0,
        ..Rules::default()
    }
}

fn written(ip: &str, port: u16) -> String {
    address(ip, port).to_string()
}

fn outbound_goes_through_the_sidecar() {
    for far in FAR {
        assert_eq!(answer(APPLICATION, far, 80), format!("outbound {}", written(far, 80)));
        assert_eq!(
            answer(Caller::default(), far, 81),
            format!("outbound {}", written(far, 81)),
            "root is no exception"
        );
        for skipped in [22, 8005, 53] {
            assert_eq!(answer(APPLICATION, far, skipped), "outside", "port {skipped}");
        }
        assert_eq!(answer(SIDECAR, far, 80), "outside", "the sidecar's own");
        assert_eq!(answer(Caller { user: 1000, group: 2102, ..APPLICATION }, far, 80), "outside", "by group");
        assert_eq!(answer(Caller { mark: 0x2102, ..Caller::default() }, far, 80), "outside", "by mark");
        assert_eq!(
            answer(Caller { mark: 0x2103, ..Caller::default() }, far, 80),
            format!("outbound {}", written(far, 80))
        );
        assert_eq!(
            answer(Caller { user: 3005, ..APPLICATION }, far, 80),
            "outside",
            "a user who is left out"
        );
    }
    for other in OTHER {
        assert_eq!(answer(APPLICATION, other, 80), "outside", "a block that is left out");
    }
    for loopback in ["127.0.0.1", "127.9.9.9", "::1"] {
        assert!(answer(APPLICATION, loopback, 9080).starts_with("application from "), "{loopback}");
    }
}

fn a_sidecar_can_tell_that_it_is_redirected_to() {
    for loopback in ["127.0.0.1", "::1"] {
        assert_eq!(answer(SIDECAR, loopback, 15002), format!("outbound {}", written(loopback, 15002)));
        assert_eq!(
            answer(SIDECAR, loopback, 15007),
            format!("inbound {} from {loopback}", written(loopback, 15007))
        );
        for port in [15002, 15007] {
            assert!(
                call(APPLICATION, address(loopback, port)).is_err(),
                "for others these are ports like any other"
            );
        }
    }
}

fn inbound_goes_through_the_sidecar(neighbour: &Neighbour) {
    let from_outside = |ip, port| neighbour.enter(|| answer(APPLICATION, ip, port));
    for (pod, other) in POD.into_iter().zip(OTHER) {
        assert_eq!(from_outside(pod, 9080), format!("inbound {} from {other}", written(pod, 9080)));
        assert_eq!(from_outside(pod, 2222), format!("application from {other}"), "a port that is left out");
        assert_eq!(from_outside(pod, 15020), format!("application from {other}"), "the sidecar's monitoring");
        assert_eq!(
            from_outside(pod, 15006),
            format!("inbound {} from {other}", written(pod, 15006)),
            "to itself"
        );
    }
}

fn calls_to_itself_are_direct() {
    for pod in POD {
        assert_eq!(
            answer(APPLICATION, pod, 9080),
            format!("application from {pod}"),
            "the application's own"
        );
        let own = answer(SIDECAR, pod, 9080);
        assert_eq!(
            own,
            format!("application from {pod}"),
            "forwarded, or dialled as an endpoint of a service"
        );
        assert_eq!(answer(SIDECAR, pod, 2222), format!("application from {pod}"), "a port that is left out");
    }
}

fn datagrams_are_untouched(neighbour: &Neighbour) {
    let outside = neighbour.enter(|| UdpSocket::bind("192.0.2.9:53").unwrap());
    let own = UdpSocket::bind("0.0.0.0:0").unwrap();
    own.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    own.send_to(b"question", "192.0.2.9:53").unwrap();
    let mut buffer = [0; 16];
    let (length, from) = outside.recv_from(&mut buffer).unwrap();
    outside.send_to(&buffer[..length], from).unwrap();
    let (length, from) = own.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from), (&b"question"[..], address("192.0.2.9", 53)));
}

fn connections_are_led(name: &str, tools: &[&str], backend: Backend, used: Used) {
    in_own_network(name, tools, || {
        let neighbour = surroundings();
        pod(false);
        assert_eq!(answer(APPLICATION, FAR[0], 80), "outside");
        assert_eq!(apply(&rules(), backend).unwrap(), used);
        outbound_goes_through_the_sidecar();
        inbound_goes_through_the_sidecar(&neighbour);
        a_sidecar_can_tell_that_it_is_redirected_to();
        calls_to_itself_are_direct();
        datagrams_are_untouched(&neighbour);
        let before: Vec<_> = show().unwrap().into_iter().map(|rule| (rule.chain, rule.words)).collect();
        assert_eq!(apply(&rules(), backend).unwrap(), used);
        let after: Vec<_> = show().unwrap().into_iter().map(|rule| (rule.chain, rule.words)).collect();
        assert_eq!(before, after, "applied again");
        assert_eq!(answer(APPLICATION, FAR[0], 80), format!("outbound {}", written(FAR[0], 80)));
        apply(&Rules { skip_outbound_ports: Vec::new(), ..rules() }, backend).unwrap();
        assert_eq!(
            answer(APPLICATION, FAR[0], 22),
            format!("outbound {}", written(FAR[0], 22)),
            "other rules"
        );
        let shown = show().unwrap();
        let through =
            shown.iter().find(|rule| rule.words == "all else: through the sidecar's port 15001").unwrap();
        assert_eq!((through.packets, through.bytes), (1, 60), "{shown:?}");
        assert!(remove().unwrap());
        assert!(!remove().unwrap() && show().unwrap().is_empty());
        assert_eq!(answer(APPLICATION, FAR[0], 80), "outside");
        assert_eq!(
            neighbour.enter(|| answer(APPLICATION, POD[0], 9080)),
            format!("application from {}", OTHER[0])
        );
    });
}

#[test]
fn nf_tables_leads_connections_through_the_sidecar() {
    connections_are_led("nf_tables_leads_connections_through_the_sidecar", &[], Backend::Auto, Used::Nft);
}

#[test]
fn iptables_leads_connections_through_the_sidecar() {
    let tools = ["iptables-restore", "ip6tables-restore"];
    let name = "iptables_leads_connections_through_the_sidecar";
    connections_are_led(name, &tools, Backend::Iptables, Used::Iptables);
}

#[test]
fn the_kernel_gives_back_what_it_was_given() {
    in_own_network("the_kernel_gives_back_what_it_was_given", &[], || {
        for (inbound, families) in [
            (Inbound::Redirect, Families::Both),
            (Inbound::Tproxy, Families::Both),
            (Inbound::Redirect, Families::Ipv4),
            (Inbound::Redirect, Families::Ipv6),
        ] {
            let rules = Rules { inbound, families, ..rules() };
            apply(&rules, Backend::Nft).unwrap();
            let mut planned = nft::message::Rule::planned(&plan::plan(&rules));
            let mut given = nft::rules().unwrap();
            for rules in [&mut planned, &mut given] {
                rules.sort_by(|one, other| one.chain.cmp(&other.chain));
            }
            assert_eq!(given, planned);
        }
    });
}

/// Hundreds of rules are one transaction too.
#[test]
fn long_lists_are_applied() {
    in_own_network("long_lists_are_applied", &[], || {
        let ports = (1..=600).map(|port| (port * 2).to_string()).collect::<Vec<_>>().join(",");
        let rules = Rules { skip_outbound_ports: ports.parse::<List<_>>().unwrap().0, ..Rules::default() };
        apply(&rules, Backend::Nft).unwrap();
        assert!(show().unwrap().len() > 600);
    });
}

fn addresses_are_kept(name: &str, tools: &[&str], backend: Backend) {
    in_own_network(name, tools, || {
        let neighbour = surroundings();
        let rules = Rules { inbound: Inbound::Tproxy, ..rules() };
        apply(&rules, backend).unwrap();
        // Nobody takes what is inbound yet, and nothing gets past the sidecar.
        serve(listener(9081, false), |_, _| "past the sidecar".to_owned());
        assert!(neighbour.enter(|| call(APPLICATION, address(POD[0], 9081)).is_err()));
        pod(true);
        outbound_goes_through_the_sidecar();
        inbound_goes_through_the_sidecar_kept(&neighbour);
        calls_to_itself_are_direct();
        for (pod, other) in POD.into_iter().zip(OTHER) {
            assert_eq!(borrow(other, pod), format!("application from {other}"));
        }
        apply(&rules, backend).unwrap();
        assert_eq!(borrow(OTHER[0], POD[0]), format!("application from {}", OTHER[0]));
        remove().unwrap();
        let routes = std::process::Command::new("ip").args(["rule"]).output().unwrap();
        assert!(!String::from_utf8_lossy(&routes.stdout).contains("0x2106"));
    });
}

fn inbound_goes_through_the_sidecar_kept(neighbour: &Neighbour) {
    for (pod, other) in POD.into_iter().zip(OTHER) {
        let said = neighbour.enter(|| answer(APPLICATION, pod, 9080));
        assert_eq!(said, format!("inbound {} from {other}", written(pod, 9080)));
        assert_eq!(neighbour.enter(|| answer(APPLICATION, pod, 2222)), format!("application from {other}"));
    }
}

/// What the application says to a connection of the sidecar that bears a client's address.
fn borrow(client: &str, pod: &str) -> String {
    use std::io::Read as _;
    let to = address(pod, 9080);
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    if to.is_ipv4() { socket.set_ip_transparent_v4(true) } else { socket.set_ip_transparent_v6(true) }
        .unwrap();
    socket.set_mark(0x2102).unwrap();
    socket.bind(&address(client, 0).into()).unwrap();
    socket.connect_timeout(&to.into(), Duration::from_secs(3)).unwrap();
    let mut text = String::new();
    std::net::TcpStream::from(socket).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn tproxy_keeps_the_addresses_of_clients() {
    addresses_are_kept("tproxy_keeps_the_addresses_of_clients", &[], Backend::Nft);
}

#[test]
fn tproxy_of_iptables_keeps_the_addresses_of_clients() {
    let tools = ["iptables-restore", "ip6tables-restore"];
    addresses_are_kept("tproxy_of_iptables_keeps_the_addresses_of_clients", &tools, Backend::Iptables);
}

#[test]
fn a_machine_without_ipv6_is_no_error() {
    in_own_network("a_machine_without_ipv6_is_no_error", &["sysctl"], || {
        run("sysctl", &["-w", "net.ipv6.conf.all.disable_ipv6=1"]);
        for inbound in [Inbound::Redirect, Inbound::Tproxy] {
            apply(&Rules { inbound, ..rules() }, Backend::Auto).unwrap();
        }
        remove().unwrap();
    });
}

#[test]
fn whoever_may_not_is_told_what_is_missing() {
    in_own_network("whoever_may_not_is_told_what_is_missing", &[], || {
        let error = thread::spawn(|| {
            let user = Uid::from_raw(1000);
            set_thread_res_uid(user, user, user).unwrap();
            apply(&rules(), Backend::Auto).unwrap_err()
        });
        let error = error.join().unwrap();
        assert!(matches!(error, Error::NotPermitted { .. }), "{error}");
        assert!(error.to_string().contains("NET_ADMIN"), "{error}");
    });
}

#[test]
fn nft_prints_the_table_as_people_write_it() {
    in_own_network("nft_prints_the_table_as_people_write_it", &["nft"], || {
        apply(&rules(), Backend::Nft).unwrap();
        let printed =
            std::process::Command::new("nft").args(["list", "table", "inet", "weft"]).output().unwrap();
        let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
        for text in [
            "type nat hook prerouting priority dstnat; policy accept;",
            "type nat hook output priority -100; policy accept;",
            "tcp dport 8000-8010 counter packets 0 bytes 0 accept comment \"to port 8000-8010: left alone\"",
            "meta skuid 3000-3010 counter",
            "ip daddr 10.77.0.0/30 counter",
            "ip6 daddr fd77::2 counter",
            "redirect to :15001",
            "fib daddr type local",
            "oif \"lo\" counter",
        ] {
            assert!(printed.contains(text), "{text:?} is not in\n{printed}");
        }
    });
}
