//! What the clients' sidecar says of itself during a run: retries, ejected endpoints; and the connections that it has open.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};

use super::clock;
use super::request::Service;
use weft_harness::mesh::admin;
use weft_harness::mesh::exposition::Exposition;

/// How often it is asked.
const EVERY: Duration = Duration::from_millis(100);

/// One look.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) at: Duration,
    /// Retries that the budget did not allow, so far.
    pub(super) over_budget: u64,
    pub(super) ejections: u64,
    pub(super) services: [OfService; Service::COUNT],
}

/// What is said of one service.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OfService {
    /// Retries so far.
    pub(super) retries: u64,
    /// Endpoints that the sidecar knows.
    pub(super) endpoints: usize,
    /// Those of them that a worker has ejected.
    pub(super) ejected: usize,
    /// Its connections that are established to sidecars of the service.
    pub(super) connections: usize,
}

/// All looks.
pub(super) struct Watch {
    /// Process id of the sidecar.
    id: u32,
    admin: SocketAddr,
    /// Ports of the sidecars of each service.
    ports: [BTreeSet<u16>; Service::COUNT],
    pub(super) looks: RefCell<Vec<Look>>,
}

impl Watch {
    pub(super) fn new(id: u32, admin: SocketAddr, ports: [BTreeSet<u16>; Service::COUNT]) -> Rc<Self> {
        Rc::new(Self { id, admin, ports, looks: RefCell::default() })
    }

    /// Looks until an error.
    pub(super) async fn run(self: Rc<Self>) -> anyhow::Result<()> {
        let mut due = interval(EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            due.tick().await;
            self.look().await?;
        }
    }

    /// Looks once.
    pub(super) async fn look(&self) -> anyhow::Result<()> {
        let metrics = Exposition::new(admin::get(self.admin, "/metrics").await?);
        let config: Config = serde_json::from_str(&admin::get(self.admin, "/config").await?)
            .context("what is in force isn't as expected")?;
        // The table first: what is closed since is no descriptor any more.
        let table = std::fs::read_to_string("/proc/net/tcp").context("reading /proc/net/tcp")?;
        let own =
            sockets_of(self.id).with_context(|| format!("looking for sockets of process {}", self.id))?;
        let services = Service::ALL.map(|service| {
            let backend = service.label();
            let known = config.endpoints.iter().find(|known| known.service == backend);
            let of = known.map(|known| known.endpoints.as_slice()).unwrap_or_default();
            OfService {
                retries: metrics
                    .sum("weft_retries_total", &[("direction", "outbound"), ("backend", &backend)]),
                endpoints: of.len(),
                ejected: of.iter().filter(|endpoint| endpoint.ejected_by > 0).count(),
                connections: established(&table, &own, &self.ports[service as usize]),
            }
        });
        let over_budget = metrics.sum("weft_retry_decisions_total", &[("outcome", "over_budget")]);
        let ejections = metrics.sum("weft_ejections_total", &[]);
        self.looks.borrow_mut().push(Look { at: clock::now(), over_budget, ejections, services });
        Ok(())
    }
}

/// What matters of `/config`.
#[derive(Deserialize)]
struct Config {
    endpoints: Vec<Known>,
}

#[derive(Deserialize)]
struct Known {
    service: String,
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    ejected_by: usize,
}

/// The inodes of a process's sockets, from its descriptors (`proc_pid_fd(5)`).
fn sockets_of(process: u32) -> std::io::Result<HashSet<String>> {
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd"))?;
    // A descriptor may be closed while it is looked at.
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let inode =
        |target: PathBuf| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    Ok(targets.filter_map(inode).collect())
}

/// Connections to these ports through sockets with these inodes in a table of the kernel (`proc_net_tcp(5)`): ports alone
/// are of the whole machine, and may have been given to somebody else while their sidecar was down.
fn established(table: &str, inodes: &HashSet<String>, ports: &BTreeSet<u16>) -> usize {
    const ESTABLISHED: &str = "01";
    let to = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, remote, state, _, _, _, _, _, inode, ..] = fields[..] else { return None };
        let port = u16::from_str_radix(remote.rsplit_once(':')?.1, 16).ok()?;
        (state == ESTABLISHED && inodes.contains(inode)).then_some(port)
    });
    to.filter(|port| ports.contains(port)).count()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn own_established_connections_are_counted_by_their_remote_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                     0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1\n\
                     1: 0100007F:9C40 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 12 1\n\
                     2: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 13 1\n\
                     3: 0100007F:9C41 0100007F:1F90 06 00000000:00000000 00:00000000 00000000     0        0 0 1\n\
                     4: 0100007F:9C42 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 14 1\n";
        let own = ["11", "12", "13"].map(str::to_owned).into();
        assert_eq!(established(table, &own, &BTreeSet::from([0x1F90])), 1);
    }

    #[test]
    fn the_sockets_of_a_process_are_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let _client = TcpStream::connect(to).unwrap();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let own = sockets_of(std::process::id()).unwrap();
        assert_eq!(established(&table, &own, &BTreeSet::from([to.port()])), 1);
    }
}
