//! The clients: requests at a constant rate and in bursts, over HTTP/1.1 and HTTP/2, each answer compared with its request.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::clock;
use super::content;
use crate::load::http2;

/// Longer than any request may take by its route.
const PATIENCE: Duration = Duration::from_secs(15);
/// Requests that come at once, of one kind: more than the route's limit.
const BURST: u32 = 60;
/// How often that is.
const BURST_EVERY: Duration = Duration::from_secs(3);

/// The kinds of requests: what is spoken from end to end, and whether it may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) service: Service,
    /// GET, which the routes let be retried, or POST, which they don't.
    pub(super) retriable: bool,
}

/// A service, by what is spoken to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Service {
    Http1,
    Http2,
}

impl Service {
    pub(super) const ALL: [Self; 2] = [Self::Http1, Self::Http2];

    /// Its name in the mesh.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
        }
    }

    /// Its name and port in the mesh. What a workload takes is told by port.
    pub(super) fn authority(self) -> &'static str {
        match self {
            Self::Http1 => "http1:80",
            Self::Http2 => "http2:81",
        }
    }
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [
        Self { service: Service::Http1, retriable: true },
        Self { service: Service::Http1, retriable: false },
        Self { service: Service::Http2, retriable: true },
        Self { service: Service::Http2, retriable: false },
    ];
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The whole answer of this instance.
    Answered(String),
    /// An answer that a proxy gave, with the reason that it says, or a status that no application gives.
    Refused(String),
    /// The answer of this instance began and broke off.
    Torn(String),
    /// Nothing came, or not in time.
    Lost(String),
    /// Something came that is not the answer to this request.
    Mixed(String),
}

/// A request that was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) number: u64,
    pub(super) kind: Kind,
    pub(super) at: Duration,
    pub(super) ended: Duration,
    pub(super) outcome: Outcome,
}

impl Sent {
    /// How long it took.
    pub(super) fn took(&self) -> Duration {
        self.ended.saturating_sub(self.at)
    }
}

/// What the tasks of all requests share.
pub(super) struct Clients {
    addresses: [SocketAddr; 2],
    idle: RefCell<Vec<http1::SendRequest<Full<Bytes>>>>,
    http2: RefCell<Option<SendRequest<Bytes>>>,
    under_way: [Cell<u32>; 2],
    next: Cell<u64>,
    pub(super) sent: RefCell<Vec<Sent>>,
}

impl Clients {
    /// Clients of a sidecar that takes requests to each service at an address of its own.
    pub(super) fn new(addresses: [SocketAddr; 2]) -> Rc<Self> {
        Rc::new(Self {
            addresses,
            idle: RefCell::default(),
            http2: RefCell::default(),
            under_way: Default::default(),
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
        let mut kinds = Kind::ALL.into_iter().cycle();
        let mut bursting = Kind::ALL.into_iter().cycle();
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
        self.under_way.iter().all(|count| count.get() == 0)
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
        let count = &self.under_way[kind.service as usize];
        count.set(count.get() + 1);
        let at = clock::now();
        let asked = async {
            match kind.service {
                Service::Http1 => self.ask_http1(number, kind).await,
                Service::Http2 => self.ask_http2(number, kind).await,
            }
        };
        let outcome = match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => answer.judge(number, kind),
            Ok(Err(problem)) => Outcome::Lost(problem),
            Err(_) => Outcome::Lost(format!("no answer within {PATIENCE:?}")),
        };
        count.set(count.get() - 1);
        let ended = clock::now();
        self.sent.borrow_mut().push(Sent { number, kind, at, ended, outcome });
    }

    async fn ask_http1(&self, number: u64, kind: Kind) -> Result<Answer, String> {
        let mut sender = loop {
            let idle = self.idle.borrow_mut().pop();
            match idle {
                Some(sender) if sender.is_ready() => break sender,
                Some(_) => {}
                None => break self.connect().await?,
            }
        };
        let request = request(number, kind, "/").map(Full::new);
        let answer =
            sender.send_request(request).await.map_err(|error| format!("before an answer: {error}"))?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes);
        if body.is_ok() && sender.ready().await.is_ok() {
            self.idle.borrow_mut().push(sender);
        }
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.map_err(|error| error.to_string()),
        })
    }

    async fn connect(&self) -> Result<http1::SendRequest<Full<Bytes>>, String> {
        let opened = async {
            let stream = TcpStream::connect(self.addresses[0]).await.map_err(|error| error.to_string())?;
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())
        };
        let (sender, connection) = opened.await.map_err(|error| format!("connecting: {error}"))?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }

    async fn ask_http2(&self, number: u64, kind: Kind) -> Result<Answer, String> {
        let open = self.http2.borrow().clone();
        let ready = match open {
            Some(sender) => sender.ready().await.ok(),
            None => None,
        };
        let mut sender = if let Some(sender) = ready {
            sender
        } else {
            let sender = http2::open(self.addresses[1]).await.ok_or("connecting")?;
            *self.http2.borrow_mut() = Some(sender.clone());
            sender.ready().await.map_err(|error| error.to_string())?
        };
        let (parts, body) = request(number, kind, "http://http2/").into_parts();
        let (answer, mut sending) = sender
            .send_request(Request::from_parts(parts, ()), body.is_empty())
            .map_err(|error| error.to_string())?;
        if !body.is_empty() {
            // An answer that comes before the request's end resets the rest of that (RFC 9113 section 8.1).
            let _ = sending.send_data(body, true);
        }
        let answer = answer.await.map_err(|error| format!("before an answer: {error}"))?;
        let (head, mut incoming) = answer.into_parts();
        let mut body = Ok(Vec::new());
        while let (Ok(whole), Some(data)) = (&mut body, incoming.data().await) {
            match data {
                Ok(data) => {
                    whole.extend_from_slice(&data);
                    let _ = incoming.flow_control().release_capacity(data.len());
                }
                Err(error) => body = Err(error.to_string()),
            }
        }
        Ok(Answer { status: head.status, headers: head.headers, body: body.map(Bytes::from) })
    }
}

