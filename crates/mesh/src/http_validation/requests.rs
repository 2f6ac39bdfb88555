//! Requests of HTTP/1 on a connection: where each begins and ends, and that nobody can see that differently.
//!
//! Stricter than RFC 9112 demands where leniency is what lets two parties see two different requests (section 11.2): lines
//! end with CR LF, a length is given once, and of transfer codings there is only `chunked`.

use smallvec::SmallVec;

use super::Names;
use super::fields::{are_values, is_host, is_token, is_value, length, split, trimmed};
use super::target::{is_target, to_encode};
use crate::violation::Violation;

#[cfg(test)]
mod tests;

/// Octets of a request's head: request line, fields and the empty line.
pub const MAX_HEAD: usize = 64 * 1024;
/// Fields of a request's head, or of its trailers.
pub const MAX_FIELDS: usize = 200;
/// Fields for which the parser behind this has room without being asked for more, which costs time for each head.
const FEW_FIELDS: usize = 100;
/// Octets of a request's trailers: what the parser behind this takes.
const MAX_TRAILERS: usize = 16 * 1024;
/// Octets of the extensions of all of a request's chunks: nobody uses any.
const MAX_EXTENSIONS: usize = 4 * 1024;

/// Watches the requests on one connection.
#[derive(Debug, Default)]
pub struct Requests {
    state: State,
    /// What follows the body, where that has a length.
    behind: State,
    head: Head,
    /// Of the octets that were not let through yet: where the line begins that is not whole...
    line: usize,
    /// ...and how many of them have been looked at.
    seen: usize,
    /// What is known of each head that has gone on and was not asked for.
    heads: SmallVec<[HeadRead; 1]>,
    /// Where, among the octets that were given last, the names of the fields begin that hold expectations.
    expectations: SmallVec<[usize; 1]>,
    /// Whether heads that need more room than most have to wait for it.
    little_room: bool,
}

/// What is known of a head that has gone on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeadRead {
    /// The names of its fields, where any has a letter in upper case.
    pub names: Option<Names>,
    /// Whether it expects something (`Expect`, RFC 9110 section 10.1.1).
    pub expects: bool,
    /// Whether it asks for another protocol, so that [`Requests::decided`] has to follow.
    pub asks: bool,
}

/// How far octets may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Octets that may go on.
    pub good: usize,
    /// Why not more.
    pub end: End,
}

/// What follows the octets that may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing, or a part of a head or of trailers: it is to be given again, with more.
    More,
    /// What [`Requests::decided`] says: the request before may have changed the protocol.
    Undecided,
    /// The end of a head that needs more room than most: it is to be given again after [`Requests::give_room`].
    Room,
    /// A target, from and to an octet behind those that may go on: they are to be given again, with it as
    /// [`super::encode_target`] has it.
    Encode(usize, usize),
    /// What must go nowhere.
    Violation(Violation),
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    RequestLine,
    Fields,
    Body(u64),
    Chunk(Chunk),
    Trailers,
    Undecided,
    Tunnel,
}

/// Where in a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    Size { digits: u8, size: u64 },
    Space(u64),
    Extension(u64),
    SizeEnd(u64),
    Data(u64),
    DataReturn,
    DataEnd,
}

const CHUNK: State = State::Chunk(Chunk::Size { digits: 0, size: 0 });

/// What is known of the head that is being read.
#[derive(Debug, Default)]
struct Head {
    is_1_0: bool,
    connect: bool,
    upgrade: bool,
    fields: usize,
    hosts: usize,
    length: Option<u64>,
    codings: Codings,
    extensions: usize,
    names: Names,
    /// Where the names of fields with expectations begin, from the head's first octet on.
    expectations: SmallVec<[usize; 1]>,
}

/// Which transfer codings there were so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Codings {
    #[default]
    None,
    /// Others, after which `chunked` has to come.
    Others,
    Chunked,
    /// Others, then `chunked`.
    OthersAndChunked,
}

