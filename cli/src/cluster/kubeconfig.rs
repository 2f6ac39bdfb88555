//! Which cluster is meant.

use std::path::PathBuf;

use kube::config::{KubeConfigOptions, KubeconfigError};
use kube::{Client, Config};

use super::{Cluster, Trouble};

/// Options that say which cluster is meant.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Kubeconfig {
    /// File with the clusters and who you are there [default: KUBECONFIG, then ~/.kube/config; within a pod its own cluster]
    #[arg(long, value_name = "FILE", help_heading = "Which cluster")]
    kubeconfig: Option<PathBuf>,
    /// Context of that file [default: its current one]
    #[arg(long, value_name = "NAME", help_heading = "Which cluster")]
    context: Option<String>,
}

impl Kubeconfig {
    /// Makes ready to ask the cluster; nothing is asked of it yet.
    pub(crate) async fn connect(&self) -> Result<Cluster, Trouble> {
        let config = self.config().await?;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(|error| Trouble::None(error.to_string()))?;
        Ok(Cluster::new(client, server))
    }

    async fn config(&self) -> Result<Config, Trouble> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let read = match &self.kubeconfig {
            Some(file) => kube::config::Kubeconfig::read_from(file),
            None => kube::config::Kubeconfig::read(),
        };
        let name = match (&self.kubeconfig, std::env::var("KUBECONFIG")) {
            (Some(file), _) => format!("--kubeconfig {}", file.display()),
            (None, Ok(files)) if !files.is_empty() => format!("KUBECONFIG={files}"),
            (None, _) => "~/.kube/config".to_owned(),
        };
        let chosen = match read {
            Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
            Err(error) => Err(error),
        };
        chosen.or_else(|error| {
            let explicit = self.kubeconfig.is_some() || self.context.is_some();
            if !explicit && let Ok(config) = Config::incluster() {
                return Ok(config);
            }
            Err(Trouble::None(format!("{name}: {}", told(&error))))
        })
    }
}

fn told(error: &KubeconfigError) -> String {
    let hint = match error {
        KubeconfigError::LoadContext(_) | KubeconfigError::CurrentContextNotSet => {
            "; kubectl config get-contexts lists those that there are"
        }
        KubeconfigError::ReadConfig(..) | KubeconfigError::FindPath => {
            "; set KUBECONFIG or --kubeconfig to the file that kubectl uses"
        }
        _ => "; kubectl config view shows what the file says",
    };
    format!("{error}{hint}")
}
