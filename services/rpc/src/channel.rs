//! The client's side: kept connections to one server, and raw unary calls over them.
//!
//! What a call came to says what may be done about it: only [`Outcome::NotSent`] is certainly without effect.

mod connect;
mod endpoint;
mod outcome;
mod pool;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use kopuro_trust::certificate::VerifiedCertificate;
use rustls::ClientConfig;
use tokio::time::Instant;

use crate::deadline;
use crate::unary::{GRPC, MessageBody};
pub use endpoint::{Endpoint, EndpointError};
pub use outcome::{Answer, Outcome};
use pool::Pool;

/// Decides whether a server whose certificate is valid is the one that is meant. It is asked before every call, so that
/// a key that was revoked serves no further one.
pub trait Servers: Send + Sync + 'static {
    /// Whether the holder of the certificate may be called.
    fn accepts(&self, certificate: &VerifiedCertificate) -> bool;
}

/// A channel's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelSettings {
    /// The most connections kept.
    pub connections_max: usize,
    /// How many calls one connection has before another is opened.
    pub calls_per_connection: usize,
    /// How long connecting may take.
    pub connect_limit: Duration,
}

impl Default for ChannelSettings {
    fn default() -> Self {
        Self { connections_max: 8, calls_per_connection: 24, connect_limit: Duration::from_secs(5) }
    }
}

/// How a server is reached and recognized.
#[derive(Clone)]
pub enum Security {
    /// Plaintext, which endpoints allow on the loopback only.
    Plain,
    /// Mutual TLS under `config`, which must verify servers by the strict profile; `servers` then decides.
    Mutual {
        /// How to shake hands.
        config: Arc<ClientConfig>,
        /// Who is meant.
        servers: Arc<dyn Servers>,
    },
}

/// Connections to one server, made when needed and kept.
pub struct Channel {
    authority: HeaderValue,
    scheme: &'static str,
    pool: Arc<Pool>,
}

impl Channel {
    /// A channel to `endpoint`. Nothing is connected yet.
    ///
    /// # Errors
    /// [`EndpointError::Security`] when the endpoint and the security do not fit.
    pub fn new(
        endpoint: Endpoint,
        security: Security,
        settings: ChannelSettings,
    ) -> Result<Self, EndpointError> {
        let fits = matches!(
            (&endpoint, &security),
            (Endpoint::Plain { .. }, Security::Plain) | (Endpoint::Tls { .. }, Security::Mutual { .. })
        );
        if !fits {
            return Err(EndpointError::Security);
        }
        let (authority, scheme) = (endpoint.authority(), endpoint.scheme());
        Ok(Self { authority, scheme, pool: Pool::new(endpoint, security, settings) })
    }

    /// Calls `path` with one message and waits for the answer, at most for `timeout`, which the server is told.
    pub async fn unary(&self, path: &str, metadata: HeaderMap, message: Bytes, timeout: Duration) -> Outcome {
        self.unary_beginning(path, metadata, message, timeout, timeout).await
    }

    /// As [`Self::unary`], for a call that must begin within `begin` or not at all: waiting for a connection any longer
    /// comes to [`Outcome::NotSent`].
    pub async fn unary_beginning(
        &self,
        path: &str,
        metadata: HeaderMap,
        message: Bytes,
        timeout: Duration,
        begin: Duration,
    ) -> Outcome {
        let now = Instant::now();
        let (until, begin_until) = (now + timeout, now + begin.min(timeout));
        let connection = match tokio::time::timeout_at(begin_until, self.pool.connection()).await {
            Ok(Some(connection)) if Instant::now() <= begin_until => connection,
            Ok(_) | Err(_) => return Outcome::NotSent,
        };
        let left = until.saturating_duration_since(Instant::now());
        let Some(request) = self.request(path, metadata, message, left) else { return Outcome::NotSent };
        match tokio::time::timeout_at(until, connection.call(request)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::TimedOut,
        }
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.pool.open()
    }

    fn request(
        &self,
        path: &str,
        metadata: HeaderMap,
        message: Bytes,
        left: Duration,
    ) -> Option<Request<MessageBody>> {
        let uri = http::Uri::builder()
            .scheme(self.scheme)
            .authority(self.authority.as_bytes())
            .path_and_query(path);
        let mut request = Request::new(MessageBody::new(message));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.build().ok()?;
        *request.headers_mut() = metadata;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, GRPC);
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(deadline::GRPC_TIMEOUT, deadline::write(left));
        Some(request)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Channel({:?})", self.authority)
    }
}

#[cfg(test)]
mod tests;
