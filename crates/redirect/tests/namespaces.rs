//! The kernel's own word: in networks of their own, with two ends.

// Tests end where they go wrong, helpers included.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use weft_redirect::{Error, Rules, iptables, nft};
use weft_testkit::namespace::{in_own_network, run};

/// How rules are put in force and removed.
type Backend = (fn(&Rules) -> Result<(), Error>, fn() -> Result<(), Error>);

const NFT: Backend = (nft::apply, nft::remove);
const IPTABLES: Backend = (iptables::apply, iptables::remove);

fn rules() -> Rules {
    Rules {
        outbound_port: 15001,
        inbound_port: Some(15006),
        users: vec![2102],
        mark: Some(0x2102),
        skip_inbound_ports: vec!["9000-9010".parse().unwrap()],
        skip_outbound_ports: vec![3306.into()],
        skip_outbound_addresses: vec!["10.1.0.2/32".parse().unwrap(), "fd01::/64".parse().unwrap()],
    }
}

/// The other end: a network joined to this one by a cable.
struct Peer(Child);

impl Peer {
    /// Here 10.0.0.1 and fd00::1, there 10.0.0.2 and fd00::2, and besides 10.1.0.2 and fd01::2.
    fn join() -> Self {
        let mut child = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", "echo up; exec sleep 120"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let peer = Self(child);
        let pid = peer.0.id().to_string();
        run("ip", &["link", "add", "here", "type", "veth", "peer", "name", "there", "netns", &pid]);
        run("ip", &["address", "add", "10.0.0.1/24", "dev", "here"]);
        run("ip", &["address", "add", "fd00::1/64", "dev", "here", "nodad"]);
        run("ip", &["link", "set", "here", "up"]);
        peer.run("ip", &["link", "set", "lo", "up"]);
        for address in ["10.0.0.2/24", "10.1.0.2/32", "fd00::2/64", "fd01::2/128"] {
            let mut arguments = vec!["address", "add", address, "dev", "there"];
            if address.contains(':') {
                arguments.push("nodad");
            }
            peer.run("ip", &arguments);
        }
        peer.run("ip", &["link", "set", "there", "up"]);
        run("ip", &["route", "add", "10.1.0.0/24", "via", "10.0.0.2"]);
        run("ip", &["-6", "route", "add", "fd01::/64", "via", "fd00::2"]);
        peer
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let pid = self.0.id().to_string();
        let all = [&["-t", &pid, "-n", "--", program], arguments].concat();
        run("nsenter", &all);
    }

    /// Whether somebody of the other end reaches an address here, and who answers: a line, or nothing.
    fn call(&self, address: &str, port: u16) -> String {
        let pid = self.0.id().to_string();
        let script = format!("exec 3<>/dev/tcp/{address}/{port} && read -r -t 5 line <&3 && echo \"$line\"");
        let called =
            Command::new("nsenter").args(["-t", &pid, "-n", "--", "bash", "-c", &script]).output().unwrap();
        String::from_utf8(called.stdout).unwrap().trim().to_owned()
    }

    /// Lets a server of the other end say its name to whoever comes.
    fn serve(&self, address: &str, port: u16, name: &'static str) -> Server {
        let pid = self.0.id().to_string();
        let program = format!(
            "import socket\ns=socket.create_server(({address:?},{port}),family=socket.AF_INET6 if ':' in {address:?} else socket.AF_INET)\n\
             print('up',flush=True)\nwhile True:\n c,_=s.accept(); c.sendall(b'{name}\\n'); c.close()\n"
        );
        let mut child = Command::new("nsenter")
            .args(["-t", &pid, "-n", "--", "python3", "-c", &program])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        Server(child)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says its name to whoever comes here.
fn serve(address: &str, name: &'static str) {
    let listener = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(format!("{name}\n").as_bytes());
        }
    });
}

/// Who answers at an address.
fn dial(address: &str) -> String {
    let address: SocketAddr = address.parse().unwrap();
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(5)) else {
        return String::new();
    };
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut said = String::new();
    let _ = stream.read_to_string(&mut said);
    said.trim().to_owned()
}

