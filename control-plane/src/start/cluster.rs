//! The parts that a control plane has in a cluster alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::bind;
use super::parts::{Parts, until_stopped};
use crate::Error;
use crate::config::ControlPlaneConfig;
use crate::inject;
use crate::kubernetes::{Accounts, Cluster, Roots};
use crate::settings::Settings;
use crate::source::kubernetes::{WatchHealth, Watches};
use crate::status;
use crate::webhook::{self, Webhook};

/// How often the injector's settings are looked at; the kubelet brings a change after about a minute.
const SETTINGS: Duration = Duration::from_secs(5);

/// What injects sidecars.
pub(super) struct Injector {
    pub(super) webhook: Option<(TcpListener, inject::Cluster)>,
    pub(super) settings: Arc<Mutex<Settings>>,
    pub(super) file: Option<PathBuf>,
}

impl Injector {
    /// Listens for the API server in a cluster, and reads the settings; without one there is nothing to inject.
    pub(super) async fn open(config: &ControlPlaneConfig, cluster: Option<&Cluster>) -> Result<Self, Error> {
        let settings = config.kubernetes.as_ref();
        let webhook = match (cluster, settings.and_then(|it| it.webhook)) {
            (Some(cluster), Some(address)) => {
                let listener = bind(address, "the webhook", "--webhook").await?;
                let cluster = inject::Cluster { native_sidecars: cluster.native_sidecars().await };
                Some((listener, cluster))
            }
            _ => None,
        };
        let file = settings.and_then(|it| it.settings.clone());
        let settings = file.as_deref().map_or_else(|| Ok(Settings::default()), Settings::read)?;
        Ok(Self { webhook, settings: Arc::new(Mutex::new(settings)), file })
    }
}

/// Keeps the injector's settings what their file says. Never returns.
async fn follow_settings(file: Option<PathBuf>, settings: Arc<Mutex<Settings>>) {
    let Some(file) = file else { return std::future::pending().await };
    let mut told = String::new();
    loop {
        tokio::time::sleep(SETTINGS).await;
        match Settings::read(&file) {
            Ok(read) => {
                told.clear();
                let mut held = settings.lock();
                if *held != read {
                    *held = read;
                    tracing::info!(file = %file.display(), "injector's settings in force");
                }
            }
            Err(error) => {
                let problem = error.to_string();
                if problem != told {
                    tracing::error!("{problem}; the settings in force stay");
                    told = problem;
                }
            }
        }
    }
}

/// What others need of the cluster.
pub(super) struct Joined {
    pub(super) accounts: Option<Accounts>,
    pub(super) roots: Option<Roots>,
    /// Whether all that is to be told has been read.
    pub(super) synced: watch::Receiver<bool>,
    /// How the watches on the cluster are doing.
    pub(super) watches: Option<WatchHealth>,
}

impl Parts {
    /// Starts what works with the cluster, if there is one.
    pub(super) fn join_cluster(&mut self, tasks: &mut JoinSet<()>) -> Joined {
        let accounts = self.cluster.as_ref().map(Cluster::accounts);
        let (_, mut synced) = watch::channel(true);
        let mut health = None;
        let roots = self.cluster.as_ref().map(Cluster::roots);
        if let Some(cluster) = self.cluster.take() {
            cluster.roots().set(&self.authority.believed());
            let revocations = cluster.follow_revocations(Arc::clone(&self.revocations));
            tasks.spawn(until_stopped(&self.stop, Box::pin(revocations)));
            let watches = Watches::new(
                cluster.client(),
                Arc::clone(&self.discovery),
                Arc::clone(&self.metrics),
                Arc::clone(&self.status),
                self.config.trust_domain.clone(),
            );
            synced = watches.synced();
            health = Some(watches.health());
            tasks.spawn(until_stopped(&self.stop, Box::pin(watches.follow())));
            let writer = Arc::new(status::Writer::new(cluster.client(), Arc::clone(&self.discovery)));
            let (lease, known, roots) =
                (status::Lease::new(cluster.client()), synced.clone(), cluster.write());
            let bundle = self.injector.webhook.is_some().then(|| (cluster.client(), cluster.watch_roots()));
            let work = move || {
                let (writer, mut known, roots, bundle) =
                    (Arc::clone(&writer), known.clone(), roots(), bundle.clone());
                async move {
                    let status = async {
                        // Who knows only a part would say that the rest is missing.
                        let _ = known.wait_for(|synced| *synced).await;
                        writer.run().await;
                    };
                    let trusted = async {
                        if let Some((client, roots)) = bundle {
                            webhook::keep_trusted(client, roots).await;
                        }
                    };
                    tokio::join!(status, roots, trusted);
                }
            };
            tasks.spawn(until_stopped(&self.stop, Box::pin(lease.hold(work))));
            self.serve_webhook(tasks);
            tasks.spawn(until_stopped(&self.stop, Box::pin(cluster.follow())));
        }
        Joined { accounts, roots, synced, watches: health }
    }

    fn serve_webhook(&mut self, tasks: &mut JoinSet<()>) {
        let Some((listener, dependencies)) = self.injector.webhook.take() else { return };
        let webhook = Webhook {
            authority: Arc::clone(&self.authority),
            settings: Arc::clone(&self.injector.settings),
            cluster: dependencies,
            metrics: Arc::clone(&self.metrics),
            life: self.config.certificate_life,
        };
        tasks.spawn(until_stopped(
            &self.stop,
            Box::pin(async move {
                if let Err(error) = webhook.serve(listener).await {
                    tracing::error!(%error, "the webhook has no certificate and can't serve");
                }
            }),
        ));
        let (file, settings) = (self.injector.file.take(), Arc::clone(&self.injector.settings));
        tasks.spawn(until_stopped(&self.stop, Box::pin(follow_settings(file, settings))));
    }
}
