//! A bus without its edges: engines of the development agencies over one broker, on a clock that a test moves.

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kopuro::config::{Config, GatewayConfig};
use kopuro::development::{AGENCIES, Development, Options, default_instance};
use kopuro::examples::PERSON;
use kopuro_broker::{Broker, EmbeddedBroker, Record, StartAt, StoredRecord, TopicPartition, TopicSettings};
use kopuro_core::content::Context;
use kopuro_core::error::Reason;
use kopuro_core::id::{ExchangeId, MethodId, RequestId, SubsystemId};
use kopuro_core::time::{Clock, UnixMillis};
use kopuro_core::topic::{InstanceTopic, SubsystemTopic, TopicName};
use kopuro_exchange::dispatch::{Dispatch, Dispatched, Dispatcher};
use kopuro_exchange::settings::ExchangeSettings;
use kopuro_exchange::{Call, Exchange, Parts};
use kopuro_proto::examples::kg::{socialfund, traffic};
use kopuro_registry::anchor::Anchor;
use kopuro_registry::compose;
use kopuro_registry::contracts::Contracts;
use kopuro_registry::record::{Entry, KeyPurpose};
use kopuro_registry::view::View;
use kopuro_registry::views::Views;
use kopuro_telemetry::audit::{AuditEvent, AuditSink};
use kopuro_telemetry::clock::SystemClock;
use kopuro_telemetry::metrics::Metrics;
use kopuro_trust::pki::NewKey;
use kopuro_trust::random;
use kopuro_trust::signing::{SignatureAlgorithm, Signer};
use prost::Message as _;

/// The subsystem codes of the development instance.
pub(crate) const PORTAL: &str = "KG/GOV/70000001/portal";
pub(crate) const PENSIONS: &str = "KG/GOV/70000011/pensions";
pub(crate) const VIOLATIONS: &str = "KG/GOV/70000023/violations";

/// The machine's clock with an offset.
#[derive(Default)]
pub(crate) struct TestClock {
    ahead_ms: AtomicU64,
}

impl TestClock {
    pub(crate) fn pass(&self, span: Duration) {
        self.ahead_ms.fetch_add(span.as_millis() as u64, Ordering::AcqRel);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixMillis {
        SystemClock.now().plus(Duration::from_millis(self.ahead_ms.load(Ordering::Acquire)))
    }
}

/// Keeps audit events for a test to look at.
#[derive(Default)]
pub(crate) struct KeptAudit(Mutex<Vec<AuditEvent>>);

impl AuditSink for KeptAudit {
    fn record(&self, event: AuditEvent) {
        self.0.lock().unwrap().push(event);
    }
}

impl KeptAudit {
    pub(crate) fn reasons(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().iter().map(|event| event.reason.name()).collect()
    }

    pub(crate) fn of(&self, reason: Reason) -> Vec<AuditEvent> {
        self.0.lock().unwrap().iter().filter(|event| event.reason == reason).cloned().collect()
    }
}

/// Answers as the example systems do, and counts what it was asked.
#[derive(Default)]
pub(crate) struct CountingDispatcher {
    pub(crate) calls: AtomicUsize,
}

#[async_trait]
impl Dispatcher for CountingDispatcher {
    async fn dispatch(&self, request: Dispatch) -> Dispatched {
        let number = self.calls.fetch_add(1, Ordering::AcqRel) + 1;
        let message = match request.method.method() {
            "GetPensionInfo" => socialfund::v1::GetPensionInfoResponse {
                result_code: socialfund::v1::ResultCode::PinNotFound.into(),
                ..Default::default()
            }
            .encode_to_vec(),
            "RegisterPayment" => traffic::v1::RegisterPaymentResponse {
                receipt_number: format!("R-{number:08}"),
                payment_status: traffic::v1::PaymentStatus::Paid.into(),
                remaining_tyiyn: 0,
            }
            .encode_to_vec(),
            other => panic!("unexpected method {other}"),
        };
        Dispatched::Message(message.into())
    }
}

/// Engines over one broker.
pub(crate) struct Bus {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) audit: Arc<KeptAudit>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) views: Arc<Views>,
    contracts: Arc<Contracts>,
    config: Config,
    development: Development,
    _folder: tempfile::TempDir,
}

