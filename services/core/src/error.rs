//! The catalogue of errors: every reason the bus gives, with its gRPC code, the side at fault and the remedy.
//!
//! Reasons are append-only: a client may depend on each. The table behind [`Reason`] also makes the documentation page.

mod catalogue;
mod refusal;

pub use catalogue::{Code, Entry, Reason, Side, documentation};
pub use refusal::{FieldViolation, Refusal};

/// The domain of every `google.rpc.ErrorInfo` of the bus.
pub const ERROR_DOMAIN: &str = "kopuro";
