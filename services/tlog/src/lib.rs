//! Transparency logs: Merkle trees and their proofs, and checkpoints as signed notes.
//!
//! The formats are those of C2SP (tlog-checkpoint, signed-note) over RFC 6962 trees, and the arithmetic is that of
//! the crates `tlog_tiles` and `signed_note`, which Cloudflare runs in earnest. This crate gives them the bus's
//! types, bounds what a stranger can make them do, and checks them against the definition of RFC 6962.

pub mod checkpoint;
pub mod frontier;
pub mod merkle;

pub use frontier::Frontier;
