//! The calls that wait, and what wakes them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kopuro_broker::{AppendError, BrokerError};
use kopuro_core::call::{AppendResult, Arrival, Calls, CannotBegin};
use kopuro_core::content::Payload;
use kopuro_core::digest::Digest;
use kopuro_core::error::{Reason, Refusal};
use kopuro_core::id::{ExchangeId, MethodId, RequestId, SubsystemId};
use tokio::sync::oneshot;

use crate::outbox::{Draft, Sent};

/// How long a caller should wait before it tries an overloaded gateway again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// An outcome that answers a call.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) effect_request_digest: Digest,
    pub(super) response_digest: Digest,
    pub(super) payload: Payload,
}

/// What an outcome's statement must say to answer a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) provider: SubsystemId,
    pub(super) consumer: SubsystemId,
    pub(super) method: MethodId,
    pub(super) request: RequestId,
    pub(super) contract: Digest,
}

/// What wakes a caller, with what it expects.
#[derive(Debug)]
pub(super) struct Waker {
    expected: Expected,
    answer: oneshot::Sender<Outcome>,
}

/// The calls of this replica that wait.
pub(super) struct Board {
    calls: Mutex<Calls<Waker>>,
}

impl Board {
    pub(super) fn new(calls_max: usize) -> Self {
        Self { calls: Mutex::new(Calls::new(calls_max)) }
    }

    pub(super) fn drain(&self) {
        self.lock().drain();
    }

    pub(super) fn in_flight(&self) -> usize {
        self.lock().in_flight()
    }

    pub(super) fn awaits(&self, exchange: &ExchangeId) -> bool {
        self.lock().awaits(exchange)
    }

    /// Begins to wait for the outcome of a request that is about to be appended.
    pub(super) fn begin(self: &Arc<Self>, draft: &Draft, digest: Digest) -> Result<Waiting, Refusal> {
        let (answer, outcome) = oneshot::channel();
        let expected = Expected {
            provider: draft.recipient.clone(),
            consumer: draft.sender.clone(),
            method: draft.method.clone(),
            request: draft.request,
            contract: draft.contract,
        };
        self.lock().begin(draft.exchange, digest, Waker { expected, answer }).map_err(
            |cannot| match cannot {
                CannotBegin::Full => Refusal::new(Reason::Overloaded).retry_after(RETRY_AFTER),
                CannotBegin::Draining => Reason::Draining.into(),
            },
        )?;
        Ok(Waiting { board: Arc::clone(self), exchange: draft.exchange, outcome })
    }

    /// Gives an outcome to the call that waits for it. Says whether it answers one; an outcome whose statement does not
    /// say what the call expects leaves it waiting.
    pub(super) fn arrived(
        &self,
        exchange: &ExchangeId,
        request_digest: &Digest,
        says: &Expected,
        outcome: Outcome,
    ) -> Result<(), Reason> {
        let mut calls = self.lock();
        if calls.waker(exchange).is_some_and(|waker| waker.expected != *says) {
            return Err(Reason::OutcomeUnexpected);
        }
        match calls.arrived(exchange, request_digest) {
            Arrival::Answers(waker) => {
                // A caller that went away in this moment no longer wants its answer.
                let _ = waker.answer.send(outcome);
                Ok(())
            }
            Arrival::NobodyWaits => Err(Reason::DuplicateRecord),
            Arrival::Mismatch => Err(Reason::OutcomeUnexpected),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Calls<Waker>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call that waits. Dropping it, as when the caller hangs up, ends the wait.
pub(super) struct Waiting {
    board: Arc<Board>,
    exchange: ExchangeId,
    outcome: oneshot::Receiver<Outcome>,
}

impl Waiting {
    /// Waits for the outcome, at most for `limit`.
    pub(super) async fn outcome(
        mut self,
        sent: Sent,
        limit: Duration,
        request: &RequestId,
    ) -> Result<Outcome, Refusal> {
        let request_digest = sent.digest;
        let deadline = tokio::time::sleep(limit);
        tokio::pin!(deadline);
        let append = sent.durable();
        tokio::pin!(append);
        let mut appended = false;
        loop {
            tokio::select! {
                biased;
                outcome = &mut self.outcome => return outcome.map_err(|_| Reason::Internal.into()),
                result = &mut append, if !appended => {
                    appended = true;
                    self.note(&result)?;
                }
                () = &mut deadline => return Err(self.timed_out(&request_digest, request)),
            }
        }
    }

    fn note<T>(&self, result: &Result<T, AppendError>) -> Result<(), Refusal> {
        let (result, reason) = match result {
            Ok(_) => (AppendResult::Appended, None),
            Err(AppendError::Unknown(_)) => (AppendResult::Unknown, None),
            // The provider's gateway makes the topic of its subsystem.
            Err(AppendError::NotAppended(BrokerError::Topic(_))) => {
                (AppendResult::NotAppended, Some(Reason::ProviderAbsent))
            }
            Err(AppendError::NotAppended(_)) => (AppendResult::NotAppended, Some(Reason::BrokerUnavailable)),
            Err(AppendError::QueueFull) => (AppendResult::NotAppended, Some(Reason::Overloaded)),
            Err(AppendError::TooLarge) => (AppendResult::NotAppended, Some(Reason::PayloadTooLarge)),
        };
        self.board.lock().appended(&self.exchange, result);
        match reason {
            None => Ok(()),
            Some(Reason::Overloaded) => Err(Refusal::new(Reason::Overloaded).retry_after(RETRY_AFTER)),
            Some(reason) => Err(reason.into()),
        }
    }

    fn timed_out(&self, request_digest: &Digest, request: &RequestId) -> Refusal {
        let refusal = Refusal::new(Reason::NotAnsweredInTime);
        match self.board.lock().give_up(&self.exchange) {
            Some(accepted) => refusal
                .fact("accepted", accepted.name())
                .fact("request_id", request)
                .fact("request_digest", request_digest),
            None => refusal,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.board.lock().give_up(&self.exchange);
    }
}
