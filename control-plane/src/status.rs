//! What the control plane says in a status. Of routes (Gateway API, `RouteParentStatus`): whether each parent takes them,
//! and whether all that they refer to is there. Of its own kinds: whether the mesh goes by them. One replica at a time
//! writes it.

mod judge;
mod lease;
mod mesh;
mod policy_status;
mod writer;

pub(crate) use lease::Lease;
pub(crate) use writer::Writer;

/// Who writes what is ours of a status (Gateway API, `controllerName`).
pub const CONTROLLER: &str = "mesh.weft.dev/controller";
