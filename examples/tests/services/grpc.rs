//! What `ratings` offers besides unary calls.

use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use weft_examples::api::WatchRatingsRequest;
use weft_examples::api::ratings_client::RatingsClient;

use crate::support::{Running, start_ratings};

async fn connect(ratings: &Running) -> Channel {
    Endpoint::from_shared(ratings.url()).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn a_watch_sends_as_many_messages_as_asked_for() {
    let ratings = start_ratings(&["--version=v7"]).await;
    let mut client = RatingsClient::connect(ratings.url()).await.unwrap();
    let request = WatchRatingsRequest { product: 1, interval_ms: 1, count: 3 };
    let answer = client.watch_ratings(request).await.unwrap();
    assert_eq!(answer.metadata().get("x-version").unwrap(), "v7");
    let mut messages = answer.into_inner();
    for sequence in 1..=3 {
        let message = messages.message().await.unwrap().unwrap();
        assert_eq!((message.sequence, message.ratings.len()), (sequence, 2));
    }
    assert!(messages.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_watch_without_end_ends_when_the_server_stops() {
    let ratings = start_ratings(&[]).await;
    let mut client = RatingsClient::connect(ratings.url()).await.unwrap();
    let request = WatchRatingsRequest { product: 1, interval_ms: 3_600_000, count: 0 };
    let mut messages = client.watch_ratings(request).await.unwrap().into_inner();
    assert_eq!(messages.message().await.unwrap().unwrap().sequence, 1);
    ratings.stop.cancel();
    assert_eq!(messages.message().await.unwrap_err().code(), tonic::Code::Unavailable);
    ratings.ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn failing_on_purpose_spares_the_health_service() {
    let ratings = start_ratings(&["--fail-share=1"]).await;
    let mut client = RatingsClient::connect(ratings.url()).await.unwrap();
    let failed = client.watch_ratings(WatchRatingsRequest::default()).await.unwrap_err();
    assert_eq!(failed.code(), tonic::Code::Unavailable);

    let mut health = HealthClient::new(connect(&ratings).await);
    for service in ["", "ratings.v1.Ratings"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
}

#[tokio::test]
async fn reflection_lists_the_contract() {
    let ratings = start_ratings(&[]).await;
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = ServerReflectionRequest { host: String::new(), message_request };
    let requests = futures_util::stream::iter([request]);
    let mut answers = ServerReflectionClient::new(connect(&ratings).await)
        .server_reflection_info(requests)
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    assert!(list.service.iter().any(|service| service.name == "ratings.v1.Ratings"), "{list:?}");
}
