//! Identifiers of members, subsystems, services and exchanges. Parsing is the only way in.
//!
//! **Source:** the terms are X-Road's (instance, member class, member code, subsystem).

mod exchange;
mod party;
mod service;

pub use exchange::{ExchangeId, RequestId};
pub use party::{Instance, MemberId, SubsystemId};
pub use service::{MethodId, PackageName, ServiceName};

/// Why a text is not the identifier it should be. It never repeats the text, which a stranger chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is malformed: {rule}")]
pub struct IdError {
    /// Which identifier was expected.
    pub what: &'static str,
    /// The rule that the text broke.
    pub rule: &'static str,
}
