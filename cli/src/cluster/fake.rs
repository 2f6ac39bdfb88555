//! A cluster that is an API server in process.

use kube::{Client, Config};
use weft_testkit::kubernetes::ApiServer;

use super::Cluster;

/// Connects to it; the server ends when it is dropped.
pub(crate) fn connect(server: ApiServer) -> (ApiServer, Cluster) {
    let mut config = Config::new(server.url().parse().unwrap());
    config.default_namespace = "shop".to_owned();
    let client = Client::try_from(config).unwrap();
    let cluster = Cluster::new(client, server.url());
    (server, cluster)
}
