//! A broker that lies: it drops, repeats, reorders, alters and injects records, and says that all is well.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kopuro_broker::{
    AppendError, Appending, Broker, BrokerError, Position, Record, StartAt, Subscription, Tail,
    TopicPartition, TopicSettings, Watermarks,
};
use kopuro_core::content::Payload;
use kopuro_core::error::Reason;
use kopuro_core::topic::{MemberTopic, SubsystemTopic, TopicName};
use kopuro_exchange::Exchange;
use kopuro_telemetry::metrics::Alarm;

use crate::bus::{
    Bus, CountingDispatcher, PENSIONS, PORTAL, VIOLATIONS, again, payment_call, pension_call, subsystem,
};

const LIMIT: Duration = Duration::from_secs(20);

/// What becomes of a record that is appended: the records that are stored in its place.
type Script = Box<dyn FnMut(Record) -> Vec<Record> + Send>;

/// Passes everything on, but for appends to one topic.
pub(crate) struct Hostile {
    inner: Arc<dyn Broker>,
    scripts: Mutex<Vec<(TopicName, Script)>>,
    refused: Mutex<Option<TopicName>>,
}

impl Hostile {
    pub(crate) fn wrap(inner: Arc<dyn Broker>) -> Arc<Self> {
        Arc::new(Self { inner, scripts: Mutex::default(), refused: Mutex::default() })
    }

    /// Takes no more appends to a topic, or to none.
    pub(crate) fn refuse(&self, topic: Option<TopicName>) {
        *self.refused.lock().unwrap() = topic;
    }

    fn script(&self, topic: TopicName, script: impl FnMut(Record) -> Vec<Record> + Send + 'static) {
        let mut scripts = self.scripts.lock().unwrap();
        scripts.retain(|(known, _)| *known != topic);
        scripts.push((topic, Box::new(script)));
    }

    fn stored(&self, target: &TopicPartition, record: Record) -> Vec<Record> {
        let mut scripts = self.scripts.lock().unwrap();
        match scripts.iter_mut().find(|(topic, _)| *topic == target.topic) {
            Some((_, script)) => script(record),
            None => vec![record],
        }
    }
}

#[async_trait]
impl Broker for Hostile {
    async fn ensure_topic(&self, topic: &TopicName, settings: &TopicSettings) -> Result<(), BrokerError> {
        self.inner.ensure_topic(topic, settings).await
    }

    async fn partitions(&self, topic: &TopicName) -> Result<u32, BrokerError> {
        self.inner.partitions(topic).await
    }

    fn append(&self, target: &TopicPartition, record: Record) -> Appending {
        if self.refused.lock().unwrap().as_ref() == Some(&target.topic) {
            let refused = BrokerError::Unavailable("refused by the test".into());
            return Appending::new(async { Err(AppendError::NotAppended(refused)) });
        }
        let stored = self.stored(target, record);
        let appending: Vec<_> = stored.into_iter().map(|record| self.inner.append(target, record)).collect();
        let partition = target.partition;
        Appending::new(async move {
            for append in appending {
                append.await?;
            }
            Ok(Position { partition, offset: 0 })
        })
    }

    async fn tail(&self, target: &TopicPartition, start: StartAt) -> Result<Box<dyn Tail>, BrokerError> {
        self.inner.tail(target, start).await
    }

    async fn subscribe(
        &self,
        group: &str,
        topics: &[TopicName],
    ) -> Result<Box<dyn Subscription>, BrokerError> {
        self.inner.subscribe(group, topics).await
    }

    async fn watermarks(&self, target: &TopicPartition) -> Result<Watermarks, BrokerError> {
        self.inner.watermarks(target).await
    }

    async fn committed(&self, group: &str, target: &TopicPartition) -> Result<Option<u64>, BrokerError> {
        self.inner.committed(group, target).await
    }

    async fn probe(&self, limit: Duration) -> Result<(), BrokerError> {
        self.inner.probe(limit).await
    }
}

