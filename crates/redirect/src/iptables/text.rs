//! What `iptables-restore` reads.

use std::fmt::Write as _;

use crate::backend::Shown;
use crate::plan::{Action, Chain, Family, Line, Match, Place};

/// A table of iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Changes destinations.
    Nat,
    /// Changes marks and hands packets to sockets.
    Mangle,
}

impl Table {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Mangle => "mangle",
        }
    }

    /// The table that has a place.
    pub fn of(place: Place) -> Self {
        match place {
            Place::InboundNat | Place::OutboundNat => Self::Nat,
            Place::InboundMangle | Place::OutboundMangle => Self::Mangle,
        }
    }
}

/// Our chain, and the kernel's that leads into it.
const CHAINS: [(&str, &str); 2] = [("WEFT_INBOUND", "PREROUTING"), ("WEFT_OUTBOUND", "OUTPUT")];

fn name(place: Place) -> &'static str {
    match place {
        Place::InboundNat | Place::InboundMangle => "WEFT_INBOUND",
        Place::OutboundNat | Place::OutboundMangle => "WEFT_OUTBOUND",
    }
}

/// The text that makes `chains` all that there is of ours in a table which holds `saved`; `None` if nothing is to do.
pub fn restore(family: Family, table: Table, chains: &[&Chain], saved: &str) -> Option<String> {
    let mut declared = String::new();
    let mut rules = String::new();
    let mut removed = String::new();
    for (ours, theirs) in CHAINS {
        let chain = chains.iter().find(|chain| name(chain.place) == ours);
        let exists = saved.lines().any(|line| line.starts_with(&format!(":{ours} ")));
        if chain.is_none() && !exists {
            continue;
        }
        // Naming a chain empties it.
        let _ = writeln!(declared, ":{ours} - [0:0]");
        let jump = format!("-A {theirs} -p tcp -j {ours}");
        for _ in saved.lines().filter(|line| line.trim_end() == jump) {
            let _ = writeln!(rules, "-D {theirs} -p tcp -j {ours}");
        }
        match chain {
            None => {
                let _ = writeln!(removed, "-X {ours}");
            }
            Some(chain) => {
                for line in chain.lines.iter().filter_map(|line| rule(family, line)) {
                    let _ = writeln!(rules, "-A {ours} {line}");
                }
                let _ = writeln!(rules, "-I {theirs} 1 -p tcp -j {ours}");
            }
        }
    }
    (!declared.is_empty()).then(|| format!("*{}\n{declared}{rules}{removed}COMMIT\n", table.name()))
}

/// One rule, or `None` if it is not of this family.
fn rule(family: Family, line: &Line) -> Option<String> {
    let mut text = String::new();
    if matches!(line.action, Action::Redirect(_) | Action::Tproxy { .. })
        || line.matches.iter().any(|wanted| matches!(wanted, Match::Port(_)))
    {
        text.push_str("-p tcp ");
    }
    for wanted in &line.matches {
        condition(family, wanted, &mut text)?;
    }
    let _ = write!(text, "-m comment --comment \"{}\" -j ", line.words.replace('"', "'"));
    let _ = match line.action {
        Action::Leave => write!(text, "RETURN"),
        Action::Drop => write!(text, "DROP"),
        Action::Redirect(port) => write!(text, "REDIRECT --to-ports {port}"),
        Action::Tproxy { port, mark } => {
            write!(text, "TPROXY --on-port {port} --tproxy-mark {mark:#x}/0xffffffff")
        }
        Action::SaveMark(mark) => write!(text, "CONNMARK --set-xmark {mark:#x}/0xffffffff"),
        Action::SetMark(mark) => write!(text, "MARK --set-xmark {mark:#x}/0xffffffff"),
    };
    Some(text)
}

fn condition(family: Family, wanted: &Match, text: &mut String) -> Option<()> {
    let _ = match wanted {
        Match::Family(of) if *of == family => Ok(()),
        // The rule that leads here takes TCP alone.
        Match::NotTcp | Match::Family(_) => return None,
        Match::User(users) => write!(text, "-m owner --uid-owner {users} "),
        Match::Group(groups) => write!(text, "-m owner --gid-owner {groups} "),
        Match::Mark(mark) => write!(text, "-m mark --mark {mark:#x} "),
        Match::ConnectionMark(mark) => write!(text, "-m connmark --mark {mark:#x} "),
        Match::FromLoopback => write!(text, "-i lo "),
        Match::ToLoopback => write!(text, "-o lo "),
        Match::Local => write!(text, "-m addrtype --dst-type LOCAL "),
        Match::Port(ports) if ports.first == ports.last => write!(text, "--dport {} ", ports.first),
        Match::Port(ports) => write!(text, "--dport {}:{} ", ports.first, ports.last),
        Match::Address(net) => write!(text, "-d {net} "),
        Match::Reply => write!(text, "-m conntrack --ctdir REPLY "),
        Match::New => write!(text, "-m conntrack --ctstate NEW "),
    };
    Some(())
}

