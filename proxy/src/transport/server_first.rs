//! Which side of a connection speaks first, where nothing is declared of what is spoken on it.

use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use weft_mesh::protocol::begins_like_http2_server;

use super::prefixed::{AHEAD, Prefixed};
use super::stream::Transport;
use crate::error::BoxFailure;

/// Silence of the client after which the server is connected to: far above a round trip within a data centre, and
/// below what anyone notices in a greeting.
pub const SILENCE: Duration = Duration::from_millis(50);

/// Time for either side to speak: that of opaque connections without a byte.
const IDLE: Duration = Duration::from_hours(1);

/// Room for a greeting; longer ones go on as they come.
const GREETING: usize = 512;

/// Who spoke first. All bytes that were read to find out are given again.
#[derive(Debug)]
pub enum First<V, S, F, P> {
    /// The client: the verdict on its bytes, and the connection to the server if it is open by now.
    Client(V, Prefixed<S>, Option<(F, P)>),
    /// The server. A side that ends before either has spoken leaves the word to the server, too: its end is all that
    /// there is to be passed on.
    Server(Prefixed<S>, Prefixed<F>, P),
}

/// Why nobody spoke. Where one connection was reset, so is the other.
#[derive(Debug)]
pub enum Lost<S> {
    /// A connection broke.
    Broken(io::Error),
    /// The server cannot be connected to; gives the client back, who may be told.
    Unreachable(BoxFailure, S),
}

/// Waits for the first bytes of either side, for an hour.
///
/// The client's are given to `judge` as in [`read_ahead`](super::prefixed::read_ahead). After [`SILENCE`] the server
/// is connected to by `open`, so that one that speaks first is heard. HTTP/2's SETTINGS, which some servers send at
/// once, don't make an opaque protocol: such a server waits for requests.
pub async fn race<S, F, P, V>(
    near: S,
    judge: impl FnMut(&[u8], bool) -> Option<V>,
    open: impl Future<Output = Result<(F, P), BoxFailure>>,
) -> Result<First<V, S, F, P>, Lost<S>>
where
    S: Transport,
    F: Transport,
{
    run(near, judge, None, open).await
}

/// As [`server_first`], with a server that is connected to already.
pub async fn race_with<S, F, P, V>(
    near: S,
    judge: impl FnMut(&[u8], bool) -> Option<V>,
    far: (F, P),
) -> Result<First<V, S, F, P>, Lost<S>>
where
    S: Transport,
    F: Transport,
{
    run(near, judge, Some(far), std::future::pending()).await
}

async fn run<S, F, P, V>(
    mut near: S,
    mut judge: impl FnMut(&[u8], bool) -> Option<V>,
    mut far: Option<(F, P)>,
    open: impl Future<Output = Result<(F, P), BoxFailure>>,
) -> Result<First<V, S, F, P>, Lost<S>>
where
    S: Transport,
    F: Transport,
{
    let (mut said, mut greeting) = (BytesMut::with_capacity(AHEAD), BytesMut::new());
    let (mut silent, mut opened) = (false, far.is_some());
    let mut silence = pin!(tokio::time::sleep(SILENCE));
    let mut idle = pin!(tokio::time::sleep(IDLE));
    let mut open = pin!(open);
    loop {
        tokio::select! {
            biased;
            read = near.read_buf(&mut said) => {
                let ended = match read {
                    Ok(read) => read == 0,
                    Err(error) => return Err(broken(error, &near, far.as_ref())),
                };
                if said.is_empty() {
                    let far = match far {
                        Some(far) => Ok(far),
                        None if opened => return Err(Lost::Broken(io::ErrorKind::UnexpectedEof.into())),
                        None => open.await,
                    };
                    return unheard(near, far);
                }
                if let Some(verdict) = judge(&said, ended) {
                    return Ok(First::Client(verdict, Prefixed::new(said.freeze(), near), far));
                }
                if ended {
                    return Err(Lost::Broken(io::ErrorKind::UnexpectedEof.into()));
                }
            }
            () = silence.as_mut(), if !silent => silent = true,
            () = idle.as_mut() => return Err(Lost::Broken(io::ErrorKind::TimedOut.into())),
            opening = open.as_mut(), if silent && !opened && said.is_empty() => {
                opened = true;
                match opening {
                    Ok(opened) => far = Some(opened),
                    Err(failure) => return Err(Lost::Unreachable(failure, near)),
                }
                greeting.reserve(GREETING);
            }
            heard = hear(far.as_mut().map(|(far, _)| far), &mut greeting) => {
                if let Err(error) = heard {
                    return Err(broken(error, &near, far.as_ref()));
                }
                if let Some((far, place)) = greeted(&mut far, &mut greeting) {
                    return Ok(First::Server(Prefixed::new(said.freeze(), near), far, place));
                }
            }
        }
    }
}