impl Requests {
    /// Watches requests for a parser that has room for no more than what most heads need; others have to wait for
    /// [`Requests::give_room`].
    pub fn for_little_room() -> Self {
        Self { little_room: true, ..Self::default() }
    }

    /// How many of these octets may go on. Those that may not are to be given again, before what follows them.
    pub fn check(&mut self, bytes: &[u8]) -> Checked {
        let mut good = 0;
        self.expectations.clear();
        loop {
            let rest = bytes.get(good..).unwrap_or_default();
            if self.state == State::Undecided {
                return Checked { good, end: End::Undecided };
            }
            if rest.is_empty() {
                return Checked { good, end: End::More };
            }
            let step = match self.state {
                State::RequestLine | State::Fields | State::Trailers => self.lines(rest),
                State::Body(left) => Ok(Some(self.body(left, rest.len()))),
                State::Chunk(chunk) => self.chunk(chunk, rest).map(Some).map_err(End::from),
                State::Undecided | State::Tunnel => Ok(Some(rest.len())),
            };
            match step {
                Ok(Some(taken)) => {
                    if !self.head.expectations.is_empty() {
                        self.expectations.extend(self.head.expectations.drain(..).map(|at| good + at));
                    }
                    good += taken;
                }
                Ok(None) => return Checked { good, end: End::More },
                Err(end) => return Checked { good, end },
            }
        }
    }

    /// Says whether what follows a request that asked for it is another protocol, or goes on as HTTP/1.
    pub fn decided(&mut self, tunnel: bool) {
        if self.state == State::Undecided {
            self.state = if tunnel { State::Tunnel } else { State::RequestLine };
        }
    }

    /// Lets heads that need more room than most go on.
    pub fn give_room(&mut self) {
        self.little_room = false;
    }

    /// What is known of each head that has gone on since this was asked last.
    pub fn take_heads(&mut self) -> impl Iterator<Item = HeadRead> {
        self.heads.drain(..)
    }

    /// Where the names begin of the fields `Expect` in heads that the last [`Requests::check`] has let go on, among the octets
    /// that it was given.
    pub fn expectations(&self) -> &[usize] {
        &self.expectations
    }

