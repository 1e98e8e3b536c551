//! The connections of a channel: the least busy one is used, and another is opened when all are busy.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Request;
use hyper::client::conn::http2::SendRequest;
use kopuro_trust::certificate::VerifiedCertificate;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::task::JoinHandle;

use super::connect::{Connected, connect};
use super::outcome::{Outcome, answer, refused_unseen};
use super::{ChannelSettings, Endpoint, Security};
use crate::unary::MessageBody;

/// How many calls in a row may go unanswered before a connection is taken for dead.
const UNANSWERED_MAX: u32 = 3;

pub(super) struct Pool {
    endpoint: Endpoint,
    security: Security,
    settings: ChannelSettings,
    connections: Mutex<Vec<Kept>>,
    /// Held while a connection is made, so that calls that wait for one do not each make their own.
    connecting: Arc<AsyncMutex<()>>,
    /// How many attempts to connect have failed.
    failed: AtomicU64,
}

#[derive(Clone)]
struct Kept {
    sender: SendRequest<MessageBody>,
    certificate: Option<VerifiedCertificate>,
    load: Arc<Load>,
}

/// A connection lent to one call.
pub(super) struct Lent {
    sender: SendRequest<MessageBody>,
    load: Arc<Load>,
    answered: bool,
}

/// What a connection has to do, and whether it does it.
#[derive(Default)]
struct Load {
    calls: AtomicUsize,
    /// Calls given up since the last answer.
    unanswered: AtomicU32,
}

impl Pool {
    pub(super) fn new(endpoint: Endpoint, security: Security, settings: ChannelSettings) -> Arc<Self> {
        let (connections, connecting) = (Mutex::default(), Arc::new(AsyncMutex::new(())));
        let failed = AtomicU64::new(0);
        Arc::new(Self { endpoint, security, settings, connections, connecting, failed })
    }

    /// A connection for one call; `None` when the server cannot be reached. Calls that wait for the same attempt fail with
    /// it, so that none waits for several.
    pub(super) async fn connection(self: &Arc<Self>) -> Option<Lent> {
        if let Some(lent) = self.least_busy() {
            return Some(lent);
        }
        let failed_before = self.failed.load(Ordering::Acquire);
        let alone = Arc::clone(&self.connecting).lock_owned().await;
        if let Some(lent) = self.least_busy() {
            return Some(lent);
        }
        if self.failed.load(Ordering::Acquire) != failed_before {
            return None;
        }
        // The attempt goes on when this call is given up meanwhile: others wait for it.
        let connected = self.connect_apart(alone).await;
        connected.is_ok_and(|connected| connected).then(|| self.least_busy()).flatten()
    }

    pub(super) fn open(&self) -> usize {
        let mut connections = self.lock();
        connections.retain(|kept| self.is_good(kept));
        connections.len()
    }

    /// The least busy connection. When it has as many calls as one is to have, another is made meanwhile.
    fn least_busy(self: &Arc<Self>) -> Option<Lent> {
        let (lent, busy, open) = {
            let mut connections = self.lock();
            connections.retain(|kept| self.is_good(kept));
            let kept = connections.iter().min_by_key(|kept| kept.load.calls.load(Ordering::Acquire))?;
            let busy = kept.load.calls.fetch_add(1, Ordering::AcqRel) + 1;
            let (sender, load) = (kept.sender.clone(), Arc::clone(&kept.load));
            let lent = Lent { sender, load, answered: false };
            (lent, busy, connections.len())
        };
        if busy > self.settings.calls_per_connection && open < self.settings.connections_max {
            self.grow();
        }
        Some(lent)
    }

    fn grow(self: &Arc<Self>) {
        if let Ok(alone) = Arc::clone(&self.connecting).try_lock_owned() {
            self.connect_apart(alone);
        }
    }

    fn connect_apart(self: &Arc<Self>, alone: OwnedMutexGuard<()>) -> JoinHandle<bool> {
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            let _alone = alone;
            pool.connect().await
        })
    }

    async fn connect(&self) -> bool {
        match connect(&self.endpoint, &self.security, self.settings.connect_limit).await {
            Ok(Connected { sender, certificate }) => {
                self.lock().push(Kept { sender, certificate, load: Arc::default() });
                true
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(endpoint = ?self.endpoint.authority(), %error, cause, "a server cannot be called");
                self.failed.fetch_add(1, Ordering::AcqRel);
                false
            }
        }
    }

    fn is_good(&self, kept: &Kept) -> bool {
        let accepted = match (&self.security, &kept.certificate) {
            (Security::Mutual { servers, .. }, Some(certificate)) => servers.accepts(certificate),
            (Security::Mutual { .. }, None) => false,
            (Security::Plain, _) => true,
        };
        let alive = kept.load.unanswered.load(Ordering::Acquire) < UNANSWERED_MAX;
        accepted && alive && !kept.sender.is_closed()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent {
    pub(super) async fn call(mut self, request: Request<MessageBody>) -> Outcome {
        let sent = self.sender.try_send_request(request).await;
        self.answered = true;
        self.load.unanswered.store(0, Ordering::Release);
        match sent {
            Ok(response) => answer(response).await,
            Err(mut error) => {
                // A request that comes back was never written.
                let unseen = error.take_message().is_some() || refused_unseen(error.error());
                if unseen { Outcome::NotSent } else { Outcome::Broken }
            }
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.load.calls.fetch_sub(1, Ordering::AcqRel);
        if !self.answered {
            self.load.unanswered.fetch_add(1, Ordering::AcqRel);
        }
    }
}
