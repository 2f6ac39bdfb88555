//! The steps that `nf_tables` takes for one rule of the plan.

use ipnet::IpNet;

use super::expression::{Comparison, Connection, Expression, Meta};
use crate::list::Span;
use crate::plan::{Action, Family, Line, Match};

const TCP: u8 = 6;
/// The kernel makes loopback first in every network namespace.
const LOOPBACK_INDEX: u32 = 1;
/// `RTN_LOCAL`.
const LOCAL: u32 = 2;
/// `NF_CT_STATE_BIT(IP_CT_NEW)`.
const STATE_NEW: u32 = 8;
const ACCEPT: u32 = 1;
const DROP: u32 = 0;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

fn equal(bytes: impl Into<Vec<u8>>) -> Expression {
    Expression::Compare(Comparison::Equal, bytes.into())
}

fn number(value: u32) -> Expression {
    equal(value.to_ne_bytes())
}

/// The steps of one rule.
pub(super) fn lower(line: &Line) -> Vec<Expression> {
    let mut steps = Vec::new();
    let of_tcp = matches!(line.action, Action::Redirect(_) | Action::Tproxy { .. })
        || line.matches.iter().any(|wanted| matches!(wanted, Match::Port(_)));
    if of_tcp {
        steps.extend([Expression::Meta(Meta::Transport), equal([TCP])]);
    }
    for wanted in &line.matches {
        lower_match(wanted, &mut steps);
    }
    steps.push(Expression::Counter { packets: 0, bytes: 0 });
    lower_action(line.action, &mut steps);
    steps
}

fn lower_match(wanted: &Match, steps: &mut Vec<Expression>) {
    use Expression::{Connection as Of, Meta as Load};
    match wanted {
        Match::NotTcp => {
            steps.extend([Load(Meta::Transport), Expression::Compare(Comparison::NotEqual, vec![TCP])]);
        }
        Match::Family(family) => {
            let code = if *family == Family::Ipv4 { 2 } else { 10 };
            steps.extend([Load(Meta::Family), equal([code])]);
        }
        Match::User(users) => owner(Meta::User, *users, steps),
        Match::Group(groups) => owner(Meta::Group, *groups, steps),
        Match::Mark(mark) => steps.extend([Load(Meta::Mark), number(*mark)]),
        Match::ConnectionMark(mark) => steps.extend([Of(Connection::Mark), number(*mark)]),
        Match::FromLoopback => steps.extend([Load(Meta::Arrival), number(LOOPBACK_INDEX)]),
        Match::ToLoopback => steps.extend([Load(Meta::Departure), number(LOOPBACK_INDEX)]),
        Match::Local => steps.extend([Expression::DestinationKind, number(LOCAL)]),
        Match::Port(ports) => {
            steps.push(Expression::Payload { base: TRANSPORT_HEADER, offset: 2, length: 2 });
            steps.push(if ports.first == ports.last {
                equal(ports.first.to_be_bytes())
            } else {
                Expression::Range(ports.first.to_be_bytes().into(), ports.last.to_be_bytes().into())
            });
        }
        Match::Address(net) => address(net, steps),
        Match::Reply => steps.extend([Of(Connection::Direction), equal([1])]),
        Match::New => steps.extend([
            Of(Connection::State),
            Expression::Mask(STATE_NEW.to_ne_bytes().into()),
            Expression::Compare(Comparison::NotEqual, vec![0; 4]),
        ]),
    }
}

fn owner(key: Meta, ids: Span<u32>, steps: &mut Vec<Expression>) {
    steps.push(Expression::Meta(key));
    if ids.first == ids.last {
        return steps.push(number(ids.first));
    }
    let (first, last) = (ids.first.to_be_bytes(), ids.last.to_be_bytes());
    steps.extend([Expression::NetworkOrder, Expression::Range(first.into(), last.into())]);
}

fn address(net: &IpNet, steps: &mut Vec<Expression>) {
    let (offset, network, mask): (_, Vec<u8>, Vec<u8>) = match net {
        IpNet::V4(net) => (16, net.network().octets().into(), net.netmask().octets().into()),
        IpNet::V6(net) => (24, net.network().octets().into(), net.netmask().octets().into()),
    };
    let length = network.len() as u32;
    steps.push(Expression::Payload { base: NETWORK_HEADER, offset, length });
    if mask.iter().any(|byte| *byte != 0xff) {
        steps.push(Expression::Mask(mask));
    }
    steps.push(equal(network));
}

fn lower_action(action: Action, steps: &mut Vec<Expression>) {
    let load = |mark: u32| Expression::Load(mark.to_ne_bytes().into());
    let port = |port: u16| Expression::Load(port.to_be_bytes().into());
    match action {
        Action::Leave => steps.push(Expression::Verdict(ACCEPT)),
        Action::Drop => steps.push(Expression::Verdict(DROP)),
        Action::Redirect(to) => steps.extend([port(to), Expression::Redirect]),
        Action::Tproxy { port: to, mark } => steps.extend([
            port(to),
            Expression::Tproxy,
            load(mark),
            Expression::SetMark,
            Expression::Verdict(ACCEPT),
        ]),
        Action::SaveMark(mark) => steps.extend([load(mark), Expression::SetConnectionMark]),
        Action::SetMark(mark) => {
            steps.extend([load(mark), Expression::SetMark, Expression::Verdict(ACCEPT)]);
        }
    }
}