/// A bus over a hostile broker, with the portal's engine and one provider's.
struct Stage {
    bus: Bus,
    hostile: Arc<Hostile>,
    portal: Exchange,
    dispatcher: Arc<CountingDispatcher>,
    provider: Exchange,
}

impl Stage {
    async fn set(provider: &str) -> Self {
        let mut hostile = None;
        let bus = Bus::start(|inner| {
            let wrapped = Hostile::wrap(inner);
            hostile = Some(Arc::clone(&wrapped));
            wrapped
        })
        .await;
        let dispatcher = Arc::new(CountingDispatcher::default());
        let portal = bus.engine(PORTAL, Arc::new(CountingDispatcher::default()));
        let serving = bus.engine(provider, Arc::clone(&dispatcher) as Arc<_>);
        serving.serve(&subsystem(provider)).await.unwrap();
        Self { bus, hostile: hostile.unwrap(), portal, dispatcher, provider: serving }
    }

    fn dispatched(&self) -> usize {
        self.dispatcher.calls.load(Ordering::Acquire)
    }
}

fn call_topic(provider: &str) -> TopicName {
    TopicName::of_subsystem(SubsystemTopic::Call, &subsystem(provider))
}

fn reply_topic() -> TopicName {
    TopicName::of_member(MemberTopic::Reply, &subsystem(PORTAL).member())
}

