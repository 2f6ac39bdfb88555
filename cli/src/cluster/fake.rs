//! A cluster that is an API server in process.

use kube::{Client, Config};
use weft_testkit::kubernetes::ApiServer;

use super::Cluster;

/// Connects to it; the server ends when it is dropped.
pub(crate) fn connect(server: ApiServer) -> (ApiServer, Cluster) {
    let cluster = at(&server.url());
    (server, cluster)
}

/// A cluster whose API server would be there.
pub(crate) fn at(url: &str) -> Cluster {
    let mut config = Config::new(url.parse().unwrap());
    config.default_namespace = "shop".to_owned();
    Cluster::new(Client::try_from(config).unwrap(), url.to_owned())
}
