//! One gRPC message in, one out, as raw bytes.
//!
//! The framing is our own rather than tonic's, so that every fault has its documented reason, a second message is
//! noticed, and what a peer makes the process hold is bounded before it is held: a message is taken only once its length
//! fits into what the node has left, and a compressed one is inflated no further than the limit.
//!
//! **Source:** gRPC over HTTP/2, "Requests" and "Responses".

mod body;
mod frame;
mod intake;

use axum::body::Body;
use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use kopuro_core::error::{Reason, Refusal};
use tonic::Status;

use crate::status;
pub use body::MessageBody;
pub(crate) use frame::{Frame, read_message};
pub use intake::{Intake, IntakeSettings, Slot};

/// The content type of gRPC.
pub(crate) const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
/// How the message is compressed.
pub(crate) const GRPC_ENCODING: &str = "grpc-encoding";
/// Which compressions the answer may have.
const GRPC_ACCEPT_ENCODING: &str = "grpc-accept-encoding";

/// Reads the one message of a request. What it takes of the node's room is held by the slot.
///
/// # Errors
/// [`Reason::FramingInvalid`], [`Reason::PayloadTooLarge`], [`Reason::CompressionUnsupported`], or
/// [`Reason::Overloaded`] when the node has no room.
pub async fn receive(request: Request<Body>, slot: &mut Slot) -> Result<Bytes, Refusal> {
    check_head(&request)?;
    let gzip = is_gzip(request.headers())?;
    let make_room = |length, compressed| slot.take(length, compressed);
    let Frame { compressed, message } = read_message(&mut request.into_body(), make_room).await?;
    match (compressed, gzip) {
        (false, _) => Ok(message),
        (true, true) => frame::inflate(&message),
        (true, false) => {
            Err(Refusal::with(Reason::FramingInvalid, "a compressed message without grpc-encoding"))
        }
    }
}

/// The answer with a message and metadata.
pub fn message(message: Bytes, metadata: HeaderMap) -> Response<Body> {
    answer(MessageBody::with_ok(message), metadata)
}

/// The answer with a message and metadata. It holds the request's room until the caller has taken it, so that callers
/// who do not read their answers take no more of the node than others.
pub fn message_in(slot: Slot, message: Bytes, metadata: HeaderMap) -> Response<Body> {
    answer(MessageBody::with_ok(message).holding(slot), metadata)
}

fn answer(body: MessageBody, metadata: HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::new(body));
    *response.headers_mut() = metadata;
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    response
}

/// The answer with a status other than OK, and with its metadata. What would not fit into headers is cut.
pub fn failure(status: Status) -> Response<Body> {
    let mut response = status::fitted(status).into_http::<Body>();
    let takes = HeaderValue::from_static("gzip,identity");
    response.headers_mut().insert(HeaderName::from_static(GRPC_ACCEPT_ENCODING), takes);
    response
}

/// Runs a handler so that its panic ends the request and not the connection.
///
/// # Errors
/// [`Reason::Internal`] after a panic, which is logged without its message: that may hold what a caller sent.
pub async fn contained<T>(handler: impl Future<Output = T>) -> Result<T, Reason> {
    std::panic::AssertUnwindSafe(handler).catch_unwind().await.map_err(|_| {
        tracing::error!("a handler panicked");
        Reason::Internal
    })
}

fn check_head(request: &Request<Body>) -> Result<(), Refusal> {
    let content_type = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_grpc = content_type.is_some_and(|value| {
        value
            .strip_prefix(b"application/grpc")
            .is_some_and(|rest| matches!(rest, b"" | b"+proto") || rest[0] == b';')
    });
    if request.method() != Method::POST || !is_grpc {
        return Err(Refusal::with(Reason::FramingInvalid, "it must be a POST of application/grpc"));
    }
    Ok(())
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Refusal> {
    let mut values = headers.get_all(GRPC_ENCODING).iter();
    let value = values.next().map(HeaderValue::as_bytes);
    if values.next().is_some() {
        return Err(Refusal::with(Reason::FramingInvalid, "two grpc-encoding"));
    }
    match value {
        None | Some(b"identity") => Ok(false),
        Some(b"gzip") => Ok(true),
        Some(_) => Err(Reason::CompressionUnsupported.into()),
    }
}

#[cfg(test)]
mod tests;
