//! Payments as a bank's system makes them: each under a request id of its own, repeated until it has an outcome.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kopuro::client::{Client, ClientError};
use kopuro::examples::PERSON;
use kopuro_core::error::Reason;
use kopuro_core::id::RequestId;
use kopuro_proto::examples::kg::traffic::v1 as traffic;
use kopuro_trust::random;
use prost::Message as _;
use tokio::sync::watch;
use tonic::Code;
use tonic_types::pb;

use crate::edge::PAYMENT;

/// How long one call waits. It is also how long its request lives.
const LIMIT: Duration = Duration::from_secs(20);
/// How long a payment may be without an outcome, all attempts together. **Source:** a dispatch may begin for 5 s after
/// its marker, clocks may differ by 5 s, and only then is it recorded as interrupted.
const OUTCOME_LIMIT: Duration = Duration::from_secs(60);

/// How long it may take until enough payments have an outcome.
const TOLD_LIMIT: Duration = Duration::from_secs(30);

/// What became of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was booked under this receipt.
    Receipt(String),
    /// It failed for good, for this reason.
    Failed(Reason),
}

/// What the payers know of their payments, by request id.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<watch::Sender<BTreeMap<String, Option<Outcome>>>>);

impl Ledger {
    /// Every payment, with its outcome where it has been told.
    pub(super) fn payments(&self) -> BTreeMap<String, Option<Outcome>> {
        self.0.borrow().clone()
    }

    /// Waits until so many more payments have an outcome.
    pub(super) async fn until_told(&self, more: usize) {
        let told = |payments: &BTreeMap<_, Option<Outcome>>| payments.values().flatten().count();
        let mut payments = self.0.subscribe();
        let enough = told(&payments.borrow()) + more;
        let waiting =
            tokio::time::timeout(TOLD_LIMIT, payments.wait_for(|payments| told(payments) >= enough));
        let waited = waiting.await.is_ok();
        assert!(waited, "only {} of {enough} payments have an outcome", told(&self.payments()));
    }

    fn note(&self, request: &str, outcome: Option<Outcome>) {
        self.0.send_modify(|payments| {
            let known = payments.entry(request.to_owned()).or_default();
            assert!(known.is_none() || *known == outcome, "{request}: {known:?} became {outcome:?}");
            *known = outcome;
        });
    }
}

/// Pays again and again, each time something else, until the gateway is gone.
pub(super) async fn pay_on(client: Arc<Client>, ledger: Ledger) {
    loop {
        let request = RequestId::new(random::bytes()).to_string();
        ledger.note(&request, None);
        match attempt(&client, &request).await {
            Ok(Some(outcome)) => ledger.note(&request, Some(outcome)),
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

/// Repeats a payment until it has an outcome.
pub(super) async fn settle(client: Arc<Client>, ledger: Ledger, request: String) {
    let settled = async {
        loop {
            if let Ok(Some(outcome)) = attempt(&client, &request).await {
                return ledger.note(&request, Some(outcome));
            }
        }
    };
    let settled = tokio::time::timeout(OUTCOME_LIMIT, settled).await;
    assert!(settled.is_ok(), "{request} has no outcome after {OUTCOME_LIMIT:?}");
}

/// One call; `None` when it was answered that the outcome is not known, or that nothing was accepted.
pub(super) async fn attempt(client: &Client, request: &str) -> Result<Option<Outcome>, ClientError> {
    let metadata = [("kopuro-request-id", request)];
    let answered = client.unary(PAYMENT, &metadata, &payment(), LIMIT).await?;
    let status = match answered {
        Ok(traffic::RegisterPaymentResponse { receipt_number, .. }) => {
            return Ok(Some(Outcome::Receipt(receipt_number)));
        }
        Err(status) => status,
    };
    match Code::from_i32(status.code) {
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => Ok(None),
        _ => Ok(Some(Outcome::Failed(reason(&status)))),
    }
}

fn reason(status: &pb::Status) -> Reason {
    let info = status.details.iter().find(|detail| detail.type_url.ends_with("google.rpc.ErrorInfo"));
    let info = pb::ErrorInfo::decode(info.unwrap_or_else(|| panic!("{status:?}")).value.as_slice()).unwrap();
    Reason::parse(&info.reason).unwrap()
}

fn payment() -> traffic::RegisterPaymentRequest {
    traffic::RegisterPaymentRequest {
        payment_number: "204118204417".into(),
        payer_pin: PERSON.pin.into(),
        amount_tyiyn: 100_000,
        paid_time: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 0 }),
        bank_reference: "KICB-118204".into(),
    }
}
