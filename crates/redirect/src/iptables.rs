//! Rules for machines whose kernel has no `nf_tables`: by the programs of iptables, which those have.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use ipnet::IpNet;

use crate::{Chain, Condition, Error, Rule, Rules, Verdict};

/// A family of addresses and its programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Family {
    program: &'static str,
    restore: &'static str,
    is_v6: bool,
}

const FAMILIES: [Family; 2] = [
    Family { program: "iptables", restore: "iptables-restore", is_v6: false },
    Family { program: "ip6tables", restore: "ip6tables-restore", is_v6: true },
];

/// Each chain with the one of the kernel's that leads to it.
const CHAINS: [(Chain, &str, &str); 2] =
    [(Chain::Outbound, "OUTPUT", "WEFT_OUTBOUND"), (Chain::Inbound, "PREROUTING", "WEFT_INBOUND")];

/// Puts the rules in force, in place of those that were. A machine without IPv6 is none the worse for it.
pub fn apply(rules: &Rules) -> Result<(), Error> {
    for family in FAMILIES {
        let text = restore_text(rules, family.is_v6);
        match restore(family, &text) {
            Err(_) if family.is_v6 && !has_ipv6() => {}
            outcome => outcome?,
        }
        for (chain, hook, own) in CHAINS {
            unhook(family, hook, own);
            if !rules.of(chain).is_empty() {
                let hooked = run(family.program, &["-w", "-t", "nat", "-A", hook, "-p", "tcp", "-j", own]);
                if !family.is_v6 || has_ipv6() {
                    hooked?;
                }
            }
        }
    }
    Ok(())
}

/// Removes the rules, if there are any.
pub fn remove() -> Result<(), Error> {
    for family in FAMILIES {
        for (_, hook, own) in CHAINS {
            unhook(family, hook, own);
            // There may be no such chain.
            let _ = run(family.program, &["-w", "-t", "nat", "-F", own]);
            let _ = run(family.program, &["-w", "-t", "nat", "-X", own]);
        }
    }
    Ok(())
}

/// The rules in force, as the programs show them.
pub fn show() -> Result<Vec<String>, Error> {
    let mut lines = Vec::new();
    for family in FAMILIES {
        for (_, _, own) in CHAINS {
            if let Ok(said) = run(family.program, &["-w", "-t", "nat", "-v", "-S", own]) {
                lines.extend(said.lines().map(|line| format!("{}: {line}", family.program)));
            }
        }
    }
    Ok(lines)
}

/// What iptables-restore reads: our chains, emptied first. The kernel's own stay as they are.
fn restore_text(rules: &Rules, is_v6: bool) -> String {
    // Writing to a string does not fail.
    let mut text = "*nat\n".to_owned();
    for (_, _, own) in CHAINS {
        let _ = writeln!(text, ":{own} - [0:0]");
    }
    for (chain, _, own) in CHAINS {
        for arguments in rules.of(chain).iter().filter_map(|rule| arguments(chain, rule, is_v6)) {
            let _ = writeln!(text, "-A {own} {arguments}");
        }
    }
    text.push_str("COMMIT\n");
    text
}

/// A rule as arguments; none for what does not concern the family.
fn arguments(chain: Chain, rule: &Rule, is_v6: bool) -> Option<String> {
    let condition = match rule.condition {
        // Only TCP comes here.
        Condition::NotTcp => return None,
        Condition::Any => String::new(),
        Condition::Loopback if chain == Chain::Outbound => "-o lo ".to_owned(),
        Condition::Loopback => "-i lo ".to_owned(),
        Condition::User(user) => format!("-m owner --uid-owner {user} "),
        Condition::Mark(mark) => format!("-m mark --mark {mark:#x} "),
        Condition::Port(range) => format!("--dport {}:{} ", range.first, range.last),
        Condition::To(block) if matches!(block, IpNet::V6(_)) != is_v6 => return None,
        Condition::To(block) => format!("-d {block} "),
    };
    let verdict = match rule.verdict {
        Verdict::Leave => "-j RETURN".to_owned(),
        Verdict::Redirect(port) => format!("-j REDIRECT --to-ports {port}"),
    };
    Some(format!("-p tcp {condition}{verdict}"))
}

fn restore(family: Family, text: &str) -> Result<(), Error> {
    let failed = |problem: String| Error::Program { program: family.restore.to_owned(), problem };
    let mut child = Command::new(family.restore)
        .args(["--noflush", "-w"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("{error}; install iptables, or use --backend nft")))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(text.as_bytes()).map_err(|error| failed(error.to_string()))?;
    }
    let ended = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if ended.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&ended.stderr).trim().to_owned()))
}

/// Removes every jump to a chain of ours.
fn unhook(family: Family, hook: &str, own: &str) {
    while run(family.program, &["-w", "-t", "nat", "-D", hook, "-p", "tcp", "-j", own]).is_ok() {}
}

fn run(program: &str, arguments: &[&str]) -> Result<String, Error> {
    let failed = |problem: String| Error::Program { program: program.to_owned(), problem };
    let ended = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| failed(format!("{error}; install iptables, or use --backend nft")))?;
    if ended.status.success() {
        return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
    }
    Err(failed(String::from_utf8_lossy(&ended.stderr).trim().to_owned()))
}

fn has_ipv6() -> bool {
    std::path::Path::new("/proc/net/if_inet6").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_become_lines_of_their_family() {
        let rules = Rules {
            outbound_port: 15001,
            inbound_port: Some(15006),
            users: vec![2102],
            mark: Some(1),
            skip_inbound_ports: vec!["9000-9010".parse().unwrap()],
            skip_outbound_ports: Vec::new(),
            skip_outbound_addresses: vec!["10.9.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()],
        };
        let (v4, v6) = (restore_text(&rules, false), restore_text(&rules, true));
        for line in [
            ":WEFT_OUTBOUND - [0:0]",
            "-A WEFT_OUTBOUND -p tcp -o lo -j RETURN",
            "-A WEFT_OUTBOUND -p tcp -m owner --uid-owner 2102 -j RETURN",
            "-A WEFT_OUTBOUND -p tcp -m mark --mark 0x1 -j RETURN",
            "-A WEFT_OUTBOUND -p tcp -d 10.9.0.0/16 -j RETURN",
            "-A WEFT_OUTBOUND -p tcp -j REDIRECT --to-ports 15001",
            "-A WEFT_INBOUND -p tcp --dport 9000:9010 -j RETURN",
            "-A WEFT_INBOUND -p tcp -j REDIRECT --to-ports 15006",
        ] {
            assert!(v4.lines().any(|it| it == line), "{line}: {v4}");
        }
        assert!(v6.contains("-d fd00::/8 -j RETURN") && !v6.contains("10.9.0.0"), "{v6}");
        assert!(!v4.contains("fd00"), "{v4}");
    }
}
