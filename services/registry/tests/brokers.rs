//! Publishing and following through each broker: the embedded one and a real Kafka.
//!
//! The Kafka half needs a broker's address in `KOPURO_TEST_KAFKA` (`deploy/kafka/kafka start` prints one). Without it the
//! case names itself as skipped on standard error; under `CI=true` it fails instead.

#![allow(clippy::unwrap_used, reason = "what a case does not expect is its failure")]

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kopuro_broker::{Broker, EmbeddedBroker, KafkaBroker, KafkaSettings};
use kopuro_core::id::{Instance, MemberId, PackageName, ServiceName};
use kopuro_core::time::{Clock as _, UnixMillis};
use kopuro_proto::examples::kg::traffic::v1::FILE_DESCRIPTOR_SET;
use kopuro_proto::registry::v1::registry_record::Resource;
use kopuro_registry::anchor::Anchor;
use kopuro_registry::compose;
use kopuro_registry::follow::{FollowSettings, Follower, Following};
use kopuro_registry::publish::{Publisher, PublisherKeys};
use kopuro_registry::record::KeyPurpose;
use kopuro_telemetry::clock::SystemClock;
use kopuro_telemetry::metrics::{Alarm, Metrics};
use kopuro_trust::pki::NewKey;
use kopuro_trust::signing::{SignatureAlgorithm, Signer};

