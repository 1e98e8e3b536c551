//! What the engine asks of the edge on the provider's side: to call the provider's system.

use async_trait::async_trait;
use bytes::Bytes;
use kopuro_core::content::Context;
use kopuro_core::digest::Digest;
use kopuro_core::id::{ExchangeId, MethodId, RequestId, SubsystemId};
use kopuro_core::time::UnixMillis;

/// A verified, authorized, valid request on its way to the provider's system. It has no `Debug` form, since it holds the
/// message in the clear.
#[derive(Clone)]
pub struct Dispatch {
    /// The exchange.
    pub exchange: ExchangeId,
    /// The consumer's idempotency key.
    pub request: RequestId,
    /// Who calls.
    pub consumer: SubsystemId,
    /// Who is called.
    pub provider: SubsystemId,
    /// The method.
    pub method: MethodId,
    /// Who asks, and why.
    pub context: Context,
    /// The message, in the consumer's bytes.
    pub message: Bytes,
    /// The statement digest of the request.
    pub request_digest: Digest,
    /// The last instant at which the call may begin; later it must not.
    pub not_after: UnixMillis,
    /// Until when the provider's system may answer.
    pub expire_time: UnixMillis,
}

/// How the provider's system answered. It has no `Debug` form, since it holds the message in the clear.
#[derive(Clone, PartialEq, Eq)]
pub enum Dispatched {
    /// With a message, in its own bytes.
    Message(Bytes),
    /// With a status other than OK, as an encoded `google.rpc.Status`.
    Status(Bytes),
    /// It could not be reached, or not before the call had to begin: certainly no effect.
    Unreachable,
    /// With a message of more than 4 MiB, which was not read: effect unknown.
    TooLarge,
    /// Not before the request expired: effect unknown.
    TimedOut,
    /// It broke off: effect unknown.
    Broken,
}

/// Calls providers' systems.
#[async_trait]
pub trait Dispatcher: Send + Sync + 'static {
    /// Calls the provider's system, and gives up when the request expires.
    async fn dispatch(&self, request: Dispatch) -> Dispatched;
}
