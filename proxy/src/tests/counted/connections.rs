//! Opaque connections.

use super::*;

/// A client says something and hears it again, or is refused.
async fn echoed(mesh: &Mesh) -> bool {
    let mut stream = dial(mesh);
    let _ = stream.write_all(b"\x00hello").await;
    let mut said = [0; 6];
    stream.read_exact(&mut said).await.is_ok()
}

/// What was counted of connections: begun, ended, failed, sent, received, and those refused for a reason.
fn connections(worker: &Worker, reason: &str) -> [u64; 6] {
    let totals = totals(worker);
    let caused = totals.causes().filter(|(cause, _)| cause.label() == reason);
    [
        totals.connections_opened,
        totals.connections_closed(),
        totals.failures,
        totals.bytes_sent,
        totals.bytes_received,
        caused.map(|(_, count)| count).sum(),
    ]
}

#[tokio::test(start_paused = true)]
async fn connections_are_counted_once_at_their_destination_carried_or_refused() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        for protocol in [v1::Protocol::Tcp, v1::Protocol::Detect] {
            local(async {
                let declared = v1::Destination { protocol: protocol.into(), ..destination() };
                let mesh = Mesh::new(&declared, &[endpoint(2, hop)]);
                let messages = logging(&mesh.worker);
                mesh.sidecar(2, &v1::Inbound::default());
                network::listen(application_at(2), |mut stream| async move {
                    let mut said = [0; 6];
                    stream.read_exact(&mut said).await.unwrap();
                    stream.write_all(&said).await.unwrap();
                });
                for _ in 0..TIMES {
                    assert!(echoed(&mesh).await);
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                let counted = connections(&mesh.worker, "no_endpoints");
                assert_eq!(counted, [3, 3, 0, 18, 18, 0], "{hop:?} {protocol:?}");
                mesh.configure(&declared, &[]);
                for _ in 0..TIMES {
                    assert!(!echoed(&mesh).await);
                }
                let counted = connections(&mesh.worker, "no_endpoints");
                assert_eq!(counted, [6, 6, 3, 18, 18, 3], "{hop:?} {protocol:?}");
                let down = summed(&mesh.worker, |key| key.workload.is_empty());
                assert_eq!((down.connections_closed(), down.failures), (3, 3));
                assert_eq!(mesh.worker.shared.stats.lookups(LookupOutcome::Hit), 6);
                let lines = lines(&messages);
                assert_eq!(lines.len(), 6);
                assert_eq!(lines.iter().filter(|line| line.reason == Some("no_endpoints")).count(), 3);
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lookup_is_counted_once_with_what_came_of_it() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        mesh.answer_lookups();
        network::name("elsewhere.test:9080", &[application_at(7)]);
        echo(7);
        echo(2);
        let caller = Caller::new();
        for _ in 0..2 {
            assert_eq!(caller.get("/").await.status(), 200);
        }
        for _ in 0..2 {
            let mut outside = request("GET", "/", Body::Empty);
            outside.headers_mut().insert("host", "elsewhere.test:9080".parse().unwrap());
            assert_eq!(caller.send(outside).await.unwrap().status(), 200);
        }
        let stats = &mesh.worker.shared.stats;
        let lookups =
            [LookupOutcome::Hit, LookupOutcome::Absent, LookupOutcome::Miss, LookupOutcome::Timeout];
        assert_eq!(lookups.map(|outcome| stats.lookups(outcome)), [2, 2, 0, 0]);
    })
    .await;
}