impl Bus {
    /// Starts over an embedded broker, seen through `wrap`.
    pub(crate) async fn start(wrap: impl FnOnce(Arc<dyn Broker>) -> Arc<dyn Broker>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::default());
        let at = folder.path().join("instance");
        let development = Development::create(&at, &default_instance(), clock.now()).unwrap();
        development.configure(&Options::default()).unwrap();
        let broker = wrap(EmbeddedBroker::open(folder.path().join("log")).unwrap());
        let views = Views::new(founded(&development), Duration::from_secs(3600));
        views.confirm(clock.now());
        let instance = views.current().anchor().instance.clone();
        let contracts = Contracts::new(Arc::clone(&broker), &instance);
        publish_contracts(&*broker, &contracts, &instance).await;
        let config = Config::load(&development.config()).unwrap();
        let (audit, metrics) = (Arc::new(KeptAudit::default()), Metrics::new());
        Self { broker, clock, audit, metrics, views, contracts, config, development, _folder: folder }
    }

    /// An engine of the gateway that serves `subsystem`.
    pub(crate) fn engine(&self, subsystem: &str, dispatcher: Arc<dyn Dispatcher>) -> Exchange {
        Exchange::new(self.parts(subsystem), dispatcher)
    }

    pub(crate) fn parts(&self, subsystem: &str) -> Parts {
        Parts {
            broker: Arc::clone(&self.broker),
            views: Arc::clone(&self.views),
            contracts: Arc::clone(&self.contracts),
            replica: Arc::new(kopuro::keys::replica(self.gateway_of(subsystem)).unwrap()),
            audit: Arc::clone(&self.audit) as Arc<dyn AuditSink>,
            metrics: Arc::clone(&self.metrics),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            settings: ExchangeSettings { deadline_default: Duration::from_secs(10), ..Default::default() },
        }
    }

    /// A key with which the gateway of `subsystem` may sign from the next record on, and the registry's view with it.
    pub(crate) fn with_new_signing_key(&self, name: &str) -> (Signer, View) {
        let (owner, gateway, now) = (subsystem(name), self.gateway_of(name), self.clock.now());
        let generated = NewKey::signing(SignatureAlgorithm::EcdsaP256Sha256);
        let signer = Signer::from_pkcs8_der(generated.pkcs8_der()).unwrap();
        let validity = now..=now.plus(Duration::from_secs(3600));
        let key = compose::key(signer.public_spki_der(), KeyPurpose::Signing, validity)
            .of_member(&owner.member())
            .for_subsystems(&[owner])
            .held_by(&gateway.id);
        let administration = self.administration(name);
        let mut view = (*self.views.current()).clone();
        let instance = view.anchor().instance.clone();
        view.apply(&compose::sign_record(&instance, None, now, key.build(), &[&administration])).unwrap();
        (signer, view)
    }

    /// What signs for the member of `subsystem` in the registry.
    pub(crate) fn administration(&self, subsystem: &str) -> Signer {
        let member_code = subsystem.split('/').nth(2).unwrap();
        Signer::from_pem_file(&self.development.administration_key(member_code)).unwrap()
    }

    /// The first request to `provider`, once there is one; nobody need serve it yet.
    pub(crate) async fn request_to(&self, provider: &str) -> StoredRecord {
        self.first_of(&TopicName::of_subsystem(SubsystemTopic::Call, &subsystem(provider))).await
    }

    /// The first record of a topic of three partitions, once there is one. The topic is made where it is missing.
    pub(crate) async fn first_of(&self, topic: &TopicName) -> StoredRecord {
        let settings = TopicSettings { partitions: 3, retention: None, record_bytes_max: 8 << 20 };
        self.broker.ensure_topic(topic, &settings).await.unwrap();
        let first = async |partition| {
            let target = TopicPartition { topic: topic.clone(), partition };
            self.broker.tail(&target, StartAt::Earliest).await.unwrap().next().await.unwrap()
        };
        tokio::select! {
            stored = first(0) => stored,
            stored = first(1) => stored,
            stored = first(2) => stored,
        }
    }

    pub(crate) fn gateway_of(&self, subsystem: &str) -> &GatewayConfig {
        let serves = |gateway: &&GatewayConfig| {
            gateway.members.iter().any(|member| subsystem.starts_with(&format!("{}/", member.id)))
        };
        self.config.gateways.iter().find(serves).unwrap()
    }
}

