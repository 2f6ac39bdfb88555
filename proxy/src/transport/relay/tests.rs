use super::*;
use crate::transport::prefixed::Prefixed;
use crate::transport::within::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Carries what nobody cuts.
async fn relay<A: Transport, B: Transport>(
    a: A,
    b: B,
    idle: Duration,
    pipes: &Pipes,
    carried: &mut Carried,
) -> Result<(), Ended> {
    super::relay(a, b, idle, pipes, carried, std::future::pending()).await
}

const IDLE: Duration = Duration::from_hours(1);

#[tokio::test]
async fn carries_large_amounts_both_ways_and_counts_them() {
    let pipes = Pipes::default();
    let (client, near) = within(1000);
    let (far, server) = within(700);
    let mut carried = Carried::default();
    let send = vec![7_u8; 300_000];
    let (mut client_read, mut client_write) = tokio::io::split(client);
    let (mut server_read, mut server_write) = tokio::io::split(server);
    let mut received = Vec::new();
    let mut answered = Vec::new();
    let (relayed, ..) = tokio::join!(
        relay(near, far, IDLE, &pipes, &mut carried),
        async {
            client_write.write_all(&send).await.unwrap();
            client_write.shutdown().await.unwrap();
        },
        async { server_read.read_to_end(&mut received).await.unwrap() },
        async {
            server_write.write_all(b"answer").await.unwrap();
            server_write.shutdown().await.unwrap();
        },
        async { client_read.read_to_end(&mut answered).await.unwrap() },
    );
    relayed.unwrap();
    assert_eq!(received, send);
    assert_eq!(answered, b"answer");
    assert_eq!(carried, Carried { forth: 300_000, back: 6 });
}

#[tokio::test]
async fn the_end_of_one_direction_leaves_the_other_open() {
    let pipes = Pipes::default();
    let (mut client, near) = within(64);
    let (far, mut server) = within(64);
    let mut carried = Carried::default();
    let talk = async {
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = String::new();
        server.read_to_string(&mut question).await.unwrap();
        server.write_all(b"answer to ").await.unwrap();
        server.write_all(question.as_bytes()).await.unwrap();
        server.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer to question");
    };
    let (relayed, ()) = tokio::join!(relay(near, far, IDLE, &pipes, &mut carried), talk);
    relayed.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nothing_moves_is_given_up() {
    let pipes = Pipes::default();
    let (mut client, near) = within(64);
    let (far, mut server) = within(64);
    let result = relay(near, far, Duration::from_mins(1), &pipes, &mut Carried::default()).await;
    assert!(matches!(result, Err(Ended::Idle)), "{result:?}");
    for side in [&mut client, &mut server] {
        assert_eq!(side.read(&mut [0]).await.unwrap(), 0, "an end in order was a reset");
    }
}

/// More than all buffers of the kernel on the way take.
const MUCH: usize = 24 * 1024 * 1024;

/// Both ends of a connection through the kernel.
async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (accepted, connected) = tokio::join!(listener.accept(), TcpStream::connect(address));
    (connected.unwrap(), accepted.unwrap().0)
}

/// Bytes of which none can be lost, doubled or put elsewhere unseen.
fn numbered(length: usize) -> Vec<u8> {
    (0..length as u64 / 8).flat_map(u64::to_le_bytes).collect()
}

/// Sends all of `bytes` through a relay of two sockets and gives what arrives.
async fn through(pipes: &Pipes, bytes: &[u8]) -> (Vec<u8>, Carried) {
    let ((mut client, near), (far, mut server)) = tokio::join!(connection(), connection());
    let mut carried = Carried::default();
    let mut received = Vec::new();
    let (relayed, (), ()) = tokio::join!(
        relay(near, far, IDLE, pipes, &mut carried),
        async {
            client.write_all(bytes).await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"answer");
        },
        async {
            server.read_to_end(&mut received).await.unwrap();
            // One direction has ended, the other one goes on.
            server.write_all(b"answer").await.unwrap();
            server.shutdown().await.unwrap();
        },
    );
    relayed.unwrap();
    (received, carried)
}

#[tokio::test]
async fn the_kernel_moves_much_between_two_sockets_and_small_messages_are_copied() {
    let pipes = Pipes::default();
    let small = numbered(4096);
    let (received, carried) = through(&pipes, &small).await;
    assert!(received == small);
    assert_eq!(carried, Carried { forth: 4096, back: 6 });
    assert_eq!(pipes.count(), (0, 0), "a pipe was made for nothing");
    let much = numbered(MUCH);
    let (received, carried) = through(&pipes, &much).await;
    assert!(received == much);
    assert_eq!(carried, Carried { forth: MUCH as u64, back: 6 });
    assert_eq!(pipes.count(), (0, 1), "no pipe was used, or not given back");
}

