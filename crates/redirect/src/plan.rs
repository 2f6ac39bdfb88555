//! The rules in the order in which the kernel goes through them, for both ways into the kernel.

use ipnet::IpNet;

use crate::list::Span;
use crate::rules::{Families, Inbound, KEPT_MARK, Rules, VERIFY_INBOUND_PORT, VERIFY_OUTBOUND_PORT};

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Something that a packet must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// It is no segment of TCP.
    NotTcp,
    /// Its family.
    Family(Family),
    /// The user whose socket sends it.
    User(Span<u32>),
    /// The group whose socket sends it.
    Group(Span<u32>),
    /// Its mark.
    Mark(u32),
    /// The mark of its connection.
    ConnectionMark(u32),
    /// It arrives over loopback.
    FromLoopback,
    /// It leaves over loopback: its destination is an address of this machine.
    ToLoopback,
    /// Its destination is an address of this machine.
    Local,
    /// Its destination's port.
    Port(Span<u16>),
    /// Its destination's address.
    Address(IpNet),
    /// It answers a connection that was opened from here.
    Reply,
    /// It opens a connection.
    New,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes where it wants to.
    Leave,
    /// It goes to this port of this machine.
    Redirect(u16),
    /// It goes to the transparent socket of this port, with its addresses as they are.
    Tproxy {
        /// The port.
        port: u16,
        /// The mark that it gets.
        mark: u32,
    },
    /// Its connection is remembered by this mark; the next rule decides.
    SaveMark(u32),
    /// It gets this mark, and is routed by it.
    SetMark(u32),
    /// It is thrown away.
    Drop,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it does, in words, at most 127 bytes.
    pub words: String,
    /// What a packet must have, all of it.
    pub matches: Vec<Match>,
    /// What becomes of it.
    pub action: Action,
}

/// Where in the kernel a chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Destinations of what arrives are changed.
    InboundNat,
    /// Destinations of what is sent are changed.
    OutboundNat,
    /// What arrives is handed to sockets.
    InboundMangle,
    /// What is sent is marked and routed.
    OutboundMangle,
}

/// Rules that the kernel goes through one after the other, until one decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Where it is.
    pub place: Place,
    /// Its rules.
    pub lines: Vec<Line>,
}

fn line(words: impl Into<String>, matches: impl Into<Vec<Match>>, action: Action) -> Line {
    Line { words: words.into(), matches: matches.into(), action }
}

/// All chains for these rules.
pub fn plan(rules: &Rules) -> Vec<Chain> {
    let mut chains = match (rules.inbound_port, rules.inbound) {
        (None, _) => Vec::new(),
        (Some(port), Inbound::Redirect) => vec![inbound(rules, port)],
        (Some(port), Inbound::Tproxy) => vec![inbound_kept(rules, port), outbound_kept(rules)],
    };
    chains.push(outbound(rules));
    chains
}

/// What every chain begins with.
fn opening(rules: &Rules) -> Vec<Line> {
    let mut lines = vec![line("what is not TCP is left alone", [Match::NotTcp], Action::Leave)];
    let other = match rules.families {
        Families::Both => None,
        Families::Ipv4 => Some(("IPv6 is left alone", Family::Ipv6)),
        Families::Ipv6 => Some(("IPv4 is left alone", Family::Ipv4)),
    };
    lines.extend(other.map(|(words, family)| line(words, [Match::Family(family)], Action::Leave)));
    lines
}

fn direct_ports(rules: &Rules) -> impl Iterator<Item = Line> {
    let lines = rules.direct_inbound_ports().into_iter();
    lines.map(|port| line(format!("port {port} is reached directly"), [Match::Port(port)], Action::Leave))
}

fn inbound(rules: &Rules, port: u16) -> Chain {
    let mut lines = opening(rules);
    lines.push(line("loopback: decided where it was sent", [Match::FromLoopback], Action::Leave));
    lines.extend(direct_ports(rules));
    let words = format!("to this workload: through the sidecar's port {port}");
    lines.push(line(words, [Match::Local], Action::Redirect(port)));
    Chain { place: Place::InboundNat, lines }
}