/// Leaves the word to the server, after the client has ended without one.
fn unheard<V, S, F, P>(near: S, far: Result<(F, P), BoxFailure>) -> Result<First<V, S, F, P>, Lost<S>> {
    match far {
        Ok((far, place)) => Ok(First::Server(Prefixed::untouched(near), Prefixed::untouched(far), place)),
        Err(failure) => Err(Lost::Unreachable(failure, near)),
    }
}

/// The server that has spoken, with its greeting; `None`: it is one of HTTP/2, which is left alone until the client speaks.
fn greeted<F, P>(far: &mut Option<(F, P)>, greeting: &mut BytesMut) -> Option<(Prefixed<F>, P)> {
    let (far, place) = far.take()?;
    let greeting = std::mem::take(greeting);
    if begins_like_http2_server(&greeting) {
        return None;
    }
    Some((Prefixed::new(greeting.freeze(), far), place))
}

/// What it comes to when one connection breaks.
fn broken<S: Transport, F: Transport, P>(error: io::Error, near: &S, far: Option<&(F, P)>) -> Lost<S> {
    near.abort();
    if let Some((far, _)) = far {
        far.abort();
    }
    Lost::Broken(error)
}

async fn hear<F: AsyncRead + Unpin>(far: Option<&mut F>, greeting: &mut BytesMut) -> io::Result<usize> {
    match far {
        Some(far) => far.read_buf(greeting).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::within::{Within, within};
    use std::future::ready;
    use tokio::io::AsyncWriteExt;
    use tokio::time::{Instant, sleep};

    type Raced = Result<First<(), Within, Within, ()>, Lost<Within>>;

    /// A verdict once there are three bytes.
    async fn raced(near: Within, far: Within) -> Raced {
        race(near, |bytes, _| (bytes.len() >= 3).then_some(()), ready(Ok((far, ())))).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_speaks_first_is_heard_after_the_clients_silence() {
        let (_client, near) = within(64);
        let (far, mut server) = within(64);
        server.write_all(b"220 ready\r\n").await.unwrap();
        let began = Instant::now();
        let Ok(First::Server(_, mut far, ())) = raced(near, far).await else { panic!("not the server") };
        assert!(began.elapsed() < SILENCE * 2, "{:?}", began.elapsed());
        let mut greeting = [0; 11];
        far.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"220 ready\r\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_may_take_its_time_for_each_byte() {
        let (mut client, near) = within(64);
        let (far, _server) = within(64);
        let slow = async {
            for byte in b"abc" {
                sleep(Duration::from_mins(10)).await;
                client.write_all(&[*byte]).await.unwrap();
            }
            client
        };
        let (raced, _client) = tokio::join!(raced(near, far), slow);
        assert!(matches!(raced, Ok(First::Client((), _, Some(_)))), "{raced:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_speaks_at_once_costs_no_connection() {
        let (mut client, near) = within(64);
        client.write_all(b"abc").await.unwrap();
        let open = async { panic!("opened") };
        let raced: Raced = race(near, |_, _| Some(()), open).await;
        assert!(matches!(raced, Ok(First::Client((), _, None))), "{raced:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_of_http2_that_sends_its_settings_at_once_waits_for_the_client() {
        let (mut client, near) = within(64);
        let (far, mut server) = within(64);
        server.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]).await.unwrap();
        let slow = async {
            sleep(Duration::from_secs(10)).await;
            client.write_all(b"abc").await.unwrap();
            client
        };
        let (raced, _client) = tokio::join!(raced(near, far), slow);
        assert!(matches!(raced, Ok(First::Client((), _, None))), "{raced:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_only_listens_leaves_the_word_to_the_server() {
        let (mut client, near) = within(64);
        let (far, mut server) = within(64);
        client.shutdown().await.unwrap();
        server.write_all(b"noon").await.unwrap();
        let raced = raced(near, far).await;
        assert!(matches!(raced, Ok(First::Server(..))), "{raced:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn two_that_say_nothing_are_given_up_after_an_hour() {
        let (_client, near) = within(64);
        let (far, _server) = within(64);
        let began = Instant::now();
        let raced = raced(near, far).await;
        assert!(matches!(raced, Err(Lost::Broken(_))), "{raced:?}");
        assert_eq!(began.elapsed(), IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_cannot_be_reached_ends_a_silent_connection() {
        let (_client, near) = within(64);
        let failure = crate::error::Failure::unprocessed(weft_mesh::reason::Reason::ConnectFailed, "refused");
        let raced: Raced = race(near, |_, _| None, ready(Err(failure))).await;
        assert!(matches!(raced, Err(Lost::Unreachable(..))), "{raced:?}");
    }
}
