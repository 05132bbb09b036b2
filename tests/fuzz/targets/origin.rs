//! An origin's answer on a connection of its own: cut anywhere it goes the same. Never more than one line:
//! the promises stand in the simulation.
#![no_main]
#![allow(dead_code, reason = "each user of these files takes a part of them")]

#[path = "../../simulation/differential.rs"]
mod differential;
#[path = "../../simulation/wire.rs"]
mod wire;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((first, data)) = data.split_first() {
        differential::origin_bytes(data, first % 2 == 1, differential::chosen(data));
    }
});
