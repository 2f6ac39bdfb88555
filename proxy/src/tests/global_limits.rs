//! Limits that a service keeps for all proxies.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use envoy_types::pb::envoy::config::core::v3::HeaderValue;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus};
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use envoy_types::pb::google::protobuf::Duration as WireDuration;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use prost::Message as _;
use tokio::time::Instant;
use weft_proto::v1;
use weft_proto::v1::global_rate_limit::Service;
use weft_proto::v1::rate_limit_entry::Value;

use super::network;
use super::world::*;
use crate::hop::tests::Frames;
use crate::http::body::Body;
use crate::observe::stats::GlobalLimitOutcome;

/// The host of the service that keeps limits.
const LIMITS: u8 = 9;

/// Counts what it is asked of, and says that whatever it is asked of more than `most` times is over its limit.
type Asked = Rc<RefCell<BTreeMap<String, u32>>>;

fn limit_service(most: u32) -> Asked {
    let asked = Asked::default();
    let counted = Rc::clone(&asked);
    application(LIMITS, move |request| answer(Rc::clone(&counted), most, request));
    asked
}

async fn answer(asked: Asked, most: u32, request: Request<Incoming>) -> Response<Body> {
    assert_eq!(request.uri().path(), "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit");
    assert!(request.headers().contains_key("grpc-timeout"));
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let question = RateLimitRequest::decode(&body[5..]).unwrap();
    assert_eq!(question.domain, "shop");
    let mut answer = RateLimitResponse::default();
    answer.set_overall_code(Code::Ok);
    for descriptor in question.descriptors {
        let entries: Vec<_> =
            descriptor.entries.iter().map(|entry| format!("{}={}", entry.key, entry.value)).collect();
        let mut asked = asked.borrow_mut();
        let count = asked.entry(entries.join(",")).or_default();
        *count += 1;
        let mut status = DescriptorStatus::default();
        status.set_code(Code::Ok);
        if *count > most {
            status.set_code(Code::OverLimit);
            status.duration_until_reset = Some(WireDuration { seconds: 41, nanos: 500_000_000 });
            answer.set_overall_code(Code::OverLimit);
        }
        answer.statuses.push(status);
    }
    let field = |key: &str, value: &str| HeaderValue {
        key: key.to_owned(),
        value: value.to_owned(),
        ..HeaderValue::default()
    };
    answer.response_headers_to_add = vec![field("x-ratelimit-limit", "2"), field("not valid", "x")];
    answer.request_headers_to_add = vec![field("x-tier", "gold"), field("content-length", "77")];
    grpc(&answer)
}

fn grpc(message: &RateLimitResponse) -> Response<Body> {
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(message.encoded_len()).unwrap());
    body.put_slice(&message.encode_to_vec());
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let frames = Frames::new([Frame::data(body.freeze()), Frame::trailers(trailers)]);
    Response::builder().header("content-type", "application/grpc").body(Body::Test(frames)).unwrap()
}

fn descriptor(entries: &[(&str, Value)]) -> v1::RateLimitDescriptor {
    let entry = |(key, value): &(&str, Value)| v1::RateLimitEntry {
        key: (*key).to_owned(),
        value: Some(value.clone()),
    };
    v1::RateLimitDescriptor { entries: entries.iter().map(entry).collect() }
}

fn global(service: Service) -> v1::GlobalRateLimit {
    v1::GlobalRateLimit {
        service: Some(service),
        domain: "shop".into(),
        descriptors: vec![descriptor(&[
            ("user", Value::Header("x-user".into())),
            ("path", Value::Path(true)),
        ])],
        ..v1::GlobalRateLimit::default()
    }
}

fn in_the_mesh() -> Service {
    Service::Backend(backend("limits"))
}

fn limit(global: v1::GlobalRateLimit) -> v1::RateLimit {
    v1::RateLimit { global: Some(global), ..v1::RateLimit::default() }
}

