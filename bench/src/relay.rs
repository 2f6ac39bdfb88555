//! What carrying bytes between two sockets costs: through a buffer, by `splice(2)` through pipes, by which the kernel moves
//! them itself, and as the proxy does it, which chooses between both.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use weft_proxy::transport::relay::{Carried, Pipes, relay};

/// Bytes of one message where messages are answered one by one.
const MESSAGE: usize = 1024;
/// Bytes that are written and read at once where it goes in one direction.
const CHUNK: usize = 256 * 1024;
/// Bytes that a pipe holds by default, and that are moved at once.
const PIPE: usize = 64 * 1024;
/// Nothing idles here.
const IDLE: Duration = Duration::from_mins(1);

/// How bytes are carried.
#[derive(Clone, Copy)]
enum Way {
    /// The proxy's relay without pipes.
    Buffer,
    /// Nothing but pipes.
    Splice,
    /// The proxy's relay.
    Relay,
}

/// What is carried.
#[derive(Clone, Copy)]
enum Load {
    /// So many bytes in one direction.
    Bulk(u64),
    /// So many messages, each answered before the next.
    Messages(u64),
}

/// What one round came to.
#[derive(Clone, Copy)]
struct Cost {
    elapsed: Duration,
    /// Processor time of the thread that carries.
    cpu: Duration,
}

/// Measures all ways in turn.
pub(crate) fn run(rounds: u32, mebibytes: u64, messages: u64) -> anyhow::Result<()> {
    let ways = [(Way::Buffer, "buffer"), (Way::Splice, "splice"), (Way::Relay, "the proxy's relay")];
    let loads = [Load::Bulk(mebibytes << 20), Load::Messages(messages)];
    let mut measured = Vec::new();
    for load in loads {
        for (way, how) in ways {
            measured.push((load, way, how, Vec::new()));
        }
    }
    for _ in 0..rounds {
        for (load, way, _, costs) in &mut measured {
            costs.push(round(*way, *load)?);
        }
    }
    println!("| what | how | per second | processor time of the relay |\n|---|---|---|---|");
    for (load, _, how, costs) in &measured {
        let elapsed = median(costs.iter().map(|cost| cost.elapsed));
        let cpu = median(costs.iter().map(|cost| cost.cpu));
        match *load {
            Load::Bulk(bytes) => {
                let gibibytes = bytes as f64 / f64::from(1 << 30);
                println!(
                    "| bulk | {how} | {:.2} GiB | {:.0} ms per GiB |",
                    gibibytes / elapsed,
                    cpu * 1e3 / gibibytes
                );
            }
            Load::Messages(count) => {
                let count = count as f64;
                println!(
                    "| {MESSAGE} B, answered | {how} | {:.0} | {:.2} us each |",
                    count / elapsed,
                    cpu * 1e6 / count
                );
            }
        }
    }
    Ok(())
}

fn median(values: impl Iterator<Item = Duration>) -> f64 {
    let mut sorted: Vec<Duration> = values.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default().as_secs_f64()
}

fn round(way: Way, load: Load) -> anyhow::Result<Cost> {
    let server = StdListener::bind("127.0.0.1:0")?;
    let upstream = server.local_addr()?;
    let (give, take) = std::sync::mpsc::channel();
    let carrying = thread::spawn(move || carry(way, upstream, &give));
    let downstream = take.recv().context("the relay does not listen")?;
    let serving = thread::spawn(move || serve(&server, load));
    let began = Instant::now();
    ask(downstream, load)?;
    let elapsed = began.elapsed();
    serving.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
    let cpu = carrying.join().map_err(|_| anyhow::anyhow!("the relay panicked"))??;
    Ok(Cost { elapsed, cpu })
}

fn serve(server: &StdListener, load: Load) -> io::Result<()> {
    let (mut stream, _) = server.accept()?;
    match load {
        Load::Bulk(bytes) => {
            let chunk = vec![7; CHUNK];
            let mut left = bytes;
            while left > 0 {
                let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
                stream.write_all(chunk.get(..length).unwrap_or_default())?;
                left -= length as u64;
            }
        }
        Load::Messages(_) => {
            stream.set_nodelay(true)?;
            let mut message = [0; MESSAGE];
            while stream.read_exact(&mut message).is_ok() {
                stream.write_all(&message)?;
            }
        }
    }
    Ok(())
}

fn ask(relay: SocketAddr, load: Load) -> io::Result<()> {
    let mut stream = StdStream::connect(relay)?;
    match load {
        Load::Bulk(bytes) => {
            let mut chunk = vec![0; CHUNK];
            let mut received = 0;
            while received < bytes {
                match stream.read(&mut chunk)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    length => received += length as u64,
                }
            }
        }
        Load::Messages(count) => {
            stream.set_nodelay(true)?;
            let mut message = [7; MESSAGE];
            for _ in 0..count {
                stream.write_all(&message)?;
                stream.read_exact(&mut message)?;
            }
        }
    }
    Ok(())
}

/// Carries one connection, and gives the processor time that this took.
fn carry(
    way: Way,
    upstream: SocketAddr,
    listening: &std::sync::mpsc::Sender<SocketAddr>,
) -> anyhow::Result<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        listening.send(listener.local_addr()?)?;
        let (near, _) = listener.accept().await?;
        let far = TcpStream::connect(upstream).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let began = thread_time();
        // The end of a side may be a reset, since the other one closes with bytes unread.
        let pipes = match way {
            Way::Buffer => Some(Pipes::at_most(0)),
            Way::Relay => Some(Pipes::default()),
            Way::Splice => None,
        };
        if let Some(pipes) = pipes {
            let _ = relay(near, far, IDLE, &pipes, &mut Carried::default(), std::future::pending()).await;
        } else {
            let _ = tokio::try_join!(moved(&near, &far), moved(&far, &near));
        }
        Ok(thread_time().saturating_sub(began))
    })
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Moves what comes from one socket to the other until its end, which is passed on.
async fn moved(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
    loop {
        let mut length = step(from, Interest::READABLE, from, &writer, PIPE).await?;
        if length == 0 {
            return rustix::net::shutdown(to, rustix::net::Shutdown::Write).map_err(Into::into);
        }
        while length > 0 {
            length -= step(to, Interest::WRITABLE, &reader, to, length).await?;
        }
    }
}

async fn step<A: AsFd, B: AsFd>(
    socket: &TcpStream,
    interest: Interest,
    from: &A,
    to: &B,
    length: usize,
) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    socket.async_io(interest, || Ok(splice(from, None, to, None, length, flags)?)).await
}
