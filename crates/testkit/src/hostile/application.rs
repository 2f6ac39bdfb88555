//! How the application answers.

/// What it answers, and whether it closes the connection then.
pub fn answer(request: &[u8]) -> (&'static [u8], bool) {
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match path {
        // Content that no client may read (RFC 9110 section 9.3.2).
        _ if method == b"HEAD" => (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", true),
        b"/interim" => (
            b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            false,
        ),
        b"/short" => (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello", true),
        b"/chunks" => (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", true),
        b"/switch" => {
            (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", true)
        }
        b"/nothing" => (b"", true),
        _ => (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false),
    }
}

/// Where the first request ends, if it is whole.
pub fn end_of_request(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(bytes.get(..head)?).to_ascii_lowercase();
    if text.contains("\r\ntransfer-encoding: chunked\r\n") {
        let end = bytes.get(head - 2..)?.windows(5).position(|five| five == b"\r\n0\r\n")? + head + 3;
        let trailers = bytes.get(end - 2..)?.windows(4).position(|four| four == b"\r\n\r\n")?;
        return Some(end + trailers + 2);
    }
    let length = text.split("\r\ncontent-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let length: usize = length.map_or(Some(0), |length| length.trim().parse().ok())?;
    (bytes.len() >= head + length).then_some(head + length)
}
