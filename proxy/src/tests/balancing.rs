//! Which endpoints get the requests, through the whole mesh.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{Response, StatusCode};
use weft_mesh::balance::Locality;
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::http::body::Body;

/// A mesh with sidecars and echoing applications behind this policy.
fn balanced(policy: &v1::BackendPolicy, endpoints: &[v1::Endpoint], locality: Locality) -> Mesh {
    let mesh = Mesh::located(locality, &protected(policy.clone()), endpoints);
    for endpoint in endpoints {
        let host = host_of(endpoint);
        mesh.sidecar(host, &v1::Inbound::default());
        echo(host);
    }
    mesh
}

fn host_of(endpoint: &v1::Endpoint) -> u8 {
    endpoint.address.rsplit('.').next().unwrap().parse().unwrap()
}

fn by(balancer: v1::Balancer) -> v1::BackendPolicy {
    v1::BackendPolicy { balancer: balancer.into(), ..v1::BackendPolicy::default() }
}

fn meshed(hosts: &[u8]) -> Vec<v1::Endpoint> {
    hosts.iter().map(|host| endpoint(*host, v1::Hop::Weft)).collect()
}

/// How many of so many requests each host answers.
async fn shares(caller: &Caller, requests: usize) -> BTreeMap<u8, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        let answer = caller.get("/").await;
        assert_eq!(answer.status(), StatusCode::OK);
        *shares.entry(answered_by(&answer)).or_default() += 1;
    }
    shares
}

