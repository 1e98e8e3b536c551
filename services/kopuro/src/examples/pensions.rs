//! The Social Fund's pension service.

use kopuro_proto::examples::kg::socialfund::v1 as wire;
use kopuro_proto::examples::kg::socialfund::v1::pension_service_server::PensionService;
use tonic::{Request, Response, Status};

use super::people::{self, Person};

/// Answers for one pensioner.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pensions;

#[tonic::async_trait]
impl PensionService for Pensions {
    async fn get_pension_info(
        &self,
        request: Request<wire::GetPensionInfoRequest>,
    ) -> Result<Response<wire::GetPensionInfoResponse>, Status> {
        let response = match people::find(&request.get_ref().pin) {
            Some(person) => wire::GetPensionInfoResponse {
                result_code: wire::ResultCode::Ok.into(),
                pin_infos: vec![pin_info(person)],
                dossiers: vec![dossier(person)],
            },
            None => wire::GetPensionInfoResponse {
                result_code: wire::ResultCode::PinNotFound.into(),
                ..wire::GetPensionInfoResponse::default()
            },
        };
        Ok(Response::new(response))
    }

    async fn get_pension_info_with_sum(
        &self,
        request: Request<wire::GetPensionInfoWithSumRequest>,
    ) -> Result<Response<wire::GetPensionInfoWithSumResponse>, Status> {
        let response = match people::find(&request.get_ref().pin) {
            Some(person) => wire::GetPensionInfoWithSumResponse {
                result_code: wire::ResultCode::Ok.into(),
                pin_infos: vec![pin_info(person)],
                dossiers: vec![wire::DossierWithSum {
                    dossier: Some(dossier(person)),
                    monthly_sum_tyiyn: 1_048_000,
                }],
            },
            None => wire::GetPensionInfoWithSumResponse {
                result_code: wire::ResultCode::PinNotFound.into(),
                ..wire::GetPensionInfoWithSumResponse::default()
            },
        };
        Ok(Response::new(response))
    }
}

fn pin_info(person: &Person) -> wire::PinInfo {
    wire::PinInfo {
        state_date: "2019-03-01".into(),
        state: wire::PinState::Active.into(),
        pin: person.pin.into(),
        last_name: person.last_name.into(),
        first_name: person.first_name.into(),
        full_name: person.full_name(),
        issuer: "State Registration Service, Osh".into(),
    }
}

fn dossier(person: &Person) -> wire::Dossier {
    wire::Dossier {
        fund_region: "Osh".into(),
        dossier_number: "0417-000231".into(),
        pensioner_pin: person.pin.into(),
        recipient_pin: person.pin.into(),
        from_date: "2012-05-12".into(),
        to_date: None,
        kind: wire::PensionKind::OldAge.into(),
        category: "general".into(),
    }
}
