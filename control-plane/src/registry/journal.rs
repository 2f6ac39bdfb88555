//! Registrations as they are written down: one line of JSON for each change, in one append, so that a kill at any
//! moment loses at most the line that nobody was told of yet.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weft_identity::Grants;
use weft_mesh::name::Identity;
use weft_mesh::protocol::Protocol;

use crate::index::{Health, Locality, Offer, Workload};
use crate::state::replace;

/// The file is written anew when it has this many lines more than twice the workloads.
const SLACK: usize = 1_000;

/// A file that can't be written is tried again after changes of one in so many workloads.
const RETRY_PART: usize = 10;

/// One change.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    Put(Box<Stored>),
    /// By the id that identity and name make.
    Remove(String),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    /// What the workload calls itself.
    #[serde(rename = "id")]
    name: String,
    identity: String,
    /// What is not written was not granted: the service that is named as the account.
    #[serde(default)]
    grants: Grants,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    offers: Vec<StoredOffer>,
    #[serde(default)]
    locality: Locality,
    #[serde(default)]
    health: Health,
    #[serde(default)]
    proxy_version: String,
}

#[derive(Serialize, Deserialize)]
struct StoredOffer {
    service: String,
    port: u16,
    #[serde(default)]
    port_name: String,
    protocol: String,
    address: SocketAddr,
    application_port: u16,
}

/// The file of registrations.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// None when it can't be written: registrations are as good as the process until it can be again.
    file: Option<File>,
    /// Changes to leave out before it is tried again.
    leave_out: usize,
    lines: usize,
}

impl Journal {
    /// Reads a file and goes on with it. Lines that can't be read are left out.
    pub(super) fn open(path: &Path) -> (Self, HashMap<Arc<str>, Arc<Workload>>) {
        let mut workloads = HashMap::new();
        let text = fs::read(path).unwrap_or_default();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(Line::Put(stored)) => {
                    if let Some(workload) = stored.into_workload() {
                        workloads.insert(Arc::clone(&workload.id), Arc::new(workload));
                    }
                }
                Ok(Line::Remove(id)) => {
                    // Earlier versions wrote the name alone.
                    if workloads.remove(id.as_str()).is_none() {
                        workloads.retain(|_, workload: &mut Arc<Workload>| *workload.name != *id);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "a registration that was not written to its end is left out");
                }
            }
        }
        let mut journal = Self { path: path.to_owned(), file: None, leave_out: 0, lines: 0 };
        journal.rewrite(workloads.values().map(|workload| &**workload));
        (journal, workloads)
    }

    /// Writes down that a workload changed, or with none that it is gone. `all` are those that there are now.
    pub(super) fn write<'a>(
        &mut self,
        workload: Option<&Workload>,
        id: &str,
        all: impl ExactSizeIterator<Item = &'a Workload>,
    ) {
        if self.lines > 2 * all.len() + SLACK {
            return self.rewrite(all);
        }
        if self.file.is_none() {
            // What was left out is made good by writing everything, so not for each change of many.
            self.leave_out = self.leave_out.saturating_sub(1);
            if self.leave_out == 0 {
                self.rewrite(all);
            }
            return;
        }
        let line = workload.map_or_else(
            || Line::Remove(id.to_owned()),
            |workload| Line::Put(Box::new(Stored::of(workload))),
        );
        let Some(file) = &mut self.file else { return };
        self.lines += 1;
        if let Err(error) = file.write_all(&encode(&line)) {
            self.failed(&error, all.len());
        }
    }

    fn rewrite<'a>(&mut self, all: impl ExactSizeIterator<Item = &'a Workload>) {
        let workloads = all.len();
        self.lines = workloads;
        let content: Vec<u8> =
            all.flat_map(|workload| encode(&Line::Put(Box::new(Stored::of(workload))))).collect();
        let append = || OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path);
        match replace(&self.path, &content).and_then(|()| append()) {
            Ok(file) => self.file = Some(file),
            Err(error) => self.failed(&error, workloads),
        }
    }

    fn failed(&mut self, error: &io::Error, workloads: usize) {
        self.file = None;
        self.leave_out = workloads / RETRY_PART + 1;
        tracing::error!(path = %self.path.display(), %error, "can't write registrations down; a restart forgets them");
    }
}

fn encode(line: &Line) -> Vec<u8> {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}

impl Stored {
    fn of(workload: &Workload) -> Self {
        let offer = |offer: &Offer| StoredOffer {
            service: offer.service.clone(),
            port: offer.port,
            port_name: offer.port_name.clone(),
            protocol: offer.protocol.label().to_owned(),
            address: offer.address,
            application_port: offer.application_port,
        };
        Self {
            name: workload.name.to_string(),
            identity: workload.identity.to_string(),
            grants: workload.grants.clone(),
            token: workload.token.clone(),
            labels: workload.labels.clone(),
            offers: workload.offers.iter().map(offer).collect(),
            locality: workload.locality.clone(),
            health: workload.health,
            proxy_version: workload.proxy_version.clone(),
        }
    }

    fn into_workload(self) -> Option<Workload> {
        let offer = |offer: StoredOffer| Offer {
            service: offer.service,
            port: offer.port,
            port_name: offer.port_name,
            protocol: protocol(&offer.protocol),
            address: offer.address,
            application_port: offer.application_port,
        };
        let identity: Identity = self.identity.parse().ok()?;
        let offers = self.offers.into_iter().map(offer);
        let granted = |offer: &Offer| self.grants.allow_service(&identity, &offer.service);
        Some(Workload {
            id: Workload::id(&identity, &self.name),
            name: self.name.into(),
            labels: self.labels,
            offers: offers.filter(granted).collect(),
            identity,
            grants: self.grants,
            token: self.token,
            locality: self.locality,
            health: self.health,
            proxy_version: self.proxy_version,
        })
    }
}

/// What [`Protocol::label`] wrote.
fn protocol(label: &str) -> Protocol {
    let all = [Protocol::Http1, Protocol::Http2, Protocol::Grpc, Protocol::Tcp, Protocol::Tls];
    all.into_iter().find(|protocol| protocol.label() == label).unwrap_or_default()
}
