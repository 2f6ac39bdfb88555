//! Against the contract's own server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::HeaderValue as WireField;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_server::{
    RateLimitService, RateLimitServiceServer,
};
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use http::{HeaderMap, Method};
use tokio::task::LocalSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use weft_mesh::balance::Locality;
use weft_mesh::filter::{Counted, Descriptors, Entry, GlobalLimit, LimitService, Limited, ValueSource};
use weft_mesh::reason::Reason;

use super::admit;
use crate::observe::stats::GlobalLimitOutcome;
use crate::runtime::shared::Shared;
use crate::runtime::worker::Worker;
use crate::snapshot::Backend;

/// Lets two requests through, fails once, and refuses the rest.
#[derive(Default)]
struct Keeper(AtomicU32);

#[tonic::async_trait]
impl RateLimitService for Keeper {
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let request = request.into_inner();
        let [descriptor] = &request.descriptors[..] else {
            return Err(Status::invalid_argument("one descriptor"));
        };
        let entries: Vec<_> =
            descriptor.entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_str())).collect();
        if request.domain != "shop" || entries != [("path", "/cart"), ("method", "GET")] {
            return Err(Status::invalid_argument(format!("{entries:?}")));
        }
        let mut response = RateLimitResponse::default();
        response.set_overall_code(match self.0.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => Code::Ok,
            2 => return Err(Status::unavailable("for once")),
            _ => Code::OverLimit,
        });
        response.response_headers_to_add =
            vec![WireField { key: "x-kept".into(), value: "yes".into(), ..WireField::default() }];
        Ok(Response::new(response))
    }
}

async fn keeper() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server =
        tonic::transport::Server::builder().add_service(RateLimitServiceServer::new(Keeper::default()));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

#[tokio::test]
async fn a_server_of_the_contract_is_understood() {
    let address = keeper().await;
    LocalSet::new()
        .run_until(async {
            let worker = Worker::new(Shared::new(1, Locality::default()).0, Vec::new());
            let entries = vec![
                Entry::new("path", ValueSource::Path).unwrap(),
                Entry::new("method", ValueSource::Method).unwrap(),
            ];
            let limit: GlobalLimit<Arc<Backend>> = GlobalLimit {
                service: LimitService::Address(address.to_string().into()),
                domain: "shop".into(),
                descriptors: Descriptors::new([entries]),
                // What is measured here is not how fast it is.
                timeout: Duration::from_mins(1),
                fail_closed: true,
            };
            let headers = HeaderMap::new();
            let limited = Limited { identity: None, headers: &headers, source: address.ip() };
            let request = Counted { limited, method: &Method::GET, path: "/cart" };
            for _ in 0..2 {
                let added = admit(&worker, &limit, &request).await.unwrap().unwrap();
                let mut headers = HeaderMap::new();
                added.to_response(&mut headers);
                assert_eq!(headers["x-kept"], "yes");
            }
            let failed = admit(&worker, &limit, &request).await.unwrap_err();
            assert_eq!(failed.reason, Reason::LimitUnavailable);
            assert!(failed.detail.contains("gRPC status 14"), "{failed}");
            let over = admit(&worker, &limit, &request).await.unwrap_err();
            assert_eq!((over.reason, over.retry_after), (Reason::RateLimited, None));
            assert_eq!(over.fields.as_ref().unwrap()["x-kept"], "yes");
            let count = |outcome| worker.shared.stats.global_limits(outcome);
            assert_eq!(
                [GlobalLimitOutcome::Within, GlobalLimitOutcome::Refused, GlobalLimitOutcome::Over]
                    .map(count),
                [2, 1, 1]
            );
        })
        .await;
}
