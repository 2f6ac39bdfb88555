//! A server that records what arrives, takes what can be taken for a request as one, and answers as it is told.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answer::Answer;
use super::case::Backend;
use super::message::Arrived;
use super::wire::sides;

mod http1;
pub(crate) mod http2;

/// How long what is under way may take to end after the client has gone.
const SETTLING: Duration = Duration::from_secs(2);
/// The path of requests that are answered at once and not recorded.
pub(crate) const PROBE: &str = "/probe";
/// The body of the answer to them.
pub(crate) const PROBED: &[u8] = b"probed";

/// A running server; it ends when dropped.
pub(crate) struct Recorder {
    ports: [(Backend, u16); Backend::ALL.len()],
    state: Rc<State>,
    _listening: JoinSet<()>,
}

/// What the server's connections share.
#[derive(Default)]
struct State {
    answer: RefCell<Rc<Answer>>,
    arrived: RefCell<Vec<Rc<Arrived>>>,
    bell: Notify,
}

impl Recorder {
    /// Listens on a free port for each backend.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let state = Rc::new(State::default());
        let mut listening = JoinSet::new();
        let mut ports = Backend::ALL.map(|backend| (backend, 0));
        for (backend, port) in &mut ports {
            let listener =
                TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listening on 127.0.0.1")?;
            *port = listener.local_addr()?.port();
            let (backend, state) = (*backend, Rc::clone(&state));
            listening.spawn_local(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::task::spawn_local(connection(stream, backend, Rc::clone(&state)));
                }
            });
        }
        Ok(Self { ports, state, _listening: listening })
    }

    /// Where a backend listens.
    pub(crate) fn port(&self, backend: Backend) -> u16 {
        self.ports.iter().find(|(own, _)| *own == backend).map_or(0, |(_, port)| *port)
    }

    /// Begins anew: requests from now on get this answer.
    pub(crate) fn begin(&self, answer: &Answer) {
        *self.state.answer.borrow_mut() = Rc::new(answer.clone());
        self.state.arrived.borrow_mut().clear();
    }

    /// What arrived, once all of it has ended; what has not ended after a while is as it is.
    pub(crate) async fn arrived(&self) -> Vec<Rc<Arrived>> {
        let settled = async {
            while !self.state.arrived.borrow().iter().all(|arrived| arrived.finished.get()) {
                self.state.bell.notified().await;
            }
        };
        let _as_it_is = timeout(SETTLING, settled).await;
        self.state.arrived.take()
    }
}

impl State {
    fn answer(&self) -> Rc<Answer> {
        Rc::clone(&self.answer.borrow())
    }

    /// Records a request; it has ended when what is returned is dropped.
    fn record(self: &Rc<Self>, arrived: Arrived) -> UnderWay {
        let arrived = Rc::new(arrived);
        self.arrived.borrow_mut().push(Rc::clone(&arrived));
        UnderWay { arrived, state: Rc::clone(self) }
    }
}

/// A request that is being recorded.
struct UnderWay {
    arrived: Rc<Arrived>,
    state: Rc<State>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.arrived.finished.set(true);
        self.state.bell.notify_one();
    }
}

async fn connection(stream: TcpStream, backend: Backend, state: Rc<State>) {
    let (mut wire, out) = sides(stream);
    match wire.is_http2().await {
        Ok(true) => http2::serve(wire, out, backend, state).await,
        Ok(false) => http1::serve(wire, out, backend, state).await,
        Err(_) => {}
    }
}