fn request(number: u64, kind: Kind, target: &str) -> Request<Bytes> {
    let (method, body) = if kind.retriable {
        (Method::GET, Bytes::new())
    } else {
        (Method::POST, content::of_request(number))
    };
    let mut request = Request::new(body);
    *request.method_mut() = method;
    // Both are valid constants.
    *request.uri_mut() = target.parse().unwrap_or_default();
    let headers = request.headers_mut();
    headers.insert(content::NUMBER, number.into());
    // By which the lines of the proxy's log are found.
    headers.insert("x-request-id", number.into());
    if kind.service == Service::Http1 {
        headers.insert(http::header::HOST, http::HeaderValue::from_static("http1"));
    }
    request
}

/// What came of a request.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Result<Bytes, String>,
}

impl Answer {
    fn judge(&self, number: u64, kind: Kind) -> Outcome {
        let field =
            |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if let Some(reason) = self.headers.get("x-weft-error") {
            return Outcome::Refused(String::from_utf8_lossy(reason.as_bytes()).into_owned());
        }
        if self.status != StatusCode::OK {
            return Outcome::Refused(format!("status {}", self.status.as_u16()));
        }
        let sent = if kind.retriable { Bytes::new() } else { content::of_request(number) };
        if field(content::NUMBER) != number.to_string() {
            return Outcome::Mixed(format!("the answer to request {:?}", field(content::NUMBER)));
        }
        if field(content::RECEIVED) != content::hash(&sent) {
            return Outcome::Mixed("the application has received another body".to_owned());
        }
        let instance = field(content::INSTANCE).to_owned();
        match &self.body {
            Err(_) => Outcome::Torn(instance),
            Ok(body) if content::hash(body) == content::hash(&content::of_answer(number)) => {
                Outcome::Answered(instance)
            }
            Ok(body) => Outcome::Mixed(format!("another body, of {} octets", body.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(number: u64, body: Bytes) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(content::NUMBER, number.into());
        headers.insert(content::INSTANCE, http::HeaderValue::from_static("application-0"));
        headers.insert(content::RECEIVED, content::hash(&[]).parse().unwrap());
        Answer { status: StatusCode::OK, headers, body: Ok(body) }
    }

    #[test]
    fn an_answer_is_only_taken_for_its_own_request() {
        let kind = Kind::ALL[0];
        let own = answer(7, content::of_answer(7));
        assert_eq!(own.judge(7, kind), Outcome::Answered("application-0".to_owned()));
        for (answer, of) in [
            (answer(8, content::of_answer(7)), "number"),
            (answer(7, content::of_answer(8)), "body"),
            (answer(7, content::of_answer(7).slice(1..)), "length"),
        ] {
            assert!(matches!(answer.judge(7, kind), Outcome::Mixed(_)), "{of}");
        }
        assert!(matches!(own.judge(7, Kind::ALL[1]), Outcome::Mixed(_)), "the body of the request got lost");
    }

    #[test]
    fn an_answer_that_breaks_off_is_told_from_one_of_a_proxy() {
        let torn = Answer { body: Err("reset".to_owned()), ..answer(7, Bytes::new()) };
        assert_eq!(torn.judge(7, Kind::ALL[0]), Outcome::Torn("application-0".to_owned()));
        let mut refused = answer(7, Bytes::new());
        refused.headers.insert("x-weft-error", http::HeaderValue::from_static("no_endpoints"));
        assert_eq!(refused.judge(7, Kind::ALL[0]), Outcome::Refused("no_endpoints".to_owned()));
    }
}
