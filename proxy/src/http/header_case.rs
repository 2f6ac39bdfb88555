//! Names of fields as they were written, over weft/1.
//!
//! Within one proxy hyper carries them from one connection of HTTP/1 to another, in an extension that it alone can make.
//! So those that come over weft/1 are given to hyper once as a head to read, and what it makes of them is kept: programs
//! seldom write their heads in more than a few ways.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Cursor;
use std::rc::Rc;

use futures_util::FutureExt;
use http::{Extensions, Request, Response, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use weft_hop::OriginalNames;
use weft_mesh::http_validation::Names;

use super::body::Body;

/// Heads that are known at once, for each worker.
const KNOWN: usize = 256;
/// Room for the names of the longest head.
const MAX_HEAD: usize = 128 * 1024;
/// Fields of the head with the most.
const MAX_FIELDS: usize = 1024;

thread_local! {
    static RESTORED: RefCell<HashMap<OriginalNames, Extensions, foldhash::fast::RandomState>> = RefCell::default();
}

/// Has the names that a head on weft/1 came with be written by HTTP/1.
pub(crate) fn restore(extensions: &mut Extensions) {
    let Some(names) = extensions.remove::<OriginalNames>() else { return };
    let restored = RESTORED.with_borrow(|known| known.get(&names).cloned());
    extensions.extend(restored.unwrap_or_else(|| {
        let restored = read_by_hyper(&names);
        RESTORED.with_borrow_mut(|known| {
            if known.len() >= KNOWN {
                known.clear();
            }
            known.insert(names, restored.clone());
        });
        restored
    }));
}

/// The names that were read beside hyper, as weft/1 takes them along.
pub(crate) fn original(names: &Names) -> OriginalNames {
    let mut original = OriginalNames::new();
    names.iter().for_each(|name| original.push(name));
    original
}

/// What hyper remembers of a head with these names.
fn read_by_hyper(names: &OriginalNames) -> Extensions {
    let mut head = b"GET / HTTP/1.1\r\n".to_vec();
    for name in names.iter() {
        head.extend_from_slice(name);
        let chunked = name.eq_ignore_ascii_case(header::TRANSFER_ENCODING.as_str().as_bytes());
        head.extend_from_slice(if chunked { b": chunked\r\n" } else { b": 0\r\n" });
    }
    head.extend_from_slice(b"\r\n");
    let read = Rc::<RefCell<Extensions>>::default();
    let reader = Rc::clone(&read);
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        let mut extensions = std::mem::take(request.extensions_mut());
        extensions.remove::<hyper::upgrade::OnUpgrade>();
        reader.replace(extensions);
        std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(Body::Empty)))
    });
    // All there is to read is there, and nothing waits for what is written.
    let _answered = http1::Builder::new()
        .header_read_timeout(None)
        .preserve_header_case(true)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_FIELDS)
        .serve_connection(TokioIo::new(tokio::io::join(Cursor::new(head), tokio::io::sink())), service)
        .now_or_never();
    read.take()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use hyper::client::conn::http1 as client;
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    /// What hyper writes of a request with these fields, whose names came over weft/1.
    async fn written(lines: &[(&str, &'static str)]) -> String {
        let mut names = Names::default();
        let mut request = Request::post("/").body(Body::full("body")).unwrap();
        for (name, value) in lines {
            names.add(name.as_bytes());
            let name: header::HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        request.extensions_mut().insert(original(&names));
        restore(request.extensions_mut());
        assert!(request.extensions().get::<hyper::upgrade::OnUpgrade>().is_none());
        let (near, mut far) = duplex(10_000);
        let builder = client::Builder::new().preserve_header_case(true).handshake(TokioIo::new(near));
        let (mut sender, connection) = builder.await.unwrap();
        let sending = async move {
            let response = sender.send_request(request).await.unwrap();
            response.into_body().collect().await.unwrap();
        };
        let mut bytes = [0; 10_000];
        tokio::select! {
            _ = connection => panic!("the connection stays"),
            () = sending => panic!("nobody answers"),
            length = far.read(&mut bytes) => String::from_utf8(bytes[..length.unwrap()].to_vec()).unwrap(),
        }
    }

    #[tokio::test]
    async fn names_with_a_meaning_of_their_own_are_restored_like_others() {
        let head = written(&[
            ("HOST", "shop"),
            ("CONNECTION", "x"),
            ("UPGRADE", "websocket"),
            ("Expect", "nothing"),
            ("x-lower", "1"),
            ("X-UPPER", "2"),
            ("CONTENT-Length", "4"),
        ]);
        let head = head.await;
        for name in ["HOST", "CONNECTION", "UPGRADE", "Expect", "x-lower", "X-UPPER", "CONTENT-Length"] {
            assert!(head.contains(&format!("\r\n{name}: ")), "{name}: {head}");
        }
        let head = written(&[("HOST", "shop"), ("TRANSFER-Encoding", "chunked"), ("X-Z", "3")]).await;
        assert!(head.contains("\r\nTRANSFER-Encoding: ") && head.contains("\r\nX-Z: "), "{head}");
    }

    #[tokio::test]
    async fn any_number_of_ways_to_write_a_name_is_put_up_with() {
        for at in 0..KNOWN + 10 {
            let name = format!("X-{at}");
            let head = written(&[(&name, "1")]).await;
            assert!(head.contains(&format!("\r\n{name}: 1\r\n")), "{head}");
            assert!(RESTORED.with_borrow(HashMap::len) <= KNOWN);
        }
    }
}
