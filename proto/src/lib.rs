//! The gRPC contracts of Weft and the types generated from them.
//!
//! The contracts themselves, with the meaning, unit and default of every field, are the `.proto` files under
//! `weft/v1`; what is generated carries their comments.

/// Version 1 of the contracts.
// Generated code is not written to the lints of this project.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("weft.v1");
}

use prost::Message;

/// Revision of what `Inbound` can say of who is let in. A control plane that says something that proxies of earlier
/// revisions would read as less than it is sets `requires` to the revision that it came with; those proxies then refuse
/// what they don't understand instead of leaving it out. To be raised with each such field or value.
pub const AUTHORIZATION_REVISION: u32 = 1;

/// A message that discovery delivers.
pub trait Resource: Message + Default {
    /// Type URL of the `Any` that carries it.
    const TYPE_URL: &'static str;
}

macro_rules! resource {
    ($($message:ident),*) => {
        $(impl Resource for v1::$message {
            const TYPE_URL: &'static str = concat!("type.googleapis.com/weft.v1.", stringify!($message));
        })*
    };
}

resource!(Destination, Endpoint, Inbound, TrustBundle);
