//! What sidecars answer themselves, and what they leave out.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// Of a request that the application may have processed, the far sidecar says so, and that the answer is its own.
#[tokio::test(start_paused = true)]
async fn what_the_far_sidecar_answers_for_an_application_that_broke_off_has_its_reason_on_both_sides() {
    for (said, reason) in [("", "upstream_reset"), ("what?\r\n\r\n", "upstream_protocol")] {
        local(async {
            let mesh = Mesh::with_sidecars(&[2]);
            let far = mesh.sidecar(2, &v1::Inbound::default());
            let messages = logging(&mesh.worker);
            network::listen(application_at(2), move |mut stream| async move {
                let mut head = Vec::new();
                while !head.ends_with(SENT.as_bytes()) {
                    stream.read_buf(&mut head).await.unwrap();
                }
                stream.write_all(said.as_bytes()).await.unwrap();
            });
            let answer = Caller::new().send(request("POST", "/", Body::full(SENT))).await.unwrap();
            assert_eq!(
                (answer.status().as_u16(), &answer.headers()["x-weft-error"]),
                (502, &reason.parse().unwrap())
            );
            whole(answer).await;
            for side in [counted(&mesh.worker), counted(&far)] {
                assert_eq!(side.by_cause.into_iter().collect::<Vec<_>>(), [((5, reason), 1)]);
                assert_eq!((side.failures, side.retries), (1, 0));
            }
            let lines = lines(&messages);
            assert_eq!((lines.len(), lines[0].reason, lines[0].status), (1, Some(reason), Some(502)));
        })
        .await;
    }
}

/// An application may answer with what a sidecar says, as one does that is a proxy itself.
#[tokio::test(start_paused = true)]
async fn an_application_that_names_a_reason_has_answered_all_the_same() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        mesh.sidecar(2, &v1::Inbound::default());
        application(2, |_| async {
            Response::builder()
                .status(502)
                .header("x-weft-error", "upstream_reset")
                .body(Body::Empty)
                .unwrap()
        });
        assert_eq!(Caller::new().get("/").await.status(), 502);
        assert_eq!(counted(&mesh.worker).by_cause.into_iter().collect::<Vec<_>>(), [((5, ""), 1)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn copies_that_are_left_out_are_counted_and_are_requests_of_nobody() {
    local(async {
        let mut destination = routed(v1::HttpRule::default());
        destination.http_routes[0].rules = rules();
        let endpoints = [endpoint(2, v1::Hop::Weft), endpoint_of("shadow", 3, v1::Hop::Weft)];
        let mesh = Mesh::new(&destination, &endpoints);
        mesh.sidecar(2, &v1::Inbound::default());
        mesh.sidecar(3, &v1::Inbound::default());
        application(2, |_| async { Response::new(Body::full("hello")) });
        application(3, |_| std::future::pending());
        let caller = Caller::new();
        for _ in 0..103 {
            assert_eq!(caller.get("/mirror").await.status(), 200);
        }
        assert_eq!(mesh.worker.shared.stats.unmirrored_requests(), 3);
        assert_eq!(counted(&mesh.worker).by_cause.into_iter().collect::<Vec<_>>(), [((2, ""), 103)]);
        // The time of those under way is over.
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert_eq!(counted(&mesh.worker).copies, 100);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_look_up_for_which_there_is_no_room_is_told_from_a_silent_control_plane() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        mesh.refuse_lookups();
        network::name("elsewhere.test:9080", &[application_at(7)]);
        echo(7);
        let mut outside = request("GET", "/", Body::Empty);
        outside.headers_mut().insert("host", "elsewhere.test:9080".parse().unwrap());
        whole(Caller::new().send(outside).await.unwrap()).await;
        let stats = &mesh.worker.shared.stats;
        assert_eq!((stats.lookups(LookupOutcome::Full), stats.lookups(LookupOutcome::Timeout)), (1, 0));
    })
    .await;
}
