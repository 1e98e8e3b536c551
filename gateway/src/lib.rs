//! The edge: composes the floors below into one node.
//!
//! A [`Gateway`] takes the calls of its members' systems over mutual TLS, hands them to the exchange engine, and calls
//! its members' systems with the requests that the bus brings.

mod callers;
mod disclosure;
mod edge;
mod gateway;
mod readiness;
mod serving;
pub mod settings;
mod systems;

pub use callers::RegisteredCallers;
pub use gateway::{Gateway, GatewayError, GatewayParts, trust_of};
pub use settings::{GatewaySettings, Limits};
