//! Tails: where they start, what wakes them.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake};

use kopuro_broker::{BrokerError, StartAt};
use tokio::sync::Notify;

use super::fixture::{Fixture, append, at, soon, take, text, topic_with};

pub(crate) async fn a_tail_starts_where_it_is_told(fixture: &Fixture) {
    let broker = fixture.open().await;
    let target = at(&topic_with(&broker, 2).await, 1);
    let mut positions = Vec::new();
    for n in 0..5 {
        positions.push(append(&broker, &target, n.to_string()).await);
    }
    let mut earliest = broker.tail(&target, StartAt::Earliest).await.unwrap();
    let mut latest = broker.tail(&target, StartAt::Latest).await.unwrap();
    let mut third = broker.tail(&target, StartAt::Offset(positions[2].offset)).await.unwrap();
    let high = broker.watermarks(&target).await.unwrap().high;
    let mut end = broker.tail(&target, StartAt::Offset(high)).await.unwrap();
    append(&broker, &target, "5").await;
    for (tail, expected) in [(&mut earliest, 0..6), (&mut third, 2..6), (&mut latest, 5..6), (&mut end, 5..6)]
    {
        let read: Vec<_> = take(tail, expected.len()).await.iter().map(text).collect();
        assert_eq!(read, expected.map(|n| n.to_string()).collect::<Vec<_>>());
    }
}

pub(crate) async fn a_tail_outside_the_log_is_refused(fixture: &Fixture) {
    let broker = fixture.open().await;
    let target = at(&topic_with(&broker, 1).await, 0);
    append(&broker, &target, "x").await;
    let high = broker.watermarks(&target).await.unwrap().high;
    let refused = broker.tail(&target, StartAt::Offset(high + 1)).await.map(|_| ());
    assert!(matches!(refused, Err(BrokerError::OffsetOutOfRange)), "{refused:?}");
}

/// Counts how often it is woken.
#[derive(Default)]
struct Bell {
    rung: AtomicUsize,
    notify: Notify,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.fetch_add(1, Ordering::SeqCst);
        self.notify.notify_one();
    }
}

pub(crate) async fn a_tail_is_woken_by_its_own_partition_only(fixture: &Fixture) {
    let broker = fixture.open().await;
    let topic = topic_with(&broker, 2).await;
    let mut tail = broker.tail(&at(&topic, 0), StartAt::Latest).await.unwrap();
    let mut other = broker.tail(&at(&topic, 1), StartAt::Latest).await.unwrap();
    let bell = Arc::new(Bell::default());
    let waker = bell.clone().into();
    let mut next = pin!(tail.next());
    let mut poll = || next.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(poll().is_pending());
    for n in 0..100 {
        append(&broker, &at(&topic, 1), n.to_string()).await;
    }
    take(&mut other, 100).await;
    assert_eq!(bell.rung.load(Ordering::SeqCst), 0, "records elsewhere do not wake it");
    append(&broker, &at(&topic, 0), "mine").await;
    let stored = loop {
        soon(bell.notify.notified()).await;
        if let Poll::Ready(stored) = poll() {
            break stored.unwrap();
        }
    };
    assert_eq!(text(&stored), "mine");
}

pub(crate) async fn a_cancelled_read_loses_nothing(fixture: &Fixture) {
    let broker = fixture.open().await;
    let target = at(&topic_with(&broker, 1).await, 0);
    let mut tail = broker.tail(&target, StartAt::Earliest).await.unwrap();
    for n in 0..200 {
        append(&broker, &target, n.to_string()).await;
    }
    let mut read = Vec::new();
    let reading = async {
        while read.len() < 200 {
            tokio::select! {
                biased;
                stored = tail.next() => read.push(text(&stored.unwrap())),
                () = tokio::task::yield_now() => {}
            }
        }
    };
    soon(reading).await;
    assert_eq!(read, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
}

pub(crate) async fn tails_of_one_partition_are_independent(fixture: &Fixture) {
    let broker = fixture.open().await;
    let target = at(&topic_with(&broker, 1).await, 0);
    for n in 0..10 {
        append(&broker, &target, n.to_string()).await;
    }
    let mut first = broker.tail(&target, StartAt::Earliest).await.unwrap();
    take(&mut first, 5).await;
    let mut second = broker.tail(&target, StartAt::Earliest).await.unwrap();
    assert_eq!(text(&take(&mut second, 10).await[9]), "9");
    drop(second);
    assert_eq!(text(&take(&mut first, 1).await[0]), "5");
    drop(first);
    let mut third = broker.tail(&target, StartAt::Offset(7)).await.unwrap();
    assert_eq!(text(&take(&mut third, 1).await[0]), "7");
}

pub(crate) async fn a_tail_reads_what_no_longer_fits_in_memory(fixture: &Fixture) {
    let broker = fixture.open().await;
    let target = at(&topic_with(&broker, 1).await, 0);
    let mut tail = broker.tail(&target, StartAt::Latest).await.unwrap();
    for n in 0..60_u8 {
        append(&broker, &target, vec![n; 100_000]).await;
    }
    for (n, stored) in take(&mut tail, 60).await.into_iter().enumerate() {
        assert!(
            stored.record.value.len() == 100_000
                && stored.record.value.iter().all(|byte| usize::from(*byte) == n)
        );
    }
}
