//! Material of the authority that can't be used.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use weft_harness::host::{find_program, free_port, run_folder};
use weft_harness::mesh::local;
use weft_identity::CaMaterial;

use super::report::{Actor, Attempt, Report};
use crate::application;

pub(super) async fn run(report: &mut Report) -> anyhow::Result<()> {
    let trust_domain = "cluster.local".parse()?;
    let now = SystemTime::now();
    let (right, other) =
        (CaMaterial::generate(&trust_domain, now)?, CaMaterial::generate(&trust_domain, now)?);
    let decade = Duration::from_hours(24 * 365 * 10 + 24 * 30);
    let expired = CaMaterial::generate(&trust_domain, now - decade)?;
    let cases = [
        ("the key of another certificate", &right.certificate_pem, &other.key_pem),
        ("a certificate that has expired", &expired.certificate_pem, &expired.key_pem),
        ("a key that is none", &right.certificate_pem, &right.certificate_pem),
    ];
    for (name, certificate, key) in cases {
        let folder = run_folder("attacks-authority")?;
        let ca = folder.join("state/ca");
        fs::create_dir_all(&ca)?;
        fs::create_dir_all(folder.join("config"))?;
        fs::write(ca.join("ca.pem"), certificate)?;
        write_secret(&ca.join("ca.key"), key)?;
        let admin = local(free_port()?);
        let mut process = Command::new(find_program("weft")?)
            .args(["control-plane", "--listen", "127.0.0.1:0", "--admin", &admin.to_string()])
            .arg("--state")
            .arg(folder.join("state"))
            .arg("--config")
            .arg(folder.join("config"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("control-plane.log"))?)
            .spawn()?;
        // It either ends with a reason or says at /ready that it is not.
        let mut seen = String::new();
        for _ in 0..10 {
            if process.try_wait()?.is_some() {
                break;
            }
            let answer = application::get(admin, "/ready", "admin").await;
            if answer.status().is_some() {
                seen = answer.summary();
                break;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let ended = process.try_wait()?;
        process.kill().ok();
        process.wait()?;
        let log = fs::read_to_string(folder.join("control-plane.log"))?;
        let reason = log.lines().find(|line| line.contains("ca.")).unwrap_or_default().to_owned();
        let attempt = Attempt {
            actor: Actor::Operator,
            what: &format!("a control plane with {name}"),
            expected: "it does not become ready, and says which file is wrong",
        };
        let refused = ended.is_some_and(|status| !status.success()) || seen.contains(" 503 ");
        report.record(attempt, refused && !reason.is_empty(), format!("{seen} {reason}"));
    }
    Ok(())
}

fn write_secret(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}
