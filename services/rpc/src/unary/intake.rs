//! How much a node takes at once.

use std::sync::Arc;
use std::time::Duration;

use kopuro_core::content::MESSAGE_LEN_MAX;
use kopuro_core::error::{Reason, Refusal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a caller should wait before it tries an overloaded node again.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// The unit in which room is counted. **Units:** bytes.
const BLOCK: usize = 1024;

/// How much a node takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntakeSettings {
    /// The most requests in work.
    pub requests_max: usize,
    /// The most bytes of messages being received or in work. **Units:** bytes.
    pub bytes_max: usize,
}

impl IntakeSettings {
    /// The most requests in work of a node that is told nothing else.
    pub const REQUESTS_MAX: usize = 2048;
}

impl Default for IntakeSettings {
    fn default() -> Self {
        Self { requests_max: Self::REQUESTS_MAX, bytes_max: 256 << 20 }
    }
}

/// The room that a node has for requests.
#[derive(Clone, Debug)]
pub struct Intake {
    requests: Arc<Semaphore>,
    blocks: Arc<Semaphore>,
}

impl Intake {
    /// Room as `settings` say.
    pub fn new(settings: IntakeSettings) -> Self {
        let IntakeSettings { requests_max, bytes_max } = settings;
        Self {
            requests: Arc::new(Semaphore::new(requests_max)),
            blocks: Arc::new(Semaphore::new(bytes_max / BLOCK)),
        }
    }

    /// Takes in a request.
    ///
    /// # Errors
    /// [`Reason::Overloaded`] when as many are in work as the node takes.
    pub fn admit(&self) -> Result<Slot, Refusal> {
        let request = Arc::clone(&self.requests).try_acquire_owned().map_err(|_| overloaded())?;
        Ok(Slot { blocks: Arc::clone(&self.blocks), taken: None, _request: request })
    }
}

/// A request's share of the room, given back when it is dropped.
#[derive(Debug)]
pub struct Slot {
    blocks: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
    _request: OwnedSemaphorePermit,
}

impl Slot {
    /// Takes room for a message of `length`, and for what it may become when it is `compressed`.
    pub(super) fn take(&mut self, length: usize, compressed: bool) -> Result<(), Refusal> {
        let bytes = if compressed { length + MESSAGE_LEN_MAX } else { length };
        let blocks = u32::try_from(bytes.div_ceil(BLOCK)).map_err(|_| overloaded())?;
        let taken = Arc::clone(&self.blocks).try_acquire_many_owned(blocks).map_err(|_| overloaded())?;
        self.taken = Some(taken);
        Ok(())
    }
}

fn overloaded() -> Refusal {
    Refusal::new(Reason::Overloaded).retry_after(RETRY_AFTER)
}
