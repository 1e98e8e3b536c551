//! End-to-end tests, one binary: `cargo test -p kopuro-tests --test suite`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and its helpers with it")]

mod bus;
mod edge;
mod exchange;
mod hostile;
mod layout;
mod node;
mod probe;
mod wire;