#[tokio::test]
async fn both_directions_of_a_connection_may_have_much() {
    let pipes = Pipes::default();
    let ((client, near), (far, server)) = tokio::join!(connection(), connection());
    let much = numbered(MUCH);
    let talk = async |stream: TcpStream| {
        let (mut reader, mut writer) = stream.into_split();
        let mut received = Vec::new();
        let (read, ()) = tokio::join!(reader.read_to_end(&mut received), async {
            writer.write_all(&much).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        read.unwrap();
        received
    };
    let mut carried = Carried::default();
    let (relayed, to_client, to_server) =
        tokio::join!(relay(near, far, IDLE, &pipes, &mut carried), talk(client), talk(server));
    relayed.unwrap();
    assert!(to_client == much && to_server == much);
    assert_eq!(carried, Carried { forth: MUCH as u64, back: MUCH as u64 });
    assert_eq!(pipes.count(), (0, 2));
}

#[tokio::test]
async fn bytes_are_copied_where_there_are_no_pipes_or_the_kernel_does_not_move_them() {
    let much = numbered(MUCH);
    for pipes in [Pipes::at_most(0), Pipes::broken()] {
        let (received, carried) = through(&pipes, &much).await;
        assert!(received == much);
        assert_eq!(carried, Carried { forth: MUCH as u64, back: 6 });
    }
}

#[tokio::test]
async fn what_was_read_ahead_goes_first() {
    let pipes = Pipes::default();
    let ((mut client, near), (far, mut server)) = tokio::join!(connection(), connection());
    let much = numbered(MUCH);
    let (ahead, rest) = much.split_at(1000);
    let near = Prefixed::new(ahead.to_vec().into(), near);
    let mut carried = Carried::default();
    let mut received = Vec::new();
    let (relayed, (), _) = tokio::join!(
        relay(near, far, IDLE, &pipes, &mut carried),
        async {
            client.write_all(rest).await.unwrap();
            client.shutdown().await.unwrap();
        },
        async {
            server.shutdown().await.unwrap();
            server.read_to_end(&mut received).await.unwrap()
        },
    );
    relayed.unwrap();
    assert!(received == much);
    assert_eq!(pipes.count(), (0, 1));
}

/// Lets paused time pass in small steps: left to itself it jumps ahead whenever nothing is ready, also while the kernel has
/// not delivered yet what was sent.
async fn time_passes() {
    loop {
        tokio::time::advance(Duration::from_micros(100)).await;
    }
}

/// Waits until nobody has the one pipe. Where that never comes, the relay ends first, for nothing moves on it.
async fn pipe_is_back(pipes: &Pipes) {
    while pipes.count() != (0, 1) {
        tokio::time::sleep(direction::QUIET).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_quiet_gives_its_pipe_back_and_loses_nothing() {
    let pipes = Pipes::default();
    let ((mut client, near), (far, mut server)) = tokio::join!(connection(), connection());
    let much = numbered(MUCH);
    let mut carried = Carried::default();
    let mut received = vec![0; MUCH / 2];
    let sending = async {
        client.write_all(&much).await.unwrap();
        client
    };
    // The server stops reading in the middle, with bytes in the pipe, and after that nothing comes for it.
    let receiving = async {
        server.read_exact(&mut received).await.unwrap();
        pipe_is_back(&pipes).await;
        let mut rest = vec![0; MUCH / 2];
        server.read_exact(&mut rest).await.unwrap();
        received.extend(rest);
        pipe_is_back(&pipes).await;
    };
    {
        let mut relaying = std::pin::pin!(relay(near, far, IDLE, &pipes, &mut carried));
        tokio::select! {
            ended = relaying.as_mut() => panic!("{ended:?}"),
            () = time_passes() => {}
            _ = async { tokio::join!(sending, receiving) } => {}
        }
    }
    assert!(received == much);
    assert_eq!(carried.forth, MUCH as u64);
}

#[tokio::test]
async fn a_connection_that_had_much_is_given_up_when_nothing_moves_on_it() {
    let pipes = Pipes::default();
    let ((mut client, near), (far, mut server)) = tokio::join!(connection(), connection());
    let much = numbered(MUCH);
    let mut carried = Carried::default();
    let mut received = vec![0; MUCH];
    let mut relaying = std::pin::pin!(relay(near, far, IDLE, &pipes, &mut carried));
    let transfer = async { tokio::join!(client.write_all(&much), server.read_exact(&mut received)) };
    tokio::select! {
        ended = relaying.as_mut() => panic!("{ended:?}"),
        (written, read) = transfer => assert!(written.is_ok() && read.is_ok()),
    }
    // Nothing is on its way in the kernel when the clock begins to jump.
    tokio::time::pause();
    let began = Instant::now();
    let relayed = relaying.await;
    assert!(matches!(relayed, Err(Ended::Idle)), "{relayed:?}");
    assert!(began.elapsed() >= IDLE / 2);
    assert!(received == much);
}

#[tokio::test(start_paused = true)]
async fn bytes_behind_an_urgent_one_are_carried() {
    let pipes = Pipes::default();
    let ((mut client, near), (far, mut server)) = tokio::join!(connection(), connection());
    let much = numbered(MUCH);
    let mut carried = Carried::default();
    let mut received = vec![0; MUCH + 6];
    let mut relaying = std::pin::pin!(relay(near, far, IDLE, &pipes, &mut carried));
    let talk = async {
        tokio::join!(
            async {
                client.write_all(&much).await.unwrap();
                socket2::SockRef::from(&client).send_out_of_band(b"!").unwrap();
                client.write_all(b"behind").await.unwrap();
            },
            async { server.read_exact(&mut received).await.unwrap() },
        )
    };
    tokio::select! {
        ended = relaying.as_mut() => panic!("{ended:?}"),
        () = time_passes() => {}
        _ = talk => {}
    }
    assert!(received.starts_with(&much) && received.ends_with(b"behind"));
}

#[tokio::test]
async fn a_reset_ends_a_connection_whose_bytes_the_kernel_moves() {
    let pipes = Pipes::default();
    let ((mut client, near), (far, mut server)) = tokio::join!(connection(), connection());
    let mut carried = Carried::default();
    let much = numbered(MUCH);
    let (relayed, ..) = tokio::join!(
        relay(near, far, IDLE, &pipes, &mut carried),
        async { drop(client.write_all(&much).await) },
        async {
            let mut some = vec![0; MUCH / 2];
            server.read_exact(&mut some).await.unwrap();
            // With bytes unread a socket that is closed says that they were not taken.
            drop(server);
        },
    );
    assert!(relayed.is_err());
    assert!(carried.forth >= MUCH as u64 / 2);
    assert_eq!(pipes.count().0, 0);
}
