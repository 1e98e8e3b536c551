//! What an exchange is made of: identifiers, topic names, statements, envelopes, the signer's chain, the
//! arbitration of effects, and the catalogue of errors.
//!
//! The crate is pure. Time and randomness are arguments; nothing here reads a clock, a file, a socket or
//! the environment, so every rule can be tested by itself and read without the rest.

pub mod bounds;
pub mod call;
pub mod chain;
pub mod content;
pub mod digest;
pub mod effect;
pub mod envelope;
pub mod error;
pub mod id;
pub mod record;
pub mod statement;
pub mod time;
pub mod topic;
