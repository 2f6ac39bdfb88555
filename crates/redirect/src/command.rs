//! `redirect apply`, `remove` and `show`, for the programs that have them.

use clap::{Args, Subcommand};
use ipnet::IpNet;

use crate::backend::{Backend, apply, remove, show};
use crate::error::Error;
use crate::list::{List, Span};
use crate::rules::{Families, Inbound, Rules};

/// Examples, for help texts.
pub const APPLY_EXAMPLES: &str = "\
Examples:
  redirect apply                                  all TCP of this machine or pod through the sidecar
  redirect apply --skip-outbound-ports 25,8000-8010 --skip-outbound-addresses 10.0.0.0/8,fd00::/8

It needs NET_ADMIN. Applying again replaces the rules at once, without a moment between.";

/// Examples, for help texts.
pub const REMOVE_EXAMPLES: &str = "\
Examples:
  redirect remove    connections go directly again; those that are open stay as they are";

/// Examples, for help texts.
pub const SHOW_EXAMPLES: &str = "\
Examples:
  redirect show    each rule in words, with the packets that it decided about";

/// What to do with the redirection of this network namespace.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Lead connections through the sidecar
    #[command(after_help = APPLY_EXAMPLES)]
    Apply(Box<ApplyArgs>),
    /// Let connections go directly again
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove,
    /// Show the rules in words, and what went through them
    #[command(after_help = SHOW_EXAMPLES)]
    Show,
}

/// What is redirected.
#[derive(Debug, Clone, Args)]
pub struct ApplyArgs {
    /// Port of the sidecar that takes what the workload opens
    #[arg(long, value_name = "PORT", default_value_t = 15001, value_parser = clap::value_parser!(u16).range(1..))]
    outbound_port: u16,
    /// Port of the sidecar that takes what is opened to the workload; 0 leaves that alone
    #[arg(long, value_name = "PORT", default_value_t = 15006)]
    inbound_port: u16,
    /// User that the sidecar runs as: its own connections are left alone; repeatable
    #[arg(long = "user", value_name = "ID", default_values_t = [2102])]
    users: Vec<u32>,
    /// Group that the sidecar runs as, likewise; repeatable
    #[arg(long = "group", value_name = "ID", default_values_t = [2102])]
    groups: Vec<u32>,
    /// Mark of packets that are left alone
    #[arg(long, value_name = "MARK", default_value = "0x2102", value_parser = mark)]
    mark: u32,
    /// Ports of the workload that are reached directly, such as 22,8000-8010
    #[arg(long, value_name = "PORTS", default_value = "", hide_default_value = true)]
    skip_inbound_ports: List<Span<u16>>,
    /// Ports that the workload reaches directly, such as 25,8000-8010
    #[arg(long, value_name = "PORTS", default_value = "", hide_default_value = true)]
    skip_outbound_ports: List<Span<u16>>,
    /// Addresses that the workload reaches directly, such as `10.0.0.0/8,192.0.2.1,fd00::/8`
    #[arg(long, value_name = "ADDRESSES", default_value = "", hide_default_value = true)]
    skip_outbound_addresses: List<IpNet>,
    /// Users whose connections are left alone, by number, such as 0,1000-1010
    #[arg(long, value_name = "USERS", default_value = "", hide_default_value = true)]
    skip_users: List<Span<u32>>,
    /// Way into the kernel
    #[arg(long, value_enum, default_value_t)]
    backend: Backend,
    /// Families of addresses
    #[arg(long, value_enum, default_value_t)]
    families: Families,
    /// Keep the addresses of clients. For a listener with `IP_TRANSPARENT`, which weft-proxy does not have: with it,
    /// new inbound connections would be dropped
    #[arg(long, hide = true)]
    tproxy: bool,
}

fn mark(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    parsed
        .filter(|mark| *mark != 0)
        .ok_or_else(|| format!("{text:?} is not a mark: write a number such as 0x2102"))
}

impl ApplyArgs {
    fn rules(&self) -> Rules {
        let args = self.clone();
        Rules {
            outbound_port: args.outbound_port,
            inbound_port: Some(args.inbound_port).filter(|port| *port != 0),
            users: args.users,
            groups: args.groups,
            mark: args.mark,
            skip_inbound_ports: args.skip_inbound_ports.0,
            skip_outbound_ports: args.skip_outbound_ports.0,
            skip_outbound_addresses: args.skip_outbound_addresses.0,
            skip_users: args.skip_users.0,
            inbound: if args.tproxy { Inbound::Tproxy } else { Inbound::Redirect },
            families: args.families,
        }
    }
}

/// Does it, and gives lines to print.
pub fn run(command: &Command) -> Result<Vec<String>, Error> {
    match command {
        Command::Apply(args) => {
            let rules = args.rules();
            let used = apply(&rules, args.backend)?;
            let inbound = rules.inbound_port.map_or("direct".to_owned(), |port| format!("to port {port}"));
            Ok(vec![format!(
                "TCP goes through the sidecar by {used}: outbound to port {}, inbound {inbound}",
                rules.outbound_port
            )])
        }
        Command::Remove if remove()? => Ok(vec!["TCP goes directly again".to_owned()]),
        Command::Remove => Ok(vec!["there was nothing to remove: TCP goes directly".to_owned()]),
        Command::Show => {
            let (mut lines, mut chain) = (Vec::new(), String::new());
            for rule in show()? {
                if rule.chain != chain {
                    lines.push(format!("{}:", rule.chain));
                    chain = rule.chain;
                }
                lines.push(format!("{:>9} packets  {}", rule.packets, rule.words));
            }
            if lines.is_empty() {
                lines.push("nothing is redirected: TCP goes directly".to_owned());
            }
            Ok(lines)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(subcommand)]
        command: Command,
    }

    fn rules(options: &str) -> Result<Rules, String> {
        let line = format!("redirect apply {options}");
        match Program::try_parse_from(line.split_whitespace()).map(|program| program.command) {
            Ok(Command::Apply(args)) => Ok(args.rules()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn options_become_rules() {
        assert_eq!(rules("").unwrap(), Rules::default());
        // As the injector writes them, also where a pod leaves nothing out.
        let line =
            "--outbound-port 15001 --inbound-port 15006 --user 2102 --mark 0x2102 --skip-inbound-ports=";
        assert_eq!(rules(line).unwrap(), Rules::default());
        let told =
            rules("--inbound-port 0 --mark 7 --skip-users 5-9 --skip-outbound-ports 25,80-90 --tproxy");
        let told = told.unwrap();
        assert_eq!((told.inbound_port, told.mark, told.inbound), (None, 7, Inbound::Tproxy));
        assert_eq!(told.skip_users, [Span { first: 5, last: 9 }]);
        assert_eq!(told.skip_outbound_ports, [Span::one(25), Span { first: 80, last: 90 }]);
    }

    #[test]
    fn wrong_options_are_named() {
        for (options, named) in [
            ("--skip-inbound-ports http", "\"http\" is not a port"),
            ("--skip-outbound-addresses 10.0.0.0/40", "\"10.0.0.0/40\" is not an address"),
            ("--mark red", "\"red\" is not a mark"),
            ("--outbound-port 0", "0 is not in"),
        ] {
            let error = rules(options).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