fn answered_by<B>(answer: &Response<B>) -> u8 {
    answer.headers()["x-host"].to_str().unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn endpoints_get_shares_by_their_weights() {
    // Of 400: 100 and 300; the standard deviation at random is 8.7.
    for (balancer, tolerance) in
        [(v1::Balancer::RoundRobin, 1), (v1::Balancer::Random, 44), (v1::Balancer::LeastRequest, 44)]
    {
        local(async {
            let mut endpoints = meshed(&[2, 3]);
            endpoints[1].weight = 3;
            let _mesh = balanced(&by(balancer), &endpoints, Locality::default());
            let shares = shares(&Caller::new(), 400).await;
            assert!((300 - tolerance..=300 + tolerance).contains(&shares[&3]), "{balancer:?}: {shares:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_grows_to_its_share() {
    local(async {
        let policy = v1::BackendPolicy { slow_start: Some(millis(100_000)), ..by(v1::Balancer::Random) };
        let mesh = balanced(&policy, &meshed(&[2]), Locality::default());
        let caller = Caller::new();
        assert_eq!(shares(&caller, 10).await, [(2, 10)].into());
        mesh.sidecar(3, &v1::Inbound::default());
        echo(3);
        mesh.configure(&protected(policy.clone()), &meshed(&[2, 3]));
        // A tenth of its weight: one in eleven.
        let young = shares(&caller, 400).await;
        assert!((5..90).contains(&young[&3]), "{young:?}");
        tokio::time::sleep(Duration::from_secs(100)).await;
        let grown = shares(&caller, 400).await;
        assert!((140..260).contains(&grown[&3]), "{grown:?}");
    })
    .await;
}

fn hash_key(key: v1::hash_key::Key) -> v1::HashKey {
    v1::HashKey { key: Some(key) }
}

#[tokio::test(start_paused = true)]
async fn a_key_stays_with_its_endpoint_by_ring_and_by_maglev() {
    use v1::hash_key::Key;
    for balancer in [v1::Balancer::RingHash, v1::Balancer::Maglev] {
        for (key, name) in [
            (Key::Header("x-user".into()), "x-user"),
            (Key::Cookie("user".into()), "cookie"),
            (Key::SourceAddress(true), ""),
        ] {
            local(async {
                let policy = v1::BackendPolicy { hash_key: Some(hash_key(key.clone())), ..by(balancer) };
                let hosts = [2, 3, 4, 5];
                let mesh = balanced(&policy, &meshed(&hosts), Locality::default());
                let caller = Caller::new();
                let placed = async || {
                    let mut placed = Vec::new();
                    for user in 0..40 {
                        let mut request = request("GET", "/", Body::Empty);
                        let value =
                            if name == "cookie" { format!("a=b; user={user}") } else { user.to_string() };
                        if !name.is_empty() {
                            request.headers_mut().insert(name, value.parse().unwrap());
                        }
                        placed.push(answered_by(&caller.send(request).await.unwrap()));
                    }
                    placed
                };
                let first = placed().await;
                assert_eq!(first, placed().await, "{balancer:?} {key:?}");
                let mut used = first.clone();
                used.sort_unstable();
                used.dedup();
                assert_eq!(
                    used.len(),
                    if name.is_empty() { 1 } else { 4 },
                    "{balancer:?} {key:?}: {first:?}"
                );
                let gone = first[0];
                let left: Vec<u8> = hosts.into_iter().filter(|host| *host != gone).collect();
                mesh.configure(&protected(policy.clone()), &meshed(&left));
                let moved = first
                    .iter()
                    .zip(placed().await)
                    .filter(|(before, after)| **before != gone && *before != after)
                    .count();
                assert!(moved <= 4, "{balancer:?} {key:?}: {moved} keys moved needlessly");
            })
            .await;
        }
    }
}

fn zoned(hosts: &[u8], zone: &str) -> Vec<v1::Endpoint> {
    let locality = v1::Locality { region: "r".into(), zone: zone.into() };
    let place = |endpoint| v1::Endpoint { locality: Some(locality.clone()), ..endpoint };
    meshed(hosts).into_iter().map(place).collect()
}

#[tokio::test(start_paused = true)]
async fn requests_stay_in_their_zone_and_leave_it_in_proportion_to_what_it_lost() {
    local(async {
        let here = Locality { region: "r".into(), zone: "a".into() };
        let mut endpoints = zoned(&[2, 3], "a");
        endpoints.extend(zoned(&[4, 5], "b"));
        let policy = v1::BackendPolicy::default();
        let mesh = balanced(&policy, &endpoints, here);
        let caller = Caller::new();
        let away = |shares: &BTreeMap<u8, usize>| -> usize {
            shares.iter().filter(|(host, _)| **host >= 4).map(|(_, count)| count).sum()
        };
        assert_eq!(away(&shares(&caller, 200).await), 0);
        // Half of the zone carries 1.4 times a half of its traffic: 30 % leave it.
        endpoints[0].health = v1::Health::NotReady.into();
        mesh.configure(&protected(policy.clone()), &endpoints);
        let some = away(&shares(&caller, 400).await);
        assert!((75..165).contains(&some), "{some}");
        endpoints[1].health = v1::Health::NotReady.into();
        mesh.configure(&protected(policy.clone()), &endpoints);
        assert_eq!(away(&shares(&caller, 50).await), 50);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn endpoints_of_silent_nodes_are_left_out_unless_they_are_most() {
    local(async {
        let policy = by(v1::Balancer::RoundRobin);
        let mut endpoints = meshed(&[2, 3]);
        let mesh = balanced(&policy, &endpoints, Locality::default());
        let caller = Caller::new();
        for (silent, expected) in [(0, vec![(3, 20)]), (1, vec![(2, 10), (3, 10)])] {
            endpoints[silent].health = v1::Health::Unknown.into();
            mesh.configure(&protected(policy.clone()), &endpoints);
            assert_eq!(shares(&caller, 20).await, expected.into_iter().collect());
        }
        // What is taken for ready on trust has to earn it as any other does.
        network::refuse(inbound(4));
        endpoints.push(v1::Endpoint { health: v1::Health::Unknown.into(), ..endpoint(4, v1::Hop::Weft) });
        mesh.configure(&protected(policy.clone()), &endpoints);
        assert_eq!(shares(&caller, 20).await.into_keys().collect::<Vec<_>>(), [2, 3]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_fails_costs_no_request() {
    local(async {
        let here = Locality { region: "r".into(), zone: "a".into() };
        let mut endpoints = zoned(&[2, 3], "a");
        endpoints.extend(zoned(&[4, 5], "b"));
        let _mesh = balanced(&v1::BackendPolicy::default(), &endpoints, here);
        for host in [2, 3] {
            network::refuse(inbound(host));
        }
        let shares = shares(&Caller::new(), 100).await;
        assert!(shares.keys().all(|host| *host >= 4), "{shares:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_slower_endpoint_gets_fewer_requests() {
    // Which of two is asked is partly chance; the same chance in each run.
    fastrand::seed(7);
    local(async {
        let _mesh = balanced(&v1::BackendPolicy::default(), &meshed(&[2, 3]), Locality::default());
        application(2, |_| async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Response::builder().header("x-host", "2").body(Body::Empty).unwrap()
        });
        application(3, |_| async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Response::builder().header("x-host", "3").body(Body::Empty).unwrap()
        });
        let shares = shares(&Caller::new(), 200).await;
        assert!(shares[&3] >= 180, "{shares:?}");
    })
    .await;
}
