//! The consumer's side of synchronous calls: who waits for what, and what each may be told when.
//!
//! Acceptance has three values. Until the broker answers, a call is *appending*; then it is accepted, certainly not
//! accepted, or nobody can say. Only the second is an error at once; in the other cases the call waits for its outcome
//! until its deadline.

use std::collections::HashMap;

use crate::digest::Digest;
use crate::id::ExchangeId;

/// What is known of a call's acceptance when its deadline passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accepted {
    /// The request is durable; its effect may still happen.
    Yes,
    /// Nobody can say whether the request is durable.
    Unknown,
}

impl Accepted {
    /// The value of `accepted` in the error's metadata.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Unknown => "unknown",
        }
    }
}

/// How the broker answered an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendResult {
    /// The record is durable.
    Appended,
    /// The record is certainly not in the log.
    NotAppended,
    /// Nobody can say.
    Unknown,
}

/// Why a call cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotBegin {
    /// As many calls wait as may.
    #[error("too many calls in flight")]
    Full,
    /// The replica takes no new calls.
    #[error("the replica is draining")]
    Draining,
}

/// What became of an outcome that arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival<W> {
    /// It answers the call that waits for it.
    Answers(W),
    /// Nobody waits: it was answered before, timed out, or is another replica's.
    NobodyWaits,
    /// A call waits under this exchange id, for the outcome of another request; it goes on waiting.
    Mismatch,
}

/// The calls of one replica that wait for their outcomes. `W` is what wakes the caller.
#[derive(Debug)]
pub struct Calls<W> {
    waiting: HashMap<ExchangeId, Waiting<W>>,
    limit: usize,
    draining: bool,
}

#[derive(Debug)]
struct Waiting<W> {
    request_digest: Digest,
    accepted: Accepted,
    waker: W,
}

impl<W> Calls<W> {
    /// Room for `limit` calls at once.
    pub fn new(limit: usize) -> Self {
        Self { waiting: HashMap::new(), limit, draining: false }
    }

    /// Begins a call, before its record is given to the broker.
    ///
    /// # Errors
    /// [`CannotBegin`]; nothing has been appended, and the caller may call again.
    pub fn begin(
        &mut self,
        exchange: ExchangeId,
        request_digest: Digest,
        waker: W,
    ) -> Result<(), CannotBegin> {
        if self.draining {
            return Err(CannotBegin::Draining);
        }
        if self.waiting.len() >= self.limit {
            return Err(CannotBegin::Full);
        }
        self.waiting.insert(exchange, Waiting { request_digest, accepted: Accepted::Unknown, waker });
        Ok(())
    }

    /// Takes the broker's answer. Gives back what wakes the caller when the call is over.
    pub fn appended(&mut self, exchange: &ExchangeId, result: AppendResult) -> Option<W> {
        match result {
            AppendResult::NotAppended => self.waiting.remove(exchange).map(|call| call.waker),
            AppendResult::Unknown => None,
            AppendResult::Appended => {
                if let Some(call) = self.waiting.get_mut(exchange) {
                    call.accepted = Accepted::Yes;
                }
                None
            }
        }
    }

    /// Takes an outcome that verified and says that it answers `request_digest`.
    pub fn arrived(&mut self, exchange: &ExchangeId, request_digest: &Digest) -> Arrival<W> {
        match self.waiting.get(exchange) {
            None => Arrival::NobodyWaits,
            Some(call) if call.request_digest != *request_digest => Arrival::Mismatch,
            Some(_) => match self.waiting.remove(exchange) {
                Some(call) => Arrival::Answers(call.waker),
                None => Arrival::NobodyWaits,
            },
        }
    }

    /// Ends a call whose deadline passed or whose caller went away; `None` when it is over already.
    pub fn give_up(&mut self, exchange: &ExchangeId) -> Option<Accepted> {
        self.waiting.remove(exchange).map(|call| call.accepted)
    }

    /// What would wake the caller that waits under this exchange id.
    pub fn waker(&self, exchange: &ExchangeId) -> Option<&W> {
        self.waiting.get(exchange).map(|call| &call.waker)
    }

    /// Whether a call waits under this exchange id; cheap enough to ask before any cryptography.
    pub fn awaits(&self, exchange: &ExchangeId) -> bool {
        self.waiting.contains_key(exchange)
    }

    /// Takes no new calls from here on.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// How many calls wait.
    pub fn in_flight(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests;
