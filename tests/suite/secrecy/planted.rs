//! The words planted, and the calls and systems that plant them.

use axum::Router;
use bytes::Bytes;
use kopuro::client::{Client, Reply};
use kopuro_core::error::Reason;
use kopuro_proto::examples::kg::socialfund::v1 as fund;
use kopuro_proto::examples::kg::socialfund::v1::pension_service_server::{
    PensionService, PensionServiceServer,
};
use kopuro_proto::examples::kg::traffic::v1 as traffic;
use kopuro_proto::examples::kg::traffic::v1::violation_service_server::{
    ViolationService, ViolationServiceServer,
};
use kopuro_rpc::refusals::EXCHANGE_ID;
use prost::Message;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};
use tonic_types::pb;

use crate::edge::{PAYMENT, PENSION};
use crate::wire::LIMIT;

const PIN: &str = "20101199054321";
const ABSENT_PIN: &str = "20101199054322";
const BROKEN_PIN: &str = "20101199054323";
const USER: &str = "20101199054324";
const ISSUE: &str = "PLANTED-ISSUE-417";
const PURPOSE: &str = "PLANTED-PURPOSE-417";
/// A purpose in Cyrillic, as gRPC writes it.
const PURPOSE_BASE64: &str = "0L/QvtGB0LDQttC10L3QviA0MTc";
const PURPOSE_TEXT: &str = "посажено 417";
const REPRESENTED: &str = "PLANTED-PARTY-417";
const ORGANISATION: &str = "PLANTED-ORGANISATION-417";
const ANSWERED: &str = "PLANTED-ANSWER-417";
const STATUS: &str = "PLANTED-STATUS-417";
const BROKEN: &str = "PLANTED-BROKEN-417";
const REFERENCE: &str = "PLANTED-REFERENCE-417";
const RECEIPT: &str = "PLANTED-RECEIPT-417";
const MALFORMED: &str = "PLANTED-MALFORMED-417";
const METADATA: &str = "PLANTED-METADATA-417";
const UNKNOWN: &str = "PLANTED-UNKNOWN-417";

/// Everything that must not be found.
pub(super) const WORDS: [&str; 19] = [
    PIN,
    ABSENT_PIN,
    BROKEN_PIN,
    USER,
    ISSUE,
    PURPOSE,
    PURPOSE_BASE64,
    PURPOSE_TEXT,
    REPRESENTED,
    ORGANISATION,
    ANSWERED,
    STATUS,
    BROKEN,
    REFERENCE,
    RECEIPT,
    MALFORMED,
    METADATA,
    UNKNOWN,
    "PLANTED",
];

/// What was not secret of the calls made.
pub(super) struct Planted {
    /// The exchange of a refusal, which is audited and logged.
    pub(super) refused: String,
}

/// Makes good calls, calls that fail at the provider, and calls that are refused, with something planted in each.
pub(super) async fn call_all(portal: &Client) -> Planted {
    let good = call(portal, PENSION, &[("kopuro-purpose", PURPOSE)], pension(PIN)).await;
    let answer = fund::GetPensionInfoResponse::decode(good.result.unwrap()).unwrap();
    assert_eq!(answer.dossiers[0].category, ANSWERED);
    let good = call(portal, PENSION, &[("kopuro-purpose-bin", PURPOSE_BASE64)], pension(PIN)).await;
    assert!(good.result.is_ok(), "{good:?}");
    let paid = call(portal, PAYMENT, &[("kopuro-request-id", REQUEST_ID)], payment()).await;
    assert_eq!(
        traffic::RegisterPaymentResponse::decode(paid.result.unwrap()).unwrap().receipt_number,
        RECEIPT
    );

    let absent = call(portal, PENSION, &[], pension(ABSENT_PIN)).await.result.unwrap_err();
    assert_eq!((absent.code, absent.message.as_str()), (Code::NotFound as i32, STATUS));
    let broken = call(portal, PENSION, &[], pension(BROKEN_PIN)).await;
    assert_eq!(reason(&broken), Reason::ResponseInvalid);

    let malformed = call(portal, PENSION, &[], pension(MALFORMED)).await;
    assert_eq!(reason(&malformed), Reason::PayloadInvalid);
    let unknown = [&pension(PIN)[..], &[0xfa, 0x3f, 19], UNKNOWN.as_bytes()].concat();
    assert_eq!(reason(&call(portal, PENSION, &[], unknown).await), Reason::PayloadMalformed);
    for name in
        ["kopuro-request-id", "kopuro-client", "kopuro-provider", "kopuro-nothing", "kopuro-issue-bin"]
    {
        let reply = call(portal, PENSION, &[(name, METADATA)], pension(PIN)).await;
        assert_eq!(reason(&reply), Reason::MetadataInvalid, "{name}");
    }
    Planted { refused: malformed.metadata[EXCHANGE_ID].to_str().unwrap().to_owned() }
}

