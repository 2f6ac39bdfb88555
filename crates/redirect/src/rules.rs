//! What is wanted: which connections go through the sidecar.

use ipnet::IpNet;

use crate::list::Span;

/// Ports of the sidecar itself: admin, both redirected listeners, monitoring. What arrives there is never redirected.
pub const OWN_PORTS: [u16; 4] = [15000, 15001, 15006, 15020];
/// The user and the group that the sidecar runs as.
pub const OWN_USER: u32 = 2102;
/// Ports of loopback by which a sidecar finds out whether these rules are in force: what it opens there itself is redirected to
/// the listener for what the workload opens, and to that for what is opened to it. For everybody else they are ports like
/// any other.
pub const VERIFY_OUTBOUND_PORT: u16 = 15002;
/// See [`VERIFY_OUTBOUND_PORT`].
pub const VERIFY_INBOUND_PORT: u16 = 15007;
/// The mark of the sidecar's own packets.
pub const OWN_MARK: u32 = 0x2102;
/// The mark of packets that belong to connections which keep the source address.
pub const KEPT_MARK: u32 = 0x2106;
/// The routing table that leads such packets back to the sidecar.
pub const KEPT_TABLE: u32 = 2102;

/// How inbound connections reach the sidecar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inbound {
    /// Their destination is changed to the sidecar's port; the application sees the sidecar's address.
    #[default]
    Redirect,
    /// By TPROXY, which changes nothing: the application sees the address of the client. The sidecar needs `NET_ADMIN`.
    Tproxy,
}

/// Families of addresses that are redirected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Families {
    /// IPv4 and IPv6.
    #[default]
    Both,
    /// IPv4 alone; IPv6 is left as it is.
    Ipv4,
    /// IPv6 alone; IPv4 is left as it is.
    Ipv6,
}

/// Which connections go through the sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Port that takes what the workload opens.
    pub outbound_port: u16,
    /// Port that takes what is opened to the workload; without one, that is left alone.
    pub inbound_port: Option<u16>,
    /// Users that sidecars run as, whose connections are left alone.
    pub users: Vec<u32>,
    /// Groups that sidecars run as, likewise.
    pub groups: Vec<u32>,
    /// Mark of packets that are left alone.
    pub mark: u32,
    /// Ports of the workload that are reached directly, besides those of the sidecar.
    pub skip_inbound_ports: Vec<Span<u16>>,
    /// Ports that the workload reaches directly.
    pub skip_outbound_ports: Vec<Span<u16>>,
    /// Addresses that the workload reaches directly.
    pub skip_outbound_addresses: Vec<IpNet>,
    /// Users whose connections are left alone.
    pub skip_users: Vec<Span<u32>>,
    /// How inbound connections reach the sidecar.
    pub inbound: Inbound,
    /// Families of addresses.
    pub families: Families,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            outbound_port: 15001,
            inbound_port: Some(15006),
            users: vec![OWN_USER],
            groups: vec![OWN_USER],
            mark: OWN_MARK,
            skip_inbound_ports: Vec::new(),
            skip_outbound_ports: Vec::new(),
            skip_outbound_addresses: Vec::new(),
            skip_users: Vec::new(),
            inbound: Inbound::Redirect,
            families: Families::Both,
        }
    }
}

impl Rules {
    /// Ports of the workload that are reached directly, those of the sidecar first.
    pub fn direct_inbound_ports(&self) -> Vec<Span<u16>> {
        let own = OWN_PORTS.into_iter().chain([self.outbound_port]).chain(self.inbound_port).map(Span::one);
        let mut ports: Vec<Span<u16>> = Vec::new();
        for port in own.chain(self.skip_inbound_ports.iter().copied()) {
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        ports
    }
}
