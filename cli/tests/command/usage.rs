//! Help, wrong usage, and readers that go.

use std::process::Stdio;

use crate::support::{Killed, output, text, weft};

#[test]
fn help_is_on_stdout_with_examples_and_exit_codes() {
    let help = output(&["run", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = text(&help.stdout);
    assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
}

#[test]
fn wrong_usage_ends_with_2_and_names_the_value() {
    let wrong = output(&["demo", "--for", "soon"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(wrong.stdout.is_empty() && text(&wrong.stderr).contains("soon"));
}

#[test]
fn errors_are_one_line_with_what_to_do() {
    let nowhere = output(&["run", "--state", "/nonexistent/weft", "--", "true"]);
    assert_eq!(nowhere.status.code(), Some(125));
    let said = text(&nowhere.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("weft run: ") && said.contains("/nonexistent/weft"), "{said}");
    assert!(said.contains("weft control-plane --config DIR"), "{said}");
}

#[test]
fn a_token_that_is_none_is_named_and_not_shown() {
    let wrong = output(&["run", "--token", "s3cret", "--", "true"]);
    assert_eq!(wrong.status.code(), Some(125));
    let said = text(&wrong.stderr);
    assert!(said.contains("--token") && !said.contains("s3cret"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = output(&["completions", shell]);
        assert!(script.status.success());
        assert!(text(&script.stdout).contains("control-plane"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_is_no_error() {
    let mut child =
        weft(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert!(ended.stderr.is_empty(), "{}", text(&ended.stderr));
}

#[test]
fn a_token_is_written_to_a_private_file_once_there_is_a_control_plane() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let (state, file) = (folder.path().join("state"), folder.path().join("token"));
    let create = |wait: &'static str| {
        let mut command = weft(&["token", "create", "--identity", "shop/web", "--wait", wait, "--file"]);
        command.arg(&file).arg("--state").arg(&state);
        command
    };
    let without = create("0s").output().unwrap();
    assert_eq!(without.status.code(), Some(1));
    assert!(text(&without.stderr).contains("no control plane has run"), "{}", text(&without.stderr));
    assert!(!file.exists());
    let mut waiting = create("1m").spawn().unwrap();
    let listen = ["control-plane", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--state"];
    let _control_plane = Killed(weft(&listen).arg(&state).stderr(Stdio::null()).spawn().unwrap());
    assert!(waiting.wait().unwrap().success());
    assert!(std::fs::read_to_string(&file).unwrap().lines().count() == 1);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}
