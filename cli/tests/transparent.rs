//! A program that knows nothing of proxies, in a network whose kernel leads its connections through them.

// Tests end where they go wrong, helpers included.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use weft_testkit::namespace::{in_own_network, run};

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  clusterIP: 10.9.9.9
  selector: {app: reviews}
  ports: [{name: http, port: 80, targetPort: 9080}]
";

/// The user of programs that are redirected; the proxies are root.
const USER: &str = "1000";

/// A process that ends with the test.
struct Process(Child);

impl Process {
    fn weft(arguments: &[&str], token: Option<&str>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(token) = token {
            command.env("WEFT_TOKEN", token);
        }
        Self(command.spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until what an admin server answers holds a text.
fn wait_for(port: u16, path: &str, text: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            write!(stream, "GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").unwrap();
            let _ = stream.read_to_string(&mut answer);
        }
        if answer.contains(text) {
            return;
        }
        assert!(Instant::now() < deadline, "no {text:?} at {path} of port {port}: {answer}");
        std::thread::yield_now();
    }
}

fn token(state: &Path, identity: &str) -> String {
    let made = Command::new(env!("CARGO_BIN_EXE_weft"))
        .args(["token", "create", "--identity", identity, "--state"])
        .arg(state)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_program_that_dials_a_cluster_ip_goes_through_the_mesh() {
    in_own_network("a_program_that_dials_a_cluster_ip_goes_through_the_mesh", &["setpriv"], || {
        let folder = tempfile::tempdir().unwrap();
        let (mesh, state) = (folder.path().join("mesh"), folder.path().join("state"));
        fs::create_dir(&mesh).unwrap();
        fs::write(mesh.join("service.yaml"), SERVICE).unwrap();
        // A network that the service's address is routed to; nobody answers there.
        run("ip", &["link", "add", "pods", "type", "veth", "peer", "name", "away"]);
        run("ip", &["address", "add", "10.9.9.1/24", "dev", "pods"]);
        for end in ["pods", "away"] {
            run("ip", &["link", "set", end, "up"]);
        }
        let (config, state_dir) = (mesh.to_str().unwrap(), state.to_str().unwrap());
        // Ports are this network's own, and so may be fixed.
        let control_plane =
            ["control-plane", "--config", config, "--state", state_dir, "--listen", "127.0.0.1:15012"];
        let _control_plane =
            Process::weft(&[&control_plane[..], &["--admin", "127.0.0.1:15014"]].concat(), None);
        wait_for(15014, "/ready", "200 OK");
        let _reviews = Process::weft(&["example", "reviews", "--version", "v1", "--port", "9080"], None);
        let server =
            ["proxy", "--workload-id", "reviews-1", "--label", "app=reviews", "--admin", "127.0.0.1:15020"];
        let service = ["--service", "reviews:9080/http=127.0.0.1:9080@127.0.0.1:15006"];
        let _server =
            Process::weft(&[&server[..], &service].concat(), Some(&token(&state, "default/reviews")));
        // Before it is asked whether the client is ready: it looks whether it is redirected to.
        run(env!("CARGO_BIN_EXE_weft"), &["redirect", "apply", "--user", "0"]);
        let client = ["proxy", "--workload-id", "client-1", "--admin", "127.0.0.1:15021"];
        let transparent = ["--transparent-outbound", "127.0.0.1:15001"];
        let _client =
            Process::weft(&[&client[..], &transparent].concat(), Some(&token(&state, "default/client")));
        wait_for(15014, "/clients", "\"health\": \"Ready\"");
        wait_for(15021, "/ready", "200 OK");
        let called = Command::new("setpriv")
            .args(["--reuid", USER, "--clear-groups", "--"])
            .arg(env!("CARGO_BIN_EXE_weft"))
            .args(["example", "load", "http://10.9.9.9/reviews/1", "--rate", "50", "--duration", "1s"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&called.stdout);
        let summary = said.lines().last().unwrap_or_default();
        assert!(summary.contains("\"failed\":0") && summary.contains("\"v1\":"), "{said}");
        let shown = Command::new(env!("CARGO_BIN_EXE_weft")).args(["redirect", "show"]).output().unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout);
        assert!(shown.contains("packets  all else: through the sidecar's port 15001"), "{shown}");
        wait_for(15021, "/metrics", "peer=\"spiffe://cluster.local/ns/default/sa/reviews\"");
    });
}
