//! From a refusal to the gRPC status that leaves the process. Internal text never does.

use std::collections::HashMap;

use kopuro_core::error::{Code, ERROR_DOMAIN, Entry, FieldViolation, Refusal};
use kopuro_core::id::ExchangeId;
use prost::Message as _;
use tonic::Status;
use tonic_types::{ErrorDetails, FieldViolation as WireViolation, StatusExt as _, pb};

/// The longest details that leave in an answer's headers. With the rest they stay under 8 KiB, beyond which gRPC clients
/// begin to give up the whole answer (gRPC core, `grpc.max_metadata_size`). **Units:** bytes, before base64.
const DETAILS_LEN_MAX: usize = 4 * 1024;
/// The longest list of violations within them. **Units:** bytes.
const VIOLATIONS_LEN_MAX: usize = 3 * 1024;
/// The longest message, which leaves percent-encoded. **Units:** bytes.
const MESSAGE_LEN_MAX: usize = 512;
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

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

/// The status as it fits into an answer's headers: what is too long is cut, so that the rest arrives. Of violations the
/// first are kept, and of details those that fit.
pub fn fitted(status: Status) -> Status {
    if status.details().len() <= DETAILS_LEN_MAX && status.message().len() <= MESSAGE_LEN_MAX {
        return status;
    }
    let text = status.message();
    let message = text[..text.floor_char_boundary(MESSAGE_LEN_MAX)].to_owned();
    let whole = pb::Status::decode(status.details()).unwrap_or_default();
    let mut kept = pb::Status { code: status.code() as i32, message: message.clone(), details: Vec::new() };
    for detail in whole.details {
        kept.details.push(shortened(detail));
        if kept.encoded_len() > DETAILS_LEN_MAX {
            kept.details.pop();
        }
    }
    let metadata = status.metadata().clone();
    Status::with_details_and_metadata(status.code(), message, kept.encode_to_vec().into(), metadata)
}

fn shortened(mut detail: prost_types::Any) -> prost_types::Any {
    if detail.type_url == BAD_REQUEST
        && let Ok(mut violations) = pb::BadRequest::decode(detail.value.as_slice())
    {
        while violations.encoded_len() > VIOLATIONS_LEN_MAX {
            violations.field_violations.pop();
        }
        detail.value = violations.encode_to_vec();
    }
    detail
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
    fn what_is_too_long_is_cut_and_the_rest_arrives() {
        let violation = |number: usize| FieldViolation {
            field: format!("dossiers[{number}].pin"),
            reason: "STRING_PATTERN".into(),
            description: "x".repeat(300),
        };
        let refusal = Refusal::new(Reason::PayloadInvalid).violations((0..32).map(violation));
        let status = fitted(to_status(&refusal, None));
        assert_eq!(status.get_details_error_info().unwrap().reason, "PAYLOAD_INVALID");
        let fields = status.get_details_bad_request().unwrap().field_violations;
        assert!((5..32).contains(&fields.len()) && fields[0].field == "dossiers[0].pin", "{}", fields.len());
        let headers = status.into_http::<()>().headers().clone();
        let length: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!(length < 7 * 1024, "{length} bytes of headers");

        let wordy = fitted(Status::new(tonic::Code::NotFound, "ю".repeat(400)));
        assert_eq!(wordy.message(), "ю".repeat(256));
        let brief = to_status(&Refusal::new(Reason::Internal), None);
        assert_eq!(fitted(brief.clone()).details(), brief.details());
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
