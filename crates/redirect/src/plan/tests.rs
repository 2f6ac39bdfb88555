//! What the plan decides, against what it is meant to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

/// The first segment of a connection.
#[derive(Clone, Debug)]
struct Packet {
    user: u32,
    group: u32,
    mark: u32,
    destination: IpAddr,
    port: u16,
    /// Its destination is an address of the machine, so that it goes over loopback.
    local: bool,
}

fn has(packet: &Packet, wanted: &Match) -> bool {
    let family = if packet.destination.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
    match wanted {
        Match::NotTcp | Match::FromLoopback | Match::Reply | Match::ConnectionMark(_) => false,
        Match::New => true,
        Match::Family(of) => *of == family,
        Match::User(users) => users.contains(packet.user),
        Match::Group(groups) => groups.contains(packet.group),
        Match::Mark(mark) => packet.mark == *mark,
        Match::ToLoopback | Match::Local => packet.local,
        Match::Port(ports) => ports.contains(packet.port),
        Match::Address(net) => net.contains(&packet.destination),
    }
}

fn decide(rules: &Rules, place: Place, packet: &Packet) -> Action {
    let chains = plan(rules);
    let chain = chains.iter().find(|chain| chain.place == place).unwrap();
    let decides = |line: &&Line| line.matches.iter().all(|wanted| has(packet, wanted));
    chain.lines.iter().find(decides).map_or(Action::Leave, |line| line.action)
}

/// What outbound redirection means, said at once.
fn outbound_naive(rules: &Rules, packet: &Packet) -> Action {
    let own = rules.users.contains(&packet.user) || rules.groups.contains(&packet.group);
    let family_left = match packet.destination {
        IpAddr::V4(_) => rules.families == Families::Ipv6,
        IpAddr::V6(_) => rules.families == Families::Ipv4,
    };
    if family_left || packet.mark == rules.mark {
        return Action::Leave;
    }
    if own && packet.local && packet.port == 15002 {
        return Action::Redirect(rules.outbound_port);
    }
    if own && packet.local && packet.port == 15007 {
        return rules.inbound_port.map_or(Action::Leave, Action::Redirect);
    }
    if packet.destination.is_loopback() {
        return Action::Leave;
    }
    if packet.local {
        return Action::Leave;
    }
    let skipped = packet.port == 53
        || rules.skip_users.iter().any(|users| users.contains(packet.user))
        || rules.skip_outbound_ports.iter().any(|ports| ports.contains(packet.port))
        || rules.skip_outbound_addresses.iter().any(|net| net.contains(&packet.destination));
    if own || skipped { Action::Leave } else { Action::Redirect(rules.outbound_port) }
}

prop_compose! {
    fn packets()(
        user in prop_oneof![Just(0u32), Just(1000), Just(2102)],
        group in prop_oneof![Just(0u32), Just(2102)],
        mark in prop_oneof![4 => Just(0u32), 1 => Just(0x2102)],
        destination in prop_oneof![
            Just(IpAddr::from(Ipv4Addr::LOCALHOST)),
            Just(IpAddr::from(Ipv4Addr::new(10, 1, 2, 3))),
            Just(IpAddr::from(Ipv4Addr::new(192, 0, 2, 1))),
            Just(IpAddr::from(Ipv6Addr::LOCALHOST)),
            Just("fd00::1".parse::<IpAddr>().unwrap()),
            Just("2001:db8::1".parse::<IpAddr>().unwrap()),
        ],
        port in prop_oneof![Just(22u16), Just(53), Just(80), Just(8005), Just(15002), Just(15006), Just(15007), Just(15020)],
        local: bool,
    ) -> Packet {
        Packet { user, group, mark, destination, port, local: local || destination.is_loopback() }
    }
}

prop_compose! {
    fn any_rules()(
        ports in prop_oneof![Just(""), Just("22"), Just("8000-8010,80")],
        inbound_ports in prop_oneof![Just(""), Just("22,8005")],
        addresses in prop_oneof![Just(""), Just("10.0.0.0/8"), Just("fd00::/8,192.0.2.1")],
        users in prop_oneof![Just(""), Just("1000"), Just("0-10")],
        tproxy: bool,
        inbound: bool,
        families in prop_oneof![4 => Just(Families::Both), 1 => Just(Families::Ipv4), 1 => Just(Families::Ipv6)],
    ) -> Rules {
        Rules {
            skip_outbound_ports: ports.parse::<crate::List<_>>().unwrap().0,
            skip_inbound_ports: inbound_ports.parse::<crate::List<_>>().unwrap().0,
            skip_outbound_addresses: addresses.parse::<crate::List<_>>().unwrap().0,
            skip_users: users.parse::<crate::List<_>>().unwrap().0,
            inbound_port: (inbound || tproxy).then_some(15006),
            inbound: if tproxy { Inbound::Tproxy } else { Inbound::Redirect },
            families,
            ..Rules::default()
        }
    }
}

proptest! {
    #[test]
    fn outbound_connections_go_where_they_are_meant_to(rules in any_rules(), packet in packets()) {
        let decided = decide(&rules, Place::OutboundNat, &packet);
        prop_assert_eq!(decided, outbound_naive(&rules, &packet));
    }

    #[test]
    fn inbound_connections_go_through_the_sidecar_but_to_direct_ports(rules in any_rules(), packet in packets()) {
        let rules = Rules { inbound_port: Some(15006), ..rules };
        let family_left = match packet.destination {
            IpAddr::V4(_) => rules.families == Families::Ipv6,
            IpAddr::V6(_) => rules.families == Families::Ipv4,
        };
        let direct = rules.direct_inbound_ports().iter().any(|ports| ports.contains(packet.port));
        let (place, through) = match rules.inbound {
            Inbound::Redirect => (Place::InboundNat, Action::Redirect(15006)),
            Inbound::Tproxy => (Place::InboundMangle, Action::Tproxy { port: 15006, mark: KEPT_MARK }),
        };
        let expected = if packet.local && !direct && !family_left { through } else { Action::Leave };
        prop_assert_eq!(decide(&rules, place, &packet), expected);
    }

    #[test]
    fn without_an_inbound_port_what_arrives_is_left_alone(rules in any_rules()) {
        let chains = plan(&Rules { inbound_port: None, ..rules });
        prop_assert!(chains.len() == 1 && chains[0].place == Place::OutboundNat);
    }

    #[test]
    fn words_fit_a_comment_of_the_kernel(rules in any_rules()) {
        for line in plan(&rules).iter().flat_map(|chain| &chain.lines) {
            prop_assert!(!line.words.is_empty() && line.words.len() <= 127 && !line.words.contains('"'));
        }
    }
}
