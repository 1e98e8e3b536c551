//! Contracts: vetted, stored, recorded and attested, in this order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use kopuro_broker::{Broker, Record};
use kopuro_core::digest::Digest;
use kopuro_core::error::Reason;
use kopuro_core::id::{PackageName, ServiceName};
use kopuro_proto::registry::v1::registry_record::Resource as WireResource;
use kopuro_proto::registry::v1::registry_service_server::RegistryService as _;
use kopuro_proto::registry::v1::{
    GetCheckpointRequest, GetContractRequest, ListRecordsRequest, SubmitRecordRequest,
};
use kopuro_telemetry::metrics::Metrics;
use tokio::sync::Semaphore;
use tonic::Request;

use super::{open, publisher, reason};
use crate::compose;
use crate::follow::{FollowSettings, Follower, Following};
use crate::publish::{InProcessVetter, Publisher, VetError, Vetted, Vetter};
use crate::service::RegistryEndpoint;
use crate::testing::{
    Fate, FixedClock, LIMIT, NOW, ScriptedBroker, World, broker, pension_descriptors, pension_package,
    pension_service, soon,
};
use crate::topics::Topics;

async fn follow(world: &World, broker: &Arc<dyn Broker>) -> Following {
    let clock = Arc::new(FixedClock::new());
    let (broker, settings) = (Arc::clone(broker), FollowSettings::default());
    Follower::start(broker, world.anchor(), Metrics::new(), clock, settings).await.unwrap()
}

