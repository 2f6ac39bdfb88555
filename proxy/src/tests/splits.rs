//! What keeps a request at one backend where a route splits.

use http::HeaderValue;
use weft_proto::v1;

use super::world::*;
use crate::http::body::Body;

const USERS: u32 = 200;

/// `reviews:9080`, split between two backends by the field `x-user`.
fn split(reviews: u32, ratings: u32) -> v1::Destination {
    let backends = vec![weighted("reviews", reviews), weighted("ratings", ratings)];
    let key = v1::hash_key::Key::Header("x-user".into());
    let policy =
        v1::BackendPolicy { split_key: Some(v1::HashKey { key: Some(key) }), ..v1::BackendPolicy::default() };
    let own = v1::Backend { policy: Some(policy), ..backend("reviews") };
    let routed = routed(v1::HttpRule { backends, ..v1::HttpRule::default() });
    v1::Destination { backend: Some(own), ..routed }
}

/// A mesh with one endpoint of each backend.
fn mesh(destination: &v1::Destination) -> Mesh {
    let mesh = Mesh::new(destination, &endpoints());
    for host in [2, 3] {
        mesh.sidecar(host, &v1::Inbound::default());
        echo(host);
    }
    mesh
}

fn endpoints() -> [v1::Endpoint; 2] {
    [endpoint(2, v1::Hop::Weft), endpoint_of("ratings", 3, v1::Hop::Weft)]
}

/// Whose requests each user's goes to.
async fn hosts() -> Vec<HeaderValue> {
    let caller = Caller::new();
    let mut hosts = Vec::new();
    for user in 0..USERS {
        let mut request = request("GET", "/", Body::Empty);
        request.headers_mut().insert("x-user", user.into());
        let answer = whole(caller.send(request).await.unwrap()).await;
        hosts.push(answer.headers()["x-host"].clone());
    }
    hosts
}

#[tokio::test(start_paused = true)]
async fn a_key_keeps_its_backend_in_every_sidecar_and_moves_only_where_weights_have_changed() {
    local(async {
        let first = mesh(&split(3, 1));
        let before = hosts().await;
        let of_ratings = before.iter().filter(|host| *host == "3").count();
        // 50 expected, standard deviation 6; the same in every run.
        assert!((25..75).contains(&of_ratings), "{of_ratings}");
        assert_eq!(hosts().await, before);
        first.configure(&split(1, 1), &endpoints());
        let after = hosts().await;
        assert_ne!(after, before, "a quarter of the keys has to move");
        assert!(before.iter().zip(&after).all(|(before, after)| before == after || after == "3"));
        let _another = mesh(&split(3, 1));
        assert_eq!(hosts().await, before, "in a sidecar that knows nothing of the first one");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn requests_without_the_key_are_split_anew() {
    local(async {
        let _mesh = mesh(&split(1, 1));
        let caller = Caller::new();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..60 {
            let answer = caller.get("/").await;
            seen.insert(answer.headers()["x-host"].to_str().unwrap().to_owned());
        }
        assert_eq!(seen.len(), 2);
    })
    .await;
}
