//! Certificates and roots that change under traffic.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::http::body::Body;
use crate::observe::stats::{Direction, Retirement};
use crate::outbound::{self, Downstream, Target};
use crate::runtime::worker::Worker;
use crate::transport::within::{Within, within};

/// An application that answers each request with its body after 20 ms.
fn slow_echo(host: u8) {
    application(host, |request| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Response::new(Body::from(request.into_body()))
    });
}

#[tokio::test(start_paused = true)]
async fn certificates_that_change_on_both_sides_cost_no_request() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            let sidecar = mesh.sidecar(2, &v1::Inbound::default());
            slow_echo(2);
            let caller = Caller::new();
            let requests = (0..300_u64).map(|number| {
                let (caller, mesh, sidecar) = (&caller, &mesh, &sidecar);
                async move {
                    tokio::time::sleep(Duration::from_millis(number)).await;
                    if number % 30 == 15 {
                        mesh.rotate();
                        put_tls(sidecar, mesh.authority.tls(number, "reviews"));
                        for worker in [&mesh.worker, sidecar] {
                            sweep_once(worker, tokio::time::Instant::now());
                        }
                    }
                    let sent = vec![number as u8; 20_000];
                    let post = Request::post("http://reviews:9080/").header("host", "reviews:9080");
                    let post = post.body(Body::full(sent.clone())).unwrap();
                    let answer =
                        if number % 2 == 0 { caller.send(post).await } else { caller.send_http2(post).await };
                    let answer = whole(answer.unwrap()).await;
                    answer.status() == StatusCode::OK && answer.body() == &sent
                }
            });
            let answered = join_all(requests).await;
            assert!(answered.iter().all(|whole| *whole), "{hop:?}");
            assert_eq!((succeeded(&mesh), mesh.totals().retries), (300, 0));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_mesh_changes_its_root_without_failing_a_request() {
    local(async {
        let (mesh, sidecar) = meshed_pair();
        slow_echo(2);
        let (old, new) = (&mesh.authority, Authority::new("mesh.test"));
        let mut both = old.bundle().clone();
        both.merge(new.bundle());
        let (client, server) = (&mesh.worker, &sidecar);
        // All believe both, then have certificates of the new one, then believe that alone.
        let steps = [
            (server, old.tls_believing(2, "reviews", &both)),
            (client, old.tls_believing(3, "web", &both)),
            (server, new.tls_believing(4, "reviews", &both)),
            (client, new.tls_believing(5, "web", &both)),
            (server, new.tls(6, "reviews")),
            (client, new.tls(7, "web")),
        ];
        let changes = async {
            for (worker, tls) in steps {
                tokio::time::sleep(Duration::from_millis(45)).await;
                put_tls(worker, tls);
                for worker in [client, server] {
                    sweep_once(worker, tokio::time::Instant::now());
                }
            }
        };
        let caller = Caller::new();
        let requests = (0..400_u64).map(async |number| {
            tokio::time::sleep(Duration::from_millis(number)).await;
            caller.send(request("POST", "/", Body::full("x"))).await.unwrap().status()
        });
        let (statuses, ()) = tokio::join!(join_all(requests), changes);
        assert!(statuses.iter().all(|status| *status == StatusCode::OK), "{statuses:?}");
        assert_eq!(mesh.totals().retries, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connections_end_that_no_root_vouches_for_any_more_and_what_is_under_way_is_finished() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            let sidecar = mesh.sidecar(2, &v1::Inbound::default());
            sweep(&sidecar);
            application(2, |_| async {
                tokio::time::sleep(Duration::from_secs(5)).await;
                Response::new(Body::full("whole"))
            });
            let caller = Caller::new();
            let removed = async {
                tokio::time::sleep(Duration::from_secs(2)).await;
                put_tls(&sidecar, Authority::new("mesh.test").tls(9, "reviews"));
                tokio::time::sleep(Duration::from_secs(2)).await;
            };
            let (answer, ()) = tokio::join!(caller.get("/"), removed);
            assert_eq!(answer.body(), "whole");
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(sidecar.shared.stats.open_connections(Direction::Inbound), 0, "{hop:?}");
            assert_eq!(caller.get("/").await.headers()["x-weft-error"], "connect_failed");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_opaque_connection_ends_when_policies_let_its_peer_in_no_longer() {
    local(async {
        let (mesh, sidecar) = meshed_pair();
        sweep(&sidecar);
        let mut near = echoed_connection(&mesh);
        let policy = |namespace: &str| {
            let rule = v1::AuthorizationRule {
                namespaces: vec![namespace.into()],
                ..v1::AuthorizationRule::default()
            };
            let policy = v1::AuthorizationPolicy {
                resource: Some(v1::ResourceRef {
                    kind: "AuthorizationPolicy".into(),
                    ..v1::ResourceRef::default()
                }),
                action: v1::AuthorizationAction::Allow.into(),
                rules: vec![rule],
                ..v1::AuthorizationPolicy::default()
            };
            let port = v1::InboundPort { authorization: vec![policy], ..v1::InboundPort::default() };
            v1::Inbound { default_port: Some(port), ..v1::Inbound::default() }
        };
        let mut echoed = [0; 4];
        for _ in 0..2 {
            near.write_all(b"\x00one").await.unwrap();
            near.read_exact(&mut echoed).await.unwrap();
            put_inbound(&sidecar, &policy("shop"));
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        put_inbound(&sidecar, &policy("other"));
        let ended = near.read(&mut echoed).await.map_err(|error| error.kind());
        assert_eq!(ended, Err(std::io::ErrorKind::ConnectionReset), "nobody may take it for the whole");
        assert_eq!(sidecar.shared.stats.retirements(Retirement::Policy), 1);
        assert_eq!(totals(&sidecar).connections_opened, totals(&sidecar).connections_closed());
    })
    .await;
}

/// A mesh whose client reaches one sidecar, without an application yet.
fn meshed_pair() -> (Mesh, Rc<Worker>) {
    let mesh = Mesh::with_sidecars(&[]);
    mesh.configure(&destination(), &[endpoint(2, v1::Hop::Weft)]);
    let sidecar = mesh.sidecar(2, &v1::Inbound::default());
    (mesh, sidecar)
}

/// An opaque connection to an application that says everything again.
fn echoed_connection(mesh: &Mesh) -> Within {
    network::listen(application_at(2), |mut stream| async move {
        let (mut read, mut write) = tokio::io::split(&mut stream);
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    let (near, far) = within(64);
    let target = Target::Fixed("reviews:9080".into());
    let downstream = Rc::new(Downstream::new(target, at(1, 40_001)));
    tokio::task::spawn_local(outbound::dialled(Rc::clone(&mesh.worker), far, downstream));
    near
}

#[tokio::test(start_paused = true)]
async fn an_opaque_connection_ends_with_the_trust_in_its_peer_and_not_with_a_new_certificate() {
    local(async {
        let (mesh, sidecar) = meshed_pair();
        sweep(&sidecar);
        let mut near = echoed_connection(&mesh);
        let mut echoed = [0; 4];
        for _ in 0..2 {
            near.write_all(b"\x00one").await.unwrap();
            near.read_exact(&mut echoed).await.unwrap();
            put_tls(&sidecar, mesh.authority.tls(8, "reviews"));
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        put_tls(&sidecar, Authority::new("mesh.test").tls(9, "reviews"));
        let ended = near.read(&mut echoed).await.map_err(|error| error.kind());
        assert_eq!(ended, Err(std::io::ErrorKind::ConnectionReset), "nobody may take it for the whole");
    })
    .await;
}

/// What `authority` makes everybody believe, but for an account.
fn without(authority: &Authority, account: &str) -> weft_identity::TrustBundle {
    let mut revoked = weft_identity::Revoked::new();
    revoked.identity(identity(account).parse().unwrap(), None);
    authority.bundle().clone().with_revoked(revoked)
}

#[tokio::test(start_paused = true)]
async fn what_is_revoked_ends_at_once_and_others_go_on() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            let sidecar = mesh.sidecar(2, &v1::Inbound::default());
            sweep(&sidecar);
            // Never answers: whoever waits for it waits until the connection ends.
            application(2, |request| async move {
                if request.uri().path() == "/still" {
                    std::future::pending::<()>().await;
                }
                Response::new(Body::full("whole"))
            });
            let caller = Caller::new();
            let revoked = async {
                tokio::time::sleep(Duration::from_secs(2)).await;
                // Another account is no concern of this one.
                put_tls(
                    &sidecar,
                    mesh.authority.tls_believing(8, "reviews", &without(&mesh.authority, "cart")),
                );
                tokio::time::sleep(Duration::from_secs(2)).await;
                assert_eq!(sidecar.shared.stats.open_connections(Direction::Inbound), 1, "{hop:?}");
                put_tls(
                    &sidecar,
                    mesh.authority.tls_believing(9, "reviews", &without(&mesh.authority, "web")),
                );
                tokio::time::sleep(Duration::from_secs(2)).await;
                assert_eq!(sidecar.shared.stats.open_connections(Direction::Inbound), 0, "{hop:?}");
                assert_ne!(sidecar.shared.stats.retirements(Retirement::Trust), 0, "{hop:?}");
            };
            let (answer, ()) = tokio::join!(caller.get("/still"), revoked);
            assert!(answer.status().is_server_error(), "{hop:?}: {answer:?}");
            assert!(caller.get("/").await.status().is_server_error(), "{hop:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_opaque_connection_ends_when_its_peer_is_revoked() {
    local(async {
        let (mesh, sidecar) = meshed_pair();
        sweep(&sidecar);
        let mut near = echoed_connection(&mesh);
        let mut echoed = [0; 4];
        for account in ["cart", "web"] {
            near.write_all(b"\x00one").await.unwrap();
            near.read_exact(&mut echoed).await.unwrap();
            put_tls(&sidecar, mesh.authority.tls_believing(8, "reviews", &without(&mesh.authority, account)));
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        let ended = near.read(&mut echoed).await.map_err(|error| error.kind());
        assert_eq!(ended, Err(std::io::ErrorKind::ConnectionReset), "nobody may take it for the whole");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_opaque_connection_ends_when_whoever_answered_it_is_revoked() {
    local(async {
        let (mesh, _sidecar) = meshed_pair();
        sweep(&mesh.worker);
        let mut near = echoed_connection(&mesh);
        let mut echoed = [0; 4];
        for (number, account) in [(8, "cart"), (9, "reviews")] {
            near.write_all(b"\x00one").await.unwrap();
            near.read_exact(&mut echoed).await.unwrap();
            let tls = mesh.authority.tls_believing(number, "web", &without(&mesh.authority, account));
            put_tls(&mesh.worker, tls);
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        let ended = near.read(&mut echoed).await.map_err(|error| error.kind());
        assert_eq!(ended, Err(std::io::ErrorKind::ConnectionReset), "nobody may take it for the whole");
    })
    .await;
}
