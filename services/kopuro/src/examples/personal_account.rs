//! The Social Fund's personal accounts.

use kopuro_proto::examples::kg::socialfund::v1 as wire;
use kopuro_proto::examples::kg::socialfund::v1::personal_account_service_server::PersonalAccountService;
use tonic::{Request, Response, Status};

use super::people;

const ISSUER: &str = "Social Fund, Osh region";
const PAYER_INN: &str = "01204199810042";

/// Answers for one worker.
#[derive(Clone, Copy, Debug, Default)]
pub struct PersonalAccounts;

#[tonic::async_trait]
impl PersonalAccountService for PersonalAccounts {
    async fn get_work_period_info(
        &self,
        request: Request<wire::GetWorkPeriodInfoRequest>,
    ) -> Result<Response<wire::GetWorkPeriodInfoResponse>, Status> {
        let response = match people::find(&request.get_ref().pin) {
            Some(person) => wire::GetWorkPeriodInfoResponse {
                result_code: wire::ResultCode::Ok.into(),
                full_name: person.full_name(),
                issuer: ISSUER.into(),
                work_periods: periods(),
            },
            None => wire::GetWorkPeriodInfoResponse {
                result_code: wire::ResultCode::PinNotFound.into(),
                ..wire::GetWorkPeriodInfoResponse::default()
            },
        };
        Ok(Response::new(response))
    }

    async fn get_work_period_info_with_sum(
        &self,
        request: Request<wire::GetWorkPeriodInfoWithSumRequest>,
    ) -> Result<Response<wire::GetWorkPeriodInfoWithSumResponse>, Status> {
        let with_sum = |(period, salary_tyiyn)| wire::WorkPeriodWithSum {
            work_period: Some(period),
            income_tyiyn: salary_tyiyn + 120_000,
            salary_tyiyn,
        };
        let response = match people::find(&request.get_ref().pin) {
            Some(person) => wire::GetWorkPeriodInfoWithSumResponse {
                result_code: wire::ResultCode::Ok.into(),
                full_name: person.full_name(),
                issuer: ISSUER.into(),
                work_periods: periods()
                    .into_iter()
                    .zip([840_000, 1_260_000, 2_150_000])
                    .map(with_sum)
                    .collect(),
            },
            None => wire::GetWorkPeriodInfoWithSumResponse {
                result_code: wire::ResultCode::PinNotFound.into(),
                ..wire::GetWorkPeriodInfoWithSumResponse::default()
            },
        };
        Ok(Response::new(response))
    }

    async fn get_account_data(
        &self,
        request: Request<wire::GetAccountDataRequest>,
    ) -> Result<Response<wire::GetAccountDataResponse>, Status> {
        let record = |month| wire::AccountRecord {
            year: 2011,
            month,
            payer_inn: PAYER_INN.into(),
            contribution_tyiyn: 184_500,
        };
        let response = match people::find(&request.get_ref().pin) {
            Some(_) => wire::GetAccountDataResponse {
                result_code: wire::ResultCode::Ok.into(),
                address: "Osh, Lenin street 114, flat 7".into(),
                coefficient: 1.0,
                records: (1..=12).map(record).collect(),
            },
            None => wire::GetAccountDataResponse {
                result_code: wire::ResultCode::PinNotFound.into(),
                ..wire::GetAccountDataResponse::default()
            },
        };
        Ok(Response::new(response))
    }
}

fn periods() -> Vec<wire::WorkPeriod> {
    let period = |payer: &str, begin: &str, end: &str| wire::WorkPeriod {
        payer: payer.into(),
        payer_inn: PAYER_INN.into(),
        payer_number: "417-0042".into(),
        begin_date: begin.into(),
        end_date: Some(end.into()),
    };
    vec![
        period("School No. 17, Osh", "1976-09-01", "1991-08-31"),
        period("Regional library, Osh", "1991-09-01", "2003-12-31"),
        period("Osh State University", "2004-01-01", "2012-05-11"),
    ]
}
