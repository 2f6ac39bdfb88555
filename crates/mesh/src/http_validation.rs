//! What may stand on a client's connection of HTTP, watched beside the parser that takes it apart: octets that could be
//! read in more than one way, and frames that only cost time. And what a request is when it is written to a server.
//!
//! Nothing here holds octets but the names of one head's fields, or more than a few words for each stream.

mod fields;
mod frames;
mod http1;
mod names;
mod requests;
mod target;

pub use frames::{Frames, MAX_RESETS_OF_PROXY, Taken};
pub use http1::{Content, for_http1, host_from_authority, host_of_target, join_cookies, objection};
pub use names::{AnswerNames, Names};
pub use requests::{Checked, End, HeadRead, MAX_FIELDS, MAX_HEAD, Requests};
pub use target::encode_target;
