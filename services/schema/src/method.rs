//! Methods of a contract, and the check of their payloads.

use std::fmt;
use std::sync::Arc;

use kopuro_core::id::MethodId;
use kopuro_core::time::UnixMillis;
use prost_reflect::{MessageDescriptor, MethodDescriptor};
use prost_types::method_options::IdempotencyLevel;

use crate::rules::Rules;
use crate::scan::{PlanId, Plans, ScanLimits};
use crate::violation::{Invalid, InvalidKind, ValidateError};

/// What happens when a request runs a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Idempotency {
    /// Nothing is changed at all: `idempotency_level = NO_SIDE_EFFECTS`.
    NoSideEffects,
    /// The second run changes nothing more: `idempotency_level = IDEMPOTENT`.
    Idempotent,
    /// It has an effect again. This is so for every method that declares no level.
    NonIdempotent,
}

/// Which way a payload goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From consumer to provider.
    Request,
    /// From provider to consumer.
    Response,
}

/// A method of a contract.
#[derive(Clone)]
pub struct Method {
    id: MethodId,
    input: Payload,
    output: Payload,
    idempotency: Idempotency,
    streaming: bool,
    deprecated: bool,
    checks: Arc<Checks>,
}

/// What the methods of a contract share to check payloads with.
pub(crate) struct Checks {
    pub(crate) plans: Plans,
    pub(crate) rules: Rules,
    pub(crate) limits: ScanLimits,
}

#[derive(Clone)]
struct Payload {
    message: MessageDescriptor,
    plan: PlanId,
}

impl Method {
    pub(crate) fn new(id: MethodId, descriptor: &MethodDescriptor, checks: &Arc<Checks>) -> Self {
        let payload = |message: MessageDescriptor| {
            let plan = checks.plans.id(&message).expect("a plan was made for every message of every method");
            Payload { message, plan }
        };
        let options = descriptor.method_descriptor_proto().options.clone().unwrap_or_default();
        Self {
            id,
            input: payload(descriptor.input()),
            output: payload(descriptor.output()),
            idempotency: Idempotency::of(options.idempotency_level()),
            streaming: descriptor.is_client_streaming() || descriptor.is_server_streaming(),
            deprecated: options.deprecated(),
            checks: Arc::clone(checks),
        }
    }

    /// Service and method.
    pub fn id(&self) -> &MethodId {
        &self.id
    }

    /// The message of requests.
    pub fn input(&self) -> &MessageDescriptor {
        &self.input.message
    }

    /// The message of responses.
    pub fn output(&self) -> &MessageDescriptor {
        &self.output.message
    }

    /// What happens when a request runs a second time.
    pub fn idempotency(&self) -> Idempotency {
        self.idempotency
    }

    /// Whether either side streams. The bus does not offer such methods.
    pub fn is_streaming(&self) -> bool {
        self.streaming
    }

    /// Whether the provider asks consumers to leave the method.
    pub fn is_deprecated(&self) -> bool {
        self.deprecated
    }

    /// Checks a payload: first the strict scan of its bytes, then the rules.
    ///
    /// `now` is what `now` means in rules. Both gateways pass the statement's creation time, so that they judge
    /// alike.
    ///
    /// # Errors
    /// [`ValidateError::Invalid`] when the payload breaks the contract: its sender must act.
    /// [`ValidateError::Fault`] when a rule cannot be evaluated: the contract's owner must act.
    pub fn validate(
        &self,
        direction: Direction,
        payload: &[u8],
        now: UnixMillis,
    ) -> Result<(), ValidateError> {
        let Checks { rules, .. } = &*self.checks;
        self.scan(direction, payload).map_err(ValidateError::Invalid)?;
        let message = &self.payload(direction).message;
        match rules.evaluate(message, payload, now).map_err(ValidateError::Fault)? {
            violations if violations.is_empty() => Ok(()),
            violations => Err(ValidateError::Invalid(Invalid { kind: InvalidKind::Rules, violations })),
        }
    }

    /// Checks the structure of a payload alone: the first half of [`Self::validate`].
    ///
    /// # Errors
    /// [`Invalid`] when the bytes are no message of the contract: their sender must act.
    pub fn scan(&self, direction: Direction, payload: &[u8]) -> Result<(), Invalid> {
        let Checks { plans, limits, .. } = &*self.checks;
        let scanned = plans.scan(self.payload(direction).plan, payload, limits);
        scanned.map_err(|violations| Invalid { kind: InvalidKind::Structure, violations })
    }

    fn payload(&self, direction: Direction) -> &Payload {
        match direction {
            Direction::Request => &self.input,
            Direction::Response => &self.output,
        }
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Method").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Idempotency {
    fn of(level: IdempotencyLevel) -> Self {
        match level {
            IdempotencyLevel::NoSideEffects => Self::NoSideEffects,
            IdempotencyLevel::Idempotent => Self::Idempotent,
            IdempotencyLevel::IdempotencyUnknown => Self::NonIdempotent,
        }
    }
}
