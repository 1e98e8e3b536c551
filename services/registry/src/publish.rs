//! Publishing: the one writer of the registry's log.
//!
//! It trusts the broker as little as its readers do. What it knows of the log is what it has read back from the topic;
//! a record counts as taken once it was read, and a checkpoint is signed over nothing else.
//!
//! **The beginning.** The keys that sign checkpoints and attestations are themselves records of the log, signed by the
//! authority. Until they are in it, checkpoints and attestations are signed but count for nobody: views stay
//! unconfirmed and decide nothing, and contracts are not offered. The records that name them need neither, so the
//! authority submits its first records, these keys among them, to an empty log in the publisher's own process; no
//! transport key is registered then with which anybody could call the service.

mod log;
mod refusal;
mod rollback;
mod submission;
#[cfg(test)]
mod tests;
mod vetting;

use std::error::Error;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use kopuro_broker::{Broker, BrokerError, Record};
use kopuro_core::digest::Digest;
use kopuro_core::error::{Reason, Refusal};
use kopuro_core::id::Instance;
use kopuro_core::statement::ViewStamp;
use kopuro_core::time::Clock;
use kopuro_telemetry::metrics::Metrics;
use kopuro_tlog::checkpoint::{Checkpoint, LogKey};
use kopuro_trust::signing::Signer;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, MissedTickBehavior};

use self::log::Log;
use self::refusal::unavailable;
use self::submission::Submission;
use crate::anchor::Anchor;
use crate::checkpoint;
use crate::compose;
use crate::record::{Contract, ResourceState};
use crate::topics::Topics;

pub use vetting::{InProcessVetter, VetError, Vetted, Vetter};

/// How often a checkpoint is signed when nothing changes.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// The most submissions taken at a time. **Units:** each may hold 1 MiB.
const SUBMISSIONS_MAX: usize = 64;

/// The keys that the authority delegates to the registry.
#[derive(Debug)]
pub struct PublisherKeys {
    /// Signs checkpoints; an Ed25519 key.
    pub checkpoint: Signer,
    /// Signs attestations of vetted contracts.
    pub attestation: Signer,
}

/// Why a publisher does not start.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The broker does not answer or is damaged.
    #[error("the broker cannot be used")]
    Broker(#[from] BrokerError),
    /// The broker says that the log is longer than what it delivers.
    #[error("the broker does not deliver the whole log")]
    Incomplete,
    /// The topic holds a log that another authority has signed, and nothing of this one's: another instance of the same
    /// name is on the broker. Writing there would mix the two.
    #[error(
        "the registry topic is another authority's: the broker carries another instance named {instance}, and one of \
         the two needs another name or another broker"
    )]
    Foreign {
        /// The name that both have.
        instance: Instance,
    },
    /// The checkpoint key is no Ed25519 key.
    #[error("the checkpoint key is not an Ed25519 key")]
    CheckpointKey,
    /// A checkpoint that this key has signed is of a larger log or of another one: entries were lost, and signing anew
    /// would contradict what was said. A person must restore the log.
    #[error("the log is not the one of which the last checkpoint speaks, at size {size}")]
    RolledBack {
        /// The size of the checkpoint.
        size: u64,
    },
}

/// The writer of the log. While it lives, a checkpoint is appended every second and after every change.
pub struct Publisher {
    broker: Arc<dyn Broker>,
    topics: Topics,
    keys: PublisherKeys,
    log_key: LogKey,
    clock: Arc<dyn Clock>,
    vetter: Arc<dyn Vetter>,
    log: Mutex<Log>,
    submissions: Arc<Semaphore>,
    /// Where the entries of the log stand on the topic, by revision.
    places: Arc<RwLock<Vec<u64>>>,
    latest: RwLock<String>,
}

