//! The gRPC services beside discovery.

mod identity;
mod registration;
mod telemetry;

pub(crate) use identity::Issuer;
pub(crate) use registration::Registrar;
pub(crate) use telemetry::TrafficService;
