//! The edge's plumbing: connections with mutual TLS, who is calling and what it may call, one message in and one out,
//! and how an error leaves the process.
//!
//! [`listener`] takes connections and asks [`callers`] who they are; [`authorize`] guards the services of the bus itself;
//! [`unary`] reads and writes raw gRPC messages, so that bytes received are bytes carried; [`channel`] is the same from
//! the client's side.

pub mod authorize;
pub mod callers;
pub mod channel;
pub mod deadline;
pub mod health;
pub mod listener;
pub mod operations;
pub mod reflection;
pub mod refusals;
pub mod status;
#[cfg(test)]
mod testing;
pub mod unary;
