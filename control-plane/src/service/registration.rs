//! Workloads that make themselves known.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use weft_mesh::name::{Identity, ServiceName};
use weft_mesh::protocol::Protocol;
use weft_proto::v1::register_request::Message;
use weft_proto::v1::registration_server;
use weft_proto::v1::{self, RegisterRequest, RegisterResponse};

use crate::caller::{Authenticator, caller};
use crate::index::{Health, Locality, Offer, Workload};
use crate::registry::{Refusal, Registry, Session};

/// Time for the first message.
const FIRST: Duration = Duration::from_secs(10);
/// Longest id: that of a DNS name.
const ID_MAX: usize = 253;
/// Most labels and offers of one workload: a bound on memory, far above what a workload has.
const LABELS_MAX: usize = 256;
const OFFERS_MAX: usize = 1_000;
/// Longest text in a label, and other free texts.
const TEXT_MAX: usize = 1_024;

/// Keeps the streams of registered workloads.
pub(crate) struct Registrar {
    pub(crate) registry: Arc<Registry>,
    pub(crate) authenticator: Authenticator,
    pub(crate) stop: CancellationToken,
}

type Responses = Pin<Box<dyn Stream<Item = Result<RegisterResponse, Status>> + Send>>;

#[tonic::async_trait]
impl registration_server::Registration for Registrar {
    type RegisterStream = Responses;

