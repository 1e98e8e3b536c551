//! Takes connections: TLS 1.3, then the verdict on the client's certificate, then HTTP/2.
//!
//! A handshake proves that the peer holds its certificate's key and no more. Whether the certificate is good is decided
//! right after it, so that a peer that is turned away learns the documented reason instead of a TLS alert. Nothing else is
//! reachable on such a connection, and it ends with its first answers
//! (docs/decisions/0002-certificate-verdict-after-handshake.md).

mod admission;
mod connection;
mod head;
mod places;
mod settings;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use kopuro_telemetry::metrics::Metrics;
use kopuro_trust::certificate::TrustStore;
use kopuro_trust::tls::{Identity, TlsError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::callers::Callers;
use crate::refusals::Refusals;
use admission::{Admission, Admissions};
use places::Places;
pub use settings::ListenerSettings;

/// How long the accept loop rests after the system could not give it a connection, as when files have run out.
const ACCEPT_AGAIN: std::time::Duration = std::time::Duration::from_millis(50);

/// What a listener works with.
pub struct ListenerParts {
    /// The services, already guarded.
    pub router: Router,
    /// Who may connect.
    pub callers: Arc<dyn Callers>,
    /// Changes whenever `callers` may answer otherwise: connections are judged anew.
    pub changes: watch::Receiver<u64>,
    /// Where refusals are counted.
    pub refusals: Arc<Refusals>,
    /// Where connections are counted.
    pub metrics: Arc<Metrics>,
}

/// A listener at work. Dropping it ends it and, gracefully, its connections.
pub struct Listener {
    local_addr: SocketAddr,
    admissions: Arc<Admissions>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct Shared {
    parts: ListenerParts,
    settings: ListenerSettings,
    admissions: Arc<Admissions>,
    connections: Places,
    handshakes: Places,
    /// Whether connections are being closed because all places are taken; it is said once.
    crowded: AtomicBool,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Why a listener could not begin; the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be listened on.
    #[error("the address {0} cannot be listened on")]
    Bind(SocketAddr, #[source] io::Error),
    /// The server's own certificate or key is of no use.
    #[error("the server's own certificate or key cannot be used")]
    Tls(#[from] TlsError),
}

impl Listener {
    /// Listens on `address`; port 0 lets the system choose one. `clients` says under which authorities clients have
    /// their certificates.
    ///
    /// # Errors
    /// [`ListenError`].
    pub async fn start(
        address: SocketAddr,
        (identity, clients): (&Identity, Arc<TrustStore>),
        settings: ListenerSettings,
        parts: ListenerParts,
    ) -> Result<Self, ListenError> {
        let admissions = Arc::new(Admissions::new(Admission::new(identity, clients)?));
        let bind = |error| ListenError::Bind(address, error);
        let socket = TcpListener::bind(address).await.map_err(bind)?;
        let local_addr = socket.local_addr().map_err(bind)?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared = Shared {
            connections: Places::new(settings.connections_max),
            handshakes: Places::new(settings.handshakes_max),
            crowded: AtomicBool::new(false),
            parts,
            settings,
            admissions: Arc::clone(&admissions),
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(accept(socket, Arc::new(shared)));
        Ok(Self { local_addr, admissions, stop, tasks })
    }

    /// The address listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Takes another certificate for the server, or other authorities for clients. New connections are taken under
    /// them; open ones are judged anew.
    ///
    /// # Errors
    /// [`ListenError::Tls`]; nothing has changed then.
    pub fn reload(&self, identity: &Identity, clients: Arc<TrustStore>) -> Result<(), ListenError> {
        self.admissions.replace(Admission::new(identity, clients)?);
        Ok(())
    }

    /// Takes no more connections, and asks the peers of those open to finish what is in work and go.
    pub fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
    }

    /// Waits until every connection has ended. [`Self::stop`] must have been called.
    pub async fn stopped(&self) {
        self.tasks.wait().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn accept(socket: TcpListener, shared: Arc<Shared>) {
    let stop = shared.stop.clone();
    loop {
        let taken = tokio::select! {
            () = stop.cancelled() => return,
            taken = socket.accept() => taken,
        };
        match taken {
            Ok((stream, peer)) => take(stream, peer.ip(), &shared),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Hands a connection to a task of its own. Beyond the bounds, of which one address has a share, it is closed at once:
/// waiting would let whoever opens the most connections decide who is served.
fn take(stream: TcpStream, peer: IpAddr, shared: &Arc<Shared>) {
    let connection = shared.connections.take(peer);
    let places = connection.and_then(|connection| Some((connection, shared.handshakes.take(peer)?)));
    let was_crowded = shared.crowded.swap(places.is_none(), Ordering::AcqRel);
    let Some((connection, handshake)) = places else {
        if !was_crowded {
            tracing::warn!("connections are being closed: all places are taken");
        }
        return;
    };
    let shared = Arc::clone(shared);
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        let _connection = connection;
        let stop = shared.stop.clone();
        let admitted = tokio::select! {
            () = stop.cancelled() => return,
            admitted = shared.admissions.admit(stream, &shared.settings, &shared.parts) => admitted,
        };
        drop(handshake);
        match admitted {
            Ok(admitted) => connection::serve(admitted, &shared).await,
            Err(error) => tracing::debug!(%error, "a handshake failed"),
        }
    });
}

#[cfg(test)]
mod tests;
