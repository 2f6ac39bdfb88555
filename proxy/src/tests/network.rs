//! A network within one thread. Every address is either listened on, silent, or refuses.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use crate::transport::within::{Within, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

/// Bytes that a connection holds in each direction: few, so that writers wait for readers.
const PIPE: usize = 8 * 1024;

#[derive(Clone)]
enum Permit {
    Listening(Rc<dyn Fn(Within)>),
    Silent,
}

thread_local! {
    static PLACES: RefCell<HashMap<SocketAddr, Permit>> = RefCell::default();
}

pub(crate) type Connecting = Pin<Box<dyn Future<Output = io::Result<Within>> + Send>>;

/// Connects to an address of this network; `None` when the test has none.
pub(crate) fn connect(address: SocketAddr) -> Option<Connecting> {
    let place = PLACES
        .with_borrow(|places| if places.is_empty() { None } else { Some(places.get(&address).cloned()) })?;
    Some(match place {
        None => Box::pin(std::future::ready(Err(io::ErrorKind::ConnectionRefused.into()))),
        Some(Permit::Silent) => Box::pin(std::future::pending()),
        Some(Permit::Listening(accept)) => {
            let (near, far) = within(PIPE);
            accept(far);
            Box::pin(std::future::ready(Ok(near)))
        }
    })
}

thread_local! {
    static NAMES: RefCell<HashMap<String, Vec<SocketAddr>>> = RefCell::default();
}

/// The addresses of a name that the test has given some.
pub(crate) fn resolve(name: &str) -> Option<Vec<SocketAddr>> {
    NAMES.with_borrow(|names| names.get(name).cloned())
}

/// Gives a name addresses.
pub(super) fn name(name: &str, addresses: &[SocketAddr]) {
    NAMES.with_borrow_mut(|names| names.insert(name.to_owned(), addresses.to_vec()));
}

/// Takes connections to an address, in place of whoever did before.
pub(super) fn listen<F>(address: SocketAddr, serve: impl Fn(Within) -> F + 'static)
where
    F: Future<Output = ()> + 'static,
{
    let accept = move |stream| {
        tokio::task::spawn_local(serve(stream));
    };
    PLACES.with_borrow_mut(|places| places.insert(address, Permit::Listening(Rc::new(accept))));
}

/// Counts new connections to an address.
pub(super) fn counted(address: SocketAddr, connections: &Rc<Cell<u32>>) {
    let Some(Permit::Listening(accept)) = PLACES.with_borrow(|places| places.get(&address).cloned()) else {
        panic!("nobody listens at {address}");
    };
    let connections = Rc::clone(connections);
    let counting = move |stream| {
        connections.set(connections.get() + 1);
        accept(stream);
    };
    PLACES.with_borrow_mut(|places| places.insert(address, Permit::Listening(Rc::new(counting))));
}

/// Lets no byte through any more on new connections to an address once `frozen` is true, as if a cable was cut.
pub(super) fn freezable(address: SocketAddr, frozen: &Rc<Cell<bool>>) {
    let Some(Permit::Listening(accept)) = PLACES.with_borrow(|places| places.get(&address).cloned()) else {
        panic!("nobody listens at {address}");
    };
    let frozen = Rc::clone(frozen);
    listen(address, move |near| {
        let (own, far) = within(PIPE);
        accept(far);
        let frozen = Rc::clone(&frozen);
        async move {
            let ((near_read, near_write), (own_read, own_write)) =
                (tokio::io::split(near), tokio::io::split(own));
            tokio::join!(copy(near_read, own_write, &frozen), copy(own_read, near_write, &frozen));
        }
    });
}

/// Lets new connections to an address begin with `header`, as those of a load balancer do.
pub(super) fn announce(address: SocketAddr, header: Vec<u8>) {
    let Some(Permit::Listening(accept)) = PLACES.with_borrow(|places| places.get(&address).cloned()) else {
        panic!("nobody listens at {address}");
    };
    listen(address, move |mut near| {
        let (mut own, far) = within(PIPE);
        accept(far);
        let header = header.clone();
        async move {
            own.write_all(&header).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut near, &mut own).await;
        }
    });
}

async fn copy(mut from: ReadHalf<Within>, mut to: WriteHalf<Within>, frozen: &Cell<bool>) {
    let mut bytes = vec![0; PIPE];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if frozen.get() {
            std::future::pending::<()>().await;
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// Takes no connections any more.
pub(super) fn refuse(address: SocketAddr) {
    PLACES.with_borrow_mut(|places| places.remove(&address));
}

/// Never answers.
pub(super) fn silence(address: SocketAddr) {
    PLACES.with_borrow_mut(|places| places.insert(address, Permit::Silent));
}
