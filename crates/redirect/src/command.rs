//! `redirect`: the same for the proxy's own program, which runs in pods, and for `weft redirect`, on machines.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{Error, PortRange, Rules, iptables, nft};

/// Leads the connections of this network namespace to the proxy, and no longer.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Redirect; in place of what an earlier `apply` did
    Apply(Apply),
    /// Redirect no longer
    Remove {
        /// Which packet filter
        #[arg(long, value_enum, default_value_t)]
        backend: Backend,
    },
    /// Say what is redirected
    Show {
        /// Which packet filter
        #[arg(long, value_enum, default_value_t)]
        backend: Backend,
    },
}

/// What `apply` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Apply {
    /// Port of the proxy for connections that leave
    #[arg(long, value_name = "PORT", default_value_t = 15001)]
    outbound_port: u16,
    /// Port of the proxy for connections that arrive; 0 leaves them alone
    #[arg(long, value_name = "PORT", default_value_t = 15006)]
    inbound_port: u16,
    /// User that the proxy runs as: its own connections are left alone; repeatable
    #[arg(long = "user", value_name = "UID", default_values_t = [2102])]
    users: Vec<u32>,
    /// Users whose connections are left alone besides
    #[arg(long, value_name = "UIDS", value_delimiter = ',')]
    skip_users: Vec<u32>,
    /// Mark of packets that are left alone, such as 0x2102
    #[arg(long, value_name = "MARK", value_parser = mark)]
    mark: Option<u32>,
    /// Ports and ranges of ports at which connections that arrive are left alone, such as 9000,9100-9200
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    skip_inbound_ports: Vec<PortRange>,
    /// Ports and ranges of ports to which connections that leave are left alone
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    skip_outbound_ports: Vec<PortRange>,
    /// Addresses and blocks to which connections that leave are left alone, such as 169.254.169.254,10.0.0.0/8
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',', value_parser = block)]
    skip_outbound_addresses: Vec<IpNet>,
    /// Which packet filter
    #[arg(long, value_enum, default_value_t)]
    backend: Backend,
}

/// A packet filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    /// `nf_tables`, or iptables where the kernel has only that
    #[default]
    Auto,
    /// `nf_tables`, without any program beside
    Nft,
    /// The programs of iptables
    Iptables,
}

fn mark(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("{text:?} is no mark: write a number such as 0x2102"))
}

fn block(text: &str) -> Result<IpNet, Error> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.trim().parse::<IpNet>().or_else(|_| address()).map_err(|_| Error::Address(text.to_owned()))
}

impl Apply {
    fn rules(&self) -> Rules {
        Rules {
            outbound_port: self.outbound_port,
            inbound_port: Some(self.inbound_port).filter(|port| *port != 0),
            users: self.users.iter().chain(&self.skip_users).copied().collect(),
            mark: self.mark,
            skip_inbound_ports: self.skip_inbound_ports.clone(),
            skip_outbound_ports: self.skip_outbound_ports.clone(),
            skip_outbound_addresses: self.skip_outbound_addresses.clone(),
        }
    }
}

impl Backend {
    /// By this filter, or by the first that the kernel has.
    fn run<T>(
        self,
        nft: impl Fn() -> Result<T, Error>,
        iptables: impl Fn() -> Result<T, Error>,
    ) -> Result<T, Error> {
        match self {
            Self::Nft => nft(),
            Self::Iptables => iptables(),
            Self::Auto => match nft() {
                Err(error) if error.is_unsupported() => iptables().map_err(|other| match other {
                    Error::Program { .. } => error,
                    other => other,
                }),
                outcome => outcome,
            },
        }
    }
}

/// Does what is asked; gives lines to print.
pub fn run(command: &Command) -> Result<Vec<String>, Error> {
    match command {
        Command::Apply(apply) => {
            let rules = apply.rules();
            apply.backend.run(|| nft::apply(&rules), || iptables::apply(&rules))?;
            Ok(vec![format!(
                "connections that leave go to port {}, those that arrive {}",
                rules.outbound_port,
                rules.inbound_port.map_or_else(
                    || "where they were meant to go".to_owned(),
                    |port| format!("to port {port}")
                ),
            )])
        }
        Command::Remove { backend } => {
            backend.run(nft::remove, iptables::remove)?;
            Ok(vec!["nothing is redirected".to_owned()])
        }
        Command::Show { backend } => {
            let lines = backend.run(nft::show, iptables::show)?;
            Ok(if lines.is_empty() { vec!["nothing is redirected".to_owned()] } else { lines })
        }
    }
}
