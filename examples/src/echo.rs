//! `echo`: lines over plain TCP, from a server that speaks first, as those of databases and of mail do.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::serving::{Bound, DRAIN, Serving};

/// What every connection begins with.
pub const GREETING: &str = "ready\n";
/// Longest line that is answered; a longer one ends the connection.
const LONGEST_LINE: u64 = 64 * 1024;
/// Long enough for descriptors to be freed when accepting fails for want of them.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Options of `echo`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where to listen.
    #[command(flatten)]
    pub serving: Serving,
}

/// Listens and answers until SIGTERM or SIGINT.
pub async fn run(args: Args) -> Result<(), Error> {
    bind(args).await?.serve_until_signal().await
}

/// Listens.
pub async fn bind(args: Args) -> Result<Bound, Error> {
    let (listener, address) = args.serving.listen().await?;
    Ok(Bound::new("tcp", "echo", address, async move |stop| {
        serve(listener, stop).await;
        Ok(())
    }))
}

async fn serve(listener: TcpListener, stop: CancellationToken) {
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = open.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // How a connection ends is the caller's business: it sees the same end.
        open.spawn(async move { drop(answer(stream).await) });
    }
    drop(listener);
    let finished = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, finished).await.is_err() {
        eprintln!("connections still open after {} s are cut off", DRAIN.as_secs());
    }
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(GREETING.as_bytes()).await?;
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = tokio::io::AsyncReadExt::take(&mut read, LONGEST_LINE);
        bounded.read_until(b'\n', &mut line).await?;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
        write.write_all(&line).await?;
    }
}
