//! Failures as they travel: a refusal becomes an encoded `google.rpc.Status` with the side at fault.

use bytes::Bytes;
use kopuro_core::content::{Payload, STATUS_LEN_MAX};
use kopuro_core::error::{FieldViolation, Reason, Refusal, Side};
use kopuro_core::id::ExchangeId;
use kopuro_rpc::status;
use kopuro_schema::{Invalid, InvalidKind, ValidateError};

/// The payload that tells the consumer of `refusal`.
pub(crate) fn payload_of(refusal: &Refusal, exchange: &ExchangeId) -> Payload {
    encode(refusal, Some(exchange))
}

/// The payload that is recorded for `refusal` and will answer whichever attempt asks.
pub(crate) fn anonymous_payload_of(refusal: &Refusal) -> Payload {
    encode(refusal, None)
}

fn encode(refusal: &Refusal, exchange: Option<&ExchangeId>) -> Payload {
    let side = refusal.reason.entry().side;
    let status = Bytes::copy_from_slice(status::to_status(refusal, exchange).details());
    if status.len() <= STATUS_LEN_MAX {
        return Payload::Failure { status, side };
    }
    let bare = status::to_status(&Refusal::new(refusal.reason), exchange);
    Payload::Failure { status: Bytes::copy_from_slice(bare.details()), side }
}

/// The refusal of a request whose payload does not keep to the contract.
pub(crate) fn invalid_request(error: ValidateError) -> Refusal {
    match error {
        ValidateError::Invalid(invalid) => {
            let reason = match invalid.kind {
                InvalidKind::Structure => Reason::PayloadMalformed,
                InvalidKind::Rules => Reason::PayloadInvalid,
            };
            Refusal::new(reason).violations(violations(&invalid))
        }
        ValidateError::Fault(_) => Refusal::new(Reason::ContractFault),
    }
}

/// The refusal of a response that does not keep to the contract.
pub(crate) fn invalid_response(error: ValidateError) -> Refusal {
    match error {
        ValidateError::Invalid(invalid) => {
            Refusal::new(Reason::ResponseInvalid).violations(violations(&invalid))
        }
        ValidateError::Fault(_) => Refusal::new(Reason::ContractFault),
    }
}

/// The side at which a failure arose, for metrics.
pub(crate) fn is_providers_own(side: Side) -> bool {
    match side {
        Side::Provider => true,
        Side::Consumer | Side::Bus => false,
    }
}

fn violations(invalid: &Invalid) -> Vec<FieldViolation> {
    let bad_request = invalid.to_bad_request();
    let read = |violation: tonic_types::FieldViolation| FieldViolation {
        field: violation.field,
        reason: violation.reason,
        description: violation.description,
    };
    bad_request.field_violations.into_iter().map(read).collect()
}
