//! Endpoints that fail in every way at random, under load: what clients see of it is what nobody could have avoided.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weft_mesh::name::ServicePort;
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::http::body::Body;
use crate::observe::stats::RetryOutcome;
use crate::transport::within::Within;

const HOSTS: [u8; 6] = [2, 3, 4, 5, 6, 7];
/// How long there is trouble, in rounds of a fifth of a second, each with as many requests.
const ROUNDS: u32 = 150;
const REQUESTS: u32 = 5;

/// How an application behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    Slow,
    /// Never answers.
    Hung,
    /// Answers half, and closes.
    Torn,
    /// Answers what is no HTTP.
    Babbling,
    /// Reads the request and closes.
    Curt,
    /// Answers 503.
    Refusing,
    /// Takes no connection.
    Dead,
    /// Takes no connection, and its sidecar neither.
    Gone,
}

const TROUBLE: [Mood; 8] =
    [Mood::Slow, Mood::Hung, Mood::Torn, Mood::Babbling, Mood::Curt, Mood::Refusing, Mood::Dead, Mood::Gone];

/// The applications, and which requests they have seen how often.
struct Town {
    moods: Rc<RefCell<BTreeMap<u8, Mood>>>,
    seen: Rc<RefCell<BTreeMap<u32, u32>>>,
    sidecars: v1::Inbound,
}

impl Town {
    fn new(mesh: &Mesh) -> Self {
        let moods = HOSTS.map(|host| (host, Mood::Well)).into();
        let town = Self {
            moods: Rc::new(RefCell::new(moods)),
            seen: Rc::default(),
            sidecars: v1::Inbound::default(),
        };
        for host in HOSTS {
            mesh.sidecar(host, &town.sidecars);
            town.open(host);
        }
        town
    }

    fn open(&self, host: u8) {
        let (moods, seen) = (Rc::clone(&self.moods), Rc::clone(&self.seen));
        network::listen(application_at(host), move |stream| {
            serve(host, stream, Rc::clone(&moods), Rc::clone(&seen))
        });
    }

    fn set(&self, mesh: &Mesh, host: u8, mood: Mood) {
        let before = self.moods.borrow_mut().insert(host, mood);
        if mood == Mood::Dead || mood == Mood::Gone {
            network::refuse(application_at(host));
        } else {
            self.open(host);
        }
        if mood == Mood::Gone {
            network::refuse(inbound(host));
        } else if before == Some(Mood::Gone) {
            mesh.sidecar(host, &self.sidecars);
        }
    }

    /// Changes somebody's mood; at most half of them are in trouble at once.
    fn shake(&self, mesh: &Mesh) {
        let host = HOSTS[fastrand::usize(..HOSTS.len())];
        let troubled = self.moods.borrow().values().filter(|mood| **mood != Mood::Well).count();
        let is_well = self.moods.borrow()[&host] == Mood::Well;
        if !is_well {
            self.set(mesh, host, Mood::Well);
        } else if troubled < HOSTS.len() / 2 {
            self.set(mesh, host, TROUBLE[fastrand::usize(..TROUBLE.len())]);
        }
    }
}

/// Reads a head; gives the number of its request.
async fn head(stream: &mut Within) -> Option<u32> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let line = head.lines().find_map(|line| line.strip_prefix("x-number: ")).unwrap();
    Some(line.parse().unwrap())
}

