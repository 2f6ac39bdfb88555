//! Starting and stopping a proxy: the one place where its parts are put together.
//!
//! May import everything; imported by nobody.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;
use weft_mesh::balance::Locality;
use weft_mesh::proxy_protocol::Senders;

use crate::config::{Offer, ProxyConfig, Upstream};
use crate::control::{self, ControlHandle};
use crate::observe::access;
use crate::observe::stats::Direction;
use crate::runtime::descriptors;
use crate::runtime::shared::Shared;
use crate::transport::listener::Bound;
use crate::transport::own_listeners::OwnListeners;

pub mod run;
mod worker;

/// Time for the control plane to tell the clients that this workload is about to end, before requests are only awaited.
const SETTLE: Duration = Duration::from_millis(500);
/// The same for a workload that offers nothing: only what its own programs have on the way to the proxy.
const SETTLE_OWN: Duration = Duration::from_millis(100);
/// Time for peers to hear, at the very end, what was not processed, and to close their connections: longer than a connection
/// waits for its peer by itself.
const CLOSE: Duration = Duration::from_secs(3);
/// How often a drain looks whether all requests have ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// All sockets that a proxy listens on. Bound before anything else starts, so that a port in use is one clear error.
#[derive(Debug)]
pub struct Listeners {
    /// Who speaks the PROXY protocol to the explicit listener and to those of upstreams.
    pub(crate) announced_by: Arc<Senders>,
    pub(crate) outbound: Option<Bound>,
    pub(crate) upstreams: Vec<(Upstream, Bound)>,
    pub(crate) transparent_outbound: Option<Bound>,
    pub(crate) transparent_inbound: Option<Bound>,
    pub(crate) offers: Vec<(Offer, Bound)>,
    /// All of these, the admin server's and the monitoring server's, but for those of offers.
    pub(crate) own: Vec<SocketAddr>,
}

/// Where a proxy listens, with the ports that were taken.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The HTTP proxy for the workload's own requests.
    pub outbound: Option<SocketAddr>,
    /// The local listener of each upstream.
    pub upstreams: Vec<(String, SocketAddr)>,
    /// The inbound listener of each port that the workload offers.
    pub offers: Vec<(Offer, SocketAddr)>,
    /// The listener for redirected outbound connections.
    pub transparent_outbound: Option<SocketAddr>,
    /// The listener for redirected inbound connections.
    pub transparent_inbound: Option<SocketAddr>,
    /// The admin server.
    pub admin: SocketAddr,
    /// The monitoring server.
    pub monitor: Option<SocketAddr>,
}

impl Addresses {
    /// All of them, but for those of offers, which stand for the application.
    fn own(&self) -> Vec<SocketAddr> {
        let upstreams = self.upstreams.iter().map(|(_, address)| *address);
        let optional = [self.outbound, self.transparent_outbound, self.transparent_inbound, self.monitor];
        upstreams.chain(optional.into_iter().flatten()).chain([self.admin]).collect()
    }
}

/// A proxy that runs.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub addresses: Addresses,
    shared: Arc<Shared>,
    control: ControlHandle,
    workers: Vec<JoinHandle<()>>,
    stop: CancellationToken,
    drain_timeout: Duration,
    /// When the drain's time is over, once it has begun.
    drained_by: OnceLock<Instant>,
}

/// Starts a proxy: binds its sockets, then starts its threads.
pub fn start(config: ProxyConfig) -> anyhow::Result<Running> {
    let mut listeners = bind(&config)?;
    let admin = std::net::TcpListener::bind(config.admin)
        .with_context(|| format!("cannot listen on {} for the admin server", config.admin))?;
    let monitor = config.monitor.map(bind_monitor).transpose()?;
    let addresses = addresses(&listeners, admin.local_addr()?, monitor.as_ref());
    listeners.own = addresses.own();
    check_applications(&addresses)?;
    let listeners = Arc::new(listeners);
    let count = config.workers.max(1);
    let drain_timeout = config.drain_timeout;
    let locality = Locality { region: config.region.as_str().into(), zone: config.zone.as_str().into() };
    let (shared, lookups) = Shared::new(count, locality);
    shared.set_stream_idle(config.stream_idle);
    shared.set_application_idle(config.application_idle);
    let output = match &config.access_log_file {
        None => access::Output::stdout(),
        Some(path) => access::Output::file(path.clone())
            .with_context(|| format!("cannot open {} for the access log", path.display()))?,
    };
    shared.access.set(config.access_log, config.access_log_share);
    access::start(&shared, output).context("cannot start the access log")?;
    shared.overload.set(config.overload).context("cannot shed load as told")?;
    shared.replays.set_limit(config.replay_memory);
    shared.connections.set(max_connections(config.max_connections, count));
    let stop = CancellationToken::new();
    let workers = (0..count)
        .map(|number| worker::spawn(number, Arc::clone(&shared), Arc::clone(&listeners), stop.clone()))
        .collect::<Result<Vec<_>, _>>()
        .context("cannot start a worker thread")?;
    let config = chosen(config, &addresses);
    let control =
        control::spawn(config, Arc::clone(&shared), lookups, addresses.offers.clone(), admin, monitor)?;
    let drained_by = OnceLock::new();
    Ok(Running { addresses, shared, control, workers, stop, drain_timeout, drained_by })
}

