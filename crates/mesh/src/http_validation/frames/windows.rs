//! How much a client still takes (RFC 9113 section 6.9): a server that may send nothing is not one that has nothing to say.

/// The identifier of `SETTINGS_INITIAL_WINDOW_SIZE` (RFC 9113 section 6.5.2).
const INITIAL: u16 = 4;
/// Windows before anything is said of them.
const DEFAULT: i64 = 65_535;

/// By how much the window of a stream differs from what a new one has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window(i64);

impl Window {
    /// So many octets were sent.
    pub(super) fn used(&mut self, octets: usize) {
        self.0 = self.0.saturating_sub_unsigned(octets as u64);
    }
}

/// The windows of a connection.
#[derive(Debug)]
pub(super) struct Windows {
    connection: i64,
    initial: i64,
}

impl Default for Windows {
    fn default() -> Self {
        Self { connection: DEFAULT, initial: DEFAULT }
    }
}

impl Windows {
    /// Whether anything may be sent on a stream.
    pub(super) fn are_open(&self, stream: Window) -> bool {
        self.connection > 0 && self.initial.saturating_add(stream.0) > 0
    }

    /// So many octets were sent, on whatever stream.
    pub(super) fn used(&mut self, octets: usize) {
        self.connection = self.connection.saturating_sub_unsigned(octets as u64);
    }

    /// A `WINDOW_UPDATE` came.
    pub(super) fn opened(&mut self, number: u32, stream: Option<&mut Window>, by: u32) {
        let by = i64::from(by & !(1 << 31));
        match (number, stream) {
            (0, _) => self.connection = self.connection.saturating_add(by),
            (_, Some(stream)) => stream.0 = stream.0.saturating_add(by),
            (_, None) => {}
        }
    }

    /// SETTINGS came, whose first entries these are: hardly a client sends more than six.
    pub(super) fn settings(&mut self, payload: &[u8]) {
        for entry in payload.as_chunks::<6>().0 {
            let [high, low, value @ ..] = *entry;
            if u16::from_be_bytes([high, low]) == INITIAL {
                self.initial = u32::from_be_bytes(value).into();
            }
        }
    }
}