/// A mesh whose requests a route limits, and where the service that keeps the limit is an endpoint reached like this.
fn limited(global: v1::GlobalRateLimit, hop: v1::Hop) -> Mesh {
    let filter = v1::HttpFilter { filter: Some(v1::http_filter::Filter::RateLimit(limit(global))) };
    let rule = v1::HttpRule { filters: vec![filter], ..v1::HttpRule::default() };
    let endpoints = [endpoint(2, v1::Hop::Weft), endpoint_of("limits", LIMITS, hop)];
    let mesh = Mesh::new(&routed(rule), &endpoints);
    mesh.sidecar(2, &v1::Inbound::default());
    if hop != v1::Hop::Plain {
        mesh.sidecar(LIMITS, &v1::Inbound::default());
    }
    application(2, |request: Request<Incoming>| async move {
        let tier = request.headers().get("x-tier").cloned();
        let answer = Response::builder().header("x-host", "2");
        let answer = match tier {
            Some(tier) => answer.header("x-tier-seen", tier),
            None => answer,
        };
        answer.body(Body::Empty).unwrap()
    });
    mesh
}

fn of(user: &str) -> Request<Body> {
    let mut request = request("GET", "/a?b=c", Body::Empty);
    request.headers_mut().insert("x-user", user.parse().unwrap());
    request
}

fn count(mesh: &Mesh, outcome: GlobalLimitOutcome) -> u64 {
    mesh.worker.shared.stats.global_limits(outcome)
}