fn inbound_kept(rules: &Rules, port: u16) -> Chain {
    let mut lines = opening(rules);
    lines.push(line("loopback: decided where it was sent", [Match::FromLoopback], Action::Leave));
    lines.push(line("answers to connections from here are left alone", [Match::Reply], Action::Leave));
    lines.extend(direct_ports(rules));
    let words = format!("to this workload: through the sidecar's port {port}, addresses kept");
    lines.push(line(words, [Match::Local], Action::Tproxy { port, mark: KEPT_MARK }));
    // Without this the workload would be reached past its sidecar while that does not listen.
    let words = format!("no transparent socket on port {port}: not past the sidecar");
    lines.push(line(words, [Match::Local, Match::New], Action::Drop));
    Chain { place: Place::InboundMangle, lines }
}

/// Answers of the application to clients whose address the sidecar has borrowed: back to the sidecar.
fn outbound_kept(rules: &Rules) -> Chain {
    let mut lines = opening(rules);
    let mark = rules.mark;
    let words = format!("mark {mark:#x} to this workload: the sidecar's connection is remembered");
    lines.push(line(words, [Match::Mark(mark), Match::ToLoopback], Action::SaveMark(mark)));
    lines.push(line(format!("mark {mark:#x} is left alone"), [Match::Mark(mark)], Action::Leave));
    let words = "answers of the application on such a connection: to the sidecar";
    lines.push(line(words, [Match::ConnectionMark(mark)], Action::SetMark(KEPT_MARK)));
    Chain { place: Place::OutboundMangle, lines }
}

/// What a sidecar opens on loopback to see whether it is redirected to. All chains come into force together, and these are of
/// the last one.
fn verifications(rules: &Rules) -> Vec<Line> {
    let users = rules.users.iter().map(|user| (format!("user {user}"), Match::User(Span::one(*user))));
    let groups = rules.groups.iter().map(|group| (format!("group {group}"), Match::Group(Span::one(*group))));
    let ports =
        [(VERIFY_OUTBOUND_PORT, Some(rules.outbound_port)), (VERIFY_INBOUND_PORT, rules.inbound_port)];
    let of_sidecar = |(who, sidecar): (String, Match)| {
        ports.into_iter().filter_map(move |(from, to)| {
            let to = to?;
            let words = format!("{who}, a sidecar, verifies with port {from}: to its port {to}");
            let matches = [Match::ToLoopback, sidecar.clone(), Match::Port(Span::one(from))];
            Some(line(words, matches, Action::Redirect(to)))
        })
    };
    users.chain(groups).flat_map(of_sidecar).collect()
}

fn outbound(rules: &Rules) -> Chain {
    let mut lines = opening(rules);
    let mark = rules.mark;
    lines.push(line(format!("mark {mark:#x} is left alone"), [Match::Mark(mark)], Action::Leave));
    lines.extend(verifications(rules));
    for (address, family) in [("127.0.0.0/8", Family::Ipv4), ("::1/128", Family::Ipv6)] {
        let address: IpNet = address.parse().expect("a constant block");
        let words = format!("loopback to {address} is left alone");
        lines.push(line(words, [Match::Family(family), Match::Address(address)], Action::Leave));
    }
    // Neither the application's calls to itself nor what the sidecar forwards to it: there is no network between, and
    // nobody but the workload. The sidecar knows its own endpoints, and dials them as the application.
    lines.push(line("to this workload itself: direct", [Match::ToLoopback], Action::Leave));
    for user in &rules.users {
        let words = format!("user {user}, a sidecar, is left alone");
        lines.push(line(words, [Match::User(Span::one(*user))], Action::Leave));
    }
    for group in &rules.groups {
        let words = format!("group {group}, a sidecar, is left alone");
        lines.push(line(words, [Match::Group(Span::one(*group))], Action::Leave));
    }
    lines.push(line("DNS over TCP is left alone", [Match::Port(Span::one(53))], Action::Leave));
    for users in &rules.skip_users {
        lines.push(line(format!("user {users} is left alone"), [Match::User(*users)], Action::Leave));
    }
    for ports in &rules.skip_outbound_ports {
        lines.push(line(format!("to port {ports}: left alone"), [Match::Port(*ports)], Action::Leave));
    }
    for net in &rules.skip_outbound_addresses {
        let family = if net.addr().is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
        let matches = [Match::Family(family), Match::Address(*net)];
        lines.push(line(format!("to {net}: left alone"), matches, Action::Leave));
    }
    let port = rules.outbound_port;
    lines.push(line(format!("all else: through the sidecar's port {port}"), [], Action::Redirect(port)));
    Chain { place: Place::OutboundNat, lines }
}

#[cfg(test)]
mod tests;