/// The fund's contract record, changed as the test wants.
fn record(world: &World, change: impl FnOnce(&mut kopuro_proto::registry::v1::Contract)) -> Bytes {
    let WireResource::Contract(mut contract) = world.contract(1) else { panic!() };
    change(&mut contract);
    world.sign(WireResource::Contract(contract), &[&world.fund.administration])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_is_offered_to_every_follower() {
    let (_folder, broker) = broker();
    let world = World::new();
    let publisher = publisher(&world, &broker).await;
    let Following { views, contracts, .. } = &follow(&world, &broker).await;
    let revision = publisher.submit(record(&world, |_| {}), pension_descriptors()).await.unwrap();
    assert_eq!(revision, world.log.len() as u64);
    assert!(views.reaches(revision + 2, LIMIT).await);
    let offer = views.current().offer(&pension_service(), None, NOW).unwrap();
    assert_eq!(offer.provider, world.fund.system);
    soon(contracts.seen(&offer.contract.digest)).await;
    let contract = contracts.get(&offer.contract.digest).await.unwrap();
    assert_eq!(contract.descriptor_set(), &pension_descriptors());
    assert!(Arc::ptr_eq(&contract, &contracts.get(&offer.contract.digest).await.unwrap()));
    // The same descriptor set need not come again, and is not attested again.
    let suspended = record(&world, |contract| contract.version = 2);
    assert_eq!(publisher.submit(suspended, Bytes::new()).await, Ok(revision + 2));
    assert_eq!(publisher.list(0, 500).await.unwrap().1, revision + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_descriptor_set_must_be_what_the_record_says() {
    let (_folder, broker) = broker();
    let world = World::new();
    let publisher = publisher(&world, &broker).await;
    let set = pension_descriptors();
    let garbage = Bytes::from_static(b"\x0a\x03abc");
    let of_garbage = record(&world, |contract| {
        contract.digest = Digest::of(&garbage).as_bytes().to_vec();
        contract.size_bytes = garbage.len() as u64;
    });
    let fewer = record(&world, |contract| drop(contract.services.pop()));
    let more = record(&world, |contract| contract.services.push("kg.socialfund.v1.Invented".into()));
    let resized = record(&world, |contract| contract.size_bytes += 1);
    let other = with_another_json_name(&set);
    assert!(kopuro_schema::Contract::load(&other).is_ok() && other.len() == set.len());
    let cases = [
        (record(&world, |_| {}), other),
        (record(&world, |_| {}), Bytes::new()),
        (record(&world, |_| {}), set.slice(1..)),
        (of_garbage, garbage),
        (fewer, set.clone()),
        (more, set.clone()),
        (resized, set.clone()),
        (record(&world, |_| {}), vec![0; (1 << 20) + 1].into()),
    ];
    for (envelope, descriptor_set) in cases {
        assert_eq!(reason(publisher.submit(envelope, descriptor_set).await), Reason::ContractInvalid);
    }
    let empty = broker.watermarks(&Topics::of(&world.anchor().instance).contracts).await.unwrap();
    assert_eq!((publisher.list(0, 500).await.unwrap().1, empty.high), (world.log.len() as u64, 0));
    publisher.submit(record(&world, |_| {}), set).await.unwrap();
}

/// A contract of the same size that differs in nothing but the name that one field has in JSON.
fn with_another_json_name(set: &Bytes) -> Bytes {
    let name = b"resultCode";
    let place = set.windows(name.len()).position(|window| window == name).unwrap();
    let mut other = set.to_vec();
    other[place] = b'R';
    other.into()
}

/// It must not be asked.
struct Untouched(AtomicBool);

#[async_trait]
impl Vetter for Untouched {
    async fn vet(&self, _: Bytes, _: &PackageName) -> Result<Vetted, VetError> {
        self.0.store(true, Ordering::SeqCst);
        Err(VetError::Slow)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_loaded_for_somebody_without_authority() {
    let (_folder, broker) = broker();
    let world = World::new();
    drop(publisher(&world, &broker).await);
    let vetter = Arc::new(Untouched(AtomicBool::new(false)));
    let (anchor, keys, clock) = (world.anchor(), world.publisher_keys(), Arc::new(FixedClock::new()));
    let vetted_by = Arc::clone(&vetter);
    let publisher =
        Publisher::open_with(broker, anchor, keys, clock, Metrics::new(), vetted_by).await.unwrap();
    let foreign = world.sign(world.contract(1), &[&world.police.administration]);
    let refused = publisher.submit(foreign, pension_descriptors()).await;
    assert_eq!(reason(refused), Reason::RegistryNotAuthorized);
    assert!(!vetter.0.load(Ordering::SeqCst));
    let own = publisher.submit(record(&world, |_| {}), pension_descriptors()).await;
    assert_eq!(reason(own), Reason::ContractInvalid);
    assert!(vetter.0.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_left_half_done_is_finished_by_submitting_it_again() {
    let (_folder, inner) = broker();
    let world = World::new();
    drop(publisher(&world, &inner).await);
    let (records, attestation) = (Topics::of(&world.anchor().instance).records, AtomicBool::new(true));
    let broker = ScriptedBroker::appending(&inner, move |topic, record| {
        let attests = *topic == records && record.value.windows(11).any(|window| window == b"attestation");
        let first = attests && attestation.swap(false, Ordering::SeqCst);
        if first { Fate::Refused } else { Fate::Kept }
    });
    let publisher = open(&world, &broker).await.unwrap();
    let submit = || publisher.submit(record_of(&world), pension_descriptors());
    let refusal = submit().await.unwrap_err();
    assert_eq!(refusal.reason, Reason::RegistryUnavailable);
    let size = world.log.len() as u64;
    assert_eq!(publisher.list(0, 500).await.unwrap().1, size + 1);
    assert_eq!(submit().await, Ok(size));
    assert_eq!(publisher.list(0, 500).await.unwrap().1, size + 2);
    assert_eq!(submit().await, Ok(size));
    assert_eq!(publisher.list(0, 500).await.unwrap().1, size + 2);
}

/// One envelope, however often it is asked for.
fn record_of(world: &World) -> Bytes {
    static ENVELOPE: std::sync::OnceLock<Bytes> = std::sync::OnceLock::new();
    ENVELOPE.get_or_init(|| record(world, |_| {})).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_that_is_not_in_force_needs_no_vetting() {
    let (_folder, broker) = broker();
    let world = World::new();
    let publisher = publisher(&world, &broker).await;
    let removed = kopuro_proto::registry::v1::ResourceState::Removed;
    let envelope = record(&world, |contract| contract.set_state(removed));
    publisher.submit(envelope, Bytes::new()).await.unwrap();
    assert_eq!(publisher.list(0, 500).await.unwrap().1, world.log.len() as u64 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn vetting_tells_the_services_of_one_package() {
    let vetter = InProcessVetter::default();
    let vetted = vetter.vet(pension_descriptors(), &pension_package()).await.unwrap();
    let names: Vec<_> = vetted.services.iter().map(ServiceName::as_str).collect();
    assert_eq!(names, ["kg.socialfund.v1.PensionService", "kg.socialfund.v1.PersonalAccountService"]);
    let other = PackageName::parse("kg.socialfund").unwrap();
    assert_eq!(vetter.vet(pension_descriptors(), &other).await.unwrap().services, []);
    let broken = vetter.vet(Bytes::from_static(b"nonsense"), &other).await;
    assert!(matches!(broken, Err(VetError::Contract(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn vetting_is_bounded_in_time_and_number() {
    let slow = InProcessVetter::new(1, std::time::Duration::ZERO);
    let vet = |vetter: &InProcessVetter| {
        let vetter = vetter.clone();
        async move { vetter.vet(pension_descriptors(), &pension_package()).await }
    };
    assert!(matches!(vet(&slow).await, Err(VetError::Slow)));
    let none = InProcessVetter::new(0, LIMIT);
    assert!(matches!(vet(&none).await, Err(VetError::Busy)));
}

/// It says that it was asked, waits until it is let go, and then vets.
struct Waiting {
    asked: Semaphore,
    let_go: Semaphore,
}

impl Waiting {
    fn new() -> Arc<Self> {
        Arc::new(Self { asked: Semaphore::new(0), let_go: Semaphore::new(0) })
    }
}

#[async_trait]
impl Vetter for Waiting {
    async fn vet(&self, descriptor_set: Bytes, package: &PackageName) -> Result<Vetted, VetError> {
        self.asked.add_permits(1);
        let _let_go = self.let_go.acquire().await.unwrap();
        InProcessVetter::default().vet(descriptor_set, package).await
    }
}

async fn vetted_by(world: &World, broker: &Arc<dyn Broker>, vetter: &Arc<Waiting>) -> Arc<Publisher> {
    drop(publisher(world, broker).await);
    let (anchor, keys, clock) = (world.anchor(), world.publisher_keys(), Arc::new(FixedClock::new()));
    let (broker, vetter) = (Arc::clone(broker), Arc::clone(vetter));
    Publisher::open_with(broker, anchor, keys, clock, Metrics::new(), vetter).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_goes_on_when_its_caller_goes_away() {
    let (_folder, broker) = broker();
    let world = World::new();
    let vetter = Waiting::new();
    let publisher = vetted_by(&world, &broker, &vetter).await;
    let mut submission = Box::pin(publisher.submit(record(&world, |_| {}), pension_descriptors()));
    tokio::select! {
        outcome = &mut submission => panic!("{outcome:?}"),
        asked = soon(vetter.asked.acquire()) => drop(asked.unwrap()),
    }
    drop(submission);
    vetter.let_go.add_permits(1);
    let Following { views, .. } = &follow(&world, &broker).await;
    assert!(views.reaches(world.log.len() as u64 + 2, LIMIT).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_during_vetting_is_read_before_appending() {
    let (_folder, broker) = broker();
    let world = World::new();
    let vetter = Waiting::new();
    let publisher = vetted_by(&world, &broker, &vetter).await;
    let mut submission = Box::pin(publisher.submit(record(&world, |_| {}), pension_descriptors()));
    tokio::select! {
        outcome = &mut submission => panic!("{outcome:?}"),
        asked = soon(vetter.asked.acquire()) => drop(asked.unwrap()),
    }
    let records = Topics::of(&world.anchor().instance).records;
    let theirs = Record { key: Bytes::new(), value: record(&world, |_| {}), headers: Vec::new() };
    let position = broker.append(&records, theirs).await.unwrap();
    vetter.let_go.add_permits(1);
    assert_eq!(reason(submission.await), Reason::RegistryConflict);
    assert_eq!(broker.watermarks(&records).await.unwrap().high, position.offset + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn submissions_beyond_a_number_are_refused_at_once() {
    let (_folder, broker) = broker();
    let world = World::new();
    let vetter = Waiting::new();
    let publisher = vetted_by(&world, &broker, &vetter).await;
    let envelope = record(&world, |_| {});
    let submit = || Box::pin(publisher.submit(envelope.clone(), pension_descriptors()));
    let mut taken: Vec<_> = (0..64).map(|_| submit()).collect();
    for submission in &mut taken {
        let polled =
            std::future::poll_fn(|context| std::task::Poll::Ready(submission.as_mut().poll(context)));
        assert!(polled.await.is_pending());
    }
    assert_eq!(reason(submit().await), Reason::Overloaded);
    // Only one at a time is let go, so that each is vetted while its slot is free.
    vetter.let_go.add_permits(1);
    for submission in taken {
        assert_eq!(submission.await, Ok(world.log.len() as u64));
    }
    assert_eq!(submit().await, Ok(world.log.len() as u64));
    // Its descriptor set was stored once.
    assert_eq!(broker.watermarks(&Topics::of(&world.anchor().instance).contracts).await.unwrap().high, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_answers_in_the_wires_types() {
    let (_folder, broker) = broker();
    let world = World::new();
    let publisher = publisher(&world, &broker).await;
    let following = follow(&world, &broker).await;
    let endpoint = RegistryEndpoint::new(Arc::clone(&publisher), Arc::clone(&following.contracts));
    let size = world.log.len() as u64;
    let descriptor_set = pension_descriptors().to_vec();
    let envelope = record(&world, |_| {}).to_vec();
    let submit = SubmitRecordRequest { envelope: envelope.clone(), descriptor_set: descriptor_set.clone() };
    let submitted = endpoint.submit_record(Request::new(submit)).await.unwrap().into_inner();
    assert_eq!(submitted.revision, size);
    let list = ListRecordsRequest { first_revision: size, page_size: 1 };
    let listed = endpoint.list_records(Request::new(list)).await.unwrap().into_inner();
    assert_eq!((listed.envelopes, listed.size), (vec![envelope], size + 2));
    let all = ListRecordsRequest { first_revision: 0, page_size: 0 };
    let all = endpoint.list_records(Request::new(all)).await.unwrap().into_inner();
    assert_eq!(all.envelopes.len() as u64, size + 2);
    let digest = Digest::of(&descriptor_set);
    soon(following.contracts.seen(&digest)).await;
    let get = |digest: &[u8]| Request::new(GetContractRequest { digest: digest.to_vec() });
    let contract = endpoint.get_contract(get(digest.as_bytes())).await.unwrap().into_inner();
    assert_eq!(contract.descriptor_set, descriptor_set);
    let short = endpoint.get_contract(get(&[1, 2, 3])).await.unwrap_err();
    assert_eq!(short.code(), tonic::Code::InvalidArgument);
    let unknown = endpoint.get_contract(get(&[0; 32])).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::Unavailable);
    let latest = endpoint.get_checkpoint(Request::new(GetCheckpointRequest {})).await.unwrap().into_inner();
    assert_eq!(latest.checkpoint, publisher.checkpoint());
    let nonsense = SubmitRecordRequest { envelope: b"nonsense".to_vec(), descriptor_set: Vec::new() };
    let refused = endpoint.submit_record(Request::new(nonsense)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let group = compose::group(crate::record::GroupId { member: None, name: "g".into() }, &[]);
    let unsigned = world.sign(group, &[&world.fund.administration]).to_vec();
    let unsigned = SubmitRecordRequest { envelope: unsigned, descriptor_set: Vec::new() };
    let refused = endpoint.submit_record(Request::new(unsigned)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
}
