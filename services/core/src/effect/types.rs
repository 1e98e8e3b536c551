//! What the arbiter is told and tells.

use std::time::Duration;

use crate::digest::Digest;
use crate::id::{ExchangeId, RequestId, SubsystemId};
use crate::time::UnixMillis;

/// Names one ownership of a topic-partition: 16 random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClaimId([u8; 16]);

impl ClaimId {
    /// Takes 16 random bytes, drawn at each assignment.
    pub const fn new(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// Reads a claim id from the wire; `None` unless it is 16 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The id's bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Names one intended effect: SHA-256 of the idempotency key (sender, recipient, ordering key, request id).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectKey(Digest);

impl EffectKey {
    /// The key of the effect that `sender` intends at `recipient` under `request`.
    pub fn of(
        sender: &SubsystemId,
        recipient: &SubsystemId,
        ordering: Option<&Digest>,
        request: &RequestId,
    ) -> Self {
        let ordering = ordering.map_or([].as_slice(), |digest| digest.as_bytes());
        let (sender, recipient) = (sender.as_str().as_bytes(), recipient.as_str().as_bytes());
        Self(Digest::of_parts(&[sender, &[0], recipient, &[0], ordering, &[0], request.as_bytes()]))
    }

    /// Reads a key from the wire; `None` unless it is 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Digest::from_slice(bytes).map(Self)
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

/// Names a request in the arbiter's answers; the caller chooses it and may not reuse it while the request is open.
pub type Ticket = u64;

/// A request that waits to have its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EffectRequest {
    /// The effect intended.
    pub key: EffectKey,
    /// What makes a retry the same request.
    pub fingerprint: Digest,
    /// The statement digest of this attempt.
    pub request_digest: Digest,
    /// The exchange of this attempt.
    pub exchange: ExchangeId,
    /// After this the request must not be dispatched.
    pub expire_time: UnixMillis,
}

/// A marker, as it is written and read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkerFacts {
    /// The effect that it reserves.
    pub key: EffectKey,
    /// What makes a retry the same request.
    pub fingerprint: Digest,
    /// The statement digest of the request to be dispatched.
    pub request_digest: Digest,
    /// The exchange of the request to be dispatched.
    pub exchange: ExchangeId,
    /// The last instant at which the dispatch may begin.
    pub not_after: UnixMillis,
    /// Until when the marker counts.
    pub keep_until: UnixMillis,
}

/// What the arbiter needs to know of a recorded outcome; its body stays where it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutcomeFacts {
    /// The effect.
    pub key: EffectKey,
    /// What makes a retry the same request.
    pub fingerprint: Digest,
    /// The statement digest of the request that had the effect.
    pub request_digest: Digest,
    /// The exchange of the request that had the effect.
    pub exchange: ExchangeId,
    /// Until when the outcome is kept.
    pub keep_until: UnixMillis,
    /// Where the outcome stands in the outcome topic's partition.
    pub offset: u64,
}

/// Why an outcome is recorded without a dispatch by this owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoDispatch {
    /// An earlier owner may have begun the dispatch; the effect is unknown.
    Interrupted,
    /// The marker was read back too late for the dispatch to begin; there is no effect.
    TooLate,
}

/// The arbiter's bounds.
#[derive(Clone, Copy, Debug)]
pub struct ArbiterSettings {
    /// How far the clocks of two owners may differ.
    pub skew: Duration,
    /// How long after the marker is written its dispatch may begin, unless the request expires before.
    pub dispatch_window: Duration,
    /// How long markers and outcomes are kept, at least until the request's expiry plus the skew.
    pub outcome_window: Duration,
    /// The most effects remembered in one partition.
    pub effects_max: usize,
    /// The most attempts that wait for one effect.
    pub waiting_max: usize,
}

impl Default for ArbiterSettings {
    fn default() -> Self {
        Self {
            skew: Duration::from_secs(5),
            dispatch_window: Duration::from_secs(5),
            outcome_window: Duration::from_secs(7 * 24 * 3600),
            effects_max: 1_000_000,
            waiting_max: 64,
        }
    }
}