impl Publisher {
    /// Makes the registry's topics if they are missing, reads the log to its end, and starts signing checkpoints.
    /// Contracts are vetted in this process, by [`InProcessVetter`].
    ///
    /// # Errors
    /// [`PublishError`]; the operator must act. One publisher at a time may run for an instance.
    pub async fn open(
        broker: Arc<dyn Broker>,
        anchor: Anchor,
        keys: PublisherKeys,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, PublishError> {
        let vetter = Arc::new(InProcessVetter::default());
        Self::open_with(broker, anchor, keys, clock, metrics, vetter).await
    }

    /// As [`Self::open`], with contracts vetted by `vetter`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_with(
        broker: Arc<dyn Broker>,
        anchor: Anchor,
        keys: PublisherKeys,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        vetter: Arc<dyn Vetter>,
    ) -> Result<Arc<Self>, PublishError> {
        let instance = anchor.instance.clone();
        let log_key = checkpoint::log_key(&instance, &keys.checkpoint.verifying_key());
        let log_key = log_key.ok_or(PublishError::CheckpointKey)?;
        let topics = Topics::of(&instance);
        topics.ensure(broker.as_ref()).await?;
        let log = Log::open(Arc::clone(&broker), topics.records.clone(), anchor, metrics).await?;
        if log.is_foreign() {
            return Err(PublishError::Foreign { instance });
        }
        rollback::refuse(broker.as_ref(), &topics.checkpoints, &log, &log_key).await?;
        let publisher = Arc::new(Self {
            broker,
            topics,
            keys,
            log_key,
            clock,
            vetter,
            places: log.places(),
            log: Mutex::new(log),
            submissions: Arc::new(Semaphore::new(SUBMISSIONS_MAX)),
            latest: RwLock::default(),
        });
        let stamp = publisher.log.lock().await.stamp();
        publisher.sign_checkpoint(stamp).await;
        tokio::spawn(keep_signing(Arc::downgrade(&publisher)));
        Ok(publisher)
    }

    /// Takes a record into the log, with its descriptor set if it is a contract's, and gives its revision. A record
    /// that the log has already keeps the revision that it has.
    ///
    /// The work goes on when the caller goes away.
    ///
    /// # Errors
    /// [`Reason::RegistryRecordInvalid`], [`Reason::RegistryNotAuthorized`], [`Reason::RegistryConflict`] with the
    /// fact `latest_revision`, or [`Reason::ContractInvalid`]: the submitter must act, and nothing was changed.
    /// [`Reason::Overloaded`] or [`Reason::RegistryUnavailable`]: the same record may be submitted again.
    pub async fn submit(self: &Arc<Self>, envelope: Bytes, descriptor_set: Bytes) -> Result<u64, Refusal> {
        let slot = Arc::clone(&self.submissions).try_acquire_owned();
        let slot = slot.map_err(|_| Refusal::new(Reason::Overloaded))?;
        let submission = Submission::read(envelope, descriptor_set)?;
        let publisher = Arc::clone(self);
        let work = tokio::spawn(async move {
            let taken = publisher.take(&submission).await;
            drop(slot);
            taken
        });
        work.await.unwrap_or_else(|_| Err(Refusal::new(Reason::Internal)))
    }

    /// The entries of the log from revision `first` on, at most `count` of them and at most some 2 MiB, but one if
    /// there is one; and the number of entries in the log.
    ///
    /// # Errors
    /// [`Reason::RegistryUnavailable`] when the broker does not deliver them.
    pub async fn list(&self, first: u64, count: usize) -> Result<(Vec<Bytes>, u64), Refusal> {
        let (places, size) = {
            let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
            let from = usize::try_from(first).map_or(places.len(), |first| first.min(places.len()));
            (places[from..places.len().min(from.saturating_add(count))].to_vec(), places.len() as u64)
        };
        let entries = log::read(self.broker.as_ref(), &self.topics.records, &places).await;
        Ok((entries.map_err(unavailable)?, size))
    }

