//! A Kubernetes API server in process: it keeps objects by their path, lists and selects them, tries changes without
//! keeping them, answers reviews, and forwards ports of pods.
//!
//! It runs on a thread of its own, so that tests of any kind can ask it, and listens on loopback without TLS.

mod forward;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::UPGRADE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// What is answered instead of what there is.
type Answer = Arc<dyn Fn(&Value) -> (u16, Value) + Send + Sync>;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    answers: BTreeMap<String, Answer>,
    /// Verb and resource, such as `create deployments.apps`.
    denied: BTreeSet<String>,
    ports: BTreeMap<(String, u16), SocketAddr>,
    asked: Vec<String>,
}

/// An API server; it ends when it is dropped.
pub struct ApiServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _stop: oneshot::Sender<()>,
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl ApiServer {
    /// Starts one that is empty, of Kubernetes 1.34.
    ///
    /// # Panics
    ///
    /// When there is no loopback.
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let (stop, stopped) = oneshot::channel();
        let address = serve(stopped, {
            let state = Arc::clone(&state);
            move |request| respond(Arc::clone(&state), request)
        });
        let server = Self { address, state, _stop: stop };
        server.put("/version", json!({"major": "1", "minor": "34", "gitVersion": "v1.34.0",
            "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}));
        server
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig whose current context is this server's, with namespace `shop`.
    pub fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.url()}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "shop"}}],
            "current-context": "test",
        })
        .to_string()
    }

    /// Keeps an object at its path.
    pub fn put(&self, path: &str, object: Value) {
        self.state.lock().objects.insert(path.to_owned(), object);
    }

    /// Keeps it no longer.
    pub fn remove(&self, path: &str) {
        self.state.lock().objects.remove(path);
    }

    /// Answers requests of a method and a path, such as `POST /api/v1/namespaces/shop/pods`, with this status and object,
    /// made of what is sent.
    pub fn answer(&self, what: &str, answer: impl Fn(&Value) -> (u16, Value) + Send + Sync + 'static) {
        self.state.lock().answers.insert(what.to_owned(), Arc::new(answer));
    }

    /// Answers requests of a method and a path with a failure.
    pub fn fail(&self, what: &str, code: u16, reason: &str, message: &str) {
        let status = status(code, reason, message);
        self.answer(what, move |_| (code, status.clone()));
    }

    /// Says of a verb and a resource, such as `create deployments.apps`, that who asks may not.
    pub fn deny(&self, what: &str) {
        self.state.lock().denied.insert(what.to_owned());
    }

    /// Leads a port of a pod (`namespace/name`) to an address.
    pub fn forward(&self, pod: &str, port: u16, to: SocketAddr) {
        self.state.lock().ports.insert((pod.to_owned(), port), to);
    }

    /// What it was asked, as method and path with query, in order.
    pub fn asked(&self) -> Vec<String> {
        self.state.lock().asked.clone()
    }
}

/// A server of canned answers, such as a sidecar's admin server; it ends when it is dropped.
#[derive(Debug)]
pub struct Canned {
    /// Where it listens.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _stop: oneshot::Sender<()>,
}

impl Canned {
    /// Answers each path with a text, and others with 404.
    pub fn start(answers: &[(&str, &str)]) -> Self {
        let answers: BTreeMap<String, String> =
            answers.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel();
        let log = Arc::clone(&asked);
        let address = serve(stopped, move |request| {
            log.lock().push(format!("{} {}", request.method(), request.uri()));
            let found = answers.get(request.uri().path()).cloned();
            let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
            std::future::ready(plain(status, found.unwrap_or_default().into()))
        });
        Self { address, asked, _stop: stop }
    }

