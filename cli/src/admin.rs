//! Admin servers, wherever they are: on this machine, or in a pod by port-forward.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use http::{Method, StatusCode};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::cluster::{Cluster, Trouble};
use crate::request::{self, Answer, Connection};

/// Where a pod's proxy has its admin server, on loopback alone.
pub(crate) const PROXY_PORT: u16 = 15000;
/// Where the control plane has its.
pub(crate) const CONTROL_PLANE_PORT: u16 = 15014;
/// Time until a forwarded port is open.
const OPEN: Duration = Duration::from_secs(10);
/// Time for the kubelet to say why a port is not.
const REASON: Duration = Duration::from_millis(200);

/// Where an admin server is.
#[derive(Clone)]
pub(crate) enum Place {
    /// On this machine, or anywhere by address.
    Address(SocketAddr),
    /// In a pod.
    Pod {
        /// Of which cluster.
        cluster: Cluster,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The port.
        port: u16,
    },
}

/// What the kubelet says of a port that it can't forward.
type Reason = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// An open connection to an admin server.
pub(crate) struct Admin {
    connection: Connection,
    place: String,
    reason: Option<Reason>,
}

impl Place {
    /// For people.
    pub(crate) fn title(&self) -> String {
        match self {
            Self::Address(address) => address.to_string(),
            Self::Pod { namespace, name, .. } => format!("pod {namespace}/{name}"),
        }
    }

    /// Connects.
    pub(crate) async fn open(&self) -> anyhow::Result<Admin> {
        let place = self.title();
        match self {
            Self::Address(address) => {
                let connection = request::open(*address, &place).await.with_context(|| {
                    format!("no admin server can be asked at {address}; is it the address of `GET /ready`?")
                })?;
                Ok(Admin { connection, place, reason: None })
            }
            Self::Pod { cluster, namespace, name, port } => {
                let (stream, reason) = forward(cluster, namespace, name, *port).await?;
                let connection = Connection::over(stream, &format!("localhost:{port}"))
                    .await
                    .with_context(|| format!("{place} can't be asked"))?;
                Ok(Admin { connection, place, reason: Some(reason) })
            }
        }
    }
}

/// A port of a pod.
pub(crate) async fn forward(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    port: u16,
) -> anyhow::Result<(impl AsyncRead + AsyncWrite + Unpin + Send + use<>, Reason)> {
    let pods: Api<Pod> = Api::namespaced(cluster.client(), namespace);
    let opened = timeout(OPEN, pods.portforward(name, &[port])).await;
    let opened = opened.with_context(|| {
        format!(
            "port {port} of pod {namespace}/{name} was not forwarded within {} s; does its node answer?",
            OPEN.as_secs()
        )
    })?;
    let mut forwarder =
        opened.map_err(|error| {
            let (what, server) = (format!("port {port} of pod {namespace}/{name}"), cluster.server());
            match error {
                kube::Error::UpgradeConnection(kube::client::UpgradeConnectionError::ProtocolSwitch(
                    status,
                )) if status == StatusCode::FORBIDDEN => Trouble::Forbidden(format!(
                    "forwarding {what} takes `create` and `get` of pods/portforward in namespace {namespace}"
                )),
                error => Trouble::of(server, &what, error),
            }
        })?;
    let (Some(stream), Some(reason)) = (forwarder.take_stream(port), forwarder.take_error(port)) else {
        bail!("port {port} of pod {namespace}/{name} was not forwarded");
    };
    Ok((stream, Box::pin(reason)))
}

impl Admin {
    /// One request.
    pub(crate) async fn ask(&mut self, method: Method, path: &str) -> anyhow::Result<Answer> {
        match self.connection.ask(method, path).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let reason = match &mut self.reason {
                    Some(reason) => timeout(REASON, reason).await.ok().flatten(),
                    None => None,
                };
                match reason {
                    Some(reason) => bail!("{} can't be asked: {}", self.place, reason.trim()),
                    None => Err(error.context(format!("{} can't be asked", self.place))),
                }
            }
        }
    }

    /// The text of a good answer; the error is what a bad one says.
    pub(crate) async fn text(&mut self, method: Method, path: &str) -> anyhow::Result<String> {
        let answer = self.ask(method, path).await?;
        ensure!(answer.status.is_success(), "{} says: {}", self.place, answer.text.trim());
        Ok(answer.text)
    }

    /// The JSON of a good answer.
    pub(crate) async fn json(&mut self, path: &str) -> anyhow::Result<Value> {
        let text = self.text(Method::GET, path).await?;
        serde_json::from_str(&text).with_context(|| {
            format!("what answers {path} at {} is no admin server of this version", self.place)
        })
    }
}
