//! The processes: instances of backends, and sidecars in front of clients.

use std::net::SocketAddr;

use weft_harness::host;
use weft_harness::mesh::{Mesh, Sidecar, local};
use weft_harness::process::Process;

/// An instance of a backend.
pub(super) struct Instance {
    pub(super) backend: &'static str,
    pub(super) address: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) processes: [Process; 2],
}

/// A sidecar in front of the client.
pub(super) struct Client {
    name: &'static str,
    /// Where it takes requests to the Service whose route has sessions, and to the one that has a key.
    pub(super) ports: [u16; 2],
    pub(super) admin: u16,
    /// `None` only while it is restarted.
    pub(super) process: Option<Process>,
    starts: u32,
}

impl Instance {
    pub(super) fn start(mesh: &Mesh, backend: &'static str, number: usize) -> anyhow::Result<Self> {
        let name = format!("{backend}-{number}");
        let (port, admin) = (host::free_port()?, host::free_port()?);
        let arguments = [
            "backend".to_owned(),
            format!("--name={backend}"),
            format!("--instance={name}"),
            format!("--port={port}"),
        ];
        let application = mesh.application(&name, &arguments)?;
        let offer =
            format!("--service front,keyed,{backend}:80/http2={}@{}", local(port), local(host::free_port()?));
        let sidecar = mesh.sidecar(&Sidecar {
            log: &format!("{name}-sidecar"),
            workload: &name,
            account: "backend",
            services: Some("*"),
            workers: 1,
            admin,
            arguments: vec![offer],
        })?;
        Ok(Self { backend, address: local(port), admin: local(admin), processes: [sidecar, application] })
    }
}

impl Client {
    pub(super) fn start(mesh: &Mesh, name: &'static str) -> anyhow::Result<Self> {
        let (ports, admin) = ([host::free_port()?, host::free_port()?], host::free_port()?);
        let process = Self::sidecar(mesh, name, ports, admin, 0)?;
        Ok(Self { name, ports, admin, process: Some(process), starts: 1 })
    }

    fn sidecar(mesh: &Mesh, name: &str, ports: [u16; 2], admin: u16, starts: u32) -> anyhow::Result<Process> {
        let upstreams = ["front", "keyed"].into_iter().zip(ports);
        let arguments = upstreams.map(|(service, port)| format!("--upstream {service}:80={}", local(port)));
        mesh.sidecar(&Sidecar {
            log: &format!("{name}-{starts}"),
            workload: name,
            account: "client",
            services: Some("*"),
            workers: 1,
            admin,
            arguments: arguments.collect(),
        })
    }

    /// Ends the sidecar and starts another one in its place.
    pub(super) async fn restart(&mut self, mesh: &Mesh) -> anyhow::Result<()> {
        if let Some(process) = self.process.take() {
            process.stop().await;
        }
        self.process = Some(Self::sidecar(mesh, self.name, self.ports, self.admin, self.starts)?);
        self.starts += 1;
        Ok(())
    }
}
