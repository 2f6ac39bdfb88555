//! What is redirected, as the decisions that the kernel takes for each new connection, in their order.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;

use crate::Error;

/// Ports of the proxy itself, which are never redirected: admin, redirected outbound and inbound, monitoring.
pub(crate) const OWN_PORTS: [u16; 4] = [15000, 15001, 15006, 15020];

/// What is redirected where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Where connections that leave go.
    pub outbound_port: u16,
    /// Where connections that arrive go; none leaves them alone.
    pub inbound_port: Option<u16>,
    /// Users whose connections are left alone: the proxy's own.
    pub users: Vec<u32>,
    /// The mark of packets that are left alone.
    pub mark: Option<u32>,
    /// Ports at which connections that arrive are left alone.
    pub skip_inbound_ports: Vec<PortRange>,
    /// Ports to which connections that leave are left alone.
    pub skip_outbound_ports: Vec<PortRange>,
    /// Addresses to which connections that leave are left alone.
    pub skip_outbound_addresses: Vec<IpNet>,
}

/// Ports from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl From<u16> for PortRange {
    fn from(port: u16) -> Self {
        Self { first: port, last: port }
    }
}

impl FromStr for PortRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let parsed = first.trim().parse().ok().zip(last.trim().parse().ok());
        match parsed {
            Some((first, last)) if first != 0 && first <= last => Ok(Self { first, last }),
            _ => Err(Error::Port(text.to_owned())),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// Where a connection is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// When it leaves a process of this network namespace.
    Outbound,
    /// When it arrives from elsewhere.
    Inbound,
}

/// What a rule asks of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always true: TCP, which alone is looked at.
    Any,
    /// It is not TCP.
    NotTcp,
    /// It stays within this network namespace.
    Loopback,
    /// It is of a process of this user.
    User(u32),
    /// Its packets have this mark.
    Mark(u32),
    /// It is for one of these ports.
    Port(PortRange),
    /// It is for one of these addresses.
    To(IpNet),
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes where it was meant to go.
    Leave,
    /// It goes to this port of this network namespace.
    Redirect(u16),
}

/// A condition and what follows from it. The first rule whose condition holds decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The condition.
    pub condition: Condition,
    /// What follows.
    pub verdict: Verdict,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.condition {
            Condition::Any => f.write_str("everything else")?,
            Condition::NotTcp => f.write_str("not TCP")?,
            Condition::Loopback => f.write_str("within this network")?,
            Condition::User(user) => write!(f, "of user {user}")?,
            Condition::Mark(mark) => write!(f, "with mark {mark:#x}")?,
            Condition::Port(range) => write!(f, "to port {range}")?,
            Condition::To(block) => write!(f, "to {block}")?,
        }
        match self.verdict {
            Verdict::Leave => f.write_str(": left alone"),
            Verdict::Redirect(port) => write!(f, ": to the proxy at port {port}"),
        }
    }
}

impl Rules {
    /// The decisions of a chain, in their order.
    pub fn of(&self, chain: Chain) -> Vec<Rule> {
        let leave = |condition| Rule { condition, verdict: Verdict::Leave };
        let redirect = |port| Rule { condition: Condition::Any, verdict: Verdict::Redirect(port) };
        let mut rules = vec![leave(Condition::NotTcp)];
        match chain {
            Chain::Outbound => {
                // The proxy speaks to its own application, and applications to themselves, without a detour.
                rules.push(leave(Condition::Loopback));
                rules.extend(self.users.iter().map(|user| leave(Condition::User(*user))));
                rules.extend(self.mark.map(|mark| leave(Condition::Mark(mark))));
                rules.extend(self.skip_outbound_ports.iter().map(|range| leave(Condition::Port(*range))));
                rules.extend(self.skip_outbound_addresses.iter().map(|block| leave(Condition::To(*block))));
                rules.push(redirect(self.outbound_port));
            }
            Chain::Inbound => {
                let Some(port) = self.inbound_port else { return Vec::new() };
                rules.push(leave(Condition::Loopback));
                let own = OWN_PORTS.into_iter().chain([self.outbound_port, port]).map(PortRange::from);
                let mut skipped: Vec<PortRange> = Vec::new();
                for range in own.chain(self.skip_inbound_ports.iter().copied()) {
                    if !skipped.contains(&range) {
                        skipped.push(range);
                    }
                }
                rules.extend(skipped.into_iter().map(|range| leave(Condition::Port(range))));
                rules.push(redirect(port));
            }
        }
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn rules() -> Rules {
        Rules {
            outbound_port: 15001,
            inbound_port: Some(15006),
            users: vec![2102],
            mark: Some(0x2102),
            skip_inbound_ports: vec!["9000-9010".parse().unwrap()],
            skip_outbound_ports: vec![3306.into()],
            skip_outbound_addresses: vec!["10.9.0.0/16".parse().unwrap()],
        }
    }

    #[test]
    fn what_is_left_alone_comes_before_what_is_redirected() {
        let words = |chain| rules().of(chain).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            words(Chain::Outbound),
            [
                "not TCP: left alone",
                "within this network: left alone",
                "of user 2102: left alone",
                "with mark 0x2102: left alone",
                "to port 3306: left alone",
                "to 10.9.0.0/16: left alone",
                "everything else: to the proxy at port 15001",
            ]
        );
        let inbound = words(Chain::Inbound);
        assert_eq!(inbound.last().unwrap(), "everything else: to the proxy at port 15006");
        for port in ["15000", "15001", "15006", "15020", "9000-9010"] {
            assert!(inbound.contains(&format!("to port {port}: left alone")), "{inbound:?}");
        }
    }

    #[test]
    fn without_an_inbound_port_nothing_that_arrives_is_looked_at() {
        assert_eq!(Rules { inbound_port: None, ..rules() }.of(Chain::Inbound), []);
    }

    #[test]
    fn ranges_of_ports_are_read_or_refused() {
        assert_eq!("80".parse::<PortRange>().unwrap(), 80.into());
        assert_eq!("80 - 90".parse::<PortRange>().unwrap(), PortRange { first: 80, last: 90 });
        for wrong in ["", "0", "90-80", "70000", "http"] {
            assert!(wrong.parse::<PortRange>().is_err(), "{wrong}");
        }
    }
}
