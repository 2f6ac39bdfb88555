use std::io::{self, Write};
use std::sync::{Arc, mpsc};

use http::HeaderMap;
use http::header::{HeaderValue, USER_AGENT};
use weft_mesh::balance::Locality;
use weft_mesh::reason::Reason;

use super::*;
use crate::runtime::shared::Shared;

fn source() -> SocketAddr {
    "10.0.0.9:40000".parse().unwrap()
}

fn shared() -> Arc<Shared> {
    Shared::new(1, Locality::default()).0
}

fn all(shared: &Shared) {
    shared.access.set(Mode::All, Share::default());
}

fn json(entry: &Entry) -> serde_json::Value {
    serde_json::to_value(entry).unwrap()
}

fn take(messages: &Receiver<Message>) -> Vec<Entry> {
    let entries = messages.try_iter().filter_map(|message| match message {
        Message::Line(entry) => Some(*entry),
        Message::End(_) => None,
    });
    entries.collect()
}

#[test]
fn nothing_is_collected_while_the_log_is_off() {
    let shared = shared();
    let request = Request::new(());
    assert!(shared.access.request(Direction::Outbound, source(), &request).is_none());
    assert!(shared.access.connection(Direction::Inbound, source()).is_none());
    all(&shared);
    assert!(shared.access.request(Direction::Outbound, source(), &request).is_some());
}

#[test]
fn a_line_holds_what_is_known_under_names_that_stay() {
    let shared = shared();
    all(&shared);
    let messages = shared.access.open().unwrap();
    let request = Request::builder()
        .method("PUT")
        .uri("http://reviews:9080/a/b?token=secret")
        .header("x-request-id", "id-1")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .body(())
        .unwrap();
    let mut open = shared.access.request(Direction::Outbound, source(), &request).unwrap();
    open.answered(http::StatusCode::OK, &HeaderMap::new());
    open.end(&shared);
    let entries = take(&messages);
    let mut line = json(&entries[0]);
    let fields = line.as_object_mut().unwrap();
    assert!(fields.remove("time").unwrap().as_str().unwrap().ends_with('Z'));
    assert!(fields.remove("duration_ms").unwrap().is_f64() && fields.remove("response_ms").unwrap().is_f64());
    let expected = serde_json::json!({
        "direction": "outbound",
        "protocol": "HTTP/1.1",
        "method": "PUT",
        "authority": "reviews:9080",
        "path": "/a/b",
        "status": 200,
        "failed": false,
        "bytes_received": 0,
        "bytes_sent": 0,
        "source": "10.0.0.9:40000",
        "request_id": "id-1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    });
    assert_eq!(line, expected);
}

#[test]
fn what_clients_choose_can_neither_break_a_line_nor_make_it_long() {
    let shared = shared();
    all(&shared);
    let mut request = Request::new(());
    let agent = HeaderValue::from_bytes(b"a\"b\\c\td\xff").unwrap();
    request.headers_mut().insert(USER_AGENT, agent);
    request.headers_mut().insert("host", HeaderValue::try_from("x".repeat(5000)).unwrap());
    let open = shared.access.request(Direction::Outbound, source(), &request).unwrap();
    let line = serde_json::to_string(&open.entry).unwrap();
    assert!(!line.contains('\n') && !line.contains('\t'), "{line}");
    assert_eq!(json(&open.entry)["user_agent"], "a\"b\\c\td\u{fffd}");
    assert_eq!(json(&open.entry)["authority"].as_str().unwrap().chars().count(), 1025);
}

#[test]
fn failures_are_logged_whatever_the_share_and_successes_only_where_asked_for() {
    let shared = shared();
    let messages = shared.access.open().unwrap();
    let end = |fails: bool| {
        let mut open = shared.access.request(Direction::Inbound, source(), &Request::new(())).unwrap();
        if fails {
            open.failed(Reason::Denied);
        }
        open.end(&shared);
    };
    shared.access.set(Mode::Errors, Share::default());
    end(false);
    end(true);
    shared.access.set(Mode::All, "0".parse().unwrap());
    end(false);
    end(true);
    let entries = take(&messages);
    assert_eq!(entries.len(), 2);
    assert!(entries.iter().all(|entry| entry.failed && entry.reason == Some("denied")));
    shared.access.set(Mode::All, "0.25".parse().unwrap());
    (0..4000).for_each(|_| end(false));
    // 4 sigma of a binomial distribution.
    assert!((890..=1110).contains(&take(&messages).len()));
}

#[test]
fn a_writer_that_is_stuck_slows_nobody_and_what_is_dropped_is_counted() {
    let shared = shared();
    all(&shared);
    let messages = shared.access.open().unwrap();
    for _ in 0..QUEUE + 5 {
        shared.access.connection(Direction::Outbound, source()).unwrap().end(&shared);
    }
    assert_eq!(take(&messages).len(), QUEUE);
    assert_eq!(shared.stats.access_lines(AccessLogOutcome::Dropped), 5);
    assert_eq!(shared.stats.access_lines(AccessLogOutcome::Taken), QUEUE as u64);
}

/// Tells what is written to it.
struct Told(mpsc::Sender<Vec<u8>>);

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn everything_taken_is_written_before_the_proxy_ends() {
    let shared = shared();
    all(&shared);
    let (told, written) = mpsc::channel();
    start(&shared, Told(told)).unwrap();
    for _ in 0..100 {
        shared.access.connection(Direction::Outbound, source()).unwrap().end(&shared);
    }
    shared.access.finish();
    let text: Vec<u8> = written.try_iter().flatten().collect();
    assert_eq!(text.split(|byte| *byte == b'\n').count(), 101);
    assert!(text.split(|byte| *byte == b'\n').take(100).all(|line| {
        serde_json::from_slice::<serde_json::Value>(line).is_ok_and(|line| line["protocol"] == "tcp")
    }));
}

#[test]
fn what_an_output_does_not_take_is_counted() {
    let shared = shared();
    all(&shared);
    let (told, written) = mpsc::channel();
    drop(written);
    start(&shared, Told(told)).unwrap();
    shared.access.connection(Direction::Outbound, source()).unwrap().end(&shared);
    shared.access.finish();
    assert_eq!(shared.stats.access_lines(AccessLogOutcome::Lost), 1);
}

#[test]
fn a_file_is_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    std::fs::write(&path, "before\n").unwrap();
    let mut output = Output::file(path.clone()).unwrap();
    output.write_all(b"after\n").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\nafter\n");
    assert!(Output::file(folder.path().join("no/such/folder")).is_err());
}

#[test]
fn settings_are_read_and_refused() {
    assert_eq!("errors".parse(), Ok(Mode::Errors));
    assert_eq!(Mode::All.to_string(), "all");
    let error = "some".parse::<Mode>().unwrap_err();
    assert!(error.contains("\"some\" is none of off, errors and all"), "{error}");
    for wrong in ["-0.1", "1.1", "NaN", "half", ""] {
        let error = wrong.parse::<Share>().unwrap_err();
        assert!(error.contains("not a share from 0 to 1"), "{error}");
    }
    let log = AccessLog::default();
    log.set(Mode::Errors, "0.25".parse().unwrap());
    assert_eq!(log.setting(), (Mode::Errors, Share(0.25)));
}
