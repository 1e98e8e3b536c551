//! Evidence as others read it: Python's `cryptography`, by the documented format, on the records that crossed the broker.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use bytes::Bytes;
use kopuro_broker::{Broker, StartAt, TopicPartition};
use kopuro_core::content::Payload;
use kopuro_core::topic::{MemberTopic, SubsystemTopic, TopicName};
use kopuro_exchange::{Answer, Call};
use kopuro_proto::exchange::v1 as wire;
use kopuro_tests::prerequisite::{PYTHON, prerequisite};
use kopuro_trust::signing::Signer;
use prost::Message as _;
use serde_json::Value;
use tokio::process::Command;

use crate::bus::{Bus, CountingDispatcher, PENSIONS, PORTAL, pension_call, subsystem};
use crate::wire::LIMIT;

/// One exchange, with the records that carried it.
struct Carried {
    bus: Bus,
    call: Call,
    answer: Answer,
    request: Bytes,
    response: Bytes,
    folder: tempfile::TempDir,
}

/// What somebody changes in a record.
type Change = fn(&mut wire::Record);

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_reader_verifies_and_opens_a_request_and_its_response() {
    let Some(python) = prerequisite(PYTHON, "the Python reader of evidence") else { return };
    let carried = Carried::make().await;
    let [request] = carried.read(&python, [PORTAL, PENSIONS], [carried.request.clone()]).await;
    let statement = &request["statement"];
    assert_eq!(
        (&statement["sender"], &statement["recipient"]),
        (&PORTAL.into(), &PENSIONS.into()),
        "{request}"
    );
    assert_eq!(statement["service"], "kg.socialfund.v1.PensionService");
    assert_eq!(request["statement_digest"], carried.answer.request_digest.to_string());
    assert_eq!(request["context"]["user_id"], carried.call.context.user_id);
    assert_eq!(request["context"]["issue"], "case-417");
    assert_eq!(message_of(&request), carried.call.message);

    let [response] = carried.read(&python, [PENSIONS, PORTAL], [carried.response.clone()]).await;
    let Payload::Message(answered) = &carried.answer.payload else { panic!("{:?}", carried.answer) };
    assert_eq!(message_of(&response), answered);
    assert_eq!(response["statement_digest"], carried.answer.response_digest.to_string());
    assert_eq!(response["statement"]["request_digest"], request["statement_digest"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_reader_refuses_what_was_altered() {
    let Some(python) = prerequisite(PYTHON, "the Python reader of evidence") else { return };
    let carried = Carried::make().await;
    let table: [(&str, Change); 7] = [
        ("the signature does not verify", |record| envelope(record, |it| flip(&mut it.payload))),
        ("the payload type is not a statement's", |record| {
            envelope(record, |it| it.payload_type = "application/vnd.kopuro.attestation.v1+protobuf".into());
        }),
        ("another key has signed", |record| envelope(record, |it| it.signatures[0].keyid = "00".repeat(32))),
        ("the ciphertext is not the one stated", |record| flip(&mut record.ciphertext)),
        ("no wrap is for this recipient", |record| flip(&mut record.wraps[0].recipient_key_id)),
        ("the epoch key does not open", |record| flip(&mut record.wraps[0].sealed_epoch_key)),
        ("the content key does not open", |record| flip(&mut record.wraps[0].wrapped_content_key)),
    ];
    let altered = table.map(|(_, change)| {
        let mut record = wire::Record::decode(carried.request.clone()).unwrap();
        change(&mut record);
        Bytes::from(record.encode_to_vec())
    });
    let told = carried.read(&python, [PORTAL, PENSIONS], altered).await;
    assert_eq!(told.map(|told| told["refused"].clone()), table.map(|(fault, _)| Value::from(fault)));
}

impl Carried {
    async fn make() -> Self {
        let bus = Bus::start(|broker| broker).await;
        let portal = bus.engine(PORTAL, Arc::new(CountingDispatcher::default()));
        let serving = bus.engine(PENSIONS, Arc::new(CountingDispatcher::default()));
        serving.serve(&subsystem(PENSIONS)).await.unwrap();
        let call = pension_call(&bus);
        let answer = portal.call(call.clone()).await.unwrap();
        let calls = TopicName::of_subsystem(SubsystemTopic::Call, &subsystem(PENSIONS));
        let replies = TopicName::of_member(MemberTopic::Reply, &subsystem(PORTAL).member());
        let (request, response) =
            (only_record(&*bus.broker, calls).await, only_record(&*bus.broker, replies).await);
        Self { bus, call, answer, request, response, folder: tempfile::tempdir().unwrap() }
    }

    /// What the reader says of records that the first subsystem's gateway signed and sealed to the second.
    async fn read<const N: usize>(
        &self,
        python: &str,
        [sender, recipient]: [&str; 2],
        records: [Bytes; N],
    ) -> [Value; N] {
        let signer = Signer::from_pem_file(&self.bus.gateway_of(sender).signing_key).unwrap();
        let signing_key = self.write("signer.spki", signer.public_spki_der());
        let mut number = 0;
        let records = records.map(|record| {
            number += 1;
            self.write(&format!("{number}.record"), &record)
        });
        let output = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/evidence.py"))
            .arg("--signing-key")
            .arg(signing_key)
            .arg("--sealing-key")
            .arg(&self.bus.gateway_of(recipient).members[0].sealing_keys[0])
            .args(records)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(3 * LIMIT, output).await.expect("the reader ends in time").unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = serde_json::Deserializer::from_slice(&output.stdout).into_iter().map(Result::unwrap);
        lines.collect::<Vec<Value>>().try_into().expect("a line for each record")
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path: &Path = self.folder.path();
        std::fs::write(path.join(name), bytes).unwrap();
        path.join(name)
    }
}

/// The message in a record's payload.
fn message_of(told: &Value) -> Bytes {
    hex::decode(told["payload"]["message"].as_str().unwrap_or_else(|| panic!("{told}"))).unwrap().into()
}

fn envelope(record: &mut wire::Record, change: impl FnOnce(&mut wire::Envelope)) {
    let mut envelope = wire::Envelope::decode(record.envelope.clone()).unwrap();
    change(&mut envelope);
    record.envelope = envelope.encode_to_vec().into();
}

/// Changes the last bit.
fn flip(bytes: &mut Bytes) {
    let mut changed = bytes.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    *bytes = changed.into();
}

/// The one record that a topic holds.
async fn only_record(broker: &dyn Broker, topic: TopicName) -> Bytes {
    for partition in 0..broker.partitions(&topic).await.unwrap() {
        let target = TopicPartition { topic: topic.clone(), partition };
        if broker.watermarks(&target).await.unwrap().high > 0 {
            let mut tail = broker.tail(&target, StartAt::Offset(0)).await.unwrap();
            return tail.next().await.unwrap().record.value;
        }
    }
    panic!("{topic} is empty")
}
