//! Ending without losing what has begun.

use tokio::net::TcpStream;

use crate::support::{get, stand_in_for_reviews, start_ratings, start_web};

#[tokio::test]
async fn a_request_in_flight_is_finished_and_no_other_accepted() {
    let mut reviews = stand_in_for_reviews().await;
    let web = start_web(&["--reviews", &format!("http://{}", reviews.address)]).await;
    let address = web.address;
    let asking = tokio::spawn(async move { get(address, "/product/1").await });
    let (_, release) = reviews.requests.recv().await.unwrap();
    // Kept open and unused: must not hold the end up.
    let idle = TcpStream::connect(address).await.unwrap();

    web.stop.cancel();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!web.ended.is_finished());
    release.send(()).unwrap();
    assert_eq!(asking.await.unwrap().status, 200);
    web.ended.await.unwrap().unwrap();
    drop(idle);
}

#[tokio::test]
async fn an_idle_grpc_connection_does_not_hold_the_end_up() {
    let ratings = start_ratings(&[]).await;
    let connected = weft_examples::api::ratings_client::RatingsClient::connect(ratings.url()).await.unwrap();
    ratings.stop.cancel();
    ratings.ended.await.unwrap().unwrap();
    drop(connected);
}
