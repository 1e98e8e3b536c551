//! The traffic police's till: it books payments, and journals each booking before it answers.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use kopuro_proto::examples::kg::traffic::v1 as traffic;
use kopuro_proto::examples::kg::traffic::v1::violation_service_server::{
    ViolationService, ViolationServiceServer,
};
use rand::Rng as _;
use tokio::sync::{Semaphore, watch};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// How long booking takes at most.
const WORK_MAX: Duration = Duration::from_millis(25);

/// A till that survives the bus.
#[derive(Clone)]
pub(super) struct Till(Arc<Inner>);

struct Inner {
    journal: Mutex<File>,
    booked: watch::Sender<usize>,
    /// Answers go out one for each permit.
    gate: Semaphore,
    path: tempfile::TempPath,
}

impl Till {
    /// A till that answers as soon as it has booked.
    pub(super) fn new() -> Self {
        Self::with(Semaphore::MAX_PERMITS)
    }

    /// A till that books and then waits for [`Self::release`].
    pub(super) fn holding() -> Self {
        Self::with(0)
    }

    fn with(permits: usize) -> Self {
        let (journal, path) = tempfile::NamedTempFile::new().unwrap().into_parts();
        let (booked, _) = watch::channel(0);
        Self(Arc::new(Inner { journal: Mutex::new(journal), booked, gate: Semaphore::new(permits), path }))
    }

    pub(super) fn router(&self) -> Router {
        Routes::new(ViolationServiceServer::new(self.clone())).into_axum_router()
    }

    /// Lets one answer out.
    pub(super) fn release(&self) {
        self.0.gate.add_permits(1);
    }

    /// How many payments are booked, as it grows.
    pub(super) fn booked(&self) -> watch::Receiver<usize> {
        self.0.booked.subscribe()
    }

    /// The receipts of each request id, as the journal has them.
    pub(super) fn journal(&self) -> HashMap<String, Vec<String>> {
        let text = std::fs::read_to_string(&self.0.path).unwrap();
        let mut effects: HashMap<String, Vec<String>> = HashMap::new();
        for line in text.lines() {
            let (request, receipt) = line.split_once(' ').unwrap();
            effects.entry(request.to_owned()).or_default().push(receipt.to_owned());
        }
        effects
    }

    /// Books a payment: from here on it has happened.
    fn book(&self, request: &str) -> String {
        let mut journal = self.0.journal.lock().unwrap();
        let receipt = format!("R-{:08}", *self.0.booked.borrow() + 1);
        writeln!(journal, "{request} {receipt}").unwrap();
        journal.sync_data().unwrap();
        self.0.booked.send_modify(|count| *count += 1);
        receipt
    }
}

#[tonic::async_trait]
impl ViolationService for Till {
    async fn register_payment(
        &self,
        request: Request<traffic::RegisterPaymentRequest>,
    ) -> Result<Response<traffic::RegisterPaymentResponse>, Status> {
        let id = request.metadata().get("kopuro-request-id").unwrap().to_str().unwrap().to_owned();
        let (before, after) = (rand::rng().random_range(0.0..0.5), rand::rng().random_range(0.0..0.5));
        tokio::time::sleep(WORK_MAX.mul_f64(before)).await;
        let till = self.clone();
        // Whoever asked may be gone by then: what is begun is booked.
        let receipt = tokio::task::spawn_blocking(move || till.book(&id)).await.unwrap();
        tokio::time::sleep(WORK_MAX.mul_f64(after)).await;
        self.0.gate.acquire().await.unwrap().forget();
        Ok(Response::new(traffic::RegisterPaymentResponse {
            receipt_number: receipt,
            payment_status: traffic::PaymentStatus::Paid.into(),
            remaining_tyiyn: 0,
        }))
    }

    async fn list_violations(
        &self,
        _: Request<traffic::ListViolationsRequest>,
    ) -> Result<Response<traffic::ListViolationsResponse>, Status> {
        Err(Status::unimplemented("nobody asks for violations here"))
    }

    async fn confirm_notice(
        &self,
        _: Request<traffic::ConfirmNoticeRequest>,
    ) -> Result<Response<traffic::ConfirmNoticeResponse>, Status> {
        Err(Status::unimplemented("nobody confirms notices here"))
    }
}
