//! Who believes whom: whole handshakes of rustls in memory, for every case in which one side has to refuse.

#![cfg(test)]

mod agreement;
mod certificates;
mod first_contact;
mod streams;
mod world;
