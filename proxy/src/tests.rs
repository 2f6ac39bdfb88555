//! A mesh in one thread: proxies, applications and clients joined by pipes, with time that only moves when all wait.

mod access_log;
mod announced;
mod back_pressure;
mod certificates;
mod connection_routes;
mod connections;
mod deadlines;
mod detection;
mod drain;
mod failures;
mod faults;
mod grpc;
mod interim;
mod limits;
mod names;
pub(crate) mod network;
mod own;
mod protocols;
mod resilience;
mod retries;
mod routes;
mod security;
mod translation;
mod tunnels;
mod waiting;
mod world;
