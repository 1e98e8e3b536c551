//! The connections of a channel: the least busy one is used, and another is opened when all are busy.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Request;
use hyper::client::conn::http2::SendRequest;
use kopuro_trust::certificate::VerifiedCertificate;
use tokio::sync::Mutex as AsyncMutex;

use super::connect::{Connected, connect};
use super::outcome::{Outcome, answer, refused_unseen};
use super::{ChannelSettings, Endpoint, Security};
use crate::unary::MessageBody;

pub(super) struct Pool {
    endpoint: Endpoint,
    security: Security,
    settings: ChannelSettings,
    connections: Mutex<Vec<Kept>>,
    /// Held while a connection is made, so that calls that wait for one do not each make their own.
    connecting: Arc<AsyncMutex<()>>,
}

#[derive(Clone)]
struct Kept {
    sender: SendRequest<MessageBody>,
    certificate: Option<VerifiedCertificate>,
    calls: Arc<AtomicUsize>,
}

/// A connection lent to one call.
pub(super) struct Lent {
    sender: SendRequest<MessageBody>,
    calls: Arc<AtomicUsize>,
}

impl Pool {
    pub(super) fn new(endpoint: Endpoint, security: Security, settings: ChannelSettings) -> Arc<Self> {
        let (connections, connecting) = (Mutex::default(), Arc::new(AsyncMutex::new(())));
        Arc::new(Self { endpoint, security, settings, connections, connecting })
    }

    /// A connection for one call; `None` when the server cannot be reached.
    pub(super) async fn connection(self: &Arc<Self>) -> Option<Lent> {
        if let Some(lent) = self.least_busy() {
            return Some(lent);
        }
        let _alone = self.connecting.lock().await;
        match self.least_busy() {
            Some(lent) => Some(lent),
            None => self.connect().await.then(|| self.least_busy()).flatten(),
        }
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
            let kept = connections.iter().min_by_key(|kept| kept.calls.load(Ordering::Acquire))?;
            let busy = kept.calls.fetch_add(1, Ordering::AcqRel) + 1;
            let lent = Lent { sender: kept.sender.clone(), calls: Arc::clone(&kept.calls) };
            (lent, busy, connections.len())
        };
        if busy > self.settings.calls_per_connection && open < self.settings.connections_max {
            self.grow();
        }
        Some(lent)
    }

    fn grow(self: &Arc<Self>) {
        let Ok(alone) = Arc::clone(&self.connecting).try_lock_owned() else { return };
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            let _alone = alone;
            pool.connect().await;
        });
    }

    async fn connect(&self) -> bool {
        match connect(&self.endpoint, &self.security, self.settings.connect_limit).await {
            Ok(Connected { sender, certificate }) => {
                self.lock().push(Kept { sender, certificate, calls: Arc::default() });
                true
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(endpoint = ?self.endpoint.authority(), %error, cause, "a server cannot be called");
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
        accepted && !kept.sender.is_closed()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent {
    pub(super) async fn call(mut self, request: Request<MessageBody>) -> Outcome {
        match self.sender.try_send_request(request).await {
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
        self.calls.fetch_sub(1, Ordering::AcqRel);
    }
}