const REQUEST_ID: &str = "0190f5f2-6f3a-7c1e-9a55-2f8d7a4c1b10";

async fn call(portal: &Client, path: &str, more: &[(&str, &str)], message: Vec<u8>) -> Reply {
    let own = [("kopuro-user-id", USER), ("kopuro-represented-party", REPRESENTED)];
    let issue = [("kopuro-issue", ISSUE)];
    let issue = if more.iter().any(|(name, _)| name.starts_with(issue[0].0)) { &[][..] } else { &issue };
    let metadata = [&own[..], issue, more].concat();
    portal.call(path, &metadata, Bytes::from(message), LIMIT).await.unwrap()
}

fn reason(reply: &Reply) -> Reason {
    let status = reply.result.as_ref().unwrap_err();
    let info =
        status.details.iter().find(|detail| detail.type_url.ends_with("google.rpc.ErrorInfo")).unwrap();
    Reason::parse(&pb::ErrorInfo::decode(info.value.as_slice()).unwrap().reason).unwrap()
}

fn pension(pin: &str) -> Vec<u8> {
    let request = fund::GetPensionInfoRequest {
        pin: pin.into(),
        requesting_organisation: ORGANISATION.into(),
        requesting_person_pin: USER.into(),
    };
    request.encode_to_vec()
}

fn payment() -> Vec<u8> {
    let request = traffic::RegisterPaymentRequest {
        payment_number: "204118204417".into(),
        payer_pin: PIN.into(),
        amount_tyiyn: 100_000,
        paid_time: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 0 }),
        bank_reference: REFERENCE.into(),
    };
    request.encode_to_vec()
}

/// The agencies' systems, which plant something in each answer.
#[derive(Clone, Copy)]
pub(super) struct Register;

impl Register {
    pub(super) fn pensions(self) -> Router {
        Routes::new(PensionServiceServer::new(self)).into_axum_router()
    }

    pub(super) fn violations(self) -> Router {
        Routes::new(ViolationServiceServer::new(self)).into_axum_router()
    }
}

#[tonic::async_trait]
impl PensionService for Register {
    async fn get_pension_info(
        &self,
        request: Request<fund::GetPensionInfoRequest>,
    ) -> Result<Response<fund::GetPensionInfoResponse>, Status> {
        let pin = request.into_inner().pin;
        let dossier = fund::Dossier {
            fund_region: ANSWERED.into(),
            dossier_number: "114-20417".into(),
            pensioner_pin: if pin == BROKEN_PIN { BROKEN.into() } else { pin.clone() },
            recipient_pin: pin.clone(),
            from_date: "2017-06-01".into(),
            category: ANSWERED.into(),
            kind: fund::PensionKind::OldAge.into(),
            ..fund::Dossier::default()
        };
        if pin == ABSENT_PIN {
            return Err(Status::not_found(STATUS));
        }
        Ok(Response::new(fund::GetPensionInfoResponse {
            result_code: fund::ResultCode::Ok.into(),
            pin_infos: Vec::new(),
            dossiers: vec![dossier],
        }))
    }

    async fn get_pension_info_with_sum(
        &self,
        _: Request<fund::GetPensionInfoWithSumRequest>,
    ) -> Result<Response<fund::GetPensionInfoWithSumResponse>, Status> {
        Err(Status::unimplemented(STATUS))
    }
}

#[tonic::async_trait]
impl ViolationService for Register {
    async fn register_payment(
        &self,
        _: Request<traffic::RegisterPaymentRequest>,
    ) -> Result<Response<traffic::RegisterPaymentResponse>, Status> {
        Ok(Response::new(traffic::RegisterPaymentResponse {
            receipt_number: RECEIPT.into(),
            payment_status: traffic::PaymentStatus::Paid.into(),
            remaining_tyiyn: 0,
        }))
    }

    async fn list_violations(
        &self,
        _: Request<traffic::ListViolationsRequest>,
    ) -> Result<Response<traffic::ListViolationsResponse>, Status> {
        Err(Status::unimplemented(STATUS))
    }

    async fn confirm_notice(
        &self,
        _: Request<traffic::ConfirmNoticeRequest>,
    ) -> Result<Response<traffic::ConfirmNoticeResponse>, Status> {
        Err(Status::unimplemented(STATUS))
    }
}
