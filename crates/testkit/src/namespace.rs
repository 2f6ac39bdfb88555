//! Tests in a network of their own: what they redirect and listen on disturbs nobody.

use std::env;
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Set in the process that runs inside.
const INSIDE: &str = "WEFT_TEST_NAMESPACE";

/// Runs a test in a new network namespace with a loopback interface, by running the test program again inside of it.
/// So it needs no system call that this language would call unsafe.
///
/// `name` is the test's, with its modules. Without root, or without one of `tools` (programs in `PATH`), the test is
/// skipped with a line that says so.
///
/// # Panics
///
/// When the test fails inside.
pub fn in_own_network(name: &str, tools: &[&str], test: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        run("ip", &["link", "set", "lo", "up"]);
        return test();
    }
    let missing: Vec<&str> =
        ["unshare", "ip"].iter().chain(tools).copied().filter(|tool| !is_there(tool)).collect();
    if !missing.is_empty() || !may_unshare() {
        let wants =
            if missing.is_empty() { "root".to_owned() } else { format!("root and {}", missing.join(", ")) };
        println!("skipped {name}: it needs {wants}; with these, run as root: cargo test {name}");
        return;
    }
    let program = env::current_exe().expect("a test runs from a file");
    let inside = Command::new("unshare")
        .args(["--net", "--"])
        .arg(program)
        .args([name, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare is there");
    let said = String::from_utf8_lossy(&inside.stdout) + String::from_utf8_lossy(&inside.stderr);
    assert!(inside.status.success(), "in its own network:\n{said}");
    assert!(said.contains("1 passed"), "no such test: {name}\n{said}");
}

/// Runs a program to its end.
///
/// # Panics
///
/// When it can't be run or fails.
pub fn run(program: &str, arguments: &[&str]) {
    let ended = Command::new(program).args(arguments).output();
    let ended = ended.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{program} {}: {said}", arguments.join(" "));
}

/// Another network, joined to this one by a cable; it ends with this value.
#[derive(Debug)]
pub struct Neighbour {
    /// What keeps the network while nothing runs in it.
    holder: Child,
    network: File,
}

impl Neighbour {
    /// Joins a new network to that of the caller. Addresses are written with their prefix, such as `10.0.0.1/24`.
    ///
    /// # Panics
    ///
    /// When a network can't be made.
    pub fn joined(here: &[&str], there: &[&str]) -> Self {
        let mut holder = Command::new("unshare");
        holder.args(["--net", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let holder = holder.spawn().expect("unshare is there");
        let pid = holder.id().to_string();
        let path = format!("/proc/{pid}/ns/net");
        let own = fs::read_link("/proc/thread-self/ns/net").expect("a network of one's own");
        while fs::read_link(&path).expect("the holder runs") == own {
            thread::yield_now();
        }
        let network = File::open(path).expect("the holder runs");
        run("ip", &["link", "add", "near", "type", "veth", "peer", "name", "far", "netns", &pid]);
        let neighbour = Self { holder, network };
        connect("near", here);
        neighbour.enter(|| {
            run("ip", &["link", "set", "lo", "up"]);
            connect("far", there);
        });
        neighbour
    }

    /// Runs something in the other network, on a thread of its own. Sockets that it makes stay there.
    ///
    /// # Panics
    ///
    /// When it panics.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                move_into_link_name_space(self.network.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may enter a network");
                inside()
            });
            entered.join().expect("what runs in the other network does not panic")
        })
    }

    /// Where the other network can be entered from, as runtimes of containers name it.
    pub fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn connect(interface: &str, addresses: &[&str]) {
    for address in addresses {
        // Without waiting whether somebody else has the same address of IPv6.
        let nodad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
        run("ip", &[&["address", "add", address, "dev", interface], nodad].concat());
    }
    run("ip", &["link", "set", interface, "up"]);
}

fn is_there(tool: &str) -> bool {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths).chain(["/usr/sbin".into(), "/sbin".into()]).any(|path| path.join(tool).is_file())
}

/// Whether this process may make network namespaces.
fn may_unshare() -> bool {
    let tried = Command::new("unshare").args(["--net", "--", "ip", "link", "set", "lo", "up"]).output();
    tried.is_ok_and(|tried| tried.status.success())
}
