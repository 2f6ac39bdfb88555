//! Watches on an API server that goes away, comes back, and has forgotten.

use std::collections::VecDeque;
use std::convert::Infallible;

use http::{Request, Response, StatusCode};
use kube::client::Body;
use tokio::time::Instant;

use super::*;

/// What the API server says to one request for Services, and to none more while there is nothing here.
enum Says {
    /// This list, of a resource version.
    List(&'static str, Vec<&'static str>),
    /// These events, after which the connection ends.
    Events(Vec<Value>),
    /// That it can't.
    Fails(StatusCode),
    /// That it can't, to every request until this time after the first.
    FailsFor(Duration),
}

fn service_named(name: &str, version: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": version},
        "spec": {"ports": [{"port": 80, "protocol": "TCP"}], "clusterIP": "10.96.0.7"},
    })
}

fn failure(status: StatusCode) -> String {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status.as_u16()}).to_string()
}

fn answer(says: &Says, watching: bool) -> Response<Body> {
    let (status, body) = match says {
        Says::List(version, names) => {
            assert!(!watching, "a watch where the list should be read anew");
            let items: Vec<_> = names.iter().map(|name| service_named(name, version)).collect();
            let list = json!({
                "apiVersion": "v1", "kind": "ServiceList", "metadata": {"resourceVersion": version}, "items": items,
            });
            (StatusCode::OK, list.to_string())
        }
        Says::Events(events) => {
            assert!(watching, "a list where the watch should go on");
            let lines: Vec<_> = events.iter().map(Value::to_string).collect();
            (StatusCode::OK, lines.join("\n") + "\n")
        }
        Says::Fails(status) => (*status, failure(*status)),
        Says::FailsFor(_) => (StatusCode::SERVICE_UNAVAILABLE, failure(StatusCode::SERVICE_UNAVAILABLE)),
    };
    Response::builder().status(status).body(Body::from(body.into_bytes())).unwrap()
}

/// A client of an API server that says this, one thing to a request.
fn client(script: Vec<Says>) -> Client {
    let script = Arc::new(Mutex::new(VecDeque::from(script)));
    let began = Instant::now();
    let service = tower::service_fn(move |request: Request<Body>| {
        let watching = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let mut script = script.lock();
        let says = match script.front() {
            Some(Says::FailsFor(time)) if began.elapsed() < *time => Some(Says::FailsFor(*time)),
            Some(Says::FailsFor(_)) => script.drain(..2).next_back(),
            _ => script.pop_front(),
        };
        async move {
            match says {
                Some(says) => Ok::<_, Infallible>(answer(&says, watching)),
                None => std::future::pending().await,
            }
        }
    });
    Client::new(service, "default")
}

/// What is told of the Services, until all of these pieces of news have come.
async fn told_of_services(script: Vec<Says>, pieces: usize) -> Vec<Vec<String>> {
    let (sender, mut coming) = mpsc::channel(QUEUE);
    let watching = tokio::spawn(objects(
        client(script),
        Kind::Service,
        resource_of_services(),
        WatchHealth::default(),
        sender,
    ));
    let mut told = Vec::new();
    while told.len() < pieces {
        let (_, news) = coming.recv().await.unwrap();
        told.push(news.changes.iter().map(said).collect());
    }
    watching.abort();
    told
}

fn resource_of_services() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", "Service"), "services")
}

fn said(change: &Change) -> String {
    match change {
        Change::Remove(key) => format!("-{}", key.name),
        Change::Put(object) => format!("+{}", object.key.name),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_the_api_server_has_forgotten_begins_anew_and_what_went_meanwhile_is_gone() {
    let expired = json!({
        "type": "ERROR",
        "object": {
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410,
            "message": "too old resource version",
        },
    });
    let script = vec![
        Says::List("1", vec!["cart", "web"]),
        Says::Events(vec![expired]),
        Says::List("9", vec!["web", "mail"]),
    ];
    let told = told_of_services(script, 2).await;
    assert_eq!(told, [vec!["+cart", "+web"], vec!["+web", "+mail", "-cart"]]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_where_it_was_when_the_api_server_is_back() {
    let event = |kind: &str, name, version| json!({"type": kind, "object": service_named(name, version)});
    let script = vec![
        Says::Fails(StatusCode::SERVICE_UNAVAILABLE),
        Says::List("1", vec!["cart"]),
        Says::Events(vec![event("ADDED", "web", "2")]),
        Says::Fails(StatusCode::SERVICE_UNAVAILABLE),
        Says::Fails(StatusCode::BAD_GATEWAY),
        Says::Events(vec![event("DELETED", "cart", "3")]),
    ];
    let told = told_of_services(script, 3).await;
    assert_eq!(told, [vec!["+cart"], vec!["+web"], vec!["-cart"]]);
}

/// Whoever is heard late tells late of pods that went as soon as the API server was back, and requests go on to these.
#[tokio::test(start_paused = true)]
async fn an_api_server_that_was_gone_for_long_is_heard_soon_after_it_is_back() {
    for seconds in (10..600).step_by(7) {
        let gone = Duration::from_secs(seconds);
        let script = vec![
            Says::List("1", vec!["cart"]),
            Says::FailsFor(gone),
            Says::Events(vec![json!({"type": "ADDED", "object": service_named("web", "2")})]),
        ];
        let began = Instant::now();
        assert_eq!(told_of_services(script, 2).await, [vec!["+cart"], vec!["+web"]]);
        let late = began.elapsed().checked_sub(gone).unwrap();
        assert!(late < Duration::from_secs(8), "{late:?} after it was gone for {gone:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_leaves_requests_without_an_answer_is_told_of_and_asked_again() {
    let began = Instant::now();
    let service = tower::service_fn(move |_: Request<Body>| async move {
        if began.elapsed() < Duration::from_mins(1) {
            std::future::pending::<()>().await;
        }
        let body = Body::from(failure(StatusCode::NOT_FOUND).into_bytes());
        Ok::<_, Infallible>(Response::builder().status(StatusCode::NOT_FOUND).body(body).unwrap())
    });
    let (found, mut finds) = mpsc::channel(1);
    let unreachable = Gauge::default();
    let client = Client::new(service, "default");
    let looking = look_for_kinds(client, found, unreachable.clone(), WatchHealth::default());
    let looking = tokio::spawn(looking);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(unreachable.get(), 1);
    assert!(finds.recv().await.unwrap().is_empty());
    assert_eq!(unreachable.get(), 0);
    assert!(began.elapsed() < Duration::from_secs(80), "{:?}", began.elapsed());
    looking.abort();
}
