//! Vetting: whether a descriptor set is a contract that every gateway can load.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kopuro_core::error::{Reason, Refusal};
use kopuro_core::id::{PackageName, ServiceName};
use kopuro_schema::{Contract, ContractError};
use tokio::sync::Semaphore;

use crate::compose::services_of;

/// How long loading may take.
const LIMIT: Duration = Duration::from_secs(5);
/// The most descriptor sets loaded at a time, those given up on among them.
const SLOTS: usize = 2;

/// What vetting found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vetted {
    /// The services that the descriptor set defines in the package, in order.
    pub services: Vec<ServiceName>,
}

/// Why a descriptor set was not found good.
#[derive(Debug, thiserror::Error)]
pub enum VetError {
    /// It is no contract; its owner must act.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// Loading it takes too long; its owner must act.
    #[error("it takes too long to load")]
    Slow,
    /// Loading it broke off; its owner must act.
    #[error("it cannot be loaded")]
    Broken,
    /// Others are being loaded; it may be tried again.
    #[error("other contracts are being vetted")]
    Busy,
}

/// Loads descriptor sets that somebody authorized, but not trusted, has handed in.
#[async_trait]
pub trait Vetter: Send + Sync + 'static {
    /// Loads a descriptor set and tells what it defines in `package`.
    ///
    /// # Errors
    /// [`VetError`].
    async fn vet(&self, descriptor_set: Bytes, package: &PackageName) -> Result<Vetted, VetError>;
}

/// Loads in this process, within bounds of time and number but not of memory.
///
/// **Limits:** a descriptor set that makes the loader overflow its stack or memory ends the process. A short-lived
/// child process with limits of its own is to take this one's place.
#[derive(Clone, Debug)]
pub struct InProcessVetter {
    slots: Arc<Semaphore>,
    limit: Duration,
}

impl InProcessVetter {
    /// Loads `slots` descriptor sets at a time, for at most `limit` each.
    pub fn new(slots: usize, limit: Duration) -> Self {
        Self { slots: Arc::new(Semaphore::new(slots)), limit }
    }
}

impl Default for InProcessVetter {
    fn default() -> Self {
        Self::new(SLOTS, LIMIT)
    }
}

#[async_trait]
impl Vetter for InProcessVetter {
    async fn vet(&self, descriptor_set: Bytes, package: &PackageName) -> Result<Vetted, VetError> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| VetError::Busy)?;
        let package = package.clone();
        let load = tokio::task::spawn_blocking(move || {
            let vetted = Contract::load(&descriptor_set)
                .map(|contract| Vetted { services: services_of(&contract, &package) });
            // Whoever waited may be gone; the slot is free only once the work is over.
            drop(slot);
            vetted
        });
        let loaded = tokio::time::timeout(self.limit, load).await.map_err(|_| VetError::Slow)?;
        Ok(loaded.map_err(|_| VetError::Broken)??)
    }
}

impl From<VetError> for Refusal {
    fn from(error: VetError) -> Self {
        match error {
            VetError::Contract(error) => Self::with(Reason::ContractInvalid, error),
            VetError::Slow | VetError::Broken => Self::with(Reason::ContractInvalid, error),
            VetError::Busy => Self::with(Reason::Overloaded, error).retry_after(LIMIT),
        }
    }
}
