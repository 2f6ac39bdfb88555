//! What may stand on a client's connection of HTTP, watched beside the parser that takes it apart: octets that could be
//! read in more than one way, and frames that only cost time.
//!
//! Nothing here holds octets but the names of one head's fields, or more than a few words for each stream.

mod fields;
mod frames;
mod names;
mod requests;

pub use frames::Frames;
pub use names::{AnswerNames, Names};
pub use requests::{Checked, End, MAX_FIELDS, MAX_HEAD, Requests};
