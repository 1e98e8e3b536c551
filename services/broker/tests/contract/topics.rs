//! Topics, their partitions and bounds.

use std::time::Duration;

use kopuro_broker::{AppendError, BrokerError, StartAt, Watermarks};

use super::fixture::{Fixture, append, at, fresh_topic, is_topic_error, record, settings, soon, topic_with};

pub(crate) async fn a_topic_is_made_once(fixture: &Fixture) {
    let broker = fixture.open().await;
    let topic = fresh_topic();
    for _ in 0..2 {
        broker.ensure_topic(&topic, &settings(3)).await.unwrap();
        assert_eq!(broker.partitions(&topic).await.unwrap(), 3);
    }
    assert!(is_topic_error(&broker.ensure_topic(&topic, &settings(4)).await, &topic));
    assert!(is_topic_error(&broker.ensure_topic(&topic, &settings(2)).await, &topic));
    let broker = fixture.reopen(broker).await;
    assert!(is_topic_error(&broker.ensure_topic(&topic, &settings(4)).await, &topic));
    assert_eq!(broker.partitions(&topic).await.unwrap(), 3);
    let none = fresh_topic();
    assert!(is_topic_error(&broker.ensure_topic(&none, &settings(0)).await, &none));
}

pub(crate) async fn an_unknown_topic_is_refused(fixture: &Fixture) {
    let broker = fixture.open().await;
    let (topic, target) = (fresh_topic(), at(&fresh_topic(), 0));
    assert!(is_topic_error(&broker.partitions(&topic).await, &topic));
    assert!(is_topic_error(&broker.watermarks(&target).await, &target.topic));
    assert!(is_topic_error(&broker.committed("group", &target).await, &target.topic));
    assert!(is_topic_error(&broker.tail(&target, StartAt::Earliest).await, &target.topic));
    assert!(is_topic_error(&broker.subscribe("group", std::slice::from_ref(&topic)).await, &topic));
    let refused = soon(broker.append(&target, record("x"))).await;
    assert!(matches!(&refused, Err(AppendError::NotAppended(BrokerError::Topic(_)))), "{refused:?}");
}

pub(crate) async fn an_unknown_partition_is_refused(fixture: &Fixture) {
    let broker = fixture.open().await;
    let topic = topic_with(&broker, 2).await;
    for target in [at(&topic, 2), at(&topic, u32::MAX)] {
        assert!(is_topic_error(&broker.watermarks(&target).await, &topic));
        assert!(is_topic_error(&broker.committed("group", &target).await, &topic));
        assert!(is_topic_error(&broker.tail(&target, StartAt::Earliest).await, &topic));
        let refused = soon(broker.append(&target, record("x"))).await;
        assert!(matches!(&refused, Err(AppendError::NotAppended(BrokerError::Topic(_)))), "{refused:?}");
    }
    append(&broker, &at(&topic, 1), "x").await;
}

pub(crate) async fn watermarks_follow_the_log(fixture: &Fixture) {
    let broker = fixture.open().await;
    let topic = topic_with(&broker, 2).await;
    let target = at(&topic, 1);
    assert_eq!(broker.watermarks(&target).await.unwrap(), Watermarks { low: 0, high: 0 });
    for _ in 0..3 {
        let position = append(&broker, &target, "x").await;
        let bounds = broker.watermarks(&target).await.unwrap();
        assert_eq!(bounds.low, 0);
        assert!(bounds.high > position.offset, "{bounds:?} {position:?}");
    }
    assert_eq!(broker.watermarks(&at(&topic, 0)).await.unwrap(), Watermarks { low: 0, high: 0 });
}

pub(crate) async fn the_broker_answers_a_probe(fixture: &Fixture) {
    let broker = fixture.open().await;
    broker.probe(Duration::from_secs(10)).await.unwrap();
}