/// The view of the development instance's founding records, with every contract attested.
fn founded(development: &Development) -> View {
    let anchor = Anchor::parse(&std::fs::read_to_string(development.anchor()).unwrap()).unwrap();
    let folder = development.config().parent().unwrap().join("bootstrap");
    let mut view = View::new(anchor.clone());
    let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in names.iter().filter(|path| path.extension().is_some_and(|kind| kind == "record")) {
        let bytes = std::fs::read(path).unwrap();
        view.apply(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(Entry::decode(&bytes).is_ok());
    }
    for attestation in attestations(development, &anchor) {
        view.apply(&attestation).unwrap();
    }
    view
}

fn attestations(development: &Development, anchor: &Anchor) -> Vec<Vec<u8>> {
    let key = development.config().parent().unwrap().join("registry/attestation.key.pem");
    let signer = Signer::from_pem_file(&key).unwrap();
    let digests = contract_sources().map(kopuro_core::digest::Digest::of);
    digests
        .map(|digest| compose::sign_attestation(&anchor.instance, &digest, SystemClock.now(), &signer))
        .collect()
}

fn contract_sources() -> impl Iterator<Item = &'static [u8]> {
    let systems = AGENCIES.iter().flat_map(|agency| agency.systems);
    systems.flat_map(|system| system.contracts).map(|contract| contract.descriptor_set)
}

async fn publish_contracts(
    broker: &dyn Broker,
    contracts: &Arc<Contracts>,
    instance: &kopuro_core::id::Instance,
) {
    let topic = TopicName::of_instance(InstanceTopic::Contract, instance);
    let settings = TopicSettings { partitions: 1, retention: None, record_bytes_max: 2 << 20 };
    broker.ensure_topic(&topic, &settings).await.unwrap();
    let target = TopicPartition { topic, partition: 0 };
    let following = Arc::clone(contracts);
    tokio::spawn(async move { following.follow().await });
    for descriptor_set in contract_sources() {
        let record = Record { value: Bytes::from_static(descriptor_set), ..Record::default() };
        broker.append(&target, record).await.unwrap();
        contracts.seen(&kopuro_core::digest::Digest::of(descriptor_set)).await;
    }
}

pub(crate) fn subsystem(text: &str) -> SubsystemId {
    SubsystemId::parse(text).unwrap()
}

/// A call of the portal that any pensioner's page makes.
pub(crate) fn pension_call(bus: &Bus) -> Call {
    let message = socialfund::v1::GetPensionInfoRequest {
        pin: PERSON.pin.into(),
        requesting_organisation: "KG/GOV/70000001".into(),
        requesting_person_pin: PERSON.pin.into(),
    };
    call(bus, "/kg.socialfund.v1.PensionService/GetPensionInfo", message.encode_to_vec(), None)
}

/// A call that books money, under a request id of its own.
pub(crate) fn payment_call(bus: &Bus) -> Call {
    let message = traffic::v1::RegisterPaymentRequest {
        payment_number: "204118204417".into(),
        payer_pin: PERSON.pin.into(),
        amount_tyiyn: 100_000,
        paid_time: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 0 }),
        bank_reference: "KICB-118204".into(),
    };
    let request = RequestId::new(random::bytes());
    call(bus, "/kg.traffic.v1.ViolationService/RegisterPayment", message.encode_to_vec(), Some(request))
}

fn call(bus: &Bus, path: &str, message: Vec<u8>, request: Option<RequestId>) -> Call {
    Call {
        exchange: ExchangeId::new(bus.clock.now(), random::bytes()),
        request,
        consumer: subsystem(PORTAL),
        provider: None,
        method: MethodId::parse_path(path).unwrap(),
        context: Context { user_id: PERSON.pin.into(), issue: "case-417".into(), ..Context::default() },
        message: message.into(),
        timeout: None,
    }
}

/// A second attempt at a call: another exchange under the same request id.
pub(crate) fn again(bus: &Bus, call: &Call) -> Call {
    Call { exchange: ExchangeId::new(bus.clock.now(), random::bytes()), ..call.clone() }
}

/// The bytes of every file beneath a folder, for greps of what a broker keeps.
pub(crate) fn stored_bytes(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes.extend(stored_bytes(&path));
        } else {
            bytes.extend(std::fs::read(&path).unwrap_or_default());
        }
    }
    bytes
}
