//! `weft get`, `config`, `logs` and `top` of a sidecar on this machine.

use std::process::Stdio;

use crate::support::{ControlPlane, Killed, info, output, text};

#[test]
fn a_sidecar_on_this_machine_is_asked_by_its_address() {
    let control_plane = ControlPlane::start();
    let file = control_plane.folder.path().join("info.json");
    let mut command = control_plane.run(&["--info", file.to_str().unwrap(), "--", "sleep", "600"]);
    let _sidecar = Killed(command.stderr(Stdio::null()).spawn().unwrap());
    let info = info(&file);
    let (admin, outbound) = (info["admin"].as_str().unwrap(), info["outbound"].as_str().unwrap());
    let said = |args: &[&str]| {
        let ended = output(&[args, &["--proxy", admin]].concat());
        assert_eq!(ended.status.code(), Some(0), "{args:?}: {}", text(&ended.stderr));
        (text(&ended.stdout), text(&ended.stderr))
    };
    let (listeners, _) = said(&["get", "listeners"]);
    assert!(listeners.contains(outbound) && listeners.contains(admin), "{listeners}");
    assert!(said(&["get", "certificates"]).0.contains("spiffe://cluster.local/ns/default/sa/"));
    assert!(said(&["config", "--output", "text"]).0.starts_with("sidecar of "));
    let (_, changed) = said(&["logs", "--level", "debug"]);
    assert!(changed.contains("logs debug now; before: "), "{changed}");
    assert_eq!(said(&["top", "--once", "--interval", "500ms"]).0, "no requests yet\n");
    let nobody = output(&["get", "all", "--proxy", "127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        text(&nobody.stderr).contains("no admin server can be asked at 127.0.0.1:1"),
        "{}",
        text(&nobody.stderr)
    );
}
