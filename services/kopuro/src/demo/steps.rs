//! The steps of the demonstration.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kopuro_broker::Record;
use kopuro_core::error::Reason;
use kopuro_core::id::RequestId;
use kopuro_core::topic::{SubsystemTopic, TopicName};
use kopuro_proto::examples::kg::civilregistry::v1 as civil;
use kopuro_proto::examples::kg::socialfund::v1 as fund;
use kopuro_proto::examples::kg::traffic::v1 as traffic;
use kopuro_rpc::refusals::EXCHANGE_ID;
use kopuro_trust::random;
use prost::Message;
use tonic_types::pb;

use super::report::{Screen, Step};
use super::world::World;
use crate::client::{Client, ClientError, Reply};
use crate::examples::PERSON;

/// How long a call may take.
const LIMIT: Duration = Duration::from_secs(20);

/// The life of the request that the operator withholds; he does so for twice as long.
const WITHHELD_LIFE: Duration = Duration::from_millis(300);

/// The case that every call of the demonstration belongs to.
const CASE: &str = "case-417";

const PENSION: &str = "/kg.socialfund.v1.PensionService/GetPensionInfo";
const WORK_PERIODS: &str = "/kg.socialfund.v1.PersonalAccountService/GetWorkPeriodInfo";
const VIOLATIONS: &str = "/kg.traffic.v1.ViolationService/ListViolations";
const PAYMENT: &str = "/kg.traffic.v1.ViolationService/RegisterPayment";
const PERSON_BY_PIN: &str = "/kg.civilregistry.v1.CivilRegistryService/GetPerson";

/// The demonstration at work.
pub(super) struct Demonstration<'a> {
    world: &'a World,
    screen: Screen,
    portal: Client,
}

/// A call that came back.
struct Called {
    reply: Result<Reply, ClientError>,
    took: Duration,
}

impl<'a> Demonstration<'a> {
    pub(super) fn new(world: &'a World, screen: Screen) -> Result<Self, ClientError> {
        let portal = world.client("portal", "gw-portal")?;
        Ok(Self { world, screen, portal })
    }

    pub(super) fn finish(self) -> Screen {
        self.screen
    }

    /// Exchanges as they should be.
    pub(super) async fn exchanges(&mut self) {
        self.screen.line("A citizen's page asks four registers:");
        let pension = pension_request();
        let called = self.call(&self.portal, PENSION, &pension, &[]).await;
        self.answered::<fund::GetPensionInfoResponse>("pension", &called, |answer| {
            format!("dossier {} since {}", answer.dossiers[0].dossier_number, answer.dossiers[0].from_date)
        });
        let request = fund::GetWorkPeriodInfoRequest { pin: PERSON.pin.into() };
        let called = self.call(&self.portal, WORK_PERIODS, &request, &[]).await;
        self.answered::<fund::GetWorkPeriodInfoResponse>("work periods", &called, |answer| {
            format!("{} periods, the first at {}", answer.work_periods.len(), answer.work_periods[0].payer)
        });
        let request = traffic::ListViolationsRequest {
            pin: PERSON.pin.into(),
            plate: PERSON.plate.into(),
            with_image: true,
        };
        let called = self.call(&self.portal, VIOLATIONS, &request, &[]).await;
        self.answered::<traffic::ListViolationsResponse>("violations, with photo", &called, |answer| {
            let protocol = &answer.protocols[0];
            let photo = protocol.photo.as_ref().map_or(0, Vec::len);
            format!("{}, {} som, photo of {} KB", protocol.article, protocol.amount_tyiyn / 100, photo / 1024)
        });
        let request =
            civil::GetPersonRequest { pin: PERSON.pin.into(), with_documents: true, with_address: true };
        let called = self.call(&self.portal, PERSON_BY_PIN, &request, &[]).await;
        self.answered::<civil::GetPersonResponse>("civil registry", &called, |answer| {
            let person = answer.person.unwrap_or_default();
            format!("{} document, registered in {}", person.documents.len(), person.birth_place)
        });
        self.payment().await;
    }