    /// What it was asked, as method and path with query, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

/// Serves on a thread of its own until told otherwise.
fn serve<F, A>(stopped: oneshot::Receiver<()>, respond: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is loopback");
    listener.set_nonblocking(true).expect("a socket can be made not to block");
    let address = listener.local_addr().expect("a listener has an address");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("there can be a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("it does not block");
            let accepting = async {
                while let Ok((stream, _)) = listener.accept().await {
                    let respond = respond.clone();
                    let service = service_fn(move |request| {
                        let answer = respond(request);
                        async move { Ok::<_, Infallible>(answer.await) }
                    });
                    tokio::spawn(
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades(),
                    );
                }
            };
            tokio::select! {
                () = accepting => {}
                _ = stopped => {}
            }
        });
    });
    address
}

async fn respond(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let what = format!("{} {}", request.method(), request.uri());
    state.lock().asked.push(what);
    let path = request.uri().path().to_owned();
    let canned = state.lock().answers.get(&format!("{} {path}", request.method())).cloned();
    if request.headers().contains_key(UPGRADE) && canned.is_none() {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let port =
            query.split('&').find_map(|pair| pair.strip_prefix("ports=")?.parse().ok()).unwrap_or_default();
        let pod = forward::pod(&path);
        let to = state.lock().ports.get(&(pod, port)).copied();
        return forward::accept(request, port, to);
    }
    let (method, query) = (request.method().clone(), request.uri().query().unwrap_or_default().to_owned());
    let body =
        request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (code, value) = match canned {
        Some(answer) => answer(&body),
        None => state.lock().answer(&method, &path, &query, body),
    };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    plain(StatusCode::from_u16(code).unwrap_or_default(), text.into())
}

fn plain(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
}

impl State {
    fn answer(&self, method: &Method, path: &str, query: &str, mut body: Value) -> (u16, Value) {
        if *method == Method::GET {
            return match self.objects.get(path) {
                Some(found) => (200, found.clone()),
                None if is_list(path) => {
                    (200, json!({"kind": "List", "metadata": {}, "items": self.list(path, query)}))
                }
                None => (404, status(404, "NotFound", &format!("{path} not found"))),
            };
        }
        if path.ends_with("/selfsubjectaccessreviews") {
            let asked = &body["spec"]["resourceAttributes"];
            let text = |field: &str| asked[field].as_str().unwrap_or_default();
            let resource = match text("group") {
                "" => text("resource").to_owned(),
                group => format!("{}.{group}", text("resource")),
            };
            let allowed = !self.denied.contains(&format!("{} {resource}", text("verb")));
            body["status"] = json!({"allowed": allowed});
            return (201, body);
        }
        // Nothing is kept: what is asked for is tried.
        (if *method == Method::POST { 201 } else { 200 }, body)
    }

    fn list(&self, path: &str, query: &str) -> Vec<Value> {
        let selector =
            query.split('&').find_map(|pair| pair.strip_prefix("labelSelector=")).unwrap_or_default();
        let selector = selector.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/");
        let (root, plural) = path.rsplit_once('/').unwrap_or_default();
        let of_list = |key: &str| {
            let Some((list, _)) = key.rsplit_once('/') else { return false };
            if list == path {
                return true;
            }
            // Of all namespaces.
            list.strip_prefix(root).and_then(|rest| rest.strip_suffix(plural)).is_some_and(|between| {
                between
                    .strip_prefix("/namespaces/")
                    .and_then(|it| it.strip_suffix('/'))
                    .is_some_and(|it| !it.contains('/'))
            })
        };
        let found = self.objects.iter().filter(|(key, object)| of_list(key) && selects(&selector, object));
        found.map(|(_, object)| object.clone()).collect()
    }
}

/// A path of a plural: lists that are empty are no error, objects that are missing are.
fn is_list(path: &str) -> bool {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let rest = match parts.first() {
        Some(&"api") => parts.get(2..),
        Some(&"apis") => parts.get(3..),
        _ => None,
    };
    matches!(rest, Some([_] | ["namespaces", _, _]))
}

/// Equality and existence of labels.
fn selects(selector: &str, object: &Value) -> bool {
    let labels = &object["metadata"]["labels"];
    selector.split(',').filter(|part| !part.is_empty()).all(|part| match part.split_once('=') {
        Some((name, value)) => labels[name] == value,
        None => !labels[part].is_null(),
    })
}
