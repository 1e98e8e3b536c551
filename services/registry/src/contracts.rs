//! Contracts by digest: descriptor sets are read from the contract topic and compiled on first use, a bounded number of
//! them at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kopuro_broker::{Broker, BrokerError, StartAt, StoredRecord, TopicPartition};
use kopuro_core::digest::Digest;
use kopuro_core::error::Reason;
use kopuro_core::id::Instance;
use kopuro_schema::Contract;
use tokio::sync::watch;

use crate::topics::Topics;

/// The most compiled contracts kept; beyond it the one used longest ago is dropped.
const COMPILED_MAX: usize = 256;
/// The most descriptor sets whose place is kept, so that a broker that makes up records cannot fill the memory.
const PLACES_MAX: usize = 1 << 17;
/// How long the broker may take to read out one descriptor set.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// Contracts, ready to validate with.
pub struct Contracts {
    broker: Arc<dyn Broker>,
    source: TopicPartition,
    offsets: watch::Sender<HashMap<Digest, u64>>,
    compiled: Mutex<Compiled>,
    /// Held while a contract is compiled, so that many calls that need the same one compile it once.
    compiling: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Compiled {
    contracts: HashMap<Digest, (u64, Arc<Contract>)>,
    uses: u64,
}

impl Contracts {
    /// Contracts of `instance`, read through `broker`. [`Self::follow`] must run beside it.
    pub fn new(broker: Arc<dyn Broker>, instance: &Instance) -> Arc<Self> {
        let source = Topics::of(instance).contracts;
        let (offsets, _) = watch::channel(HashMap::new());
        let compiling = tokio::sync::Mutex::default();
        Arc::new(Self { broker, source, offsets, compiled: Mutex::default(), compiling })
    }

    /// Notes where each descriptor set stands, for ever. Only digests are kept.
    ///
    /// # Errors
    /// [`BrokerError`] when the topic cannot be read.
    pub async fn follow(&self) -> Result<(), BrokerError> {
        let mut tail = self.broker.tail(&self.source, StartAt::Earliest).await?;
        loop {
            let StoredRecord { position, record, append_time: _ } = tail.next().await?;
            let digest = Digest::of(&record.value);
            self.offsets.send_if_modified(|offsets| {
                let room = offsets.len() < PLACES_MAX;
                room && offsets.insert(digest, position.offset).is_none()
            });
        }
    }

    /// The contract with this digest.
    ///
    /// # Errors
    /// [`Reason::ContractUnavailable`] when its descriptor set is missing or cannot be compiled.
    pub async fn get(&self, digest: &Digest) -> Result<Arc<Contract>, Reason> {
        if let Some(contract) = self.lock().touch(digest) {
            return Ok(contract);
        }
        let _compiling = self.compiling.lock().await;
        if let Some(contract) = self.lock().touch(digest) {
            return Ok(contract);
        }
        let descriptor_set = self.descriptor_set(digest).await?;
        let contract = tokio::task::spawn_blocking(move || Contract::load(&descriptor_set))
            .await
            .map_err(|_| Reason::ContractUnavailable)?
            .map_err(|_| Reason::ContractUnavailable)?;
        Ok(self.lock().keep(*digest, Arc::new(contract)))
    }

    /// The descriptor set with this digest, as it was registered.
    ///
    /// # Errors
    /// [`Reason::ContractUnavailable`] when the broker does not have it.
    pub async fn descriptor_set(&self, digest: &Digest) -> Result<Bytes, Reason> {
        let offset = self.offsets.borrow().get(digest).copied().ok_or(Reason::ContractUnavailable)?;
        let read = tokio::time::timeout(READ_LIMIT, self.read(offset)).await;
        let value = read.ok().and_then(Result::ok).ok_or(Reason::ContractUnavailable)?;
        if Digest::of(&value) == *digest { Ok(value) } else { Err(Reason::ContractUnavailable) }
    }

    async fn read(&self, offset: u64) -> Result<Bytes, BrokerError> {
        let mut tail = self.broker.tail(&self.source, StartAt::Offset(offset)).await?;
        Ok(tail.next().await?.record.value)
    }

    /// Waits until the descriptor set with this digest has been seen on the topic.
    pub async fn seen(&self, digest: &Digest) {
        // The sender lives as long as this value, so waiting cannot fail.
        let _ = self.offsets.subscribe().wait_for(|offsets| offsets.contains_key(digest)).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Compiled> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Compiled {
    fn touch(&mut self, digest: &Digest) -> Option<Arc<Contract>> {
        self.uses += 1;
        let uses = self.uses;
        self.contracts.get_mut(digest).map(|(used, contract)| {
            *used = uses;
            Arc::clone(contract)
        })
    }

    fn keep(&mut self, digest: Digest, contract: Arc<Contract>) -> Arc<Contract> {
        if self.contracts.len() >= COMPILED_MAX {
            let oldest = self.contracts.iter().min_by_key(|(_, (used, _))| *used).map(|(digest, _)| *digest);
            oldest.map(|digest| self.contracts.remove(&digest));
        }
        self.uses += 1;
        self.contracts.insert(digest, (self.uses, Arc::clone(&contract)));
        contract
    }
}

#[cfg(test)]
mod tests;
