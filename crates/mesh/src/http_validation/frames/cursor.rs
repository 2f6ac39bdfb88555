//! Finds frames in octets that come in any pieces (RFC 9113 section 4.1).

/// Octets of a frame's head.
pub(super) const HEAD: usize = 9;
/// Octets of a payload that are kept: a code, and what a GOAWAY says in words.
const KEPT: usize = 40;

/// Where in one direction of a connection.
#[derive(Debug)]
pub(super) struct Cursor {
    head: [u8; HEAD],
    have: usize,
    frame: Frame,
    payload: [u8; KEPT],
    kept: usize,
    /// Octets of the payload that are to come.
    left: usize,
}

impl Default for Cursor {
    fn default() -> Self {
        Self { head: [0; HEAD], have: 0, frame: Frame::default(), payload: [0; KEPT], kept: 0, left: 0 }
    }
}

/// What the head of a frame says.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Frame {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Frame {
    /// What these octets begin with, where that is a whole head.
    pub(super) fn at(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(|head| Self::new(*head))
    }

    fn new(head: [u8; HEAD]) -> Self {
        let [l0, l1, l2, kind, flags, stream @ ..] = head;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind,
            flags,
            // The first bit is reserved.
            stream: u32::from_be_bytes(stream) & !(1 << 31),
        }
    }
}

/// What came of a frame.
#[derive(Debug)]
pub(super) enum Part {
    /// Its head.
    Begin(Frame),
    /// Some of its payload, and not the last of it.
    Moved(Frame),
    /// All of it.
    End(Frame),
}

impl Cursor {
    pub(super) fn is_between(&self) -> bool {
        self.have == 0
    }

    /// The beginning of the last frame's payload, as far as it has come.
    pub(super) fn payload(&self) -> &[u8] {
        self.payload.get(..self.kept).unwrap_or_default()
    }

    /// Four octets of it as a number.
    pub(super) fn number(&self, at: usize) -> u32 {
        let octets = self.payload().get(at..at + 4).and_then(|octets| octets.try_into().ok());
        octets.map_or(0, u32::from_be_bytes)
    }

    /// The next thing that these octets say; takes what it has seen off them. `None` where they are used up.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<Part> {
        if self.have == HEAD {
            return self.payload_moves(bytes);
        }
        if self.have == 0
            && let Some((head, rest)) = bytes.split_first_chunk()
        {
            // As nearly always.
            *bytes = rest;
            self.have = HEAD;
            return Some(self.begin(*head));
        }
        let taken = bytes.len().min(HEAD - self.have);
        let (head, rest) = bytes.split_at(taken);
        self.head.get_mut(self.have..self.have + taken)?.copy_from_slice(head);
        *bytes = rest;
        self.have += taken;
        (self.have == HEAD).then(|| self.begin(self.head))
    }

    fn begin(&mut self, head: [u8; HEAD]) -> Part {
        self.frame = Frame::new(head);
        self.kept = 0;
        self.left = self.frame.length;
        Part::Begin(self.frame)
    }

    fn payload_moves(&mut self, bytes: &mut &[u8]) -> Option<Part> {
        if bytes.is_empty() && self.left > 0 {
            return None;
        }
        let taken = bytes.len().min(self.left);
        let (payload, rest) = bytes.split_at(taken);
        *bytes = rest;
        self.left -= taken;
        let keep = taken.min(KEPT - self.kept);
        self.payload.get_mut(self.kept..self.kept + keep)?.copy_from_slice(payload.get(..keep)?);
        self.kept += keep;
        if self.left > 0 {
            return Some(Part::Moved(self.frame));
        }
        self.have = 0;
        Some(Part::End(self.frame))
    }
}
