//! Weft, a service mesh in one command.

fn main() {}
