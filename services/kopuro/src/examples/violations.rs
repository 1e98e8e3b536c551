//! The traffic police's violations and fines.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kopuro_proto::examples::kg::traffic::v1 as wire;
use kopuro_proto::examples::kg::traffic::v1::violation_service_server::ViolationService;
use tonic::{Request, Response, Status};

use super::people::{self, Person};

/// The size of an invented photo. **Units:** bytes.
const PHOTO_LEN: usize = 48 * 1024;

/// Answers for one plate, and counts the payments it books.
#[derive(Clone, Debug, Default)]
pub struct Violations {
    payments: Arc<AtomicU64>,
}

impl Violations {
    /// How many payments were booked: the effect that must happen once.
    pub fn payments(&self) -> u64 {
        self.payments.load(Ordering::Acquire)
    }
}

#[tonic::async_trait]
impl ViolationService for Violations {
    async fn list_violations(
        &self,
        request: Request<wire::ListViolationsRequest>,
    ) -> Result<Response<wire::ListViolationsResponse>, Status> {
        let wire::ListViolationsRequest { pin, plate, with_image } = request.into_inner();
        let response = match people::find(&pin) {
            Some(person) if person.plate == plate => wire::ListViolationsResponse {
                code: 200,
                message: "found".into(),
                protocols: vec![protocol(person, with_image)],
            },
            Some(_) => {
                wire::ListViolationsResponse { code: 403, message: "not the owner".into(), protocols: vec![] }
            }
            None => {
                wire::ListViolationsResponse { code: 404, message: "no such plate".into(), protocols: vec![] }
            }
        };
        Ok(Response::new(response))
    }

    async fn register_payment(
        &self,
        _request: Request<wire::RegisterPaymentRequest>,
    ) -> Result<Response<wire::RegisterPaymentResponse>, Status> {
        let number = self.payments.fetch_add(1, Ordering::AcqRel) + 1;
        Ok(Response::new(wire::RegisterPaymentResponse {
            receipt_number: format!("R-{number:08}"),
            payment_status: wire::PaymentStatus::Paid.into(),
            remaining_tyiyn: 0,
        }))
    }

    async fn confirm_notice(
        &self,
        request: Request<wire::ConfirmNoticeRequest>,
    ) -> Result<Response<wire::ConfirmNoticeResponse>, Status> {
        let handed_over_date = request.into_inner().handed_over_date;
        Ok(Response::new(wire::ConfirmNoticeResponse { handed_over_date }))
    }
}

fn protocol(person: &Person, with_image: bool) -> wire::ViolationProtocol {
    wire::ViolationProtocol {
        number: "BP-2026-118204".into(),
        full_name: person.full_name(),
        birth_date: person.birth_date.into(),
        address: "Osh, Lenin street 114, flat 7".into(),
        car_brand: "Honda".into(),
        car_model: "Fit".into(),
        plate: person.plate.into(),
        payment_number: "204118204417".into(),
        payment_status: wire::PaymentStatus::Unpaid.into(),
        amount_tyiyn: 100_000,
        article: "Art. 190 part 2".into(),
        recorded_time: Some(prost_types::Timestamp { seconds: 1_795_000_000, nanos: 0 }),
        place: "Osh, crossing of Lenin and Navoi streets".into(),
        photo: with_image.then(photo),
    }
}

/// Bytes that begin as a JPEG file does; no picture of anybody.
fn photo() -> Vec<u8> {
    let pattern = (0..PHOTO_LEN).map(|at| u8::try_from(at % 251).unwrap_or(0));
    [0xff, 0xd8, 0xff].into_iter().chain(pattern).collect()
}
