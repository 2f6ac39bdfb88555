//! What the clients' sidecar says of itself during a run: retries, ejected endpoints; and the connections that it has open.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};

use super::client::Service;
use super::clock;
use crate::mesh::admin;
use crate::mesh::exposition::Exposition;

/// How often it is asked.
const EVERY: Duration = Duration::from_millis(100);

/// One look.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) at: Duration,
    /// Retries that the budget did not allow, so far.
    pub(super) over_budget: u64,
    pub(super) ejections: u64,
    pub(super) services: [OfService; 2],
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
    /// Connections that are established to sidecars of the service.
    pub(super) connections: usize,
}

/// All looks.
pub(super) struct Watch {
    admin: SocketAddr,
    /// Ports of the sidecars of each service.
    ports: [BTreeSet<u16>; 2],
    pub(super) looks: RefCell<Vec<Look>>,
}

impl Watch {
    pub(super) fn new(admin: SocketAddr, ports: [BTreeSet<u16>; 2]) -> Rc<Self> {
        Rc::new(Self { admin, ports, looks: RefCell::default() })
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
        let sockets = std::fs::read_to_string("/proc/net/tcp").context("reading /proc/net/tcp")?;
        let services = Service::ALL.map(|service| {
            let backend = format!("default/{}", service.authority());
            let known = config.endpoints.iter().find(|known| known.service == backend);
            let of = known.map(|known| known.endpoints.as_slice()).unwrap_or_default();
            OfService {
                retries: metrics
                    .sum("weft_retries_total", &[("direction", "outbound"), ("backend", &backend)]),
                endpoints: of.len(),
                ejected: of.iter().filter(|endpoint| endpoint.ejected_by > 0).count(),
                connections: established(&sockets, &self.ports[service as usize]),
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

/// Connections to these ports in a table of the kernel (`proc_net_tcp(5)`).
fn established(table: &str, ports: &BTreeSet<u16>) -> usize {
    const ESTABLISHED: &str = "01";
    let to = table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(2);
        let (remote, state) = (fields.next()?, fields.next()?);
        let port = u16::from_str_radix(remote.rsplit_once(':')?.1, 16).ok()?;
        (state == ESTABLISHED).then_some(port)
    });
    to.filter(|port| ports.contains(port)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn established_connections_are_counted_by_their_remote_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
                     0: 0100007F:1F90 00000000:0000 0A 0 0\n\
                     1: 0100007F:9C40 0100007F:1F90 01 0 0\n\
                     2: 0100007F:1F90 0100007F:9C40 01 0 0\n\
                     3: 0100007F:9C41 0100007F:1F90 06 0 0\n";
        assert_eq!(established(table, &BTreeSet::from([0x1F90])), 1);
    }
}
