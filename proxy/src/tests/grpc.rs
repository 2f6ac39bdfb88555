//! gRPC, by a client and a server that are not ours, through every hop.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use weft_proto::v1;
use weft_proto::v1::identity_client::IdentityClient;
use weft_proto::v1::identity_server::{Identity, IdentityServer};
use weft_proto::v1::registration_client::RegistrationClient;
use weft_proto::v1::registration_server::{Registration, RegistrationServer};
use weft_proto::v1::telemetry_client::TelemetryClient;
use weft_proto::v1::telemetry_server::{Telemetry, TelemetryServer};

use super::network;
use super::world::*;

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl tonic::transport::server::Connected for crate::transport::within::Within {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// A server with a method of each kind; what they are about does not matter.
#[derive(Clone, Default)]
struct Calls {
    /// Rings when a call that never ends is given up.
    given_up: Arc<Notify>,
}

struct Rings(Arc<Notify>);

impl Drop for Rings {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tonic::async_trait]
impl Identity for Calls {
    /// Returns the number; refuses 0, and never answers to 1.
    async fn issue(&self, request: Request<v1::IssueRequest>) -> Result<Response<v1::IssueResponse>, Status> {
        let told = request.metadata().get("grpc-timeout").is_some();
        match request.into_inner().ttl_seconds {
            0 => {
                let mut status =
                    Status::with_details(Code::NotFound, "nothing – 0 %", b"\x00\xff".as_slice().into());
                status.metadata_mut().insert("x-why", MetadataValue::from_static("zero"));
                Err(status)
            }
            1 => {
                let _rings = Rings(Arc::clone(&self.given_up));
                assert!(told, "the time that is left was not told");
                std::future::pending().await
            }
            number => {
                let chain = vec![number.to_string().into()];
                Ok(Response::new(v1::IssueResponse { chain, ..v1::IssueResponse::default() }))
            }
        }
    }
}

#[tonic::async_trait]
impl Telemetry for Calls {
    /// Says in the metadata how many there were.
    async fn report(
        &self,
        request: Request<Streaming<v1::TelemetryReport>>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let mut reports = request.into_inner();
        let mut count = 0;
        while reports.message().await?.is_some() {
            count += 1;
        }
        let mut response = Response::new(v1::ReportResponse::default());
        response.metadata_mut().insert("x-count", count.to_string().parse().unwrap());
        Ok(response)
    }

    type WatchStream = Replies<v1::MeshSummary>;

    /// One reply a second: as many as the request says, then a status; for ever where it says 0.
    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let count = request.into_inner().interval_ms;
        let rings = Rings(Arc::clone(&self.given_up));
        let (send, replies) = mpsc::channel(1);
        tokio::spawn(async move {
            let _rings = rings;
            for number in 0.. {
                if count > 0 && number == count {
                    let _ = send.send(Err(Status::data_loss("that was all"))).await;
                    return;
                }
                if send.send(Ok(v1::MeshSummary::default())).await.is_err() {
                    return;
                }
                tokio::select! {
                    () = sleep(Duration::from_secs(1)) => {}
                    () = send.closed() => return,
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }
}

#[tonic::async_trait]
impl Registration for Calls {
    type RegisterStream = Replies<v1::RegisterResponse>;

    /// Answers each message at once.
    async fn register(
        &self,
        request: Request<Streaming<v1::RegisterRequest>>,
    ) -> Result<Response<Self::RegisterStream>, Status> {
        let replies = request.into_inner().map(|asked| asked.map(|_| v1::RegisterResponse::default()));
        Ok(Response::new(Box::pin(replies)))
    }
}

/// The server in front of which a mesh is, behind each kind of hop, and a client behind its sidecar.
async fn over_each_hop<F: Future<Output = ()>>(test: impl Fn(Channel, Calls) -> F) {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let backend = v1::Backend { protocol: v1::Protocol::Grpc.into(), ..backend("reviews") };
            let destination = v1::Destination { backend: Some(backend), ..destination() };
            let mesh = Mesh::new(&destination, &[endpoint(2, hop)]);
            let port = v1::InboundPort { protocol: v1::Protocol::Grpc.into(), ..v1::InboundPort::default() };
            mesh.sidecar(2, &v1::Inbound { default_port: Some(port), ..v1::Inbound::default() });
            let calls = Calls::default();
            let (send, incoming) = mpsc::unbounded_channel();
            network::listen(application_at(2), move |stream| {
                let _ = send.send(Ok::<_, std::io::Error>(stream));
                std::future::ready(())
            });
            let server = Server::builder()
                .add_service(IdentityServer::new(calls.clone()))
                .add_service(TelemetryServer::new(calls.clone()))
                .add_service(RegistrationServer::new(calls.clone()))
                .serve_with_incoming(UnboundedReceiverStream::new(incoming));
            tokio::spawn(server);
            let connector = tower::service_fn(|_| async {
                let connecting = network::connect(outbound()).expect("the test's network is there");
                connecting.await.map(TokioIo::new)
            });
            let channel =
                Endpoint::from_static("http://reviews:9080").connect_with_connector(connector).await;
            test(channel.unwrap(), calls).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_and_its_answer_arrive() {
    over_each_hop(async |channel, _| {
        let answer = IdentityClient::new(channel)
            .issue(v1::IssueRequest { ttl_seconds: 7, ..Default::default() })
            .await;
        assert_eq!(answer.unwrap().into_inner().chain, ["7"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_status_without_a_message_arrives_with_all_that_is_in_its_trailers() {
    over_each_hop(async |channel, _| {
        let status = IdentityClient::new(channel).issue(v1::IssueRequest::default()).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::NotFound, "nothing – 0 %"));
        assert_eq!(status.details(), b"\x00\xff");
        assert_eq!(status.metadata().get("x-why").unwrap(), "zero");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_requests_is_counted_to_its_end() {
    over_each_hop(async |channel, _| {
        let reports = tokio_stream::iter(vec![v1::TelemetryReport::default(); 100]);
        let answer = TelemetryClient::new(channel).report(reports).await.unwrap();
        assert_eq!(answer.metadata().get("x-count").unwrap(), "100");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_answers_comes_as_it_is_made_and_ends_with_its_status() {
    over_each_hop(async |channel, _| {
        let began = Instant::now();
        let mut answers = TelemetryClient::new(channel)
            .watch(v1::WatchRequest { interval_ms: 3 })
            .await
            .unwrap()
            .into_inner();
        for second in 0..3 {
            assert!(answers.message().await.unwrap().is_some());
            assert_eq!(began.elapsed().as_secs(), second);
        }
        let status = answers.message().await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::DataLoss, "that was all"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn messages_go_both_ways_in_turn() {
    over_each_hop(async |channel, _| {
        let (send, requests) = mpsc::channel(1);
        send.send(v1::RegisterRequest::default()).await.unwrap();
        let requests = ReceiverStream::new(requests);
        let mut answers = RegistrationClient::new(channel).register(requests).await.unwrap().into_inner();
        for _ in 0..50 {
            assert!(answers.message().await.unwrap().is_some());
            send.send(v1::RegisterRequest::default()).await.unwrap();
        }
        assert!(answers.message().await.unwrap().is_some());
        drop(send);
        assert!(answers.message().await.unwrap().is_none());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_with_its_time_and_the_server_hears_of_it() {
    over_each_hop(async |channel, calls| {
        let began = Instant::now();
        let mut request = Request::new(v1::IssueRequest { ttl_seconds: 1, ..Default::default() });
        request.set_timeout(Duration::from_secs(2));
        let status = IdentityClient::new(channel).issue(request).await.unwrap_err();
        assert_eq!(began.elapsed().as_secs(), 2);
        // tonic's own clock may be the first to see it, and calls that `Cancelled`.
        assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
        calls.given_up.notified().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_server_hears_that_its_client_has_given_up() {
    over_each_hop(async |channel, calls| {
        let mut client = TelemetryClient::new(channel);
        let mut answers = client.watch(v1::WatchRequest::default()).await.unwrap().into_inner();
        assert!(answers.message().await.unwrap().is_some());
        drop(answers);
        let given_up = tokio::time::timeout(Duration::from_secs(5), calls.given_up.notified()).await;
        assert!(given_up.is_ok());
    })
    .await;
}