/// How many connections of clients there may be. More than there are descriptors for are allowed to whoever knows that few
/// of them need one to a peer.
fn max_connections(told: Option<u32>, workers: usize) -> u32 {
    let limit = descriptors::limit();
    let fit = u32::try_from(descriptors::connections(limit, workers)).unwrap_or(u32::MAX);
    let Some(told) = told else { return fit };
    if told > fit {
        tracing::warn!(
            max_connections = told,
            fit,
            descriptors = limit,
            "there may be more connections than descriptors; raise the limit on open files"
        );
    }
    told
}

/// An application that is the proxy itself would be called for ever.
fn check_applications(addresses: &Addresses) -> anyhow::Result<()> {
    let offered = addresses.offers.iter().map(|(_, address)| *address);
    let own = OwnListeners::new(addresses.own().into_iter().chain(offered));
    for (offer, _) in &addresses.offers {
        if let Some(listener) = own.reached_by(offer.application) {
            bail!(
                "the application of port {} of {} cannot be {}, where this proxy itself listens ({listener}); say where the \
                 application listens",
                offer.port,
                offer.services.join(", "),
                offer.application
            );
        }
    }
    Ok(())
}

fn bind(config: &ProxyConfig) -> anyhow::Result<Listeners> {
    if let Some(address) = config.outbound.filter(|address| !address.ip().to_canonical().is_loopback()) {
        bail!(
            "cannot listen on {address} for outbound requests: they are sent in the workload's name, whoever they come \
             from; take a loopback address, such as 127.0.0.1:{}, and for others --upstream DESTINATION={address}",
            address.port()
        );
    }
    let bind = |address: SocketAddr, what: &str| {
        Bound::bind(address)
            .with_context(|| format!("cannot listen on {address} for {what}; is the port in use?"))
    };
    let optional =
        |address: Option<SocketAddr>, what: &str| address.map(|address| bind(address, what)).transpose();
    Ok(Listeners {
        announced_by: Arc::new(config.proxy_protocol_from.clone()),
        outbound: optional(config.outbound, "outbound requests")?,
        transparent_outbound: optional(config.transparent_outbound, "redirected outbound connections")?,
        transparent_inbound: optional(config.transparent_inbound, "redirected inbound connections")?,
        upstreams: config
            .upstreams
            .iter()
            .map(|upstream| Ok((upstream.clone(), bind(upstream.listen, &upstream.destination)?)))
            .collect::<anyhow::Result<_>>()?,
        offers: config
            .services
            .iter()
            .map(|offer| {
                Ok((offer.clone(), bind(offer.listen, &format!("port {} of the service", offer.port))?))
            })
            .collect::<anyhow::Result<_>>()?,
        own: Vec::new(),
    })
}

/// The configuration with the ports that the system has chosen, where it was left to.
fn chosen(mut config: ProxyConfig, addresses: &Addresses) -> ProxyConfig {
    for (upstream, (_, address)) in config.upstreams.iter_mut().zip(&addresses.upstreams) {
        upstream.listen = *address;
    }
    for (offer, (_, address)) in config.services.iter_mut().zip(&addresses.offers) {
        offer.listen = *address;
    }
    config.outbound = addresses.outbound;
    config.transparent_outbound = addresses.transparent_outbound;
    config.transparent_inbound = addresses.transparent_inbound;
    config.admin = addresses.admin;
    config.monitor = addresses.monitor;
    config
}

fn bind_monitor(address: SocketAddr) -> anyhow::Result<TcpListener> {
    Bound::bind(address)
        .and_then(Bound::into_std)
        .with_context(|| format!("cannot listen on {address} for monitoring; is the port in use?"))
}

fn addresses(listeners: &Listeners, admin: SocketAddr, monitor: Option<&TcpListener>) -> Addresses {
    let address = |bound: &Option<Bound>| bound.as_ref().map(Bound::address);
    Addresses {
        outbound: address(&listeners.outbound),
        upstreams: listeners
            .upstreams
            .iter()
            .map(|(u, bound)| (u.destination.clone(), bound.address()))
            .collect(),
        offers: listeners.offers.iter().map(|(offer, bound)| (offer.clone(), bound.address())).collect(),
        transparent_outbound: address(&listeners.transparent_outbound),
        transparent_inbound: address(&listeners.transparent_inbound),
        admin,
        monitor: monitor.and_then(|listener| listener.local_addr().ok()),
    }
}

impl Running {
    /// Whether the proxy takes requests: it has its certificate and knows what it lets in.
    pub fn is_ready(&self) -> bool {
        self.shared.is_ready()
    }

