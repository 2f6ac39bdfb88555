//! Rules in the kernel's `nf_tables`, as one table of both families (`linux/netfilter/nf_tables.h`).

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::netlink::{Attributes, Message, attributes, commit, dump, flag};
use crate::{Chain, Condition, Error, PortRange, Rule, Rules, Verdict};

/// Name of the table.
pub const TABLE: &str = "weft";

const FAMILY_INET: u8 = 1;
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;

const HOOK_PREROUTING: u32 = 0;
const HOOK_OUTPUT: u32 = 3;
/// Where destinations are translated.
const PRIORITY: i32 = -100;
const ACCEPT: u32 = 1;

/// Registers: the verdict's, and one for values.
const VERDICT: u32 = 0;
const VALUE: u32 = 1;

const META_MARK: u32 = 3;
const META_INPUT: u32 = 4;
const META_OUTPUT: u32 = 5;
const META_USER: u32 = 10;
const META_FAMILY: u32 = 15;
const META_TRANSPORT: u32 = 16;
/// Index of the loopback interface, which the kernel makes first in every network namespace.
const LOOPBACK: u32 = 1;
const TCP: u8 = 6;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const BASE_NETWORK: u32 = 1;
const BASE_TRANSPORT: u32 = 2;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

/// Puts the rules in force, in place of those that were.
pub fn apply(rules: &Rules) -> Result<(), Error> {
    commit(&batch(rules)).map_err(|error| Error::kernel("cannot put the rules into nf_tables", error))
}

/// Removes the rules, if there are any.
pub fn remove() -> Result<(), Error> {
    commit(&[table(NEW_TABLE), table(DELETE_TABLE)])
        .map_err(|error| Error::kernel("cannot remove the rules from nf_tables", error))
}

/// The rules in force, in words, with the packets that each has met; none when there are none.
pub fn show() -> Result<Vec<String>, Error> {
    let ask = Message {
        kind: GET_RULE,
        flags: 0,
        family: FAMILY_INET,
        attributes: Attributes::new().text(1, TABLE),
    };
    let answers = match dump(&ask) {
        Ok(answers) => answers,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::kernel("cannot read the rules of nf_tables", error)),
    };
    Ok(answers.iter().filter_map(|answer| line(answer)).collect())
}

fn table(kind: u16) -> Message {
    let flags = if kind == NEW_TABLE { flag::CREATE } else { 0 };
    Message { kind, flags, family: FAMILY_INET, attributes: Attributes::new().text(1, TABLE) }
}

/// Makes the table if need be, removes it, and makes it anew: as one change.
fn batch(rules: &Rules) -> Vec<Message> {
    let mut messages = vec![table(NEW_TABLE), table(DELETE_TABLE), table(NEW_TABLE)];
    for (chain, hook) in [(Chain::Outbound, HOOK_OUTPUT), (Chain::Inbound, HOOK_PREROUTING)] {
        let decisions = rules.of(chain);
        if decisions.is_empty() {
            continue;
        }
        messages.push(new_chain(chain, hook));
        messages.extend(decisions.iter().map(|rule| new_rule(chain, rule)));
    }
    messages
}

fn name(chain: Chain) -> &'static str {
    match chain {
        Chain::Outbound => "outbound",
        Chain::Inbound => "inbound",
    }
}

fn new_chain(chain: Chain, hook: u32) -> Message {
    let hook = Attributes::new().number(1, hook).number(2, PRIORITY.cast_unsigned());
    let attributes = Attributes::new()
        .text(1, TABLE)
        .text(3, name(chain))
        .nested(4, &hook)
        .number(5, ACCEPT)
        .text(7, "nat");
    Message { kind: NEW_CHAIN, flags: flag::CREATE, family: FAMILY_INET, attributes }
}

fn new_rule(chain: Chain, rule: &Rule) -> Message {
    let mut list = Expressions::default();
    list.condition(chain, rule.condition);
    list.push("counter", &Attributes::new());
    list.verdict(rule.verdict);
    // A comment, as nft shows it.
    let words = rule.to_string();
    let mut comment = vec![0, u8::try_from(words.len() + 1).unwrap_or(u8::MAX)];
    comment.extend_from_slice(words.as_bytes());
    comment.push(0);
    let attributes =
        Attributes::new().text(1, TABLE).text(2, name(chain)).nested(4, &list.0).bytes(7, &comment);
    Message { kind: NEW_RULE, flags: flag::CREATE | flag::APPEND, family: FAMILY_INET, attributes }
}

/// The expressions of a rule: each is taken if the one before it held.
#[derive(Default)]
struct Expressions(Attributes);

