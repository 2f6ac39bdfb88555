//! Paths of requests: their one normal form, and what else servers may read in them.
//!
//! Servers disagree about paths. One undoes percent-encoding before it resolves `..`, another after, a third twice; one
//! takes `%2F` or `\` for a separator, another drops what follows `;` in a segment. So a path may lead to a resource that
//! whoever checked it did not see. Here a path has
//!
//! - one *normal form* ([`normal`]), which routes match and which [`PathMode::Normalize`] forwards: octets that mean
//!   themselves are not encoded and all others are, in capitals (RFC 3986, section 6.2.2); `\` is `/`; there are no empty
//!   segments and no dot segments. A `%2F`, `%5C`, `%3B`, `%3F`, `%23` or `%25` stays encoded, and so does what follows
//!   `;`: servers differ about these.
//! - its *readings* ([`Readings`]): whatever it can become by the steps that servers take, in any order and number. Each is
//!   written in the same spelling, so that two readings differ only if a server could tell them apart.
//!
//! What is not covered: servers that ignore the case of letters, or that follow the rules of a file system for names.

mod readings;
mod steps;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use readings::Readings;

/// What a workload's proxy makes of paths that servers may read in several ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PathMode {
    /// Policies are asked about every reading, and a request is let in only if it would be in all of them. The path goes
    /// on as it was sent.
    #[default]
    EveryReading,
    /// As [`Self::EveryReading`], with the normal form in the place of the path, which goes on so.
    Normalize,
    /// A path that is not its own only reading is refused with 400.
    Reject,
    /// Policies are asked about the path as it was sent alone: right for applications that compare it so themselves.
    AsSent,
}

impl PathMode {
    /// What to forward in the place of a path; `Ok(None)`: itself.
    ///
    /// # Errors
    /// The path has several readings, and they are to be refused.
    pub fn forwarded(self, path: &str) -> Result<Option<String>, Ambiguous> {
        match self {
            Self::EveryReading | Self::AsSent => Ok(None),
            Self::Normalize => match normal(path) {
                Cow::Owned(normal) if normal != path => Ok(Some(normal)),
                _ => Ok(None),
            },
            Self::Reject => match Readings::of(path) {
                Readings::One(_) => Ok(None),
                Readings::Several(_) | Readings::TooMany => Err(Ambiguous),
            },
        }
    }
}

/// A path that servers may read in several ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "servers may read the path in several ways; send it without dot segments, empty segments, ';', '\\' and encoded delimiters"
)]
pub struct Ambiguous;

/// Whether a path is its own normal form and has no other reading, at a glance: what most paths are. Some others are, too.
pub fn is_plain(path: &str) -> bool {
    if !path.starts_with('/') {
        // These are no paths (RFC 9112, sections 3.2.3 and 3.2.4). What else does not begin with a slash is none either.
        return matches!(path, "" | "*");
    }
    let mut after_slash = false;
    for byte in path.bytes() {
        let slash = byte == b'/';
        if !PLAIN[usize::from(byte)] || after_slash && (slash || byte == b'.') {
            return false;
        }
        after_slash = slash;
    }
    true
}

/// The normal form of a path; see the module.
pub fn normal(path: &str) -> Cow<'_, str> {
    if is_plain(path) {
        return Cow::Borrowed(path);
    }
    let spelled = steps::spelled(&steps::with_slashes(path.as_bytes()), false);
    let merged = steps::without_empty_segments(spelled.as_bytes());
    Cow::Owned(String::from_utf8_lossy(&steps::without_dot_segments(&merged)).into_owned())
}

/// The normal form of what paths begin with: the last segment may go on, and so is only spelled.
pub(crate) fn normal_prefix(prefix: &str) -> String {
    let (whole, begun) = prefix.rsplit_once('/').unwrap_or(("", prefix));
    let spelled = steps::spelled(begun.as_bytes(), false);
    if whole.is_empty() && !prefix.starts_with('/') {
        return spelled;
    }
    let mut normal = normal(&format!("{whole}/")).into_owned();
    normal.push_str(&spelled);
    normal
}

/// What ends paths, in the spelling of the normal form.
pub(crate) fn normal_suffix(suffix: &str) -> String {
    steps::spelled(suffix.as_bytes(), false)
}

/// Octets that mean themselves in a path, encoded or not (RFC 3986, section 3.3), without `;`, which servers differ about.
const OWN: [bool; 256] = {
    let mut own = [false; 256];
    let mut byte = 0_u8;
    loop {
        own[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')')
            || matches!(byte, b'*' | b'+' | b',' | b'=' | b':' | b'@');
        if byte == u8::MAX {
            break own;
        }
        byte += 1;
    }
};

/// What paths of one reading consist of.
const PLAIN: [bool; 256] = {
    let mut plain = OWN;
    plain[b'/' as usize] = true;
    plain
};
