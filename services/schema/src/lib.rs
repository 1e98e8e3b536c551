//! Contracts: what a provider's services take and give, and whether a payload keeps to it.
//!
//! A [`Contract`] is loaded from an encoded `google.protobuf.FileDescriptorSet`. A payload is checked twice: the
//! strict scan of its wire bytes refuses whatever two protobuf decoders could read differently, then the
//! protovalidate rules of the contract are evaluated. The bytes checked are the bytes carried on: nothing is
//! encoded again.

mod contract;
mod method;
mod rules;
mod scan;
mod violation;

pub use contract::{Contract, ContractError, Excess};
pub use method::{Direction, Idempotency, Method};
pub use rules::RuleFault;
pub use scan::ScanLimits;
pub use violation::{Invalid, InvalidKind, ValidateError, Violation};

#[cfg(test)]
mod testing;
