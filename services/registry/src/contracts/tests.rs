//! Contracts by digest.

use std::sync::atomic::{AtomicUsize, Ordering};

use kopuro_broker::Record;

use super::*;
use crate::testing::{ScriptedBroker, broker, pension_descriptors, soon};

fn instance() -> Instance {
    Instance::parse("KG").unwrap()
}

async fn filled(values: &[Bytes]) -> (tempfile::TempDir, Arc<dyn Broker>) {
    let (folder, broker) = broker();
    let topics = Topics::of(&instance());
    topics.ensure(broker.as_ref()).await.unwrap();
    for value in values {
        let record = Record { key: Bytes::new(), value: value.clone(), headers: Vec::new() };
        broker.append(&topics.contracts, record).await.unwrap();
    }
    (folder, broker)
}

fn followed(broker: &Arc<dyn Broker>) -> Arc<Contracts> {
    let contracts = Contracts::new(Arc::clone(broker), &instance());
    let following = Arc::clone(&contracts);
    tokio::spawn(async move { following.follow().await });
    contracts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_is_found_by_its_digest_only() {
    let garbage = Bytes::from_static(b"nonsense");
    let (_folder, broker) = filled(&[garbage.clone(), pension_descriptors(), garbage.clone()]).await;
    let contracts = followed(&broker);
    let digest = Digest::of(&pension_descriptors());
    soon(contracts.seen(&digest)).await;
    assert_eq!(contracts.get(&digest).await.unwrap().digest(), digest);
    assert_eq!(contracts.descriptor_set(&digest).await, Ok(pension_descriptors()));
    let unknown = Digest::of(b"unknown");
    assert_eq!(contracts.get(&unknown).await.map(drop), Err(Reason::ContractUnavailable));
    assert_eq!(contracts.get(&Digest::of(&garbage)).await.map(drop), Err(Reason::ContractUnavailable));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_descriptor_set_in_its_place_is_refused() {
    let (_folder, inner) = filled(&[pension_descriptors()]).await;
    let reads = AtomicUsize::new(0);
    let broker = ScriptedBroker::reading(&inner, move |_, mut stored| {
        if reads.fetch_add(1, Ordering::SeqCst) > 0 {
            stored.record.value = kopuro_proto::examples::kg::traffic::v1::FILE_DESCRIPTOR_SET.into();
        }
        vec![stored]
    });
    let contracts = followed(&broker);
    let digest = Digest::of(&pension_descriptors());
    soon(contracts.seen(&digest)).await;
    assert_eq!(contracts.descriptor_set(&digest).await, Err(Reason::ContractUnavailable));
    assert_eq!(contracts.get(&digest).await.map(drop), Err(Reason::ContractUnavailable));
}

#[test]
fn the_contract_used_longest_ago_makes_room() {
    let contract = Arc::new(Contract::load(&pension_descriptors()).unwrap());
    let digest = |number: usize| Digest::of(&number.to_be_bytes());
    let mut compiled = Compiled::default();
    for number in 0..COMPILED_MAX {
        compiled.keep(digest(number), Arc::clone(&contract));
    }
    assert!(compiled.touch(&digest(0)).is_some());
    compiled.keep(digest(COMPILED_MAX), Arc::clone(&contract));
    assert_eq!(compiled.contracts.len(), COMPILED_MAX);
    assert!(compiled.touch(&digest(0)).is_some() && compiled.touch(&digest(1)).is_none());
}