    /// A payment, and the same payment again.
    async fn payment(&mut self) {
        let id = RequestId::new(random::bytes()).to_string();
        let request = payment_request();
        let metadata = [("kopuro-request-id", id.as_str())];
        let first = self.call(&self.portal, PAYMENT, &request, &metadata).await;
        let receipt = receipt_of(&first);
        self.answered::<traffic::RegisterPaymentResponse>("fine paid", &first, |answer| {
            format!("receipt {}", answer.receipt_number)
        });
        let again = self.call(&self.portal, PAYMENT, &request, &metadata).await;
        let same = receipt.is_some() && receipt == receipt_of(&again);
        let booked = self.world.payments();
        self.show(Step {
            name: "the same payment again",
            passed: same && booked == 1,
            result: match same {
                true => format!("the same receipt; payments booked: {booked}"),
                false => shortly(&again),
            },
            proved: "one effect and one outcome for one request id",
            latency_ms: millis(again.took),
            exchange_id: exchange_of(&again),
        });
    }

    /// What must be refused at the consumer's gateway.
    pub(super) async fn refusals(&mut self) {
        self.screen.line("\nWhat must be refused is, with the reason and the side at fault:");
        let malformed = fund::GetPensionInfoRequest { pin: "123".into(), ..pension_request() };
        let called = self.call(&self.portal, PENSION, &malformed, &[]).await;
        self.refused("malformed PIN", &called, Reason::PayloadInvalid, "the contract's rules are checked");
        let mut unknown = pension_request().encode_to_vec();
        unknown.extend([0xfa, 0x3f, 0x01, b'x']);
        let called = self.send(&self.portal, PENSION, unknown.into(), &[], LIMIT).await;
        self.refused("unknown field", &called, Reason::PayloadMalformed, "the wire is scanned strictly");
        if let Ok(statistics) = self.world.client("statistics", "gw-portal") {
            let called = self.call(&statistics, PENSION, &pension_request(), &[]).await;
            self.refused("no access right", &called, Reason::AccessDenied, "rights deny by default");
        }
        if let Ok(foreign) = self.world.client("violations", "gw-portal") {
            let portal = self.world.portal();
            let metadata = [("kopuro-client", portal.as_str())];
            let called = self.call(&foreign, PENSION, &pension_request(), &metadata).await;
            let proved = "a certificate speaks for its own subsystem only";
            self.refused("another agency's certificate", &called, Reason::ClientMismatch, proved);
        }
        let called = self.call(&self.portal, PAYMENT, &payment_request(), &[]).await;
        let proved = "an effect needs a name, so that it can happen once";
        self.refused("payment without request id", &called, Reason::RequestIdRequired, proved);
    }

    /// What the broker's operator may try.
    pub(super) async fn faults(&mut self) -> anyhow::Result<()> {
        self.screen.line("\nThe broker's operator meddles with what is stored:");
        self.tampered().await?;
        self.replayed().await?;
        self.expired().await
    }

    async fn tampered(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        let (target, stored) = self.world.last_request(&self.world.pensions()).await?;
        let mut value = stored.record.value.to_vec();
        let middle = value.len() / 2;
        value[middle] ^= 1;
        let dead_letters = self.world.dead_letters(&self.world.pensions(), target.partition).await?;
        self.world.broker().append(&target, Record { value: value.into(), ..stored.record }).await?;
        let reason = dead_letters.next_reason(LIMIT).await?;
        self.show(Step {
            name: "a stored record altered",
            passed: reason == Reason::SealBroken.name() || reason == Reason::SignatureInvalid.name(),
            result: format!("put aside: {reason}"),
            proved: "one flipped bit is enough to be refused; nothing was delivered",
            latency_ms: millis(started.elapsed()),
            exchange_id: None,
        });
        Ok(())
    }

    async fn replayed(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut audit = self.world.audit_trail().await?;
        let (target, stored) = self.world.last_request(&self.world.violations()).await?;
        let booked = self.world.payments();
        self.world.broker().append(&target, stored.record).await?;
        let exchange = audit.next_exchange(Reason::DuplicateRecord, LIMIT).await?;
        let unchanged = self.world.payments() == booked;
        self.show(Step {
            name: "a stored record repeated",
            passed: unchanged && exchange.is_some(),
            result: format!("audited: {}; payments booked: {booked}", Reason::DuplicateRecord),
            proved: "no second effect and no second outcome",
            latency_ms: millis(started.elapsed()),
            exchange_id: exchange,
        });
        Ok(())
    }

