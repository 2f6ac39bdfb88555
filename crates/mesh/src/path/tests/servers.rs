//! What servers make of the path of a request: the name of a resource, or nothing if they refuse it. Written without the
//! steps that are tested.

type Server = fn(&[u8]) -> Option<Vec<u8>>;

const SERVERS: [(&str, Server); 10] = [
    ("nginx", nginx),
    ("Node, new URL", node_url),
    ("Node, new URL and decodeURIComponent", |path| unquoted(&node_url(path)?, true)),
    ("Express, static files", express_static),
    ("Go", go),
    ("Python, http.server", python_files),
    ("Python, WSGI", |path| unquoted(path, false)),
    ("aiohttp", aiohttp),
    ("Tomcat", tomcat),
    ("an old server that takes long forms of UTF-8", old),
];

/// What a server makes of a path; `None` where it refuses.
type Mapping = Box<dyn Fn(&[u8]) -> Option<Vec<u8>>>;

/// Every server, and every two of which one hands on to the other what it has made of a path.
pub(super) fn chains() -> impl Iterator<Item = (String, Mapping)> {
    let alone = SERVERS.iter().map(|(name, server)| {
        let server = *server;
        ((*name).to_owned(), Box::new(server) as Mapping)
    });
    let pairs = SERVERS.iter().flat_map(|first| SERVERS.iter().map(move |second| (first, second)));
    let pairs = pairs.map(|(first, second)| {
        let (before, behind) = (first.1, second.1);
        let chain = move |path: &[u8]| behind(&before(path)?);
        (format!("{} behind {}", second.0, first.0), Box::new(chain) as Mapping)
    });
    alone.chain(pairs)
}

/// A text whose octets that can't be printed are written as `\xNN`.
pub(super) fn octets(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut made = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        made.push(u8::from_str_radix(&part[..2], 16).unwrap());
        made.extend_from_slice(&part.as_bytes()[2..]);
    }
    made
}

/// Percent-decoding, once; malformed encodings are refused or stay.
pub(super) fn unquoted(path: &[u8], strict: bool) -> Option<Vec<u8>> {
    let mut made = Vec::new();
    let mut at = 0;
    while at < path.len() {
        let digits = path.get(at + 1..at + 3).and_then(|it| std::str::from_utf8(it).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| path[at] == b'%') {
            Some(octet) => {
                made.push(octet);
                at += 3;
            }
            None if strict && path[at] == b'%' => return None,
            None => {
                made.push(path[at]);
                at += 1;
            }
        }
    }
    Some(made)
}

fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|octet| *octet == b'/')
}

/// Without empty segments and dot segments; `None` where it would lead out of the root and that is refused.
fn resolved(path: &[u8], clamp: bool) -> Option<Vec<u8>> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in segments(path) {
        match segment {
            b".." if kept.pop().is_none() && !clamp => return None,
            b"" | b"." | b".." => {}
            name => kept.push(name),
        }
    }
    Some(kept.iter().flat_map(|name| [b"/", *name].concat()).collect())
}

/// `ngx_http_parse_complex_uri`: decodes while it merges and resolves, and refuses NUL and what leads out of the root.
fn nginx(path: &[u8]) -> Option<Vec<u8>> {
    let decoded = unquoted(path, true).filter(|decoded| !decoded.contains(&0))?;
    resolved(&decoded, false)
}

/// The URL standard's parser with an http base.
fn node_url(path: &[u8]) -> Option<Vec<u8>> {
    let slashes: Vec<u8> = path.iter().map(|octet| if *octet == b'\\' { b'/' } else { *octet }).collect();
    let mut rest: &[u8] = &slashes;
    if rest.starts_with(b"//") {
        let after = rest.iter().position(|octet| *octet != b'/')?;
        let host = &rest[after..];
        rest = &host[host.iter().position(|octet| *octet == b'/').unwrap_or(host.len())..];
    }
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut open = false;
    for segment in segments(rest).skip(1) {
        let plain = String::from_utf8_lossy(segment).to_ascii_lowercase().replace("%2e", ".");
        open = plain == "." || plain == "..";
        match &*plain {
            "." => {}
            ".." => _ = kept.pop(),
            _ => kept.push(segment),
        }
    }
    let mut made: Vec<u8> = kept.iter().flat_map(|name| [b"/", *name].concat()).collect();
    if open || made.is_empty() {
        made.push(b'/');
    }
    Some(made)
}

/// `send`: decodes, refuses NUL, normalises, and refuses what leads out of the root.
fn express_static(path: &[u8]) -> Option<Vec<u8>> {
    let decoded = unquoted(path, true).filter(|decoded| !decoded.contains(&0))?;
    resolved(&decoded, false)
}

/// `url.Parse` and `path.Clean`.
fn go(path: &[u8]) -> Option<Vec<u8>> {
    resolved(&unquoted(path, true)?, true)
}

/// `SimpleHTTPRequestHandler.translate_path`: what follows `?` and `#` goes first.
fn python_files(path: &[u8]) -> Option<Vec<u8>> {
    let end = path.iter().position(|octet| matches!(octet, b'?' | b'#')).unwrap_or(path.len());
    resolved(&unquoted(&path[..end], false)?, true)
}

/// `yarl.URL`: unreserved characters are decoded and dot segments resolved, before the path is decoded.
fn aiohttp(path: &[u8]) -> Option<Vec<u8>> {
    let lower = String::from_utf8_lossy(path).replace("%2E", ".").replace("%2e", ".");
    let mut kept: Vec<&str> = Vec::new();
    for segment in lower.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => _ = kept.pop(),
            name => kept.push(name),
        }
    }
    unquoted(format!("/{}", kept.join("/")).as_bytes(), false)
}

/// `CoyoteAdapter.postParseRequest`, with encoded slashes and backslashes let through: parameters go before decoding.
fn tomcat(path: &[u8]) -> Option<Vec<u8>> {
    let names: Vec<&[u8]> = segments(path)
        .map(|segment| segment.split(|octet| *octet == b';').next().unwrap_or_default())
        .collect();
    let mut decoded = unquoted(&names.join(&b'/'), true).filter(|decoded| !decoded.contains(&0))?;
    for octet in &mut decoded {
        if *octet == b'\\' {
            *octet = b'/';
        }
    }
    resolved(&decoded, false)
}

fn old(path: &[u8]) -> Option<Vec<u8>> {
    let decoded = unquoted(path, false)?;
    let mut short = Vec::new();
    let mut rest: &[u8] = &decoded;
    while let Some(first) = rest.first() {
        if let [0xC0 | 0xC1, low, ..] = rest {
            short.push((first & 1) << 6 | low & 0x3F);
            rest = &rest[2..];
        } else {
            short.push(*first);
            rest = &rest[1..];
        }
    }
    let end = short.iter().position(|octet| *octet == 0).unwrap_or(short.len());
    resolved(&short[..end], true)
}
