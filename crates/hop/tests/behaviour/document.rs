//! The examples of `PROTOCOL.md` are what goes over the wire.

use std::time::Instant;

use bytes::BytesMut;
use weft_hop::{Config, Connection, Destination, RequestMetadata, Role};

/// The octets of the example with this title: hexadecimal digits up to a `#` in each line of its block.
fn example(title: &str) -> Vec<u8> {
    let document = include_str!("../../PROTOCOL.md");
    let (_, after) = document.split_once(&format!("### {title}")).unwrap();
    let block = after.split("```").nth(1).unwrap();
    let digits: String = block
        .lines()
        .filter_map(|line| line.split('#').next())
        .flat_map(str::chars)
        .filter(char::is_ascii_hexdigit)
        .collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn a_request_is_written_as_documented() {
    let mut client = Connection::new(Role::Client, Config::default(), Instant::now());
    let request = http::Request::get("/reviews/1").header("host", "reviews:9080").header("x-user", "ada");
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let destination = Destination { service: "shop/reviews".to_owned().into(), port: 9080 };
    let metadata =
        RequestMetadata { destination: Some(destination), attempt: Some(1), ..RequestMetadata::default() };
    client.open_stream(&parts, &metadata, true).unwrap();
    let mut wire = BytesMut::new();
    client.write_into(&mut wire, 1 << 16);
    let documented = [example("The client's SETTINGS"), example("A request")].concat();
    assert_eq!(wire, documented);
}
