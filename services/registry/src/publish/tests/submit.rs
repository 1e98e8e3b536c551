//! Records taken, refused, and of unknown fate.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use kopuro_broker::{Broker, Record, StartAt};
use kopuro_core::digest::Digest;
use kopuro_core::error::Reason;
use kopuro_telemetry::metrics::Metrics;
use kopuro_tlog::checkpoint::Checkpoint;

use super::{open, publisher, reason};
use crate::publish::{PublishError, Publisher, PublisherKeys};
use crate::testing::{Fate, FixedClock, NOW, ScriptedBroker, World, broker, ecdsa, soon};
use crate::topics::Topics;
use crate::{checkpoint, compose};

fn topics(world: &World) -> Topics {
    Topics::of(&world.anchor().instance)
}

fn change(world: &World, title: &str) -> Bytes {
    world.sign(compose::member(&world.fund.member, title, 3), &[&world.authority])
}

/// A broker that decides the fate of the registry's records, in turn; those after the last are kept.
fn fated(inner: &Arc<dyn Broker>, world: &World, fates: &'static [Fate]) -> Arc<dyn Broker> {
    let (records, turn) = (topics(world).records, AtomicUsize::new(0));
    ScriptedBroker::appending(inner, move |topic, _| {
        if *topic != records {
            return Fate::Kept;
        }
        fates.get(turn.fetch_add(1, Ordering::SeqCst)).copied().unwrap_or(Fate::Kept)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_has_one_revision() {
    let (_folder, broker) = broker();
    let world = World::new();
    let first = publisher(&world, &broker).await;
    for (revision, entry) in (0..).zip(&world.log) {
        assert_eq!(first.submit(entry.clone(), Bytes::new()).await, Ok(revision));
    }
    drop(first);
    let again = open(&world, &broker).await.unwrap();
    assert_eq!(again.submit(world.log[5].clone(), Bytes::new()).await, Ok(5));
    let (entries, size) = again.list(0, 500).await.unwrap();
    assert_eq!((entries, size), (world.log.clone(), world.log.len() as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_why_and_changes_nothing() {
    let (_folder, broker) = broker();
    let world = World::new();
    let publisher = publisher(&world, &broker).await;
    let none = Bytes::new();
    let foreign = world.sign(compose::member(&world.fund.member, "", 3), &[&ecdsa()]);
    assert_eq!(reason(publisher.submit(foreign, none.clone()).await), Reason::RegistryNotAuthorized);
    let nonsense = Bytes::from_static(b"nonsense");
    assert_eq!(reason(publisher.submit(nonsense, none.clone()).await), Reason::RegistryRecordInvalid);
    let rule = world.sign(compose::member(&world.fund.member, "", 4), &[&world.authority]);
    let refusal = publisher.submit(rule, none.clone()).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::RegistryRecordInvalid);
    assert_eq!(refusal.detail, "a member's number of partitions is fixed");
    let attestation =
        compose::sign_attestation(&world.anchor().instance, &Digest::of(b""), NOW, &world.attestation);
    assert_eq!(reason(publisher.submit(attestation.into(), none).await), Reason::RegistryRecordInvalid);
    let with_set = publisher.submit(change(&world, "x"), Bytes::from_static(b"a set")).await;
    assert_eq!(reason(with_set), Reason::RegistryRecordInvalid);
    assert_eq!(publisher.list(0, 500).await.unwrap().1, world.log.len() as u64);
    let bounds = broker.watermarks(&topics(&world).records).await.unwrap();
    assert_eq!(bounds.high, world.log.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_names_the_latest_revision() {
    let (_folder, broker) = broker();
    let world = World::new();
    let publisher = publisher(&world, &broker).await;
    let (one, other) = (change(&world, "one"), change(&world, "other"));
    let taken = publisher.submit(one, Bytes::new()).await.unwrap();
    let refusal = publisher.submit(other, Bytes::new()).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::RegistryConflict);
    assert_eq!(refusal.metadata, [("latest_revision", taken.to_string())]);
    let instance = world.anchor().instance;
    let unknown = world.fund.member.subsystem("new").unwrap();
    let unknown =
        compose::sign_record(&instance, Some(3), NOW, compose::subsystem(&unknown, ""), &[&world.authority]);
    let refusal = publisher.submit(unknown.into(), Bytes::new()).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.metadata), (Reason::RegistryConflict, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_is_taken() {
    let (_folder, broker) = broker();
    let world = World::new();
    let publisher = publisher(&world, &broker).await;
    let submissions = (0..20).map(|number| {
        let (publisher, envelope) = (Arc::clone(&publisher), change(&world, &format!("title {number}")));
        tokio::spawn(async move { publisher.submit(envelope, Bytes::new()).await })
    });
    let mut taken = 0;
    for submission in submissions.collect::<Vec<_>>() {
        match submission.await.unwrap() {
            Ok(_) => taken += 1,
            Err(refusal) => assert_eq!(refusal.reason, Reason::RegistryConflict),
        }
    }
    assert_eq!(taken, 1);
    assert_eq!(publisher.list(0, 500).await.unwrap().1, world.log.len() as u64 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topic_says_what_became_of_an_unknown_append() {
    let (_folder, inner) = broker();
    let world = World::new();
    drop(publisher(&world, &inner).await);
    let broker = fated(&inner, &world, &[Fate::KeptUnknown, Fate::LostUnknown, Fate::Refused]);
    let publisher = open(&world, &broker).await.unwrap();
    let kept = world.log.len() as u64;
    assert_eq!(publisher.submit(change(&world, "kept"), Bytes::new()).await, Ok(kept));
    let lost = world.sign(compose::member(&world.police.member, "lost", 3), &[&world.authority]);
    for _ in [Fate::LostUnknown, Fate::Refused] {
        let refusal = publisher.submit(lost.clone(), Bytes::new()).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::RegistryUnavailable);
    }
    assert_eq!(publisher.submit(lost, Bytes::new()).await, Ok(kept + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_writers_records_are_read_first() {
    let (_folder, broker) = broker();
    let world = World::new();
    let publisher = publisher(&world, &broker).await;
    let record = Record { key: Bytes::new(), value: change(&world, "theirs"), headers: Vec::new() };
    broker.append(&topics(&world).records, record.clone()).await.unwrap();
    let own = publisher.submit(change(&world, "own"), Bytes::new()).await;
    assert_eq!(reason(own), Reason::RegistryConflict);
    assert_eq!(publisher.submit(record.value, Bytes::new()).await, Ok(world.log.len() as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checkpoint_is_of_what_was_taken() {
    let (_folder, broker) = broker();
    let world = World::new();
    let publisher = publisher(&world, &broker).await;
    let latest = checkpoint::verify(&world.view, publisher.checkpoint().as_bytes()).unwrap();
    let stamp = world.view.stamp();
    assert_eq!((latest.size, latest.root, latest.time), (stamp.size, stamp.root, NOW));
    // One when it opened, one for every record, and then one a second.
    let mut notes = broker.tail(&topics(&world).checkpoints, StartAt::Earliest).await.unwrap();
    let key = checkpoint::log_key(&world.anchor().instance, &world.checkpoint.verifying_key()).unwrap();
    let mut sizes = Vec::new();
    while sizes.len() < world.log.len() + 3 {
        let note = soon(notes.next()).await.unwrap().record.value;
        sizes.push(Checkpoint::verify(&note, &key).unwrap().size);
    }
    assert!(sizes.is_sorted() && sizes.iter().filter(|size| **size == stamp.size).count() >= 3);
    sizes.dedup();
    assert_eq!(sizes, (0..=stamp.size).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_or_other_log_than_was_signed_is_refused() {
    let world = World::new();
    let size = world.view.stamp().size;
    let other = Digest::of(b"another log");
    for note in [world.note(size + 1, other, NOW), world.note(size, other, NOW), world.note(2, other, NOW)] {
        let (_folder, broker) = broker();
        drop(publisher(&world, &broker).await);
        let record = Record { key: Bytes::new(), value: note, headers: Vec::new() };
        broker.append(&topics(&world).checkpoints, record).await.unwrap();
        assert!(matches!(open(&world, &broker).await, Err(PublishError::RolledBack { .. })));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_another_authority_is_left_alone() {
    let (_folder, broker) = broker();
    let (world, other) = (World::new(), World::new());
    let records = topics(&world).records;
    topics(&world).ensure(broker.as_ref()).await.unwrap();
    let garbage = Record { value: Bytes::from_static(b"garbage"), ..Record::default() };
    broker.append(&records, garbage).await.unwrap();
    drop(publisher(&world, &broker).await);
    let before = broker.watermarks(&records).await.unwrap();
    match open(&other, &broker).await {
        Err(PublishError::Foreign { instance }) => assert_eq!(instance, other.anchor().instance),
        outcome => panic!("{:?}", outcome.err()),
    }
    assert_eq!(broker.watermarks(&records).await.unwrap(), before);
    let strange = Record { value: other.log[0].clone(), ..Record::default() };
    broker.append(&records, strange).await.unwrap();
    open(&world, &broker).await.expect("what others have added later does not count");
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_take_an_ed25519_key() {
    let (_folder, broker) = broker();
    let world = World::new();
    let PublisherKeys { attestation, .. } = world.publisher_keys();
    let keys = PublisherKeys { checkpoint: attestation, attestation: world.publisher_keys().attestation };
    let clock = Arc::new(FixedClock::new());
    let opened = Publisher::open(broker, world.anchor(), keys, clock, Metrics::new()).await;
    assert!(matches!(opened, Err(PublishError::CheckpointKey)));
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_listed_by_revision() {
    let (_folder, broker) = broker();
    let world = World::new();
    let publisher = publisher(&world, &broker).await;
    // What is no part of the log is on no page.
    let foreign = Record { key: Bytes::new(), value: world.log[0].clone(), headers: Vec::new() };
    broker.append(&topics(&world).records, foreign).await.unwrap();
    publisher.submit(change(&world, "another title"), Bytes::new()).await.unwrap();
    let size = world.log.len() as u64 + 1;
    let (last_two, counted) = publisher.list(size - 2, 5).await.unwrap();
    assert_eq!((last_two.len(), counted), (2, size));
    assert_eq!(last_two[1], change_digest_of(&broker, &world, size).await);
    assert_eq!(publisher.list(3, 2).await.unwrap().0, world.log[3..5]);
    for beyond in [size, size + 1, u64::MAX] {
        assert_eq!(publisher.list(beyond, 5).await, Ok((Vec::new(), size)));
    }
}

/// The last entry as the topic has it.
async fn change_digest_of(broker: &Arc<dyn Broker>, world: &World, offset: u64) -> Bytes {
    let mut tail = broker.tail(&topics(world).records, StartAt::Offset(offset)).await.unwrap();
    soon(tail.next()).await.unwrap().record.value
}