/// The longest that anything may take; only a failing case waits for it.
const LIMIT: Duration = Duration::from_secs(30);
/// A revocation or a right takes effect at every gateway within this time.
const REACHES: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_broker_carries_a_registry() {
    let folder = tempfile::tempdir().unwrap();
    carries_a_registry(EmbeddedBroker::open(folder.path()).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_carries_a_registry() {
    let Ok(address) = std::env::var("KOPURO_TEST_KAFKA") else {
        let ci = std::env::var("CI").as_deref() == Ok("true");
        assert!(!ci, "KOPURO_TEST_KAFKA is not set, and CI may skip nothing");
        let line = "skipped: registry::kafka_carries_a_registry: KOPURO_TEST_KAFKA is not set\n";
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return;
    };
    carries_a_registry(KafkaBroker::connect(KafkaSettings::single_broker(&address)).await.unwrap()).await;
}

/// The authority of an instance that no other case has.
struct Authority {
    instance: Instance,
    anchor: Anchor,
    signer: Signer,
    keys: [NewKey; 2],
}

impl Authority {
    fn new() -> Self {
        let signer = signer(&NewKey::signing(SignatureAlgorithm::EcdsaP256Sha256));
        let instance = Instance::parse(&format!("T{:012x}", rand::random::<u64>() >> 16)).unwrap();
        let anchor = Anchor {
            instance: instance.clone(),
            authority_keys: vec![signer.verifying_key()],
            authority_signatures: 1,
            tls_authorities: vec!["a certificate".into()],
        };
        let keys = [SignatureAlgorithm::Ed25519, SignatureAlgorithm::EcdsaP256Sha256].map(NewKey::signing);
        Self { instance, anchor, signer, keys }
    }

    fn sign(&self, resource: Resource, signer: &Signer) -> Bytes {
        compose::sign_record(&self.instance, None, SystemClock.now(), resource, &[signer]).into()
    }

    async fn publisher(&self, broker: &Arc<dyn Broker>) -> Arc<Publisher> {
        let [checkpoint, attestation] = self.keys.each_ref().map(signer);
        let keys = PublisherKeys { checkpoint, attestation };
        let (broker, clock) = (Arc::clone(broker), Arc::new(SystemClock));
        Publisher::open(broker, self.anchor.clone(), keys, clock, Metrics::new()).await.unwrap()
    }

    async fn follow(&self, broker: &Arc<dyn Broker>, metrics: &Arc<Metrics>) -> Following {
        let (broker, clock) = (Arc::clone(broker), Arc::new(SystemClock));
        let (anchor, settings) = (self.anchor.clone(), FollowSettings::default());
        Follower::start(broker, anchor, Arc::clone(metrics), clock, settings).await.unwrap()
    }
}

async fn carries_a_registry(broker: Arc<dyn Broker>) {
    let authority = Authority::new();
    let publisher = authority.publisher(&broker).await;
    let metrics = Metrics::new();
    let following = authority.follow(&broker, &metrics).await;
    let revision = register_the_police(&authority, &publisher).await;
    // The attestation comes right after the contract.
    let size = revision + 2;
    assert!(following.views.reaches(size, REACHES).await);
    decided(&following, size).await;
    let service = ServiceName::parse("kg.traffic.v1.ViolationService").unwrap();
    let offer = following.views.current().offer(&service, None, SystemClock.now()).unwrap();
    tokio::time::timeout(LIMIT, following.contracts.seen(&offer.contract.digest)).await.unwrap();
    let contract = following.contracts.get(&offer.contract.digest).await.unwrap();
    assert_eq!(contract.descriptor_set(), FILE_DESCRIPTOR_SET);
    // Another publisher goes on where this one ended, and another follower sees the same.
    drop(publisher);
    let publisher = authority.publisher(&broker).await;
    let (entries, counted) = publisher.list(0, 500).await.unwrap();
    assert_eq!((entries.len() as u64, counted), (size, size));
    assert_eq!(publisher.submit(entries[0].clone(), Bytes::new()).await, Ok(0));
    let late = authority.follow(&broker, &metrics).await;
    decided(&late, size).await;
    assert_eq!(late.views.current().stamp(), following.views.current().stamp());
    for alarm in [Alarm::RegistryRecord, Alarm::RegistryFork, Alarm::RegistryStale] {
        assert_eq!(metrics.alarms(alarm), 0, "{alarm:?}");
    }
}

/// Registers an agency with a contract, and gives the contract's revision.
async fn register_the_police(authority: &Authority, publisher: &Arc<Publisher>) -> u64 {
    let member = MemberId::parse(&format!("{}/GOV/70000006", authority.instance)).unwrap();
    let system = member.subsystem("violations").unwrap();
    let package = |name| PackageName::parse(name).unwrap();
    let now = SystemClock.now();
    let validity = now.minus(Duration::from_secs(60))..=now.plus(Duration::from_secs(3_600));
    let purposes = [KeyPurpose::Checkpoint, KeyPurpose::Attestation];
    let keys = authority.keys.iter().zip(purposes);
    let keys = keys.map(|(key, purpose)| compose::key(key.spki_der(), purpose, validity.clone()).build());
    // A contract is the member's own to sign.
    let administration = signer(&NewKey::signing(SignatureAlgorithm::EcdsaP256Sha256));
    let spki = administration.public_spki_der();
    let agency = [
        compose::member(&member, "the traffic police", 3),
        compose::subsystem(&system, "violations by plate"),
        compose::package_ownership(&package("kg.traffic"), &member),
        compose::key(spki, KeyPurpose::Administration, validity.clone()).of_member(&member).build(),
    ];
    for resource in keys.chain(agency) {
        publisher.submit(authority.sign(resource, &authority.signer), Bytes::new()).await.unwrap();
    }
    let contract = compose::contract(&system, &package("kg.traffic.v1"), 1, FILE_DESCRIPTOR_SET).unwrap();
    let contract = authority.sign(contract, &administration);
    publisher.submit(contract, Bytes::from_static(FILE_DESCRIPTOR_SET)).await.unwrap()
}

/// Waits until the view decides at this size.
async fn decided(following: &Following, size: u64) {
    let decides = |now: UnixMillis| following.views.deciding(now).is_ok_and(|view| view.stamp().size == size);
    let waited = tokio::time::timeout(LIMIT, async {
        while !decides(SystemClock.now()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    waited.await.unwrap();
}

fn signer(key: &NewKey) -> Signer {
    Signer::from_pkcs8_der(key.pkcs8_der()).unwrap()
}