/// Our rules in what `iptables-save -c` wrote.
pub fn shown(family: Family, saved: &str) -> Vec<Shown> {
    let family = match family {
        Family::Ipv4 => "IPv4",
        Family::Ipv6 => "IPv6",
    };
    let mut table = "";
    let mut rules = Vec::new();
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        }
        let Some((counted, rule)) = line.strip_prefix('[').and_then(|line| line.split_once("] -A WEFT_"))
        else {
            continue;
        };
        let (packets, bytes) = counted.split_once(':').unwrap_or_default();
        let chain = rule.split(' ').next().unwrap_or_default().to_lowercase();
        // Apostrophes are written with a backslash before.
        let words = rule.split('"').nth(1).unwrap_or(rule).replace('\\', "");
        rules.push(Shown {
            chain: format!("{family} {table} {chain}"),
            words,
            packets: packets.parse().unwrap_or_default(),
            bytes: bytes.parse().unwrap_or_default(),
        });
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan;
    use crate::rules::Rules;

    fn nat(family: Family, saved: &str) -> String {
        let chains = plan(&Rules {
            skip_outbound_ports: "25".parse::<crate::List<_>>().unwrap().0,
            ..Rules::default()
        });
        restore(family, Table::Nat, &chains.iter().collect::<Vec<_>>(), saved).unwrap()
    }

    #[test]
    fn chains_are_named_filled_and_led_into() {
        let text = nat(Family::Ipv4, "");
        for line in [
            "*nat\n:WEFT_INBOUND - [0:0]\n:WEFT_OUTBOUND - [0:0]\n",
            "\n-A WEFT_INBOUND -p tcp --dport 15020 -m comment --comment \"port 15020 is reached directly\" -j RETURN\n",
            "-p tcp -m addrtype --dst-type LOCAL -m comment --comment \"to this workload: through the sidecar's port 15006\" -j REDIRECT --to-ports 15006\n",
            "\n-I PREROUTING 1 -p tcp -j WEFT_INBOUND\n",
            "-d 127.0.0.0/8 ",
            "-p tcp --dport 25 ",
            "\n-I OUTPUT 1 -p tcp -j WEFT_OUTBOUND\nCOMMIT\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
        assert!(!text.contains("::1") && !text.contains("-D "), "{text}");
        assert!(nat(Family::Ipv6, "").contains("-d ::1/128 "));
    }

    #[test]
    fn what_is_there_is_replaced_and_what_is_not_wanted_goes() {
        let saved =
            "*nat\n:OUTPUT ACCEPT [0:0]\n:WEFT_OUTBOUND - [0:0]\n-A OUTPUT -p tcp -j WEFT_OUTBOUND\nCOMMIT\n";
        let text = nat(Family::Ipv4, saved);
        assert_eq!(text.matches("-D OUTPUT -p tcp -j WEFT_OUTBOUND").count(), 1, "{text}");
        let removed = restore(Family::Ipv4, Table::Nat, &[], saved).unwrap();
        assert_eq!(
            removed,
            "*nat\n:WEFT_OUTBOUND - [0:0]\n-D OUTPUT -p tcp -j WEFT_OUTBOUND\n-X WEFT_OUTBOUND\nCOMMIT\n"
        );
        assert_eq!(restore(Family::Ipv4, Table::Nat, &[], "*nat\nCOMMIT\n"), None);
    }

    #[test]
    fn saved_rules_are_shown_in_words() {
        let saved = "*nat\n[3:180] -A WEFT_OUTBOUND -o lo -m comment --comment \"to the sidecar\\'s\" -j RETURN\n[1:2] -A OUTPUT -j X\n";
        let shown = shown(Family::Ipv4, saved);
        assert_eq!(shown.len(), 1);
        assert_eq!(
            (shown[0].chain.as_str(), shown[0].words.as_str()),
            ("IPv4 nat outbound", "to the sidecar's")
        );
        assert_eq!((shown[0].packets, shown[0].bytes), (3, 180));
    }
}