    /// Whether the octets so far end in the middle of a request's body.
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, State::Body(_) | State::Chunk(_) | State::Trailers)
    }

    /// Whole lines up to an empty one; `None` where that has not come yet.
    fn lines(&mut self, rest: &[u8]) -> Result<Option<usize>, End> {
        loop {
            let Some(end) = self.line_end(rest)? else { return Ok(None) };
            let line = rest.get(self.line..end).unwrap_or_default();
            let Some(line) = line.strip_suffix(b"\r") else {
                let clean = are_values(line);
                return Err(if clean { Violation::LineEnding } else { self.misplaced(line) }.into());
            };
            if self.state == State::RequestLine
                && let Some((from, to)) = to_encode(line)
            {
                return Err(End::Encode(self.line + from, self.line + to));
            }
            if self.little_room && line.is_empty() && self.state == State::Fields && self.head.needs_room() {
                return Err(self.head.after().map_or_else(End::from, |_| End::Room));
            }
            let begin = self.line;
            (self.line, self.seen) = (end + 1, end + 1);
            if line.is_empty() && self.state != State::RequestLine {
                self.end_lines()?;
                return Ok(Some(end + 1));
            }
            self.one_line(line, begin)?;
        }
    }

    /// Where the next line feed is, among as many octets as there may be.
    fn line_end(&mut self, rest: &[u8]) -> Result<Option<usize>, Violation> {
        let (limit, too_long) = match self.state {
            State::RequestLine => (MAX_HEAD, Violation::TargetTooLong),
            State::Fields => (MAX_HEAD, Violation::HeadTooLarge),
            _ => (MAX_TRAILERS, Violation::Trailers),
        };
        let unseen = rest.get(self.seen..).unwrap_or_default();
        let Some(at) = memchr::memchr(b'\n', unseen) else {
            if !unseen.iter().all(|byte| is_value(*byte) || *byte == b'\r') {
                return Err(self.misplaced(unseen));
            }
            self.seen = rest.len();
            return if rest.len() < limit { Ok(None) } else { Err(too_long) };
        };
        let end = self.seen + at;
        if end < limit { Ok(Some(end)) } else { Err(too_long) }
    }

    /// What is wrong with a line in which an octet stands that may not.
    fn misplaced(&self, line: &[u8]) -> Violation {
        match self.state {
            _ if line.contains(&b'\r') => Violation::LineEnding,
            State::RequestLine => Violation::RequestLine,
            _ => Violation::Field,
        }
    }

    fn one_line(&mut self, line: &[u8], begin: usize) -> Result<(), Violation> {
        match self.state {
            // An empty line or two before a request are to be put up with (RFC 9112 section 2.2).
            State::RequestLine if line.is_empty() => Ok(()),
            State::RequestLine => {
                self.head = Head::request(line)?;
                self.state = State::Fields;
                Ok(())
            }
            State::Fields => self.head.field(line, begin),
            _ => self.head.trailer(line),
        }
    }

    /// The empty line after a head, or after trailers.
    fn end_lines(&mut self) -> Result<(), Violation> {
        (self.line, self.seen) = (0, 0);
        self.state = match self.state {
            State::Fields => {
                let after = self.head.after()?;
                let asks = self.head.asks();
                self.behind = if asks { State::Undecided } else { State::RequestLine };
                let expects = !self.head.expectations.is_empty();
                self.heads.push(HeadRead { names: self.head.names.take(), expects, asks });
                after
            }
            _ => State::RequestLine,
        };
        self.head.fields = 0;
        Ok(())
    }

    fn body(&mut self, left: u64, given: usize) -> usize {
        let taken = left.min(given as u64);
        self.state = if taken < left { State::Body(left - taken) } else { self.behind };
        taken as usize
    }

    /// What the next octets are in a chunk; says how many of them it has looked at.
    fn chunk(&mut self, chunk: Chunk, rest: &[u8]) -> Result<usize, Violation> {
        if let Chunk::Data(left) = chunk {
            let taken = left.min(rest.len() as u64);
            let next = if taken < left { Chunk::Data(left - taken) } else { Chunk::DataReturn };
            self.state = State::Chunk(next);
            return Ok(taken as usize);
        }
        let byte = rest.first().copied().unwrap_or_default();
        self.state = match (chunk, byte) {
            (Chunk::Size { digits, size }, _) if byte.is_ascii_hexdigit() => {
                // Sixteen digits fill 64 bits; of those, a size may have 63.
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                if digits >= 16 || size > (i64::MAX as u64) >> 4 {
                    return Err(Violation::Chunk);
                }
                State::Chunk(Chunk::Size { digits: digits + 1, size: size << 4 | u64::from(digit) })
            }
            (Chunk::Size { digits: 1.., size } | Chunk::Space(size), b';') => {
                self.extended(State::Chunk(Chunk::Extension(size)))?
            }
            (Chunk::Size { digits: 1.., size } | Chunk::Space(size), b' ' | b'\t') => {
                self.extended(State::Chunk(Chunk::Space(size)))?
            }
            (Chunk::Size { digits: 1.., size } | Chunk::Extension(size), b'\r') => {
                State::Chunk(Chunk::SizeEnd(size))
            }
            (Chunk::Extension(_), _) if is_value(byte) => self.extended(State::Chunk(chunk))?,
            (Chunk::SizeEnd(0), b'\n') => State::Trailers,
            (Chunk::SizeEnd(size), b'\n') => State::Chunk(Chunk::Data(size)),
            (Chunk::DataReturn, b'\r') => State::Chunk(Chunk::DataEnd),
            (Chunk::DataEnd, b'\n') => CHUNK,
            _ => return Err(Violation::Chunk),
        };
        Ok(1)
    }

    fn extended(&mut self, next: State) -> Result<State, Violation> {
        self.head.extensions += 1;
        if self.head.extensions > MAX_EXTENSIONS { Err(Violation::Chunk) } else { Ok(next) }
    }
}

