//! A pension system that keeps what reached it, and answers as a test wishes.

use std::sync::{Arc, Mutex};

use axum::Router;
use kopuro_proto::examples::kg::socialfund::v1 as fund;
use kopuro_proto::examples::kg::socialfund::v1::pension_service_server::{
    PensionService, PensionServiceServer,
};
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// A PIN that the system answers with `NOT_FOUND`.
pub(crate) const ABSENT_PIN: &str = "20101199000001";
/// A PIN that it answers with a message which breaks the contract.
pub(crate) const BROKEN_PIN: &str = "20101199000002";
/// A PIN that it never answers.
pub(crate) const SILENT_PIN: &str = "20101199000004";
/// A PIN that it answers well.
pub(crate) const GOOD_PIN: &str = "20101199000003";

/// What reached the system.
#[derive(Clone, Default)]
pub(crate) struct Probe {
    seen: Arc<Mutex<Vec<MetadataMap>>>,
}

impl Probe {
    pub(crate) fn router(&self) -> Router {
        Routes::new(PensionServiceServer::new(self.clone())).into_axum_router()
    }

    /// How many calls reached the system.
    pub(crate) fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The metadata of the last call.
    pub(crate) fn last(&self) -> MetadataMap {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

#[tonic::async_trait]
impl PensionService for Probe {
    async fn get_pension_info(
        &self,
        request: Request<fund::GetPensionInfoRequest>,
    ) -> Result<Response<fund::GetPensionInfoResponse>, Status> {
        self.seen.lock().unwrap().push(request.metadata().clone());
        let found = fund::GetPensionInfoResponse {
            result_code: fund::ResultCode::PinNotFound.into(),
            ..fund::GetPensionInfoResponse::default()
        };
        match request.get_ref().pin.as_str() {
            SILENT_PIN => std::future::pending().await,
            ABSENT_PIN => Err(Status::not_found("the register knows no such person")),
            BROKEN_PIN => Ok(Response::new(fund::GetPensionInfoResponse {
                pin_infos: vec![fund::PinInfo { pin: "123".into(), ..fund::PinInfo::default() }],
                ..found
            })),
            _ => Ok(Response::new(found)),
        }
    }

    async fn get_pension_info_with_sum(
        &self,
        _: Request<fund::GetPensionInfoWithSumRequest>,
    ) -> Result<Response<fund::GetPensionInfoWithSumResponse>, Status> {
        Err(Status::unimplemented("no test asks for sums"))
    }
}

/// A request for the pension of `pin`.
pub(crate) fn pension_request(pin: &str) -> fund::GetPensionInfoRequest {
    fund::GetPensionInfoRequest {
        pin: pin.into(),
        requesting_organisation: "Citizen portal".into(),
        requesting_person_pin: GOOD_PIN.into(),
    }
}
