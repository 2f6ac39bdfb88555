//! A pod and the world around it.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::thread::{Gid, Uid, set_thread_res_gid, set_thread_res_uid};
use socket2::{Domain, SockRef, Socket, Type};
use weft_testkit::namespace::{Neighbour, run};

/// The pod's addresses.
pub(crate) const POD: [&str; 2] = ["10.77.0.1", "fd77::1"];
/// Addresses of somebody else.
pub(crate) const OTHER: [&str; 2] = ["10.77.0.2", "fd77::2"];
/// Addresses that only routes lead to.
pub(crate) const FAR: [&str; 2] = ["192.0.2.9", "2001:db8::9"];

/// Whoever calls.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Caller {
    pub(crate) user: u32,
    pub(crate) group: u32,
    pub(crate) mark: u32,
}

pub(crate) const APPLICATION: Caller = Caller { user: 1000, group: 1000, mark: 0 };
pub(crate) const SIDECAR: Caller = Caller { user: 2102, group: 2102, mark: 0 };

/// The network beside the pod's, in which every address that is called answers "outside".
pub(crate) fn surroundings() -> Neighbour {
    let with = |addresses: [&str; 2]| [format!("{}/24", addresses[0]), format!("{}/64", addresses[1])];
    let (here, there) = (with(POD), with(OTHER));
    let neighbour =
        Neighbour::joined(&[&here[0], &here[1]], &[&there[0], &there[1], "192.0.2.9/32", "2001:db8::9/128"]);
    run("ip", &["route", "add", "default", "via", OTHER[0]]);
    run("ip", &["-6", "route", "add", "default", "via", OTHER[1]]);
    for port in [22, 53, 80, 8005] {
        let listener = neighbour.enter(|| listener(port, false));
        serve(listener, |_, _| "outside".to_owned());
    }
    neighbour
}

/// The sidecar's two listeners, and an application on 9080 and 2222.
pub(crate) fn pod(transparent: bool) {
    serve(listener(15001, false), |stream, _| format!("outbound {}", original(stream)));
    serve(listener(15006, transparent), move |stream, peer| {
        let wanted =
            if transparent { canonical(stream.local_addr().unwrap()).to_string() } else { original(stream) };
        format!("inbound {wanted} from {}", peer.ip())
    });
    for port in [9080, 2222, 15020] {
        serve(listener(port, false), |_, peer| format!("application from {}", peer.ip()));
    }
}

pub(crate) fn listener(port: u16, transparent: bool) -> TcpListener {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
    socket.set_only_v6(false).unwrap();
    socket.set_reuse_address(true).unwrap();
    if transparent {
        socket.set_ip_transparent_v6(true).unwrap();
    }
    socket.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port).into()).unwrap();
    socket.listen(16).unwrap();
    socket.into()
}

/// Says something to everyone who comes, until the test's process ends.
pub(crate) fn serve(listener: TcpListener, say: impl Fn(&TcpStream, SocketAddr) -> String + Send + 'static) {
    thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            let text = say(&stream, canonical(peer));
            let _ = stream.write_all(text.as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn original(stream: &TcpStream) -> String {
    let socket = SockRef::from(stream);
    let ipv4 = canonical(stream.local_addr().unwrap()).is_ipv4();
    let original = if ipv4 { socket.original_dst_v4() } else { socket.original_dst_v6() };
    original
        .ok()
        .and_then(|address| address.as_socket())
        .map_or("nowhere".into(), |address| canonical(address).to_string())
}

pub(crate) fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port)
}

/// What answers a connection to an address.
pub(crate) fn call(caller: Caller, to: SocketAddr) -> io::Result<String> {
    let calling = thread::spawn(move || {
        let (group, user) = (Gid::from_raw(caller.group), Uid::from_raw(caller.user));
        // A mark is root's to set, and rules look at who made the socket.
        let socket = |to| Socket::new(Domain::for_address(to), Type::STREAM, None);
        let socket = if caller.mark == 0 {
            set_thread_res_gid(group, group, group)?;
            set_thread_res_uid(user, user, user)?;
            socket(to)?
        } else {
            let marked = socket(to)?;
            marked.set_mark(caller.mark)?;
            marked
        };
        socket.connect_timeout(&to.into(), Duration::from_secs(3))?;
        let mut text = String::new();
        TcpStream::from(socket).read_to_string(&mut text)?;
        Ok(text)
    });
    calling.join().unwrap()
}

/// The same, where an answer must come.
pub(crate) fn answer(caller: Caller, ip: &str, port: u16) -> String {
    let to = address(ip, port);
    call(caller, to).unwrap_or_else(|error| panic!("{caller:?} to {to}: {error}"))
}