#[tokio::test(start_paused = true)]
async fn a_route_asks_the_service_and_passes_on_what_it_says_on_every_kind_of_hop() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let mesh = limited(global(in_the_mesh()), hop);
            let asked = limit_service(2);
            let caller = Caller::new();
            let mut statuses = Vec::new();
            // What is added to a request is none of the fields that its client may take away.
            let of = |user| {
                let mut request = of(user);
                request.headers_mut().insert("connection", "x-tier".parse().unwrap());
                request
            };
            for user in ["ann", "ann", "ann", "bob"] {
                let answer = caller.send(of(user)).await.unwrap();
                assert_eq!(answer.headers()["x-ratelimit-limit"], "2", "{hop:?}");
                statuses.push(answer.status().as_u16());
                if answer.status() == StatusCode::OK {
                    assert_eq!(answer.headers()["x-tier-seen"], "gold");
                } else {
                    assert_eq!(answer.headers()["x-weft-error"], "rate_limited");
                    assert_eq!(answer.headers()["retry-after"], "42");
                }
            }
            assert_eq!(statuses, [200, 200, 429, 200], "{hop:?}");
            let expected = [("user=ann,path=/a", 3), ("user=bob,path=/a", 1)];
            assert_eq!(*asked.borrow(), expected.map(|(key, count)| (key.to_owned(), count)).into());
            assert_eq!(
                (count(&mesh, GlobalLimitOutcome::Within), count(&mesh, GlobalLimitOutcome::Over)),
                (3, 1)
            );
            // What has none of the values is not asked about.
            assert_eq!(caller.get("/").await.status(), StatusCode::OK);
            assert_eq!(asked.borrow().len(), 2);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn callers_of_grpc_are_told_that_a_resource_is_exhausted() {
    local(async {
        let _mesh = limited(global(in_the_mesh()), v1::Hop::Weft);
        limit_service(0);
        let mut request = request("POST", "http://reviews:9080/a.B/C", Body::Empty);
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        request.headers_mut().insert("x-user", "ann".parse().unwrap());
        let answer = Caller::new().send_http2(request).await.unwrap();
        assert_eq!(
            (answer.status(), &answer.headers()["grpc-status"]),
            (StatusCode::OK, &"8".parse().unwrap())
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_service_outside_the_mesh_is_asked_at_its_address() {
    local(async {
        let mesh = limited(global(Service::Address(application_at(LIMITS).to_string())), v1::Hop::Plain);
        let asked = limit_service(1);
        let caller = Caller::new();
        assert_eq!(caller.send(of("ann")).await.unwrap().status(), StatusCode::OK);
        assert_eq!(caller.send(of("ann")).await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(asked.borrow().len(), 1);
        assert_eq!(count(&mesh, GlobalLimitOutcome::Over), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_answer_holds_requests_up_for_its_time_and_lets_them_through_or_not() {
    for fail_closed in [false, true] {
        local(async {
            let limit =
                v1::GlobalRateLimit { fail_closed, timeout: Some(millis(30)), ..global(in_the_mesh()) };
            let mesh = limited(limit, v1::Hop::Weft);
            application(LIMITS, |_| std::future::pending());
            let caller = Caller::new();
            caller.get("/").await;
            let began = Instant::now();
            let answer = caller.send(of("ann")).await.unwrap();
            let (expected, outcome) = if fail_closed {
                assert_eq!(answer.headers()["x-weft-error"], "limit_unavailable");
                (StatusCode::SERVICE_UNAVAILABLE, GlobalLimitOutcome::Refused)
            } else {
                (StatusCode::OK, GlobalLimitOutcome::Unanswered)
            };
            assert_eq!((answer.status(), count(&mesh, outcome)), (expected, 1));
            let waited = began.elapsed();
            assert!((Duration::from_millis(30)..Duration::from_millis(40)).contains(&waited), "{waited:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_is_wrong_with_the_service_no_request_fails() {
    local(async {
        let mesh = limited(global(in_the_mesh()), v1::Hop::Plain);
        let caller = Caller::new();
        for wrong in 0..6 {
            match wrong {
                0 => application(LIMITS, |_| async {
                    Response::builder().status(500).body(Body::Empty).unwrap()
                }),
                1 => application(LIMITS, |_| async { Response::new(Body::full("no message")) }),
                2 => application(LIMITS, |_| async {
                    Response::builder().header("grpc-status", "14").body(Body::Empty).unwrap()
                }),
                3 => application(LIMITS, |_| async { grpc(&RateLimitResponse::default()) }),
                4 => application(LIMITS, |_| async {
                    Response::builder().header("grpc-status", "0").body(Body::full(vec![0; 100_000])).unwrap()
                }),
                _ => network::refuse(application_at(LIMITS)),
            }
            assert_eq!(caller.send(of("ann")).await.unwrap().status(), StatusCode::OK, "{wrong}");
        }
        assert_eq!(count(&mesh, GlobalLimitOutcome::Unanswered), 6);
        mesh.configure(&routed(v1::HttpRule::default()), &[endpoint(2, v1::Hop::Weft)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_workload_asks_of_its_callers_but_not_of_questions_themselves() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        mesh.configure(&destination(), &[endpoint(2, v1::Hop::Weft)]);
        let by_identity = v1::GlobalRateLimit {
            descriptors: vec![descriptor(&[
                ("identity", Value::Identity(true)),
                ("method", Value::Method(true)),
            ])],
            ..global(Service::Address(application_at(LIMITS).to_string()))
        };
        let port = v1::InboundPort { rate_limit: Some(limit(by_identity)), ..v1::InboundPort::default() };
        mesh.sidecar(2, &v1::Inbound { default_port: Some(port), ..v1::Inbound::default() });
        echo(2);
        let asked = limit_service(1);
        let caller = Caller::new();
        assert_eq!(caller.get("/").await.status(), StatusCode::OK);
        let refused = caller.get("/").await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.headers()["retry-after"], "42");
        assert_eq!(caller.get(crate::rate_limit::PATH).await.status(), StatusCode::OK);
        let counted = asked.borrow().clone();
        assert_eq!(counted, BTreeMap::from([(format!("identity={},method=GET", identity("web")), 2)]));
    })
    .await;
}
