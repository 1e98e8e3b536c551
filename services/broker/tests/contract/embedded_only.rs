//! What only the embedded broker promises: one owner, a clean close, a damaged log noticed.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kopuro_broker::{AppendError, Broker, BrokerError, EmbeddedBroker, StartAt};
use kopuro_core::topic::TopicName;

use super::fixture::{at, fresh_topic, record, settings, soon, take, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_has_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let broker = EmbeddedBroker::open(folder.path()).unwrap();
    let refused = EmbeddedBroker::open(folder.path()).map(|_| ());
    assert!(
        matches!(&refused, Err(BrokerError::Unavailable(why)) if why.contains("elsewhere")),
        "{refused:?}"
    );
    broker.close().await;
    EmbeddedBroker::open(folder.path()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_finishes_what_is_queued_and_ends_readers() {
    let folder = tempfile::tempdir().unwrap();
    let broker = EmbeddedBroker::open(folder.path()).unwrap();
    let topic = fresh_topic();
    broker.ensure_topic(&topic, &settings(1)).await.unwrap();
    let target = at(&topic, 0);
    let mut tail = broker.tail(&target, StartAt::Earliest).await.unwrap();
    let mut member = broker.subscribe("group", std::slice::from_ref(&topic)).await.unwrap();
    let tailing = tokio::spawn(async move {
        loop {
            if let Err(error) = tail.next().await {
                return error;
            }
        }
    });
    let consuming = tokio::spawn(async move {
        loop {
            if let Err(error) = member.next().await {
                return error;
            }
        }
    });
    let pending: Vec<_> = (0..100).map(|n| broker.append(&target, record(n.to_string()))).collect();
    soon(broker.close()).await;
    for appended in pending {
        soon(appended).await.unwrap();
    }
    assert!(matches!(soon(tailing).await.unwrap(), BrokerError::Closed));
    assert!(matches!(soon(consuming).await.unwrap(), BrokerError::Closed));
    let refused = soon(broker.append(&target, record("late"))).await;
    assert!(matches!(refused, Err(AppendError::NotAppended(BrokerError::Closed))), "{refused:?}");
    assert!(matches!(broker.watermarks(&target).await, Err(BrokerError::Closed)));
    let broker = EmbeddedBroker::open(folder.path()).unwrap();
    assert_eq!(broker.watermarks(&target).await.unwrap().high, 100);
}

/// Writes `count` records in batches of one and closes.
async fn filled(folder: &Path, count: u64) -> TopicName {
    let broker = EmbeddedBroker::open(folder).unwrap();
    let topic = fresh_topic();
    broker.ensure_topic(&topic, &settings(1)).await.unwrap();
    for n in 0..count {
        soon(broker.append(&at(&topic, 0), record(n.to_string()))).await.unwrap();
    }
    broker.close().await;
    topic
}

fn journal(folder: &Path) -> PathBuf {
    let entries = std::fs::read_dir(folder.join("log")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "jnl")).max().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_cut_short_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 50).await;
    let bytes = std::fs::read(journal(folder.path())).unwrap();
    let used = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
    OpenOptions::new().write(true).open(journal(folder.path())).unwrap().set_len(used as u64 - 200).unwrap();
    let refused = EmbeddedBroker::open(folder.path()).map(|_| ());
    assert!(
        matches!(&refused, Err(BrokerError::Damaged(why)) if why.contains("its mark says 50")),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_of_the_journal_is_never_read_as_truth() {
    let folder = tempfile::tempdir().unwrap();
    let topic = filled(folder.path(), 50).await;
    // A journal is laid out in advance: most of it is zeros, of which some are enough.
    let name = journal(folder.path());
    let mut sound = std::fs::read(&name).unwrap();
    let used = sound.iter().rposition(|byte| *byte != 0).unwrap();
    sound.truncate(used + 4_096);
    std::fs::write(&name, &sound).unwrap();
    for _ in 0..60 {
        let mut bytes = sound.clone();
        let (at_byte, bit) = (rand::random_range(0..=used), rand::random_range(0..8));
        bytes[at_byte] ^= 1 << bit;
        let copy = tempfile::tempdir().unwrap();
        copy_folder(folder.path(), copy.path());
        std::fs::write(journal(copy.path()), bytes).unwrap();
        match EmbeddedBroker::open(copy.path()) {
            Err(error) => {
                assert!(matches!(error, BrokerError::Damaged(_)), "byte {at_byte} bit {bit}: {error:?}");
            }
            Ok(broker) => {
                let broker: Arc<dyn Broker> = broker;
                let mut tail = broker.tail(&at(&topic, 0), StartAt::Earliest).await.unwrap();
                for (n, stored) in take(&mut tail, 50).await.iter().enumerate() {
                    assert_eq!(text(stored), n.to_string(), "byte {at_byte} bit {bit}");
                }
            }
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_gone_altogether_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 1).await;
    std::fs::remove_dir_all(folder.path().join("log")).unwrap();
    let refused = EmbeddedBroker::open(folder.path()).map(|_| ());
    assert!(matches!(refused, Err(BrokerError::Damaged(_))), "{refused:?}");
}
