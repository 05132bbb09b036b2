//! A client's whole connection: cut anywhere it goes the same. Never more than one line: the promises stand
//! in the simulation.
#![no_main]
#![allow(dead_code, reason = "each user of these files takes a part of them")]

#[path = "../../simulation/differential.rs"]
mod differential;
#[path = "../../simulation/wire.rs"]
mod wire;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    differential::client_bytes(data, differential::chosen(data));
});
