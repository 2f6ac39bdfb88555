//! What idle client connections cost a pair in memory.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;
use weft_identity::CertificateAuthority;
use weft_mesh::name::Identity;

use crate::check::peer_config;
use crate::options::{self, Side};
use crate::report::IdleReport;
use weft_harness::host::{self, Host};
use weft_harness::load::{Failure, Held};
use weft_harness::process::usage::Memory;
use weft_harness::protocol::Protocol;
use weft_harness::subject::{Role, Subject};
use weft_harness::testbed::{HopPorts, Setting, Testbed};

/// Requests before the first look, so that what is allocated once isn't charged to the connections.
const WARMING_REQUESTS: u32 = 20;
/// Allocators give pages back some time after they are free.
const SETTLING: Duration = Duration::from_secs(3);

/// What one subject's connections cost.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct IdleResult {
    pub(crate) subject: String,
    pub(crate) version: String,
    pub(crate) side: Side,
    pub(crate) protocol: Protocol,
    pub(crate) client_sidecar: Growth,
    pub(crate) server_sidecar: Growth,
}

/// Memory before the connections and with them.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Growth {
    pub(crate) before: Memory,
    pub(crate) with: Memory,
}

impl Growth {
    /// Bytes of proportional memory per connection.
    pub(crate) fn per_connection(&self, connections: u32) -> f64 {
        (self.with.pss_kib as f64 - self.before.pss_kib as f64) * 1024.0 / f64::from(connections)
    }
}

/// Measures every chosen pair with both protocols and writes the results.
pub(crate) async fn run(options: options::Idle) -> anyhow::Result<()> {
    let host = Host::describe();
    let subjects = Subject::select(&options.selection.subjects)?;
    let selection = &options.selection;
    let setting = Setting::prepare(selection.placing.cores())?;
    let protocols =
        if options.protocols.is_empty() { Protocol::ALL.to_vec() } else { options.protocols.clone() };
    let sides =
        if options.sides.is_empty() { vec![Side::Outbound, Side::Inbound] } else { options.sides.clone() };
    let mut results = Vec::new();
    for subject in subjects.iter().filter(|subject| subject.pair.is_some()) {
        for (&side, &protocol) in
            sides.iter().flat_map(|side| protocols.iter().map(move |protocol| (side, protocol)))
        {
            let result = measure(subject, side, protocol, &setting, &options).await;
            results.push(result.with_context(|| format!("{} with {}", subject.name, protocol.name()))?);
        }
    }
    let (connections, parallel) = (options.connections, options.parallel);
    let report = IdleReport {
        command: host::command_line(env!("CARGO_PKG_NAME")),
        host,
        connections,
        parallel,
        results,
    };
    weft_harness::report::write(
        &host::bench_folder().join("results"),
        options.name.as_deref(),
        "idle",
        &report,
        &report.markdown(),
    )
}

async fn measure(
    subject: &Subject,
    side: Side,
    protocol: Protocol,
    setting: &Setting,
    options: &options::Idle,
) -> anyhow::Result<IdleResult> {
    let mut stage = Testbed::start(subject, protocol, setting, HopPorts::plain()?).await?;
    let opener = Opener::new(&stage, side, protocol, setting)?;
    for _ in 0..WARMING_REQUESTS {
        opener.clone().open().await.map_err(failed)?;
    }
    sleep(SETTLING).await;
    let before = (stage.memory(Role::ClientSidecar)?, stage.memory(Role::ServerSidecar)?);
    let mut held = hold(&opener, options.connections, options.parallel).await?;
    sleep(SETTLING).await;
    let with = (stage.memory(Role::ClientSidecar)?, stage.memory(Role::ServerSidecar)?);
    stage.verify()?;
    let closed = held.iter_mut().filter_map(|connection| (!connection.is_open()).then_some(())).count();
    anyhow::ensure!(
        closed == 0,
        "{closed} of {} connections were closed by the sidecar meanwhile",
        held.len()
    );
    drop(held);
    stage.stop().await;
    Ok(IdleResult {
        subject: subject.name.clone(),
        version: subject.version().await?,
        side,
        protocol,
        client_sidecar: Growth { before: before.0, with: with.0 },
        server_sidecar: Growth { before: before.1, with: with.1 },
    })
}

/// How a connection is opened.
#[derive(Clone)]
struct Opener {
    protocol: Protocol,
    address: SocketAddr,
    authority: String,
    /// What a peer of the server's sidecar shows of itself.
    tls: Option<Arc<ClientConfig>>,
}

impl Opener {
    fn new(stage: &Testbed, side: Side, protocol: Protocol, setting: &Setting) -> anyhow::Result<Self> {
        let authority = stage.authority.clone();
        if side == Side::Outbound {
            return Ok(Self { protocol, address: stage.connect, authority, tls: None });
        }
        let certificate = match &stage.certifies {
            Some(folder) => certified_by(folder)?,
            None => setting.certificates.read("client")?,
        };
        let tls = Some(Arc::new(peer_config(protocol.alpn(), Some(certificate))?));
        Ok(Self { protocol, address: (Ipv4Addr::LOCALHOST, stage.hop).into(), authority, tls })
    }

    async fn open(self) -> Result<Held, Failure> {
        match &self.tls {
            None => Held::open(self.protocol, self.address, &self.authority).await,
            Some(config) => Held::open_tls(self.protocol, self.address, &self.authority, config).await,
        }
    }
}

/// A certificate for the client's identity from the authority in `folder`.
fn certified_by(folder: &Path) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let (domain, now) = ("cluster.local".parse()?, SystemTime::now());
    let authority = CertificateAuthority::open(folder, &domain, now)?;
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let request = rcgen::CertificateParams::default().serialize_request(&key)?;
    let identity = Identity::new(&domain, "default", "client")?;
    let issued = authority.sign(request.der(), &identity, Duration::from_hours(1), now)?;
    Ok((issued.chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
}

/// Opens `count` connections, `parallel` at a time, each of which sends one request.
async fn hold(opener: &Opener, count: u32, parallel: u32) -> anyhow::Result<Vec<Held>> {
    let mut held = Vec::new();
    let mut opening = JoinSet::new();
    for _ in 0..count {
        if opening.len() >= parallel as usize {
            held.push(opened(opening.join_next().await)?);
        }
        opening.spawn_local(opener.clone().open());
    }
    while !opening.is_empty() {
        held.push(opened(opening.join_next().await)?);
    }
    Ok(held)
}

fn opened(joined: Option<Result<Result<Held, Failure>, tokio::task::JoinError>>) -> anyhow::Result<Held> {
    joined.context("a connection is being opened")??.map_err(failed)
}

fn failed(failure: Failure) -> anyhow::Error {
    anyhow::anyhow!("a connection's request failed: {failure:?}")
}
