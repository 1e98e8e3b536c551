//! The exchange engine: a call becomes a signed, sealed request on the broker, is served behind the provider's gateway,
//! and comes back as a signed outcome that answers it and no other.
//!
//! [`Exchange`] is one replica's engine. What it decides by (calls that wait, chains, the arbitration of effects) are pure
//! machines of `kopuro-core`; this crate drives them with a broker, a clock and the registry's view.

pub mod audit;
mod consumer;
pub mod dead_letter;
pub mod dispatch;
mod engine;
mod failure;
mod inbox;
mod node;
mod outbox;
mod provider;
pub mod replica;
pub mod settings;
mod watch;

pub use consumer::{Answer, Call};
pub use engine::{Exchange, State};
pub use node::{EnsureError, Parts};
