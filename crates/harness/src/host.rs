//! The machine that the benchmark runs on: folders, programs, ports, and what to say about it in results.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Context;
use serde::Serialize;

/// Ports are taken below the range from which the kernel picks them for outgoing connections, so that none of those
/// occupies one between its choice and its use.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The folder `bench` of the checkout, where benchmarks have their definitions and results.
pub fn bench_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench")
}

/// The folder `verify` of the checkout, where verification has its definitions and results.
pub fn verify_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../verify")
}

/// Where everything is written that isn't kept: `bench/.work`.
pub fn work_folder() -> PathBuf {
    bench_folder().join(".work")
}

/// The folder of the run of this name, emptied of what an earlier one has left.
pub fn run_folder(name: &str) -> anyhow::Result<PathBuf> {
    let folder = work_folder().join("run").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("emptying {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder)
}

/// Puts a file in place as a whole: whoever reads it or watches for it never sees half of it.
pub fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, path)
}

/// The program `name`: in `.work/bin`, beside this program, or in `PATH`.
pub fn find_program(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [Some(work_folder().join("bin")), own].into_iter().flatten();
    let mut candidates = folders.chain(std::env::split_paths(&path)).map(|folder| folder.join(name));
    candidates.find(|candidate| candidate.is_file()).with_context(|| {
        format!("no program {name}: neither in bench/.work/bin, nor beside this program, nor in PATH")
    })
}

/// Ports that were given out: whoever got one may not listen yet.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port of the loopback interface that nobody listens on, and that this run has not been given before.
pub fn free_port() -> anyhow::Result<u16> {
    for _ in 0..1000 {
        let port = fastrand::u16(PORTS);
        let is_new = GIVEN.lock().is_ok_and(|mut given| given.insert(port));
        if is_new && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no free port found between {} and {}", PORTS.start, PORTS.end)
}

/// As many of those as are needed.
pub fn free_ports<const COUNT: usize>() -> anyhow::Result<[u16; COUNT]> {
    let mut ports = [0; COUNT];
    for port in &mut ports {
        *port = free_port()?;
    }
    Ok(ports)
}

/// What results depend on.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// Its release.
    pub kernel: String,
    /// Model of the processor.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory in GiB.
    pub memory_gib: f64,
    /// When the run began, UTC.
    pub date: String,
}

impl Host {
    /// This machine, now.
    pub fn describe() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let after_colon = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key));
            line.and_then(|line| line.split_once(':'))
                .map(|(_, value)| value.trim().to_owned())
                .unwrap_or_default()
        };
        let memory = after_colon(&read("/proc/meminfo"), "MemTotal");
        let memory_kib: f64 =
            memory.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default();
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: after_colon(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: memory_kib / f64::from(1 << 20),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        }
    }
}

/// The command that repeats this run of the program of `package`, in the profile that is shipped.
pub fn command_line(package: &str) -> String {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    format!("cargo run --profile dist -p {package} -- {}", arguments.join(" "))
}
