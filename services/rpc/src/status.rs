//! From a refusal to the gRPC status that leaves the process. Internal text never does.

use std::collections::HashMap;

use kopuro_core::error::{Code, ERROR_DOMAIN, Entry, FieldViolation, Refusal};
use kopuro_core::id::ExchangeId;
use tonic::Status;
use tonic_types::{ErrorDetails, FieldViolation as WireViolation, StatusExt as _};

/// The status for `refusal`, with `google.rpc.ErrorInfo` and, where they apply, `BadRequest` and `RetryInfo`, each
/// once. `ErrorInfo.metadata` names the side at fault, the remedy, the exchange and the refusal's own facts.
pub fn to_status(refusal: &Refusal, exchange: Option<&ExchangeId>) -> Status {
    let Entry { name, code, side, remedy, cause: _, reason: _ } = refusal.reason.entry();
    let mut metadata: HashMap<String, String> =
        [("side".to_owned(), side.name().to_owned()), ("remedy".to_owned(), remedy.to_owned())].into();
    metadata.extend(exchange.map(|id| ("exchange_id".to_owned(), id.to_string())));
    metadata.extend(refusal.metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let mut details = ErrorDetails::new();
    details.set_error_info(name, ERROR_DOMAIN, metadata);
    if !refusal.violations.is_empty() {
        details.set_bad_request(refusal.violations.iter().map(to_wire).collect::<Vec<_>>());
    }
    if refusal.retry_after.is_some() {
        details.set_retry_info(refusal.retry_after);
    }
    Status::with_error_details(to_tonic(code), refusal.message(), details)
}

fn to_wire(violation: &FieldViolation) -> WireViolation {
    let FieldViolation { field, reason, description } = violation;
    let mut wire = WireViolation::new(field, description);
    wire.reason.clone_from(reason);
    wire
}

/// The status code as tonic names it.
pub fn to_tonic(code: Code) -> tonic::Code {
    tonic::Code::from_i32(code as i32)
}

#[cfg(test)]
mod tests {
    use kopuro_core::error::Reason;

    use super::*;

    #[test]
    fn every_reason_carries_error_info() {
        for reason in Reason::ALL {
            let status = to_status(&Refusal::new(*reason), None);
            let info = status.get_details_error_info().unwrap();
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason.name(), "kopuro"));
            assert_eq!(info.metadata["side"], reason.entry().side.name());
            assert_eq!(status.code() as i32, reason.entry().code as i32);
        }
    }

    #[test]
    fn violations_become_a_bad_request() {
        let violation = FieldViolation {
            field: "pin".into(),
            reason: "STRING_PATTERN".into(),
            description: "14 digits".into(),
        };
        let refusal = Refusal::new(Reason::PayloadInvalid).violations([violation]);
        let fields = to_status(&refusal, None).get_details_bad_request().unwrap().field_violations;
        assert_eq!((fields[0].field.as_str(), fields[0].description.as_str()), ("pin", "14 digits"));
    }
}
