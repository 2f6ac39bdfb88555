//! The clients: requests at a constant rate and in bursts, over HTTP/1.1, HTTP/2 and gRPC, each answer compared with its
//! request. Some read late, and some leave.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::answer::{self, Answer};
use super::clock;
use super::content;
use super::request::{Call, Kind, Outcome, Sent, Service, When};

mod http1;
mod http2;

/// Longer than any request may take by its route.
const PATIENCE: Duration = Duration::from_secs(15);
/// Requests that come at once, of one kind: more than the route's limit.
const BURST: u32 = 60;
/// How often that is.
const BURST_EVERY: Duration = Duration::from_secs(3);
/// How long clients read nothing of a large answer, in milliseconds.
const STALL: std::ops::Range<u64> = 500..2000;
/// How long they wait before they leave, in milliseconds.
const WAIT: std::ops::Range<u64> = 20..400;

/// What came of a request.
enum Came {
    Answer(Box<Answer>),
    /// The client has left, with the status of the head where it had got one.
    Left(When, Option<StatusCode>),
    /// The stream was reset, or the connection closed, before there was a head.
    Reset,
}

/// What the tasks of all requests share.
pub(super) struct Clients {
    addresses: [SocketAddr; Service::COUNT],
    http1: http1::Pool,
    http2: http2::Connection,
    grpc: http2::Connection,
    reads: http2::Connection,
    under_way: Cell<u32>,
    next: Cell<u64>,
    pub(super) sent: RefCell<Vec<Sent>>,
}

impl Clients {
    /// Clients of a sidecar that takes requests to each service at an address of its own.
    pub(super) fn new(addresses: [SocketAddr; Service::COUNT]) -> Rc<Self> {
        Rc::new(Self {
            addresses,
            http1: http1::Pool::default(),
            http2: http2::Connection::default(),
            grpc: http2::Connection::default(),
            reads: http2::Connection::default(),
            under_way: Cell::new(0),
            next: Cell::new(0),
            sent: RefCell::default(),
        })
    }

    /// Sends `rate` requests a second and bursts between them, until it is dropped.
    pub(super) async fn run(self: Rc<Self>, rate: u32) {
        let mut due = interval(Duration::from_secs(1) / rate);
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut bursts = interval(BURST_EVERY);
        bursts.tick().await;
        let mut kinds = Kind::mix().into_iter().cycle();
        let mut bursting = Kind::ordinary().cycle();
        loop {
            tokio::select! {
                _ = due.tick() => self.start(kinds.next()),
                _ = bursts.tick() => {
                    let kind = bursting.next();
                    (0..BURST).for_each(|_| self.start(kind));
                }
            }
        }
    }

    /// Whether every request has ended.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.get() == 0
    }

    /// The number of the next request.
    pub(super) fn next(&self) -> u64 {
        self.next.get()
    }

    fn start(self: &Rc<Self>, kind: Option<Kind>) {
        if let Some(kind) = kind {
            tokio::task::spawn_local(Rc::clone(self).one(kind));
        }
    }

    /// Sends one request and notes what became of it.
    pub(super) async fn one(self: Rc<Self>, kind: Kind) {
        let number = self.next.get();
        self.next.set(number + 1);
        self.under_way.set(self.under_way.get() + 1);
        let at = clock::now();
        let address = self.addresses[kind.service as usize];
        let asked = async {
            match kind.service {
                Service::Http1 => self.http1.ask(address, number, kind).await,
                Service::Http2 => self.http2.ask(address, number, kind).await,
                Service::Grpc => self.grpc.ask(address, number, kind).await,
                Service::Reads => self.reads.ask(address, number, kind).await,
            }
        };
        let (status, outcome) = match timeout(PATIENCE, asked).await {
            Ok(Ok(Came::Answer(answer))) => (Some(answer.status), answer.judge(number, kind)),
            Ok(Ok(Came::Left(when, status))) => (status, Outcome::Left(when)),
            Ok(Ok(Came::Reset)) => (None, Outcome::Reset),
            Ok(Err(problem)) => (None, Outcome::Lost(problem)),
            Err(_) => (None, Outcome::Lost(format!("no answer within {PATIENCE:?}"))),
        };
        self.under_way.set(self.under_way.get() - 1);
        let (ended, status) = (clock::now(), status.map(|status| status.as_u16()));
        self.sent.borrow_mut().push(Sent { number, kind, at, ended, status, outcome });
    }
}

/// A request, as it is sent.
fn request(number: u64, kind: Kind) -> Request<Bytes> {
    let content = if kind.call == Call::Put { content::of_request(number) } else { Bytes::new() };
    let is_grpc = kind.service.is_grpc();
    let mut request = Request::new(if is_grpc { answer::message(&content) } else { content });
    if is_grpc || kind.call == Call::Put {
        *request.method_mut() = Method::POST;
    }
    let target = match kind.service {
        Service::Http1 => kind.call.path(),
        Service::Http2 | Service::Grpc | Service::Reads => {
            format!("http://{}{}", kind.service.name(), kind.call.path())
        }
    };
    // Made of valid constants.
    *request.uri_mut() = target.parse().unwrap_or_default();
    let headers = request.headers_mut();
    headers.insert(content::NUMBER, number.into());
    // By which the lines of the proxy's log are found.
    headers.insert("x-request-id", number.into());
    match kind.service {
        Service::Http1 => {
            headers.insert(header::HOST, HeaderValue::from_static("http1"));
        }
        Service::Http2 => {}
        Service::Grpc | Service::Reads => {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
    }
    request
}

/// When a client of this kind leaves, after the head of the answer: if that is the one that it leaves.
fn leaves(kind: Kind, status: StatusCode, headers: &HeaderMap) -> Option<When> {
    let is_refusal = headers.contains_key("x-weft-error") || headers.contains_key("grpc-status");
    match kind.call {
        Call::Leave(when) if status == StatusCode::OK && !is_refusal => Some(when),
        _ => None,
    }
}

/// What comes of an answer's head; nothing if the client leaves before it.
async fn head<T>(kind: Kind, answer: impl Future<Output = T>) -> Option<T> {
    if kind.call != Call::Leave(When::BeforeHead) {
        return Some(answer.await);
    }
    tokio::select! {
        answer = answer => Some(answer),
        () = wait() => None,
    }
}

/// When the client leaves the answer of which it has the head, if it does; `leaving` is when it would, `more` whether there
/// comes some of the content. Who stays and reads late waits here.
async fn leave(kind: Kind, leaving: Option<When>, more: impl Future<Output = bool>) -> Option<When> {
    match leaving {
        Some(When::AfterHead) => {
            wait().await;
            return leaving;
        }
        Some(_) if more.await => return leaving,
        _ => {}
    }
    if kind.call == Call::Large {
        stall().await;
    }
    None
}

/// Waits as long as a client does before it leaves.
async fn wait() {
    tokio::time::sleep(Duration::from_millis(fastrand::u64(WAIT))).await;
}

/// Waits as long as a client does that reads late.
async fn stall() {
    tokio::time::sleep(Duration::from_millis(fastrand::u64(STALL))).await;
}
