//! The traffic police's till: it books payments, and journals each booking before it answers. A test may hold one payment
//! at a moment of its choice.

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
use tokio::sync::oneshot;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// How long booking takes at most.
const WORK_MAX: Duration = Duration::from_millis(25);
/// How long it may take until a payment comes that is to be held.
const HOLD_LIMIT: Duration = Duration::from_secs(30);

/// A till that survives the bus.
#[derive(Clone)]
pub(super) struct Till(Arc<Inner>);

struct Inner {
    journal: Mutex<Journal>,
    /// Who waits for a payment to hold.
    gate: Mutex<Option<Gate>>,
    path: tempfile::TempPath,
}

struct Journal {
    file: File,
    booked: usize,
}

/// A moment in the life of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// It was dispatched, and has not happened.
    BeforeBooking,
    /// It has happened, and is not answered.
    BeforeAnswer,
}

struct Gate {
    moment: Moment,
    reached: oneshot::Sender<String>,
    release: oneshot::Receiver<()>,
}

/// A payment that is held for as long as this lives.
pub(super) struct Held {
    /// Where it is held.
    pub(super) moment: Moment,
    /// Its request id.
    pub(super) request: String,
    _release: oneshot::Sender<()>,
}

impl Till {
    pub(super) fn new() -> Self {
        let (file, path) = tempfile::NamedTempFile::new().unwrap().into_parts();
        let journal = Mutex::new(Journal { file, booked: 0 });
        Self(Arc::new(Inner { journal, gate: Mutex::default(), path }))
    }

    pub(super) fn router(&self) -> Router {
        Routes::new(ViolationServiceServer::new(self.clone())).into_axum_router()
    }

    /// Holds the next payment that comes to `moment` from here on, and waits for it.
    pub(super) fn hold(&self, moment: Moment) -> impl Future<Output = Held> + use<> {
        let (reached, held) = oneshot::channel();
        let (release, released) = oneshot::channel();
        let before = self.0.gate.lock().unwrap().replace(Gate { moment, reached, release: released });
        assert!(before.is_none(), "one payment at a time is held");
        async move {
            let held = tokio::time::timeout(HOLD_LIMIT, held).await;
            Held { moment, request: held.expect("a payment comes").unwrap(), _release: release }
        }
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

    /// Waits here when this is the payment that a test wants to hold.
    async fn pass(&self, moment: Moment, request: &str) {
        let gate = self.0.gate.lock().unwrap().take_if(|gate| gate.moment == moment);
        if let Some(Gate { moment: _, reached, release }) = gate {
            reached.send(request.to_owned()).unwrap();
            // It is let go when the test drops what holds it.
            let _ = release.await;
        }
    }

    /// Books a payment: from here on it has happened.
    fn book(&self, request: &str) -> String {
        let mut journal = self.0.journal.lock().unwrap();
        let receipt = format!("R-{:08}", journal.booked + 1);
        writeln!(journal.file, "{request} {receipt}").unwrap();
        journal.file.sync_data().unwrap();
        journal.booked += 1;
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
        self.pass(Moment::BeforeBooking, &id).await;
        let (till, booking) = (self.clone(), id.clone());
        // Whoever asked may be gone by then: what is begun is booked.
        let receipt = tokio::task::spawn_blocking(move || till.book(&booking)).await.unwrap();
        tokio::time::sleep(WORK_MAX.mul_f64(after)).await;
        self.pass(Moment::BeforeAnswer, &id).await;
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