impl Expressions {
    fn push(&mut self, name: &str, data: &Attributes) {
        let expression = Attributes::new().text(1, name).nested(2, data);
        self.0 = std::mem::take(&mut self.0).nested(1, &expression);
    }

    fn condition(&mut self, chain: Chain, condition: Condition) {
        match condition {
            Condition::Any => {}
            Condition::NotTcp => {
                self.meta(META_TRANSPORT);
                self.compare(NOT_EQUAL, &[TCP]);
            }
            Condition::Loopback => {
                self.meta(if chain == Chain::Outbound { META_OUTPUT } else { META_INPUT });
                self.compare(EQUAL, &LOOPBACK.to_ne_bytes());
            }
            Condition::User(user) => {
                self.meta(META_USER);
                self.compare(EQUAL, &user.to_ne_bytes());
            }
            Condition::Mark(mark) => {
                self.meta(META_MARK);
                self.compare(EQUAL, &mark.to_ne_bytes());
            }
            Condition::Port(range) => self.port(range),
            Condition::To(block) => self.to(block),
        }
    }

    fn verdict(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Leave => {
                let code = Attributes::new().nested(2, &Attributes::new().number(1, ACCEPT));
                self.push("immediate", &Attributes::new().number(1, VERDICT).nested(2, &code));
            }
            Verdict::Redirect(port) => {
                let value = Attributes::new().bytes(1, &port.to_be_bytes());
                self.push("immediate", &Attributes::new().number(1, VALUE).nested(2, &value));
                self.push("redir", &Attributes::new().number(1, VALUE));
            }
        }
    }

    fn meta(&mut self, key: u32) {
        self.push("meta", &Attributes::new().number(1, VALUE).number(2, key));
    }

    fn compare(&mut self, operator: u32, value: &[u8]) {
        let value = Attributes::new().bytes(1, value);
        self.push("cmp", &Attributes::new().number(1, VALUE).number(2, operator).nested(3, &value));
    }

    /// The destination's port: the second field of TCP's header.
    fn port(&mut self, range: PortRange) {
        self.payload(BASE_TRANSPORT, 2, 2);
        let (first, last) = (range.first.to_be_bytes(), range.last.to_be_bytes());
        if first == last {
            return self.compare(EQUAL, &first);
        }
        let bound = |value: &[u8]| Attributes::new().bytes(1, value);
        let data = Attributes::new()
            .number(1, VALUE)
            .number(2, EQUAL)
            .nested(3, &bound(&first))
            .nested(4, &bound(&last));
        self.push("range", &data);
    }

    /// The destination's address: at byte 16 of IPv4's header, at byte 24 of IPv6's.
    fn to(&mut self, block: IpNet) {
        self.meta(META_FAMILY);
        let octets = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let (family, offset) = if block.addr().is_ipv4() { (NFPROTO_IPV4, 16) } else { (NFPROTO_IPV6, 24) };
        self.compare(EQUAL, &[family]);
        let (network, mask) = (octets(block.network()), octets(block.netmask()));
        let length = u32::try_from(mask.len()).unwrap_or_default();
        self.payload(BASE_NETWORK, offset, length);
        if block.prefix_len() != block.max_prefix_len() {
            let value = |bytes: &[u8]| Attributes::new().bytes(1, bytes);
            let data = Attributes::new()
                .number(1, VALUE)
                .number(2, VALUE)
                .number(3, length)
                .nested(4, &value(&mask))
                .nested(5, &value(&vec![0; mask.len()]));
            self.push("bitwise", &data);
        }
        self.compare(EQUAL, &network);
    }

    fn payload(&mut self, base: u32, offset: u32, length: u32) {
        let data = Attributes::new().number(1, VALUE).number(2, base).number(3, offset).number(4, length);
        self.push("payload", &data);
    }
}

/// A rule of the kernel in words: its chain, its comment and its counter.
fn line(answer: &[u8]) -> Option<String> {
    let found = attributes(answer);
    let of = |wanted: u16| found.iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| *value);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    let (table, chain) = (text(of(1)?), text(of(2)?));
    if table != TABLE {
        return None;
    }
    let comment = text(of(7)?.get(2..)?);
    let packets = attributes(of(4)?).into_iter().find_map(|(_, expression)| {
        let parts = attributes(expression);
        let name = parts.iter().find(|(kind, _)| *kind == 1)?.1;
        let data = parts.iter().find(|(kind, _)| *kind == 2)?.1;
        if text(name) != "counter" {
            return None;
        }
        let (_, packets) = *attributes(data).iter().find(|(kind, _)| *kind == 2)?;
        Some(u64::from_be_bytes(packets.try_into().ok()?))
    });
    Some(format!("{chain}: {comment} ({} connections)", packets.unwrap_or_default()))
}
