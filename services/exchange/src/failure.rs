//! Failures as they travel: a refusal becomes an encoded `google.rpc.Status` with the side at fault.

use bytes::Bytes;
use kopuro_core::content::{Payload, STATUS_LEN_MAX};
use kopuro_core::error::{ERROR_DOMAIN, FieldViolation, Reason, Refusal, Side};
use kopuro_core::id::ExchangeId;
use kopuro_rpc::status;
use kopuro_schema::{Invalid, InvalidKind, ValidateError};
use kopuro_telemetry::metrics::Ending;
use prost::Message as _;
use tonic_types::pb;

/// The payload that tells of `refusal`, which ended `exchange`.
pub(crate) fn payload_of(refusal: &Refusal, exchange: &ExchangeId) -> Payload {
    let side = refusal.reason.entry().side;
    let status = Bytes::copy_from_slice(status::to_status(refusal, Some(exchange)).details());
    if status.len() <= STATUS_LEN_MAX {
        return Payload::Failure { status, side };
    }
    let bare = status::to_status(&Refusal::new(refusal.reason), Some(exchange));
    Payload::Failure { status: Bytes::copy_from_slice(bare.details()), side }
}

/// A status of the provider's system, passed on as it is, but for details that only the bus may give: a system could
/// otherwise say in the bus's name that its request was never accepted.
pub(crate) fn providers_own(status: &Bytes) -> Payload {
    let mut stated = pb::Status::decode(status.clone()).unwrap_or_default();
    let told = stated.details.len();
    stated.details.retain(|detail| !is_of_the_bus(detail));
    let kept = stated.details.len() == told;
    let status = if kept { status.clone() } else { stated.encode_to_vec().into() };
    Payload::Failure { status, side: Side::Provider }
}

fn is_of_the_bus(detail: &prost_types::Any) -> bool {
    let info = detail.type_url.ends_with("google.rpc.ErrorInfo");
    info && pb::ErrorInfo::decode(detail.value.as_slice()).is_ok_and(|info| info.domain == ERROR_DOMAIN)
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

/// How an exchange ends with this outcome. A refusal of the bus may find the provider at fault, and is told from a status of
/// the provider's system by the details that only the bus gives.
pub(crate) fn ending(payload: &Payload) -> Ending {
    match payload {
        Payload::Message(_) => Ending::Message,
        Payload::Failure { side: Side::Provider, status } if !speaks_for_the_bus(status) => {
            Ending::ProviderStatus
        }
        Payload::Failure { side: Side::Provider | Side::Consumer | Side::Bus, .. } => {
            Ending::RefusedAtProvider
        }
    }
}

fn speaks_for_the_bus(status: &Bytes) -> bool {
    pb::Status::decode(status.clone()).is_ok_and(|stated| stated.details.iter().any(is_of_the_bus))
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

#[cfg(test)]
mod tests {
    use kopuro_core::time::UnixMillis;

    use super::*;

    #[test]
    fn a_refusal_of_the_bus_is_no_status_of_the_provider() {
        let stated = pb::Status { code: 5, message: "no such person".into(), details: Vec::new() };
        let own = providers_own(&stated.encode_to_vec().into());
        let exchange = ExchangeId::new(UnixMillis::new(1), [1; 10]);
        let refused = |reason: Reason| payload_of(&reason.into(), &exchange);
        let table = [
            (Payload::Message(Bytes::new()), Ending::Message),
            (own, Ending::ProviderStatus),
            (providers_own(&Bytes::new()), Ending::ProviderStatus),
            (refused(Reason::ProviderUnreachable), Ending::RefusedAtProvider),
            (refused(Reason::ResponseInvalid), Ending::RefusedAtProvider),
            (refused(Reason::ProviderTimeout), Ending::RefusedAtProvider),
            (refused(Reason::AccessDenied), Ending::RefusedAtProvider),
            (refused(Reason::NotDispatched), Ending::RefusedAtProvider),
        ];
        for (payload, expected) in table {
            assert_eq!(ending(&payload), expected, "{payload:?}");
        }
    }

    #[test]
    fn a_system_cannot_speak_in_the_name_of_the_bus() {
        let info = |domain: &str| {
            let reason = Reason::BrokerUnavailable.name().to_owned();
            let info = pb::ErrorInfo { reason, domain: domain.to_owned(), ..Default::default() };
            let type_url = "type.googleapis.com/google.rpc.ErrorInfo".to_owned();
            prost_types::Any { type_url, value: info.encode_to_vec() }
        };
        let details = vec![info(ERROR_DOMAIN), info("kg.police")];
        let stated = pb::Status { code: 14, message: "down".into(), details };
        let Payload::Failure { status, side } = providers_own(&stated.encode_to_vec().into()) else {
            panic!()
        };
        let kept = pb::Status::decode(status).unwrap();
        assert_eq!((kept.code, kept.message.as_str(), side), (14, "down", Side::Provider));
        assert_eq!(kept.details, [info("kg.police")]);
    }
}
