//! The arbitration of effects: at most one dispatch of a request whose method may have an effect, and one outcome.
//!
//! The order of a marker topic's partition decides. Whoever comes to own a partition of a call topic appends a *claim*
//! and works only once it has read its own claim back. Before each dispatch it appends a *marker*, which counts only if,
//! read back, it is the first for its effect and was written under the latest claim. A marker says until when the
//! dispatch may begin, so an owner that was paused and wakes cannot begin late; a successor waits that long, plus the
//! clock skew, and then records that the dispatch was interrupted. The first outcome recorded is the outcome.
//!
//! [`Arbiter`] is a pure machine: entries read from the topics, requests, completions and the time go in, [`Action`]s
//! come out. It is fed every entry in order, and never assumes that what it asked for has happened before it reads so.

mod arbiter;
mod types;

pub use arbiter::{Action, Arbiter};
pub use types::{
    ArbiterSettings, ClaimId, EffectKey, EffectRequest, MarkerFacts, NoDispatch, OutcomeFacts, Ticket,
};

#[cfg(test)]
mod tests;
