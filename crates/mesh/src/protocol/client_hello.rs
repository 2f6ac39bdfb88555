//! Reads the server name and the offered protocols from a TLS `ClientHello` (RFC 8446, section 4.1.2) without
//! taking part in the handshake.

const RECORD_HEADER: usize = 5;
const HANDSHAKE_HEADER: usize = 4;
const CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ALPN: u16 = 16;
const NAME_MAX: usize = 255;
/// Records that a hello may be spread over: it fits into one, and each is looked at again whenever more bytes come.
const RECORDS_MAX: usize = 64;

/// What the bytes turned out to be.
pub(super) enum Hello {
    /// The hello is not complete.
    NeedMore,
    /// These are no TLS handshake records.
    NotTls,
    /// A hello; what it does not hold or holds malformed is empty, because its server is who must refuse it.
    Complete { server_name: Option<String>, alpn: Vec<Vec<u8>> },
}

/// Reads a hello that may be spread over several records.
///
/// A client decides how few bytes come at once: as long as some are missing, no more than the records' heads is looked at.
pub(super) fn read_client_hello(bytes: &[u8]) -> Hello {
    let mut head = ([0; HANDSHAKE_HEADER], 0);
    let mut come = 0;
    let mut rest = Reader(bytes);
    for record in 1..=RECORDS_MAX {
        let header = rest.0.get(..RECORD_HEADER.min(rest.0.len())).unwrap_or_default();
        if !is_record(header) {
            return Hello::NotTls;
        }
        if header.len() < RECORD_HEADER {
            return Hello::NeedMore;
        }
        let (Some(_), Some(length)) = (rest.take(3), rest.u16()) else { return Hello::NeedMore };
        let available = usize::from(length).min(rest.0.len());
        let content = rest.take(available).unwrap_or_default();
        for (to, from) in head.0.iter_mut().skip(head.1).zip(content) {
            *to = *from;
            head.1 += 1;
        }
        come += available;
        if (head.1 > 0 && head.0.first() != Some(&CLIENT_HELLO)) || length == 0 {
            return Hello::NotTls;
        }
        if head.1 == HANDSHAKE_HEADER && come >= HANDSHAKE_HEADER + message_length(head.0) {
            return complete(bytes, record);
        }
        if available < usize::from(length) {
            return Hello::NeedMore;
        }
    }
    Hello::NotTls
}

/// The length of a handshake message without its header.
fn message_length([_, length @ ..]: [u8; HANDSHAKE_HEADER]) -> usize {
    length.iter().fold(0, |so_far, byte| so_far << 8 | usize::from(*byte))
}

/// Reads a hello that is all there, in so many records.
fn complete(bytes: &[u8], records: usize) -> Hello {
    let mut handshake = Vec::with_capacity(bytes.len());
    let mut rest = Reader(bytes);
    for _ in 0..records {
        let (Some(_), Some(length)) = (rest.take(3), rest.u16()) else { break };
        let available = usize::from(length).min(rest.0.len());
        handshake.extend_from_slice(rest.take(available).unwrap_or_default());
    }
    let Some(body) = whole_message(&handshake) else { return Hello::NeedMore };
    let (server_name, alpn) = read_body(body);
    Hello::Complete { server_name, alpn }
}

/// Whether these, of which some may be missing, are the first bytes of a handshake record.
fn is_record(header: &[u8]) -> bool {
    let is = |at: usize, allowed: &dyn Fn(u8) -> bool| header.get(at).is_none_or(|byte| allowed(*byte));
    // The longest record is 2^14 bytes and 256 of overhead.
    is(0, &|byte| byte == 0x16)
        && is(1, &|byte| byte == 3)
        && is(2, &|byte| byte <= 4)
        && is(3, &|byte| byte <= 0x41)
}

/// The body of the handshake message, once it is all there.
fn whole_message(handshake: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader(handshake);
    let header = reader.take(HANDSHAKE_HEADER)?.try_into().ok()?;
    reader.take(message_length(header))
}

fn read_body(body: &[u8]) -> (Option<String>, Vec<Vec<u8>>) {
    let mut server_name = None;
    let mut alpn = Vec::new();
    if let Some(mut extensions) = extensions(body) {
        while let (Some(kind), Some(content)) = (extensions.u16(), extensions.block16()) {
            match kind {
                EXTENSION_SERVER_NAME => server_name = read_server_name(content),
                EXTENSION_ALPN => alpn = read_alpn(content).unwrap_or_default(),
                _ => {}
            }
        }
    }
    (server_name, alpn)
}

fn extensions(body: &[u8]) -> Option<Reader<'_>> {
    let mut reader = Reader(body);
    // Version, random, session id, cipher suites, compression methods.
    reader.take(2 + 32)?;
    reader.block8()?;
    reader.block16()?;
    reader.block8()?;
    reader.block16().map(Reader)
}

/// The first host name of the list (RFC 6066, section 3), if it is a DNS name.
fn read_server_name(content: &[u8]) -> Option<String> {
    let mut list = Reader(Reader(content).block16()?);
    loop {
        let kind = list.u8()?;
        let name = list.block16()?;
        if kind == 0 {
            let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
            let valid = !name.is_empty() && name.len() <= NAME_MAX && name.iter().all(allowed);
            return if valid { String::from_utf8(name.to_ascii_lowercase()).ok() } else { None };
        }
    }
}

fn read_alpn(content: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut list = Reader(Reader(content).block16()?);
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        protocols.push(list.block8()?.to_vec());
    }
    Some(protocols)
}

/// Takes bytes from the front, or nothing.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn block8(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    fn block16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}

#[cfg(test)]
pub(super) mod tests {
    /// A hello with `padding` bytes before the extensions of interest, cut into records of at most `record` bytes.
    pub(crate) fn hello(name: Option<&str>, alpn: &[&[u8]], padding: usize, record: usize) -> Vec<u8> {
        fn block16(content: &[u8]) -> Vec<u8> {
            [&(content.len() as u16).to_be_bytes()[..], content].concat()
        }
        let mut extensions = [&[0, 21][..], &block16(&vec![0; padding])].concat();
        if let Some(name) = name {
            let entry = [&[0][..], &block16(name.as_bytes())].concat();
            extensions.extend([&[0, 0][..], &block16(&block16(&entry))].concat());
        }
        if !alpn.is_empty() {
            let list: Vec<u8> =
                alpn.iter().flat_map(|name| [&[name.len() as u8][..], name].concat()).collect();
            extensions.extend([&[0, 16][..], &block16(&block16(&list))].concat());
        }
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend(block16(&extensions));
        let mut message = vec![1, 0];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        message.chunks(record).flat_map(|part| [&[0x16, 3, 1][..], &block16(part)].concat()).collect()
    }
}