async fn serve(
    host: u8,
    mut stream: Within,
    moods: Rc<RefCell<BTreeMap<u8, Mood>>>,
    seen: Rc<RefCell<BTreeMap<u32, u32>>>,
) {
    while let Some(number) = head(&mut stream).await {
        *seen.borrow_mut().entry(number).or_default() += 1;
        let mood = moods.borrow()[&host];
        let answer: &[u8] = match mood {
            Mood::Hung => std::future::pending().await,
            Mood::Torn => b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
            Mood::Babbling => b"\x16\x03\x01 what?\r\n\r\n",
            Mood::Curt => b"",
            Mood::Refusing => b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            Mood::Well | Mood::Slow | Mood::Dead | Mood::Gone => {
                b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
            }
        };
        if mood == Mood::Slow {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        if stream.write_all(answer).await.is_err() || matches!(mood, Mood::Torn | Mood::Babbling | Mood::Curt)
        {
            return;
        }
    }
}

/// What became of requests.
#[derive(Default)]
struct Tally {
    failed: BTreeSet<u32>,
    /// Those among them whose answers began and broke off.
    torn: BTreeSet<u32>,
    ok: u32,
}

async fn ask(method: &'static str, number: u32, tally: Rc<RefCell<Tally>>) {
    let mut request = request(method, "/", Body::Empty);
    request.headers_mut().insert("x-number", number.into());
    let answer = Caller::new().send(request).await.unwrap();
    let status = answer.status();
    let whole = answer.into_body().collect().await;
    let mut tally = tally.borrow_mut();
    match (status, whole) {
        (StatusCode::OK, Ok(_)) => tally.ok += 1,
        (StatusCode::OK, Err(_)) => {
            tally.torn.insert(number);
            tally.failed.insert(number);
        }
        _ => {
            tally.failed.insert(number);
        }
    }
}

/// Half a minute of trouble; then everybody is well for some time.
async fn trouble(mesh: &Mesh, town: &Town, method: &'static str) -> Tally {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let number = Cell::new(0);
    let service: ServicePort = "shop/reviews:9080".parse().unwrap();
    let mut asking = Vec::new();
    for round in 0..ROUNDS {
        if round % 3 == 0 {
            town.shake(mesh);
        }
        for _ in 0..REQUESTS {
            number.set(number.get() + 1);
            asking.push(tokio::task::spawn_local(ask(method, number.get(), Rc::clone(&tally))));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let ejected = HOSTS
            .iter()
            .filter(|host| mesh.worker.shared.ejected.by(&service, &format!("reviews-{host}")) > 0);
        // Half of them, and beyond that whoever takes no connection.
        assert!(ejected.count() < HOSTS.len(), "round {round}");
    }
    for asking in asking {
        asking.await.unwrap();
    }
    for host in HOSTS {
        town.set(mesh, host, Mood::Well);
    }
    // The longest ejection is over.
    tokio::time::sleep(Duration::from_secs(80)).await;
    Rc::into_inner(tally).unwrap().into_inner()
}

/// Everybody is used again, and nothing fails any more.
async fn recovers(town: &Town, seed: u64) {
    let tally = Rc::new(RefCell::new(Tally::default()));
    town.seen.borrow_mut().clear();
    for number in 0..60 {
        ask("GET", number, Rc::clone(&tally)).await;
    }
    assert_eq!(tally.borrow().failed.len(), 0, "seed {seed}: {:?}", tally.borrow().failed);
}

#[tokio::test(start_paused = true)]
async fn only_what_an_application_may_have_processed_fails_and_nothing_is_processed_twice() {
    let mut retried = 0;
    for seed in 0..3 {
        fastrand::seed(seed);
        local(async {
            let rule = v1::HttpRule { request_timeout: Some(millis(3000)), ..v1::HttpRule::default() };
            let endpoints = HOSTS.map(|host| endpoint(host, v1::Hop::Weft));
            let mesh = Mesh::new(&routed(rule), &endpoints);
            let town = Town::new(&mesh);
            let tally = trouble(&mesh, &town, "POST").await;
            assert_eq!(tally.ok + tally.failed.len() as u32, ROUNDS * REQUESTS);
            let twice: Vec<u32> = town
                .seen
                .borrow()
                .iter()
                .filter(|(_, times)| **times > 1)
                .map(|(number, _)| *number)
                .collect();
            assert_eq!(twice, [0; 0], "seed {seed}: processed twice");
            let unseen =
                tally.failed.iter().filter(|number| !town.seen.borrow().contains_key(number)).count();
            let stats = &mesh.worker.shared.stats;
            let over_budget = stats.retries(RetryOutcome::OverBudget);
            assert!(unseen as u64 <= over_budget, "seed {seed}: {unseen} failed without need");
            let seconds = u64::from(ROUNDS) / 5 + 1;
            let most = u64::from(ROUNDS * REQUESTS) / 5 + 3 * seconds;
            let made = stats.retries(RetryOutcome::Made);
            assert!(made <= most, "seed {seed}: {made} retries");
            retried += made + stats.retries(RetryOutcome::Moved);
            assert!(stats.ejections() > 0, "seed {seed}: nobody was ever ejected");
            recovers(&town, seed).await;
        })
        .await;
    }
    assert!(retried > 0, "nothing was ever sent again");
}

#[tokio::test(start_paused = true)]
async fn what_may_be_repeated_fails_only_where_its_answer_had_begun() {
    for seed in 100..103 {
        fastrand::seed(seed);
        local(async {
            let retry = v1::Retry {
                attempts: 4,
                codes: vec![502, 503, 504],
                backoff: Some(millis(10)),
                ..v1::Retry::default()
            };
            let rule = v1::HttpRule {
                retry: Some(retry),
                backend_request_timeout: Some(millis(500)),
                request_timeout: Some(millis(20_000)),
                ..v1::HttpRule::default()
            };
            let budget =
                v1::RetryBudget { percent: 100, min_retries_per_second: 100, ..v1::RetryBudget::default() };
            let policy = v1::BackendPolicy { retry_budget: Some(budget), ..v1::BackendPolicy::default() };
            let endpoints = HOSTS.map(|host| endpoint(host, v1::Hop::Weft));
            let mesh = Mesh::new(&routed_and_protected(rule, policy), &endpoints);
            let town = Town::new(&mesh);
            let tally = trouble(&mesh, &town, "GET").await;
            assert_eq!(tally.failed, tally.torn, "seed {seed}");
            assert_eq!(mesh.worker.shared.stats.retries(RetryOutcome::OverBudget), 0, "seed {seed}");
            recovers(&town, seed).await;
        })
        .await;
    }
}
