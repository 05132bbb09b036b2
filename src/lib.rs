//! Ringway: an API gateway for Linux edge hosts.
//!
//! The modules stand in the order in which a request meets them; ARCHITECTURE.md draws the map and
//! HOUSE rules (who may import whom) are checked by `tests/tidy.rs`. This file never holds code.

pub mod base;
pub mod http;

pub mod tls;

pub mod exchange;

pub mod aggregate;
pub mod observe;
pub mod policy;
pub mod route;
pub mod upstream;

pub mod gateway;

pub mod config;

pub mod compile;

pub mod runtime;

pub mod net;

pub mod serve;

pub mod worker;

pub mod control;

pub mod admin;

pub mod cli;
