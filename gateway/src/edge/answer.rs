//! An outcome as the caller's system sees it: an ordinary gRPC answer, with what names its evidence beside it.

use std::fmt::Display;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use kopuro_core::content::Payload;
use kopuro_core::error::Side;
use kopuro_core::id::ExchangeId;
use kopuro_exchange::Answer;
use kopuro_rpc::refusals::SIDE;
use kopuro_rpc::unary::{self, Slot};
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::pb;

use super::metadata::{
    EFFECT_REQUEST_DIGEST, EXCHANGE_ID, PROVIDER, REQUEST_DIGEST, REQUEST_ID, RESPONSE_DIGEST,
};

/// The answer to a call. A message holds the call's room until the caller has taken it.
pub(super) fn response(exchange: &ExchangeId, answer: Answer, slot: Slot) -> Response<Body> {
    let Answer { provider, request, request_digest, effect_request_digest, response_digest, payload } =
        answer;
    let evidence: [(&'static str, &dyn Display); 6] = [
        (EXCHANGE_ID, exchange),
        (REQUEST_ID, &request),
        (REQUEST_DIGEST, &request_digest),
        (EFFECT_REQUEST_DIGEST, &effect_request_digest),
        (RESPONSE_DIGEST, &response_digest),
        (PROVIDER, &provider),
    ];
    let evidence: HeaderMap =
        evidence.into_iter().map(|(name, value)| header(name, &value.to_string())).collect();
    match payload {
        Payload::Message(message) => unary::message_in(slot, message, evidence),
        Payload::Failure { status, side } => {
            let mut response = unary::failure(status_of(status, side));
            response.headers_mut().extend(evidence);
            response.headers_mut().extend([header(SIDE, side.name())]);
            response
        }
    }
}

fn header(name: &'static str, value: &str) -> (HeaderName, HeaderValue) {
    let value = HeaderValue::try_from(value).expect("identifiers and digests are header values");
    (HeaderName::from_static(name), value)
}

/// The status that was stated, with its code, message and details as they are. One that is none, for OK is no failure,
/// becomes `INTERNAL`.
fn status_of(encoded: Bytes, side: Side) -> Status {
    let stated = pb::Status::decode(encoded.clone()).ok();
    match stated {
        Some(pb::Status { code: code @ 1..=16, message, details: _ }) => {
            Status::with_details(Code::from_i32(code), message, encoded)
        }
        Some(_) | None => {
            Status::new(Code::Internal, format!("the status of the {} cannot be read", side.name()))
        }
    }
}

#[cfg(test)]
mod tests {
    use kopuro_core::digest::Digest;
    use kopuro_core::id::{RequestId, SubsystemId};
    use kopuro_core::time::UnixMillis;
    use kopuro_rpc::unary::{Intake, IntakeSettings};

    use super::*;

    fn answered(payload: Payload) -> Response<Body> {
        let answer = Answer {
            provider: SubsystemId::parse("KG/GOV/60000002/pensions").unwrap(),
            request: RequestId::new([2; 16]),
            request_digest: Digest::of(b"1"),
            effect_request_digest: Digest::of(b"2"),
            response_digest: Digest::of(b"3"),
            payload,
        };
        let slot = Intake::new(IntakeSettings::default()).admit().unwrap();
        response(&ExchangeId::new(UnixMillis::new(5), [1; 10]), answer, slot)
    }

    #[test]
    fn a_message_comes_with_its_evidence() {
        let response = answered(Payload::Message(Bytes::from_static(b"message")));
        for (name, value) in [
            (REQUEST_DIGEST, Digest::of(b"1").to_string()),
            (EFFECT_REQUEST_DIGEST, Digest::of(b"2").to_string()),
            (RESPONSE_DIGEST, Digest::of(b"3").to_string()),
            (PROVIDER, "KG/GOV/60000002/pensions".to_owned()),
        ] {
            assert_eq!(response.headers()[name], value, "{name}");
        }
        assert!(!response.headers().contains_key(SIDE));
    }

    #[test]
    fn a_provider_status_passes_through_and_says_whose_it_is() {
        let details = vec![prost_types_any()];
        let stated = pb::Status { code: 5, message: "no such person".into(), details };
        let status = Bytes::from(stated.encode_to_vec());
        let response = answered(Payload::Failure { status: status.clone(), side: Side::Provider });
        assert_eq!(response.headers()[SIDE], "provider");
        let seen = Status::from_header_map(response.headers()).unwrap();
        assert_eq!((seen.code(), seen.message()), (Code::NotFound, "no such person"));
        assert_eq!(seen.details(), status);
    }

    fn prost_types_any() -> prost_types::Any {
        prost_types::Any { type_url: "type.googleapis.com/kg.Detail".into(), value: vec![1, 2, 3] }
    }

    #[test]
    fn a_failure_is_never_ok() {
        for status in [Vec::new(), vec![0xff], pb::Status { code: 99, ..Default::default() }.encode_to_vec()]
        {
            let response = answered(Payload::Failure { status: status.into(), side: Side::Provider });
            assert_eq!(Status::from_header_map(response.headers()).unwrap().code(), Code::Internal);
        }
    }
}
