//! Tests in a network of their own: what they redirect and listen on disturbs nobody.

use std::env;
use std::process::Command;

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

fn is_there(tool: &str) -> bool {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths).chain(["/usr/sbin".into(), "/sbin".into()]).any(|path| path.join(tool).is_file())
}

/// Whether this process may make network namespaces.
fn may_unshare() -> bool {
    let tried = Command::new("unshare").args(["--net", "--", "ip", "link", "set", "lo", "up"]).output();
    tried.is_ok_and(|tried| tried.status.success())
}