fn is_message(payload: &Payload) -> bool {
    matches!(payload, Payload::Message(_))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_has_no_second_effect_and_no_second_outcome() {
    let stage = Stage::set(VIOLATIONS).await;
    stage.hostile.script(call_topic(VIOLATIONS), |record| vec![record.clone(), record.clone(), record]);
    let first = stage.portal.call(payment_call(&stage.bus)).await.unwrap();
    let second = stage.portal.call(payment_call(&stage.bus)).await.unwrap();
    assert!(is_message(&first.payload) && is_message(&second.payload));
    assert_ne!(first.payload, second.payload);
    stage.provider.drain(Duration::from_secs(20)).await;
    assert_eq!(stage.dispatched(), 2);
    assert_eq!(stage.bus.metrics.duplicates(), 4);
    assert!(stage.bus.audit.reasons().contains(&"DUPLICATE_RECORD"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_request_raises_an_alarm_with_the_next_one() {
    let stage = Stage::set(PENSIONS).await;
    let mut call = pension_call(&stage.bus);
    call.request = Some(kopuro_core::id::RequestId::new([1; 16]));
    stage.portal.call(call.clone()).await.unwrap();
    stage.hostile.script(call_topic(PENSIONS), |_| vec![]);
    let mut dropped = again(&stage.bus, &call);
    dropped.timeout = Some(Duration::from_millis(300));
    let refusal = stage.portal.call(dropped).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::NotAnsweredInTime);
    assert!(refusal.metadata.contains(&("accepted", "yes".to_owned())), "{refusal:?}");
    stage.hostile.script(call_topic(PENSIONS), |record| vec![record]);
    stage.portal.call(again(&stage.bus, &call)).await.unwrap();
    assert_eq!(stage.bus.metrics.alarms(Alarm::ChainGap), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn reordered_requests_are_answered_each_and_raise_an_alarm() {
    let stage = Stage::set(PENSIONS).await;
    let mut held: Option<Record> = None;
    let mut first = pension_call(&stage.bus);
    first.request = Some(kopuro_core::id::RequestId::new([1; 16]));
    stage.portal.call(again(&stage.bus, &first)).await.unwrap();
    stage.hostile.script(call_topic(PENSIONS), move |record| match held.take() {
        None => {
            held = Some(record);
            vec![]
        }
        Some(earlier) => vec![record, earlier],
    });
    let (one, other) = (again(&stage.bus, &first), again(&stage.bus, &first));
    let (one, other) = tokio::join!(stage.portal.call(one), stage.portal.call(other));
    assert!(is_message(&one.unwrap().payload) && is_message(&other.unwrap().payload));
    assert_eq!(stage.bus.metrics.alarms(Alarm::ChainLate), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_or_swapped_outcome_answers_nobody_else() {
    let stage = Stage::set(PENSIONS).await;
    let mut earlier: Option<Record> = None;
    stage.hostile.script(reply_topic(), move |record| {
        let replayed = earlier.replace(record.clone());
        // The earlier outcome under the key of the call that waits now, before the genuine one.
        let forged = replayed.map(|old| Record { key: record.key.clone(), ..old });
        forged.into_iter().chain([record.clone(), record]).collect()
    });
    for _ in 0..3 {
        let answer = stage.portal.call(pension_call(&stage.bus)).await.unwrap();
        assert!(is_message(&answer.payload));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_single_bit_of_a_stored_request_can_be_changed() {
    let stage = Stage::set(PENSIONS).await;
    let (taken, captured) = std::sync::mpsc::channel();
    stage.hostile.script(call_topic(PENSIONS), move |record| {
        taken.send(record).unwrap();
        vec![]
    });
    let mut call = pension_call(&stage.bus);
    call.timeout = Some(Duration::from_secs(60));
    call.request = Some(kopuro_core::id::RequestId::new([9; 16]));
    let calling = stage.portal.call(call.clone());
    let altering = async {
        let record = tokio::task::spawn_blocking(move || captured.recv().unwrap()).await.unwrap();
        stage.hostile.script(call_topic(PENSIONS), |record| vec![record]);
        let partition = partition_of(&record);
        let target = TopicPartition { topic: call_topic(PENSIONS), partition };
        let altered = (0..record.value.len() * 8).map(|bit| flipped(&record, bit));
        let appends: Vec<_> = altered.map(|record| stage.bus.broker.append(&target, record)).collect();
        for append in appends {
            append.await.unwrap();
        }
        let answer = stage.portal.call(again(&stage.bus, &call)).await.unwrap();
        assert!(is_message(&answer.payload));
    };
    // Nobody answers an altered record: who alters one could otherwise have a signed refusal made.
    tokio::select! {
        answered = calling => panic!("an altered record was answered: {answered:?}"),
        () = altering => {}
    }
    stage.provider.drain(Duration::from_secs(20)).await;
    assert_eq!(stage.dispatched(), 1, "an altered record was dispatched");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_single_bit_of_a_stored_outcome_can_be_changed() {
    let stage = Stage::set(PENSIONS).await;
    let genuine = stage.portal.call(pension_call(&stage.bus)).await.unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    stage.hostile.script(reply_topic(), move |record| {
        let bits = record.value.len() * 8;
        tell.send(bits).unwrap();
        (0..bits).map(|bit| flipped(&record, bit)).chain([record.clone()]).collect()
    });
    let mut call = pension_call(&stage.bus);
    call.timeout = Some(Duration::from_secs(60));
    let answer = stage.portal.call(call).await.unwrap();
    // The genuine outcome stands behind all the altered ones.
    assert_eq!(answer.payload, genuine.payload);
    assert_eq!(stage.bus.audit.reasons().len(), told.recv().unwrap());
}

fn flipped(record: &Record, bit: usize) -> Record {
    let mut value = record.value.to_vec();
    value[bit / 8] ^= 1 << (bit % 8);
    Record { value: Bytes::from(value), ..record.clone() }
}

/// Each partition has its own markers: a copy in another one would meet none of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_copied_to_another_partition_has_no_second_effect() {
    let stage = Stage::set(VIOLATIONS).await;
    let (taken, captured) = std::sync::mpsc::channel();
    stage.hostile.script(call_topic(VIOLATIONS), move |record| {
        taken.send(record.clone()).unwrap();
        vec![record]
    });
    let answer = stage.portal.call(payment_call(&stage.bus)).await.unwrap();
    assert!(is_message(&answer.payload));
    let record = captured.recv().unwrap();
    let dead = TopicName::of_member(MemberTopic::DeadLetter, &subsystem(VIOLATIONS).member());
    for partition in (0..3).filter(|partition| *partition != partition_of(&record)) {
        let target = TopicPartition { topic: call_topic(VIOLATIONS), partition };
        stage.bus.broker.append(&target, record.clone()).await.unwrap();
        let aside = TopicPartition { topic: dead.clone(), partition };
        let mut aside = stage.bus.broker.tail(&aside, StartAt::Earliest).await.unwrap();
        tokio::time::timeout(LIMIT, aside.next()).await.expect("the copy is not put aside").unwrap();
    }
    stage.provider.drain(LIMIT).await;
    assert_eq!(stage.dispatched(), 1);
    assert_eq!(stage.bus.audit.of(Reason::StatementInvalid).len(), 2);
}

fn partition_of(record: &Record) -> u32 {
    let digest = kopuro_core::digest::Digest::of(&record.key);
    let [a, b, c, d, ..] = *digest.as_bytes();
    u32::from_be_bytes([a, b, c, d]) % 3
}

#[tokio::test(flavor = "multi_thread")]
async fn injected_and_misplaced_records_are_put_aside() {
    let stage = Stage::set(PENSIONS).await;
    let garbage = [Bytes::new(), Bytes::from_static(b"\xff\xff"), Bytes::from(vec![0x0a; 5_000])];
    for value in garbage {
        let target = TopicPartition { topic: call_topic(PENSIONS), partition: 0 };
        stage.bus.broker.append(&target, Record { value, ..Record::default() }).await.unwrap();
    }
    // A genuine request to the traffic police, copied to the Social Fund's topic.
    let (taken, captured) = std::sync::mpsc::channel();
    stage
        .bus
        .broker
        .ensure_topic(
            &call_topic(VIOLATIONS),
            &TopicSettings { partitions: 3, retention: None, record_bytes_max: 8 << 20 },
        )
        .await
        .unwrap();
    stage.hostile.script(call_topic(VIOLATIONS), move |record| {
        taken.send(record).unwrap();
        vec![]
    });
    let mut stolen = payment_call(&stage.bus);
    stolen.timeout = Some(Duration::from_millis(200));
    stage.portal.call(stolen).await.unwrap_err();
    let target = TopicPartition { topic: call_topic(PENSIONS), partition: 1 };
    stage.bus.broker.append(&target, captured.recv().unwrap()).await.unwrap();
    let dead = TopicName::of_member(MemberTopic::DeadLetter, &subsystem(PENSIONS).member());
    let mut aside = Vec::new();
    for partition in [0, 0, 0, 1] {
        let target = TopicPartition { topic: dead.clone(), partition };
        let offset = aside.iter().filter(|known: &&(u32, String)| known.0 == partition).count() as u64;
        let mut tail = stage.bus.broker.tail(&target, StartAt::Offset(offset)).await.unwrap();
        let stored = tail.next().await.unwrap();
        let reason = stored.record.headers.iter().find(|(name, _)| name == "kopuro-reason").unwrap();
        aside.push((partition, String::from_utf8(reason.1.to_vec()).unwrap()));
    }
    let reasons: Vec<_> = aside.iter().map(|(_, reason)| reason.as_str()).collect();
    assert_eq!(reasons, ["RECORD_MALFORMED", "RECORD_MALFORMED", "RECORD_MALFORMED", "STATEMENT_INVALID"]);
    assert_eq!(stage.dispatched(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_seal_does_not_take_the_place_of_the_genuine_one() {
    let stage = Stage::set(PENSIONS).await;
    stage.hostile.script(call_topic(PENSIONS), |record| {
        // The wrap stands at the end of a record, and the statement says nothing of it.
        let last = record.value.len() * 8 - 3;
        vec![flipped(&record, last), flipped(&record, last), record.clone(), record]
    });
    for served in 1..=5 {
        let answer = stage.portal.call(pension_call(&stage.bus)).await.unwrap();
        assert!(is_message(&answer.payload));
        assert_eq!(stage.dispatched(), served);
    }
    stage.provider.drain(Duration::from_secs(20)).await;
    assert_eq!(stage.dispatched(), 5);
    assert_eq!(stage.bus.audit.of(Reason::SealBroken).len(), 10);
    assert_eq!(stage.bus.audit.of(Reason::DuplicateRecord).len(), 5);
}
