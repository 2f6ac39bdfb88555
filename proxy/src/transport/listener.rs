//! Listening sockets that all workers share, and the one loop that accepts.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use weft_mesh::limits::Permit;

use super::limit::Accepted;
use super::socket;
use super::stream::Transport as _;

/// Connections that the kernel completes before the proxy takes them.
const BACKLOG: i32 = 4096;
/// Pause after an error of `accept` that another try at once would only repeat (no file descriptors left), and while
/// connections are deferred.
const PAUSE: Duration = Duration::from_millis(50);
/// Connections that are accepted in one turn of a worker. Each turn may be long where a core is starved, and those that wait
/// wait for all of them.
const BATCH: u32 = 4;

/// A bound socket that has no runtime yet, so that each worker can take its own copy.
///
/// The copies share one queue of connections: whichever worker is idle takes the next one, and none is lost when a
/// worker stops. With a socket each (`SO_REUSEPORT`) the kernel would deal connections by hash, so that a few
/// long-lived ones may all land on one worker, and would drop what waits in a socket that is closed.
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
    address: SocketAddr,
}

impl Bound {
    /// Binds `address`; port 0 takes a free port. All of IPv6, `[::]`, means all of IPv4 on a machine that has no IPv6.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let bound = Self::bind_exactly(address);
        let absent = |error: &io::Error| {
            matches!(
                error.raw_os_error().map(rustix::io::Errno::from_raw_os_error),
                Some(rustix::io::Errno::AFNOSUPPORT | rustix::io::Errno::ADDRNOTAVAIL)
            )
        };
        match bound {
            Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && absent(&error) => {
                Self::bind_exactly(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
            }
            bound => bound,
        }
    }

    fn bind_exactly(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let address = socket
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("a listening socket without an IP address"))?;
        Ok(Self { socket, address })
    }

    /// The address that was bound, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The one listener, for whoever shares it with nobody.
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        Ok(self.socket.into())
    }

    /// A listener on the runtime of the calling worker.
    pub fn listener(&self) -> io::Result<TcpListener> {
        TcpListener::from_std(self.socket.try_clone()?.into())
    }
}

/// Accepts until `stop` is done, and hands each connection to `handle`.
///
/// An error of one `accept` never ends the loop: it is logged, and the loop pauses where trying at once could only
/// fail again. It also pauses while `defers` says that there is no room for what is new: that waits in the kernel's queue.
///
/// A connection that gets no place from `enter` is reset at once. In the kernel's queue it would wait, perhaps for hours, for
/// others to end, while its client takes it for one that is served; so it hears at once and can go elsewhere.
pub async fn accept(
    listener: TcpListener,
    stop: impl Future<Output = ()>,
    defers: impl Fn() -> bool,
    enter: impl Fn() -> Option<Permit>,
    handle: impl FnMut(Accepted, SocketAddr),
) {
    accept_from(async || listener.accept().await, stop, defers, enter, handle).await;
}

async fn accept_from(
    next: impl AsyncFn() -> io::Result<(TcpStream, SocketAddr)>,
    stop: impl Future<Output = ()>,
    defers: impl Fn() -> bool,
    enter: impl Fn() -> Option<Permit>,
    mut handle: impl FnMut(Accepted, SocketAddr),
) {
    tokio::pin!(stop);
    // Said once, not at each try.
    let mut fails = false;
    let mut batch = 0;
    loop {
        let accepted = async {
            while defers() {
                tokio::time::sleep(PAUSE).await;
            }
            if fails {
                tokio::time::sleep(PAUSE).await;
            }
            next().await
        };
        let accepted = tokio::select! {
            biased;
            () = &mut stop => return,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                fails = false;
                let Some(place) = enter() else {
                    stream.abort();
                    continue;
                };
                match socket::configure(&stream) {
                    Ok(()) => {
                        handle(Accepted::new(stream, place), socket::canonical(peer));
                        // Connections that had to make room for these give their places back in their next turn. Without
                        // that, a burst would hold all places for a moment.
                        batch = (batch + 1) % BATCH;
                        if batch == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                    // The peer has gone already.
                    Err(error) => tracing::debug!(%peer, %error, "connection lost before it was set up"),
                }
            }
            Err(error) if is_of_the_connection(&error) => {
                tracing::debug!(%error, "connection lost before it was accepted");
            }
            Err(error) => {
                if !fails {
                    tracing::warn!(%error, "cannot accept connections; trying again until it goes");
                }
                fails = true;
            }
        }
    }
}

fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    use rustix::io::Errno;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use crate::transport::limit::ConnectionLimit;

    fn place() -> Permit {
        ConnectionLimit::default().enter().unwrap()
    }

    #[tokio::test]
    async fn accepts_until_told_to_stop() {
        let bound = Bound::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let stop = Cell::new(Some(stop));
        let address = bound.address();
        let accepting = accept(
            bound.listener().unwrap(),
            async {
                let _ = stopped.await;
            },
            || false,
            || Some(place()),
            |_, _| drop(stop.take()),
        );
        let ((), client) = tokio::join!(accepting, TcpStream::connect(address));
        client.unwrap();
    }

    #[tokio::test]
    async fn connections_wait_while_they_are_deferred() {
        let bound = Bound::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (asked, accepted) = (Cell::new(0), Cell::new(0));
        let deferring = || {
            asked.set(asked.get() + 1);
            assert_eq!(accepted.get(), 0);
            asked.get() <= 3
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let stop = Cell::new(Some(stop));
        let stopped = async {
            let _ = stopped.await;
        };
        let accepting = accept(
            bound.listener().unwrap(),
            stopped,
            deferring,
            || Some(place()),
            |_, _| {
                accepted.set(accepted.get() + 1);
                drop(stop.take());
            },
        );
        let ((), client) = tokio::join!(accepting, TcpStream::connect(bound.address()));
        client.unwrap();
        assert_eq!((asked.get(), accepted.get()), (4, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn connections_are_accepted_again_when_there_are_descriptors_again() {
        let bound = Bound::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (listener, tries) = (bound.listener().unwrap(), Cell::new(0));
        let next = async || {
            tries.set(tries.get() + 1);
            if tries.get() <= 100 {
                let none_left = if tries.get() % 2 == 0 { Errno::MFILE } else { Errno::NFILE };
                return Err(none_left.into());
            }
            listener.accept().await
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let stop = Cell::new(Some(stop));
        let stopped = async {
            let _ = stopped.await;
        };
        let began = tokio::time::Instant::now();
        let accepting = accept_from(next, stopped, || false, || Some(place()), |_, _| drop(stop.take()));
        let ((), client) = tokio::join!(accepting, TcpStream::connect(bound.address()));
        client.unwrap();
        assert_eq!(tries.get(), 101);
        assert!(began.elapsed() >= PAUSE * 100, "it was tried without a pause");
    }

    #[tokio::test]
    async fn a_connection_beyond_the_limit_is_reset_and_those_before_it_stay() {
        let bound = Bound::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let limit = ConnectionLimit::default();
        limit.set(1);
        let refused = Cell::new(0);
        let enter = || {
            let place = limit.enter();
            refused.set(refused.get() + u32::from(place.is_none()));
            place
        };
        let (accepted, mut taken) = tokio::sync::mpsc::unbounded_channel();
        let clients = async {
            let mut first = TcpStream::connect(bound.address()).await.unwrap();
            let mut served: Accepted = taken.recv().await.unwrap();
            // The reset may be there before the client knows that it is connected.
            let second = async { TcpStream::connect(bound.address()).await?.read(&mut [0]).await };
            let error = second.await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            assert_eq!(refused.get(), 1);
            served.write_all(b"served").await.unwrap();
            first.read_exact(&mut [0; 6]).await.unwrap();
            // Whoever has ended makes room.
            drop(served);
            let _third = TcpStream::connect(bound.address()).await.unwrap();
            taken.recv().await.unwrap();
        };
        let handle = |stream, _| drop(accepted.send(stream));
        accept(bound.listener().unwrap(), clients, || false, enter, handle).await;
        assert_eq!(refused.get(), 1);
    }

    #[tokio::test]
    async fn a_burst_takes_fewer_turns_than_it_has_connections_and_leaves_turns_to_others() {
        const BURST: u32 = 32;
        let bound = Bound::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut clients = Vec::new();
        for _ in 0..BURST {
            clients.push(std::net::TcpStream::connect(bound.address()).unwrap());
        }
        let (turns, accepted) = (Cell::new(0), Cell::new(0));
        let others = async {
            while accepted.get() < BURST {
                turns.set(turns.get() + 1);
                tokio::task::yield_now().await;
            }
        };
        let handle = |_, _| accepted.set(accepted.get() + 1);
        let began = Cell::new(None);
        let listener = bound.listener().unwrap();
        let next = async || {
            let stream = listener.accept().await;
            if began.get().is_none() {
                began.set(Some(turns.get()));
            }
            stream
        };
        accept_from(next, others, || false, || Some(place()), handle).await;
        let taken = turns.get() - began.get().unwrap();
        assert!((BURST / BATCH - 1..BURST).contains(&taken), "{taken} turns");
    }

    #[test]
    fn a_port_in_use_is_refused() {
        let first = Bound::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let second = Bound::bind(first.address());
        assert_eq!(second.err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
    }
}
