//! Who may do what: signed records, the view of them that every gateway builds and verifies by itself, and the service
//! that takes new ones.
//!
//! The registry is one never-compacted log. The broker that carries it is not trusted, and neither is the host of the
//! registry service: a record counts because of the signature on it and of what the records before it allow.

pub mod anchor;
mod checkpoint;
pub mod compose;
pub mod contracts;
pub mod follow;
pub mod publish;
pub mod record;
pub mod service;
#[cfg(test)]
mod testing;
mod topics;
pub mod view;
pub mod views;
