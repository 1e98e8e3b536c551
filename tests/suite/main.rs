//! End-to-end tests, one binary: `cargo test -p kopuro-tests --test suite`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and its helpers with it")]

mod bus;
mod call;
mod command;
mod dead_letters;
mod demo;
mod edge;
mod evidence;
mod exchange;
mod foreign;
mod hostile;
mod kafka;
mod kill;
mod layout;
mod metrics;
mod node;
mod probe;
mod registry;
mod retired_key;
mod secrecy;
mod trace;
mod up;
mod views;
mod wire;
