//! Workloads that make themselves known.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};
use weft_identity::{Descent, Grants};
use weft_mesh::name::{Identity, ServiceName};
use weft_mesh::protocol::Protocol;
use weft_proto::v1::register_request::Message;
use weft_proto::v1::registration_server;
use weft_proto::v1::{self, RegisterRequest, RegisterResponse};

use crate::caller::{Authenticator, Certified};
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
/// Largest registration: a bound on the memory that those of one identity can take together.
const WORKLOAD_MAX: usize = 32 * 1024;

/// Keeps the streams of registered workloads.
pub(crate) struct Registrar {
    pub(crate) registry: Arc<Registry>,
    pub(crate) authenticator: Authenticator,
    /// Whether anybody may register.
    pub(crate) open: bool,
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
        let extensions = request.extensions().clone();
        let registrant = self.registrant(&extensions)?;
        let mut requests = request.into_inner();
        let first = timeout(FIRST, requests.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no `register` in time"))??;
        let Some(Message::Register(wire)) = first.and_then(|request| request.message) else {
            return Err(Status::invalid_argument("the first message has to be `register`"));
        };
        let workload = registrant.workload(wire).map_err(|refused| self.told(&extensions, refused))?;
        let (id, name) = (Arc::clone(&workload.id), workload.name.to_string());
        let session = self.registry.register(workload).map_err(|refusal| match refusal {
            Refusal::Full => Status::resource_exhausted("there are too many workloads"),
            Refusal::FullOfIdentity => {
                Status::resource_exhausted("there are too many workloads of this identity")
            }
        })?;
        let grace = u32::try_from(self.registry.grace().as_secs()).unwrap_or(u32::MAX);
        let (responses, queue) = mpsc::channel(2);
        let response = RegisterResponse { workload_id: name, grace_seconds: grace };
        // The queue has room for it.
        let _ = responses.try_send(Ok(response));
        let registry = Arc::clone(&self.registry);
        let stop = self.stop.clone();
        tokio::spawn(async move { follow(&registry, &id, session, requests, responses, stop).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }
}

// A status is tonic's one way to refuse a call.
#[allow(clippy::result_large_err)]
impl Registrar {
    fn registrant(&self, extensions: &http::Extensions) -> Result<Registrant, Status> {
        let (certified, address) = self.authenticator.certified(extensions)?;
        if !self.open {
            let problem = "nobody registers here: pods are known from Kubernetes, and for what is no pod the control \
                           plane has to be started with --registration";
            return Err(self.authenticator.forbidden(extensions, problem.to_owned()));
        }
        Registrant::of(certified, address.ip()).map_err(|refused| self.told(extensions, refused))
    }

    /// A refusal, counted and logged if it is for want of a grant.
    fn told(&self, extensions: &http::Extensions, refused: Status) -> Status {
        match refused.code() {
            Code::PermissionDenied => self.authenticator.forbidden(extensions, refused.message().to_owned()),
            _ => refused,
        }
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

/// Who registers, and what of it is not its own word.
struct Registrant {
    identity: Identity,
    /// Where it comes from.
    address: IpAddr,
    grants: Grants,
    /// The id of the token that grants them, if it is known.
    token: Option<String>,
}

// A status is tonic's one way to refuse a call.
#[allow(clippy::result_large_err)]
impl Registrant {
    /// Who a certificate says it is, with what its token grants. One that does not say what it descends from is of an
    /// earlier version, and grants what every identity has.
    fn of(certified: &Certified, address: IpAddr) -> Result<Self, Status> {
        let (grants, token) = match certified.lineage.as_ref().map(|lineage| &lineage.descent) {
            Some(Descent::Token { id, grants }) => (grants.clone(), Some(id.clone())),
            Some(Descent::Account) => {
                let identity = &certified.identity;
                return Err(Status::permission_denied(format!(
                    "{identity} is a service account of Kubernetes, whose pods are known from there; what is no pod \
                     registers with a join token"
                )));
            }
            None => (Grants::default(), None),
        };
        Ok(Self { identity: certified.identity.clone(), address, grants, token })
    }

    fn workload(&self, wire: v1::Workload) -> Result<Workload, Status> {
        let size = wire.encoded_len();
        if size > WORKLOAD_MAX {
            return Err(invalid("workload", &format!("{size} bytes"), "at most 32768 are taken"));
        }
        let name = &wire.workload_id;
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
        if name.is_empty() || name.len() > ID_MAX || !name.bytes().all(allowed) {
            return Err(invalid("workload_id", name, "write 1 to 253 of the characters a-z, 0-9, . and -"));
        }
        if wire.labels.len() > LABELS_MAX {
            return Err(invalid("labels", &wire.labels.len().to_string(), "at most 256 are taken"));
        }
        if let Some((key, _)) = wire.labels.iter().find(|(key, value)| key.len().max(value.len()) > TEXT_MAX)
        {
            let shown = key.chars().take(40).collect::<String>();
            return Err(invalid("labels", &shown, "it is longer than 1024 bytes"));
        }
        if wire.services.len() > OFFERS_MAX {
            return Err(invalid("services", &wire.services.len().to_string(), "at most 1000 are taken"));
        }
        let offers = wire.services.iter().enumerate().map(|(index, wire)| self.offer(index, wire));
        let locality = wire.locality.clone().unwrap_or_default();
        Ok(Workload {
            id: Workload::id(&self.identity, name),
            name: name.as_str().into(),
            identity: self.identity.clone(),
            grants: self.grants.clone(),
            token: self.token.clone(),
            offers: offers.collect::<Result<_, _>>()?,
            locality: Locality { region: locality.region, zone: locality.zone },
            health: of_health(wire.health)?,
            labels: wire.labels.into_iter().collect(),
            proxy_version: wire.proxy_version.chars().take(TEXT_MAX).collect(),
        })
    }

    fn offer(&self, index: usize, wire: &v1::ServiceOffer) -> Result<Offer, Status> {
        let field = |name: &str| format!("services[{index}].{name}");
        let port = |name: &str, port: u32| {
            let valid = u16::try_from(port).ok().filter(|port| *port != 0);
            valid.ok_or_else(|| invalid(&field(name), &port.to_string(), "write a number from 1 to 65535"))
        };
        ServiceName::new(self.identity.namespace(), &wire.service)
            .map_err(|error| invalid(&field("service"), &wire.service, &error.to_string()))?;
        if !self.grants.allow_service(&self.identity, &wire.service) {
            let identity = &self.identity;
            let granted = match self.grants.services(identity).as_slice() {
                [] => "nothing".to_owned(),
                granted => granted.join(", "),
            };
            let problem = format!(
                "{identity} may offer {granted}; for another service make its token with `weft token create --service`"
            );
            return Err(denied(&field("service"), &wire.service, &problem));
        }
        let address = self.address(&field("address"), &wire.address)?;
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

    /// An address that clients are to be sent to: the one that the workload comes from, or one that is granted. Else it
    /// could have every client connect to whatever it likes, and be taken for whoever is dialled there.
    fn address(&self, field: &str, text: &str) -> Result<IpAddr, Status> {
        let address: IpAddr = text.parse().map_err(|_| invalid(field, text, "write an IP address"))?;
        let address = address.to_canonical();
        // A proxy that listens everywhere is reached where it came from.
        if address.is_unspecified() || address == self.address {
            return Ok(self.address);
        }
        // Of this machine there are several.
        if address.is_loopback() && self.address.is_loopback() {
            return Ok(address);
        }
        if is_special(address) {
            return Err(denied(
                field,
                text,
                "it means another machine to each client; name one that all can reach",
            ));
        }
        if self.grants.allow_address(address) {
            return Ok(address);
        }
        let from = self.address;
        Err(denied(
            field,
            text,
            &format!(
                "the workload comes from {from} and has to be reached there: listen at 0.0.0.0 or [::], or make its token \
                 with `weft token create --address {address}`"
            ),
        ))
    }
}

/// Addresses that no grant makes good: loopback, link-local (where clouds keep their credentials too) and multicast.
fn is_special(address: IpAddr) -> bool {
    address.is_loopback()
        || address.is_multicast()
        || match address {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        }
}

fn denied(field: &str, value: &str, problem: &str) -> Status {
    Status::permission_denied(format!("{field}: {value:?}: {problem}"))
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
mod tests;