/// The same as another user.
fn dial_as(user: &str, address: &str, port: u16) -> String {
    let script = format!("exec 3<>/dev/tcp/{address}/{port} && read -r -t 5 line <&3 && echo \"$line\"");
    let called = Command::new("setpriv")
        .args(["--reuid", user, "--clear-groups", "--", "bash", "-c", &script])
        .output()
        .unwrap();
    String::from_utf8(called.stdout).unwrap().trim().to_owned()
}

fn redirects((apply, remove): Backend) {
    let peer = Peer::join();
    serve("[::]:15001", "outbound");
    serve("[::]:15006", "inbound");
    serve("[::]:8080", "application");
    serve("[::]:9005", "skipped");
    serve("[::]:15020", "monitor");
    let _servers = [
        peer.serve("10.0.0.2", 80, "there"),
        peer.serve("fd00::2", 80, "there"),
        peer.serve("10.0.0.2", 3306, "database"),
        peer.serve("10.1.0.2", 80, "left"),
        peer.serve("fd01::2", 80, "left"),
    ];
    assert_eq!(dial("10.0.0.2:80"), "there", "before");
    // Twice is as good as once.
    apply(&rules()).unwrap();
    apply(&rules()).unwrap();
    for (address, answer) in [
        ("10.0.0.2:80", "outbound"),
        ("[fd00::2]:80", "outbound"),
        ("10.0.0.2:3306", "database"),
        ("10.1.0.2:80", "left"),
        ("[fd01::2]:80", "left"),
        // Within this network nothing is redirected, by whichever address.
        ("127.0.0.1:8080", "application"),
        ("10.0.0.1:8080", "application"),
        ("[::1]:8080", "application"),
    ] {
        assert_eq!(dial(address), answer, "{address}");
    }
    assert_eq!(dial_as("1000", "10.0.0.2", 80), "outbound", "an application");
    assert_eq!(dial_as("2102", "10.0.0.2", 80), "there", "the proxy itself");
    for (port, answer) in [(8080, "inbound"), (9005, "skipped"), (15020, "monitor"), (15006, "inbound")] {
        assert_eq!(peer.call("10.0.0.1", port), answer, "{port}");
        assert_eq!(peer.call("fd00::1", port), answer, "{port} by IPv6");
    }
    // What is no TCP, such as names being looked up, goes its way.
    let (here, there) = (UdpSocket::bind("10.0.0.1:5353").unwrap(), UdpSocket::bind("10.0.0.1:0").unwrap());
    here.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    there.send_to(b"who", "10.0.0.1:5353").unwrap();
    assert_eq!(here.recv(&mut [0; 8]).unwrap(), 3);
    remove().unwrap();
    remove().unwrap();
    assert_eq!(dial("10.0.0.2:80"), "there", "after");
    assert_eq!(peer.call("10.0.0.1", 8080), "application", "after");
}

#[test]
fn nf_tables_redirects_what_it_should_and_nothing_else() {
    let tools = ["setpriv", "nsenter", "bash", "python3"];
    in_own_network("nf_tables_redirects_what_it_should_and_nothing_else", &tools, || redirects(NFT));
}

#[test]
fn iptables_redirects_what_it_should_and_nothing_else() {
    let tools =
        ["iptables", "iptables-restore", "ip6tables-restore", "setpriv", "nsenter", "bash", "python3"];
    in_own_network("iptables_redirects_what_it_should_and_nothing_else", &tools, || redirects(IPTABLES));
}

#[test]
fn the_rules_in_force_are_shown_in_words() {
    in_own_network("the_rules_in_force_are_shown_in_words", &[], || {
        assert_eq!(nft::show().unwrap(), [""; 0]);
        nft::apply(&rules()).unwrap();
        let shown = nft::show().unwrap();
        assert_eq!(shown[0], "outbound: not TCP: left alone (0 connections)");
        assert!(
            shown.contains(&"outbound: of user 2102: left alone (0 connections)".to_owned()),
            "{shown:?}"
        );
        assert!(shown.last().unwrap().starts_with("inbound: everything else: to the proxy at port 15006"));
        nft::remove().unwrap();
        assert_eq!(nft::show().unwrap(), [""; 0]);
    });
}
