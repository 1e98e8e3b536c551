//! Names of the broker's topics and keys of its records.
//!
//! A topic is `kopuro.<instance>.<kind>.<slug>.<hash>`: the slug is for human eyes, the hash makes the name
//! unique. Names follow from identifiers in the registry, never from what a caller sent.

use std::fmt;
use std::sync::Arc;

use crate::digest::Digest;
use crate::id::{ExchangeId, Instance, MemberId, RequestId, SubsystemId};

/// The longest slug. **Units:** bytes.
const SLUG_LEN_MAX: usize = 80;
/// How much of the identifier's SHA-256 a name carries. **Units:** hexadecimal digits.
const HASH_DIGITS: usize = 20;

/// Topics that each subsystem has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubsystemTopic {
    /// Synchronous requests to the subsystem.
    Call,
    /// Asynchronous requests to the subsystem.
    Task,
    /// Events that the subsystem publishes.
    Event,
}

/// Topics that each member has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberTopic {
    /// Outcomes of the synchronous requests that the member's gateways made.
    Reply,
    /// Outcomes of its asynchronous requests.
    Mailbox,
    /// Claims and dispatch markers, which arbitrate effects.
    Marker,
    /// Recorded outcomes of effects, sealed to the member itself.
    Outcome,
    /// Records that its gateways could not process.
    DeadLetter,
    /// The member's own message log.
    Log,
}

/// Topics of which an instance has one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InstanceTopic {
    /// The Merkle log of signed registry records.
    Registry,
    /// Checkpoints of that log.
    RegistryCheckpoint,
    /// Contract descriptor sets, addressed by digest.
    Contract,
    /// The evidence ledger.
    Ledger,
    /// Audit records of refusals and duplicates.
    Audit,
    /// Operational data.
    Operations,
}

/// A topic's name, valid for Kafka (at most 249 of `[A-Za-z0-9._-]`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// The topic of one kind that belongs to a subsystem.
    pub fn of_subsystem(kind: SubsystemTopic, subsystem: &SubsystemId) -> Self {
        let kind = match kind {
            SubsystemTopic::Call => "call",
            SubsystemTopic::Task => "task",
            SubsystemTopic::Event => "event",
        };
        Self::build(&subsystem.instance(), kind, subsystem.as_str())
    }

    /// The topic of one kind that belongs to a member.
    pub fn of_member(kind: MemberTopic, member: &MemberId) -> Self {
        let kind = match kind {
            MemberTopic::Reply => "reply",
            MemberTopic::Mailbox => "mailbox",
            MemberTopic::Marker => "marker",
            MemberTopic::Outcome => "outcome",
            MemberTopic::DeadLetter => "dead-letter",
            MemberTopic::Log => "log",
        };
        Self::build(&member.instance(), kind, member.as_str())
    }

    /// The topic of one kind that belongs to the whole instance.
    pub fn of_instance(kind: InstanceTopic, instance: &Instance) -> Self {
        let kind = match kind {
            InstanceTopic::Registry => "registry",
            InstanceTopic::RegistryCheckpoint => "registry-checkpoint",
            InstanceTopic::Contract => "contract",
            InstanceTopic::Ledger => "ledger",
            InstanceTopic::Audit => "audit",
            InstanceTopic::Operations => "operations",
        };
        Self::build(instance, kind, instance.as_str())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn build(instance: &Instance, kind: &str, id: &str) -> Self {
        let mut hash = Digest::of(id.as_bytes()).to_string();
        hash.truncate(HASH_DIGITS);
        Self(format!("kopuro.{instance}.{kind}.{}.{hash}", slug(id)).into())
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Names one gateway replica on its member's reply topic, so that a replica finds its own replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplicaToken([u8; 8]);

impl ReplicaToken {
    /// Takes eight random bytes, drawn once per process.
    pub const fn new(random: [u8; 8]) -> Self {
        Self(random)
    }

    /// Reads the token of the replica that a reply's record key names; `None` when the key is no reply's.
    pub fn of_reply_key(key: &[u8]) -> Option<Self> {
        let (token, _) = key.split_first_chunk::<8>().filter(|(_, rest)| rest.len() == 16)?;
        Some(Self(*token))
    }

    /// The token's bytes.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

/// The key under which a record is appended; it also chooses the partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordKey(Vec<u8>);

impl RecordKey {
    /// The key of a request: the first 16 bytes of SHA-256 over the sender's identifier, a zero byte, and
    /// the ordering key or, without one, the request id.
    pub fn of_request(sender: &SubsystemId, ordering_key: &[u8], request_id: &RequestId) -> Self {
        let order = if ordering_key.is_empty() { request_id.as_bytes().as_slice() } else { ordering_key };
        let digest = Digest::of_parts(&[sender.as_str().as_bytes(), &[0], order]);
        Self(digest.as_bytes()[..16].to_vec())
    }

    /// The key of a reply: the waiting replica's token and the exchange id, 24 bytes.
    pub fn of_reply(replica: ReplicaToken, exchange: &ExchangeId) -> Self {
        Self([replica.as_bytes().as_slice(), exchange.as_bytes()].concat())
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Which of `partitions` partitions the key belongs to; every adapter agrees on it, and so do a
    /// member's call, marker and outcome topics.
    ///
    /// # Panics
    /// When `partitions` is zero: no topic has none.
    pub fn partition(&self, partitions: u32) -> u32 {
        let digest = Digest::of(&self.0);
        let [a, b, c, d, ..] = *digest.as_bytes();
        u32::from_be_bytes([a, b, c, d]) % partitions
    }
}

fn slug(id: &str) -> String {
    id.chars().take(SLUG_LEN_MAX).map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_readable_and_unique() {
        let dash = SubsystemId::parse("KG/GOV/70000005/civil-registry").unwrap();
        let dot = SubsystemId::parse("KG/GOV/70000005/civil.registry").unwrap();
        let name = TopicName::of_subsystem(SubsystemTopic::Call, &dash);
        assert_eq!(name.as_str(), "kopuro.KG.call.KG-GOV-70000005-civil-registry.b722ffdd76f497f06780");
        assert_ne!(name, TopicName::of_subsystem(SubsystemTopic::Call, &dot));
        assert_ne!(name, TopicName::of_subsystem(SubsystemTopic::Task, &dash));
    }

    #[test]
    fn the_longest_name_is_valid_for_kafka() {
        let part = "x".repeat(63);
        let member = MemberId::parse(&format!("ABCDEFGHIJKLMNOP/{part}/{part}")).unwrap();
        let name = TopicName::of_member(MemberTopic::DeadLetter, &member);
        assert!(name.as_str().len() <= 249);
        assert!(name.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b)));
    }

    #[test]
    fn a_reply_key_names_its_replica() {
        let token = ReplicaToken::new([9; 8]);
        let exchange = ExchangeId::new(crate::time::UnixMillis::new(1), [1; 10]);
        let key = RecordKey::of_reply(token, &exchange);
        assert_eq!(ReplicaToken::of_reply_key(key.as_bytes()), Some(token));
        assert_eq!(ReplicaToken::of_reply_key(&key.as_bytes()[1..]), None);
    }

    #[test]
    fn a_key_stays_in_its_partition() {
        let sender = SubsystemId::parse("KG/GOV/1/a").unwrap();
        for seed in 0..32 {
            let key = RecordKey::of_request(&sender, &[], &RequestId::new([seed; 16]));
            assert_eq!(key.as_bytes().len(), 16);
            assert_eq!(key.partition(3), key.partition(3));
            assert!(key.partition(3) < 3);
        }
    }
}