    async fn register(
        &self,
        request: Request<Streaming<RegisterRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let identity = self.authenticator.identity(request.extensions())?;
        let address = caller(request.extensions())?.address.ip();
        let mut requests = request.into_inner();
        let first = timeout(FIRST, requests.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no `register` in time"))??;
        let Some(Message::Register(wire)) = first.and_then(|request| request.message) else {
            return Err(Status::invalid_argument("the first message has to be `register`"));
        };
        let workload = workload(wire, &identity, address)?;
        let id = Arc::clone(&workload.id);
        let session = self.registry.register(workload).map_err(|refusal| match refusal {
            Refusal::Taken(other) => Status::already_exists(format!(
                "workload_id: {id} belongs to {other}; give this workload another name"
            )),
            Refusal::Full => Status::resource_exhausted("there are too many workloads"),
        })?;
        let grace = u32::try_from(self.registry.grace().as_secs()).unwrap_or(u32::MAX);
        let (responses, queue) = mpsc::channel(2);
        let response = RegisterResponse { workload_id: id.to_string(), grace_seconds: grace };
        // The queue has room for it.
        let _ = responses.try_send(Ok(response));
        let registry = Arc::clone(&self.registry);
        let stop = self.stop.clone();
        tokio::spawn(async move { follow(&registry, &id, session, requests, responses, stop).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }
}

/// Follows one workload until its stream ends.
async fn follow(
    registry: &Registry,
    id: &str,
    session: Session,
    mut requests: Streaming<RegisterRequest>,
    responses: mpsc::Sender<Result<RegisterResponse, Status>>,
    stop: CancellationToken,
) {
    loop {
        let request = tokio::select! {
            request = requests.message() => request,
            () = responses.closed() => break,
            () = stop.cancelled() => {
                let _ = responses.send(Err(Status::unavailable("the control plane ends; register again"))).await;
                break;
            }
        };
        match request.map(|request| request.and_then(|request| request.message)) {
            Ok(Some(Message::Health(health))) => match of_health(health) {
                Ok(health) => registry.set_health(id, session, health),
                Err(status) => {
                    let _ = responses.send(Err(status)).await;
                    break;
                }
            },
            // The end of the answers tells the workload that it was heard.
            Ok(Some(Message::Withdraw(_))) => return registry.withdraw(id, session),
            Ok(Some(Message::Register(_))) => {
                let _ = responses.send(Err(Status::invalid_argument("`register` comes once"))).await;
                break;
            }
            Ok(None) | Err(_) => break,
        }
    }
    registry.leave(id, session);
}

// A status is tonic's one way to refuse a call.
#[allow(clippy::result_large_err)]
fn workload(wire: v1::Workload, identity: &Identity, caller: IpAddr) -> Result<Workload, Status> {
    let id = &wire.workload_id;
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    if id.is_empty() || id.len() > ID_MAX || !id.bytes().all(allowed) {
        return Err(invalid("workload_id", id, "write 1 to 253 of the characters a-z, 0-9, . and -"));
    }
    if wire.labels.len() > LABELS_MAX {
        return Err(invalid("labels", &wire.labels.len().to_string(), "at most 256 are taken"));
    }
    if let Some((key, _)) = wire.labels.iter().find(|(key, value)| key.len().max(value.len()) > TEXT_MAX) {
        return Err(invalid(
            "labels",
            &key.chars().take(40).collect::<String>(),
            "it is longer than 1024 bytes",
        ));
    }
    if wire.services.len() > OFFERS_MAX {
        return Err(invalid("services", &wire.services.len().to_string(), "at most 1000 are taken"));
    }
    let offers = wire.services.iter().enumerate().map(|(index, wire)| offer(index, wire, identity, caller));
    let locality = wire.locality.clone().unwrap_or_default();
    Ok(Workload {
        id: id.as_str().into(),
        identity: identity.clone(),
        offers: offers.collect::<Result<_, _>>()?,
        locality: Locality { region: locality.region, zone: locality.zone },
        health: of_health(wire.health)?,
        labels: wire.labels.into_iter().collect(),
        proxy_version: wire.proxy_version.chars().take(TEXT_MAX).collect(),
    })
}

#[allow(clippy::result_large_err)]
fn offer(
    index: usize,
    wire: &v1::ServiceOffer,
    identity: &Identity,
    caller: IpAddr,
) -> Result<Offer, Status> {
    let field = |name: &str| format!("services[{index}].{name}");
    let port = |name: &str, port: u32| {
        let valid = u16::try_from(port).ok().filter(|port| *port != 0);
        valid.ok_or_else(|| invalid(&field(name), &port.to_string(), "write a number from 1 to 65535"))
    };
    ServiceName::new(identity.namespace(), &wire.service)
        .map_err(|error| invalid(&field("service"), &wire.service, &error.to_string()))?;
    let address: IpAddr =
        wire.address.parse().map_err(|_| invalid(&field("address"), &wire.address, "write an IP address"))?;
    // A proxy that listens everywhere is reached where it came from.
    let address = if address.is_unspecified() { caller } else { address };
    let service_port = port("port", wire.port)?;
    Ok(Offer {
        service: wire.service.clone(),
        port: service_port,
        port_name: wire.port_name.chars().take(TEXT_MAX).collect(),
        protocol: of_protocol(wire.protocol()),
        address: SocketAddr::new(address, port("address_port", wire.address_port)?),
        // The proxy in front of it knows the application by the port of its service.
        application_port: service_port,
    })
}

fn invalid(field: &str, value: &str, problem: &str) -> Status {
    Status::invalid_argument(format!("{field}: {value:?}: {problem}"))
}

#[allow(clippy::result_large_err)]
fn of_health(health: i32) -> Result<Health, Status> {
    match v1::Health::try_from(health) {
        Ok(v1::Health::Ready) => Ok(Health::Ready),
        Ok(v1::Health::NotReady) => Ok(Health::NotReady),
        Ok(v1::Health::Draining) => Ok(Health::Draining),
        Ok(v1::Health::Unknown) | Err(_) => {
            Err(invalid("health", &health.to_string(), "say that it is ready, not ready or draining"))
        }
    }
}

fn of_protocol(protocol: v1::Protocol) -> Protocol {
    match protocol {
        v1::Protocol::Detect => Protocol::Detect,
        v1::Protocol::Http1 => Protocol::Http1,
        v1::Protocol::Http2 => Protocol::Http2,
        v1::Protocol::Grpc => Protocol::Grpc,
        v1::Protocol::Tcp => Protocol::Tcp,
        v1::Protocol::Tls => Protocol::Tls,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire() -> v1::Workload {
        v1::Workload {
            workload_id: "web-1".into(),
            services: vec![v1::ServiceOffer {
                service: "web".into(),
                port: 80,
                address: "0.0.0.0".into(),
                address_port: 1234,
                ..v1::ServiceOffer::default()
            }],
            ..v1::Workload::default()
        }
    }

    fn read(wire: v1::Workload) -> Result<Workload, String> {
        let identity = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
        workload(wire, &identity, [10, 0, 0, 9].into()).map_err(|status| status.message().to_owned())
    }

    #[test]
    fn a_proxy_that_listens_everywhere_is_reached_where_it_came_from() {
        assert_eq!(read(wire()).unwrap().offers[0].address, "10.0.0.9:1234".parse().unwrap());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_value() {
        let with = |change: fn(&mut v1::Workload)| {
            let mut wire = wire();
            change(&mut wire);
            read(wire).unwrap_err()
        };
        assert!(with(|it| it.workload_id = "Web 1".into()).starts_with("workload_id: \"Web 1\""));
        assert!(with(|it| it.services[0].port = 70_000).starts_with("services[0].port: \"70000\""));
        assert!(
            with(|it| it.services[0].address = "here".into()).starts_with("services[0].address: \"here\"")
        );
        assert!(with(|it| it.services[0].service = "a b".into()).starts_with("services[0].service: \"a b\""));
    }
}
