//! A delta xDS client and server, generic over the resource.

pub mod client;
mod error;
mod rejection;
mod resource;
pub mod server;

pub use self::error::Error;
pub use self::rejection::Rejection;
pub use self::resource::{EncodedResource, Version, collection_of, is_collection};