    async fn expired(&mut self) -> anyhow::Result<()> {
        let mut audit = self.world.audit_trail().await?;
        let topic = TopicName::of_subsystem(SubsystemTopic::Call, &self.world.pensions());
        self.world.meddler().withhold(topic);
        let message = Bytes::from(pension_request().encode_to_vec());
        let called = self.send(&self.portal, PENSION, message, &[], WITHHELD_LIFE).await;
        tokio::time::sleep(WITHHELD_LIFE).await;
        self.world.meddler().release().await;
        let exchange = audit.next_exchange(Reason::Expired, LIMIT).await?;
        let told = reason_of(&called);
        self.show(Step {
            name: "a request withheld too long",
            passed: exchange.is_some()
                && told.as_deref().is_none_or(|told| told == Reason::NotAnsweredInTime.name()),
            result: format!(
                "the caller: {}; the provider: {}",
                told.as_deref().unwrap_or("timed out"),
                Reason::Expired
            ),
            proved: "an expired request is never dispatched",
            latency_ms: millis(called.took),
            exchange_id: exchange,
        });
        Ok(())
    }

    async fn call<M: Message>(
        &self,
        client: &Client,
        path: &str,
        request: &M,
        metadata: &[(&str, &str)],
    ) -> Called {
        self.send(client, path, request.encode_to_vec().into(), metadata, LIMIT).await
    }

    /// Calls as the portal does for a citizen: with who asks, why, and for which case.
    async fn send(
        &self,
        client: &Client,
        path: &str,
        message: Bytes,
        metadata: &[(&str, &str)],
        limit: Duration,
    ) -> Called {
        let own = [("kopuro-user-id", PERSON.pin), ("kopuro-issue", CASE), ("kopuro-purpose", "my page")];
        let metadata = [own.as_slice(), metadata].concat();
        let started = Instant::now();
        let reply = client.call(path, &metadata, message, limit).await;
        Called { reply, took: started.elapsed() }
    }

    fn answered<M: Message + Default>(
        &mut self,
        name: &'static str,
        called: &Called,
        tell: impl FnOnce(M) -> String,
    ) {
        let message = called.reply.as_ref().ok().and_then(|reply| reply.result.as_ref().ok());
        let (passed, result) = match message.map(|message| M::decode(message.clone())) {
            Some(Ok(message)) => (true, tell(message)),
            Some(Err(_)) | None => (false, shortly(called)),
        };
        let proved = "validated twice, signed by both gateways, sealed between them";
        let (latency_ms, exchange_id) = (millis(called.took), exchange_of(called));
        self.show(Step { name, passed, result, proved, latency_ms, exchange_id });
    }

    fn refused(&mut self, name: &'static str, called: &Called, expected: Reason, proved: &'static str) {
        let told = reason_of(called);
        let side = expected.entry().side.name();
        let passed = told.as_deref() == Some(expected.name());
        let result = if passed { format!("{expected}, at fault: {side}") } else { shortly(called) };
        let (latency_ms, exchange_id) = (millis(called.took), exchange_of(called));
        self.show(Step { name, passed, result, proved, latency_ms, exchange_id });
    }

    fn show(&mut self, step: Step) {
        self.screen.step(step);
    }
}

fn pension_request() -> fund::GetPensionInfoRequest {
    fund::GetPensionInfoRequest {
        pin: PERSON.pin.into(),
        requesting_organisation: "Ministry of Digital Development".into(),
        requesting_person_pin: PERSON.pin.into(),
    }
}

fn payment_request() -> traffic::RegisterPaymentRequest {
    traffic::RegisterPaymentRequest {
        payment_number: "204118204417".into(),
        payer_pin: PERSON.pin.into(),
        amount_tyiyn: 100_000,
        paid_time: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 0 }),
        bank_reference: "DEMO-118204".into(),
    }
}

fn receipt_of(called: &Called) -> Option<String> {
    let message = called.reply.as_ref().ok()?.result.as_ref().ok()?;
    traffic::RegisterPaymentResponse::decode(message.clone()).ok().map(|answer| answer.receipt_number)
}

fn status_of(called: &Called) -> Option<&pb::Status> {
    called.reply.as_ref().ok()?.result.as_ref().err()
}

fn reason_of(called: &Called) -> Option<String> {
    let info =
        status_of(called)?.details.iter().find(|detail| detail.type_url.ends_with("google.rpc.ErrorInfo"))?;
    pb::ErrorInfo::decode(info.value.as_slice()).ok().map(|info| info.reason)
}

fn exchange_of(called: &Called) -> Option<String> {
    let metadata = &called.reply.as_ref().ok()?.metadata;
    metadata.get(EXCHANGE_ID).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn shortly(called: &Called) -> String {
    match (&called.reply, status_of(called)) {
        (Err(error), _) => error.to_string(),
        (Ok(_), Some(status)) => format!("{}: {}", reason_of(called).unwrap_or_default(), status.message),
        (Ok(_), None) => "an unexpected answer".to_owned(),
    }
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}