impl Head {
    fn request(line: &[u8]) -> Result<Self, Violation> {
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(if line.contains(&b'\r') { Violation::LineEnding } else { Violation::RequestLine });
        };
        let is_1_0 = version == b"HTTP/1.0";
        if !is_token(method) || !is_target(method, target) || !(is_1_0 || version == b"HTTP/1.1") {
            return Err(if line.contains(&b'\r') { Violation::LineEnding } else { Violation::RequestLine });
        }
        Ok(Self { is_1_0, connect: method == b"CONNECT", ..Self::default() })
    }

    /// Takes in a field, whose line begins there in the head.
    fn field(&mut self, line: &[u8], begin: usize) -> Result<(), Violation> {
        let (name, value) = split(line)?;
        self.fields += 1;
        if self.fields > MAX_FIELDS {
            return Err(Violation::HeadTooLarge);
        }
        self.names.add(name);
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.hosts += 1;
                if self.hosts > 1 || !is_host(value) {
                    return Err(Violation::Host);
                }
            }
            6 if name.eq_ignore_ascii_case(b"expect") => self.expectations.push(begin),
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.length.is_some() {
                    return Err(Violation::Framing);
                }
                self.length = Some(length(value).ok_or(Violation::Framing)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.codings(value)?,
            _ => {}
        }
        Ok(())
    }

    fn codings(&mut self, value: &[u8]) -> Result<(), Violation> {
        for coding in value.split(|byte| *byte == b',').map(trimmed) {
            // Nothing may follow what ends a body, not even itself.
            let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.codings = match self.codings {
                Codings::None if is_chunked => Codings::Chunked,
                Codings::Others if is_chunked => Codings::OthersAndChunked,
                Codings::None | Codings::Others if is_coding(coding) => Codings::Others,
                _ => return Err(Violation::Framing),
            };
        }
        Ok(())
    }

    fn trailer(&mut self, line: &[u8]) -> Result<(), Violation> {
        let (name, _) = split(line)?;
        self.fields += 1;
        let belongs_into_head =
            [&b"host"[..], b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"te"]
                .iter()
                .any(|other| name.eq_ignore_ascii_case(other));
        if self.fields > MAX_FIELDS || belongs_into_head { Err(Violation::Trailers) } else { Ok(()) }
    }

    /// Whether it asks for another protocol, which begins behind its content (RFC 9110 section 7.8). One whose content has no
    /// length goes on as HTTP/1 (see the proxy's upgrades).
    fn asks(&self) -> bool {
        self.codings == Codings::None && (self.connect || self.upgrade && !self.is_1_0)
    }

    /// Whether it has more fields than most heads, or may be followed by as many in trailers.
    fn needs_room(&self) -> bool {
        self.fields > FEW_FIELDS || self.codings != Codings::None
    }

    /// What follows this head (RFC 9112 section 6.3).
    fn after(&self) -> Result<State, Violation> {
        if self.hosts == 0 && !self.is_1_0 {
            return Err(Violation::Host);
        }
        let ambiguous = self.is_1_0 || self.length.is_some() || self.connect;
        match self.codings {
            Codings::None => {}
            Codings::Others => return Err(Violation::Framing),
            _ if ambiguous => return Err(Violation::Framing),
            Codings::Chunked => return Ok(CHUNK),
            Codings::OthersAndChunked => return Err(Violation::TransferCoding),
        }
        match self.length {
            Some(1..) if self.connect => Err(Violation::Framing),
            Some(length @ 1..) => Ok(State::Body(length)),
            _ if self.asks() => Ok(State::Undecided),
            _ => Ok(State::RequestLine),
        }
    }
}

/// Whether this may be the name of a coding, with or without parameters.
fn is_coding(coding: &[u8]) -> bool {
    coding.split(|byte| *byte == b';').next().map(trimmed).is_some_and(is_token)
}