    /// Why the proxy can never become ready, such as a token that was refused.
    pub fn failure(&self) -> Option<String> {
        self.control.failure()
    }

    /// Why the proxy is not ready yet, one reason a line.
    pub fn waiting_for(&self) -> Vec<String> {
        self.control.waiting_for()
    }

    /// Takes no new work and waits until what is under way has ended, or the drain's time is over. Gives the number of
    /// requests and connections that were cut off.
    pub fn drain(&self) -> usize {
        self.drain_until_none(Shared::under_way)
    }

    /// As [`Self::drain`], but waits only for what is on its way to the workload: what the workload itself has begun, such as
    /// a connection to a database that it keeps, ends when the workload is told to end, and not before.
    pub fn drain_arriving(&self) -> usize {
        self.drain_until_none(Shared::arriving)
    }

    fn drain_until_none(&self, under_way: impl Fn(&Shared) -> usize) -> usize {
        let began = Instant::now();
        let _ = self.drained_by.set(began + self.drain_timeout);
        self.shared.drain.cancel();
        let offers = !self.addresses.offers.is_empty() || self.addresses.transparent_inbound.is_some();
        let settle = if offers { SETTLE } else { SETTLE_OWN };
        loop {
            let open = under_way(&self.shared);
            let waited = began.elapsed();
            if waited >= self.drain_timeout || (open == 0 && waited >= settle) {
                return open;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Tells peers what was not processed, so that they send it elsewhere, and waits until they have heard. Without it, a
    /// request that arrives at the very end might have had an effect, as far as its sender knows.
    fn close(&self) {
        self.shared.close.cancel();
        let began = Instant::now();
        loop {
            let drains = self.drained_by.get().is_some_and(|end| Instant::now() < *end);
            let open = self.shared.stats.open_connections(Direction::Inbound);
            if !waits_for(open, self.shared.under_way(), began.elapsed(), drains) {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Ends all threads. Whatever is still under way is cut off.
    pub fn stop(self) {
        self.shared.drain.cancel();
        self.close();
        self.control.stop();
        self.stop.cancel();
        for worker in self.workers {
            // A worker that panicked has said so already.
            let _ = worker.join();
        }
        self.shared.access.finish();
    }
}

/// Whether connections of peers keep a proxy from ending that has told them so: for a while in any case, and with requests
/// that came just before they heard of it for as long as the drain has time.
fn waits_for(open: u64, under_way: usize, waited: Duration, drains: bool) -> bool {
    open > 0 && (waited < CLOSE || (under_way > 0 && drains))
}

#[cfg(test)]
mod tests {
    use weft_mesh::protocol::Protocol;

    use super::*;

    fn refused(config: ProxyConfig) -> String {
        format!("{:#}", start(config).expect_err("it is refused"))
    }

    #[test]
    fn the_http_proxy_for_a_workloads_own_requests_listens_on_loopback_alone() {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:15001"] {
            let outbound = Some(address.parse().unwrap());
            let said = refused(ProxyConfig { outbound, ..ProxyConfig::default() });
            assert!(said.contains(&format!("cannot listen on {address}")), "{said}");
            assert!(said.contains("loopback address") && said.contains("--upstream"), "{said}");
        }
    }

    #[test]
    fn an_application_is_not_the_proxy_itself() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let offer = |port, application, listen| {
            let services = vec!["web".to_owned()];
            (Offer { services, port, protocol: Protocol::Http1, listen, application }, listen)
        };
        let addresses = |application| Addresses {
            outbound: Some(at(1)),
            upstreams: vec![("reviews:9080".to_owned(), SocketAddr::from(([0, 0, 0, 0], 2)))],
            offers: vec![offer(80, application, at(3)), offer(81, at(8080), at(4))],
            transparent_outbound: Some("[::]:5".parse().unwrap()),
            transparent_inbound: Some("[::]:6".parse().unwrap()),
            admin: at(7),
            monitor: Some("[::]:8".parse().unwrap()),
        };
        for port in 1..=8 {
            let said = check_applications(&addresses(at(port))).unwrap_err().to_string();
            let expected = format!("the application of port 80 of web cannot be 127.0.0.1:{port}");
            assert!(said.starts_with(&expected), "{said}");
        }
        check_applications(&addresses(at(8080))).unwrap();
    }

    #[test]
    fn requests_that_come_at_the_very_end_have_the_drains_time() {
        let long = CLOSE * 2;
        assert!(waits_for(1, 0, CLOSE / 2, false), "peers are given time to hear");
        assert!(!waits_for(1, 0, long, true), "who doesn't hear is not waited for");
        assert!(waits_for(1, 1, long, true), "a request that was taken is answered");
        assert!(!waits_for(1, 1, long, false), "the drain's time is the limit");
        assert!(!waits_for(0, 1, Duration::ZERO, true), "nobody is there to answer");
    }
}
