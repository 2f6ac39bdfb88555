//! A network within one thread. Every address is either listened on, silent, or refuses.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use tokio::io::DuplexStream;

/// Bytes that a connection holds in each direction: few, so that writers wait for readers.
const PIPE: usize = 8 * 1024;

#[derive(Clone)]
enum Place {
    Listening(Rc<dyn Fn(DuplexStream)>),
    Silent,
}

thread_local! {
    static PLACES: RefCell<HashMap<SocketAddr, Place>> = RefCell::default();
}

pub(crate) type Connecting = Pin<Box<dyn Future<Output = io::Result<DuplexStream>> + Send>>;

/// Connects to an address of this network; `None` when the test has none.
pub(crate) fn connect(address: SocketAddr) -> Option<Connecting> {
    let place = PLACES
        .with_borrow(|places| if places.is_empty() { None } else { Some(places.get(&address).cloned()) })?;
    Some(match place {
        None => Box::pin(std::future::ready(Err(io::ErrorKind::ConnectionRefused.into()))),
        Some(Place::Silent) => Box::pin(std::future::pending()),
        Some(Place::Listening(accept)) => {
            let (near, far) = tokio::io::duplex(PIPE);
            accept(far);
            Box::pin(std::future::ready(Ok(near)))
        }
    })
}

/// Takes connections to an address, in place of whoever did before.
pub(super) fn listen<F>(address: SocketAddr, serve: impl Fn(DuplexStream) -> F + 'static)
where
    F: Future<Output = ()> + 'static,
{
    let accept = move |stream| {
        tokio::task::spawn_local(serve(stream));
    };
    PLACES.with_borrow_mut(|places| places.insert(address, Place::Listening(Rc::new(accept))));
}

/// Takes no connections any more.
pub(super) fn refuse(address: SocketAddr) {
    PLACES.with_borrow_mut(|places| places.remove(&address));
}

/// Never answers.
pub(super) fn silence(address: SocketAddr) {
    PLACES.with_borrow_mut(|places| places.insert(address, Place::Silent));
}