    /// The latest checkpoint, as a signed note.
    pub fn checkpoint(&self) -> String {
        self.latest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn take(&self, submission: &Submission) -> Result<u64, Refusal> {
        let contract = submission.contract();
        let attested = self.admit(submission).await?;
        let unattested = contract.filter(|contract| !attested && contract.state == ResourceState::Active);
        if let Some(contract) = unattested {
            self.vet(contract, submission).await?;
        }
        let mut log = self.log.lock().await;
        // While this one was vetted, another may have brought the same descriptor set.
        let unattested = unattested.filter(|contract| !log.is_attested(&contract.digest));
        if let Some(contract) = unattested {
            self.append_descriptor_set(contract, submission).await?;
        }
        let revision = log.append(submission.envelope()).await?;
        if let Some(contract) = unattested {
            self.attest(&mut log, &contract.digest).await?;
        }
        self.sign_checkpoint(log.stamp()).await;
        Ok(revision)
    }

    /// Whether the log would take the record or has it; and whether the registry has vouched for its contract.
    /// Nothing costly is done for a record that fails here.
    async fn admit(&self, submission: &Submission) -> Result<bool, Refusal> {
        let mut log = self.log.lock().await;
        log.catch_up().await.map_err(unavailable)?;
        if log.revision_of(submission.envelope()).is_none() {
            log.check(submission.envelope())?;
        }
        Ok(submission.contract().is_some_and(|contract| log.is_attested(&contract.digest)))
    }

    async fn vet(&self, contract: &Contract, submission: &Submission) -> Result<(), Refusal> {
        let descriptor_set = submission.descriptor_set().cloned();
        let missing = || Refusal::with(Reason::ContractInvalid, "its descriptor set must come with it");
        let vetted = self.vetter.vet(descriptor_set.ok_or_else(missing)?, &contract.package).await?;
        let mut named = contract.services.clone();
        named.sort_unstable();
        if vetted.services == named {
            Ok(())
        } else {
            let detail = "the record must name exactly the services that the package defines";
            Err(Refusal::with(Reason::ContractInvalid, detail))
        }
    }

    async fn append_descriptor_set(
        &self,
        contract: &Contract,
        submission: &Submission,
    ) -> Result<(), Refusal> {
        let key = Bytes::copy_from_slice(contract.digest.as_bytes());
        let value = submission.descriptor_set().cloned().unwrap_or_default();
        let record = Record { key, value, headers: Vec::new() };
        self.broker.append(&self.topics.contracts, record).await.map_err(unavailable)?;
        Ok(())
    }

    async fn attest(&self, log: &mut Log, digest: &Digest) -> Result<(), Refusal> {
        let (instance, now) = (log.instance(), self.clock.now());
        let attestation = compose::sign_attestation(instance, digest, now, &self.keys.attestation);
        match log.append(&attestation.into()).await {
            Err(refusal) if refusal.reason == Reason::RegistryNotAuthorized => {
                let detail = "the record was taken, but the registry's attestation key is not registered";
                Err(Refusal::with(Reason::RegistryUnavailable, detail))
            }
            appended => appended.map(drop),
        }
    }

    /// Signs and appends a checkpoint. When the broker does not take it, the next one, within a second, will do.
    async fn sign_checkpoint(&self, stamp: ViewStamp) {
        let ViewStamp { size, root } = stamp;
        let checkpoint = Checkpoint {
            origin: self.log_key.name().to_owned(),
            size,
            root,
            time: self.clock.now(),
            extensions: Vec::new(),
        };
        let note = checkpoint
            .sign(&self.log_key, |bytes| self.keys.checkpoint.sign(bytes))
            .expect("the origin is the key's, and the key is the signer's");
        let text = String::from_utf8(note.clone()).expect("a note is text");
        let record = Record { key: Bytes::new(), value: note.into(), headers: Vec::new() };
        if let Err(error) = self.broker.append(&self.topics.checkpoints, record).await {
            tracing::warn!(error = &error as &dyn Error, "a checkpoint of the registry was not appended");
        }
        *self.latest.write().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

/// Signs a checkpoint every second, until the publisher is dropped.
async fn keep_signing(publisher: std::sync::Weak<Publisher>) {
    let mut ticks = tokio::time::interval_at(Instant::now() + CHECKPOINT_INTERVAL, CHECKPOINT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(publisher) = publisher.upgrade() else { return };
        let mut log = publisher.log.lock().await;
        match log.catch_up().await {
            Ok(()) => publisher.sign_checkpoint(log.stamp()).await,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn Error,
                    "the log cannot be read; no checkpoint is signed"
                );
            }
        }
    }
}
