//! What a call came to.

use std::error::Error as _;
use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use hyper::body::Incoming;
use kopuro_core::content::STATUS_LEN_MAX;
use kopuro_core::error::Reason;
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::pb;

use crate::unary::{Frame, read_message};

/// The longest status message passed on; what follows is cut. **Units:** bytes.
const STATUS_MESSAGE_LEN_MAX: usize = 1024;

/// What a call came to.
#[derive(Debug)]
pub enum Outcome {
    /// The server answered.
    Answered(Answer),
    /// It was certainly not sent, and so has had no effect.
    NotSent,
    /// The server did not answer in time; it may have had its effect.
    TimedOut,
    /// The connection or the answer broke off, or was no gRPC; it may have had its effect.
    Broken,
    /// The server answered with more than 4 MiB, which was not read.
    TooLarge,
}

/// What a server answered. Its `Debug` form tells the length, since the message is in the clear.
pub enum Answer {
    /// A message, in its own bytes, with the metadata before it.
    Message(Bytes, HeaderMap),
    /// A status other than OK, as an encoded `google.rpc.Status` of at most 16 KiB, with its metadata.
    Status(Bytes, HeaderMap),
}

impl fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, len) = match self {
            Self::Message(message, _) => ("Message", message.len()),
            Self::Status(status, _) => ("Status", status.len()),
        };
        write!(formatter, "{name}({len} bytes)")
    }
}

/// Whether the server refused a stream unseen (RFC 9113, section 8.7): nothing of the request was processed.
pub(super) fn refused_unseen(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| cause.is_remote() && cause.reason() == Some(h2::Reason::REFUSED_STREAM))
}

pub(super) async fn answer(response: Response<Incoming>) -> Outcome {
    let (head, body) = response.into_parts();
    let content_type = head.headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    let is_grpc = content_type.is_some_and(|value| value.starts_with(b"application/grpc"));
    if head.status != StatusCode::OK || !is_grpc {
        return Outcome::Broken;
    }
    if let Some(status) = Status::from_header_map(&head.headers) {
        return failed(&status, head.headers);
    }
    let mut body = Trailed { body, trailers: None };
    // It reads to the end of the body and its trailers, unless the server breaks the framing.
    let message = read_message(&mut body, |_, _| Ok(())).await;
    if message.as_ref().is_err_and(|refusal| refusal.reason == Reason::PayloadTooLarge) {
        return Outcome::TooLarge;
    }
    let Some(status) = body.trailers.as_ref().and_then(Status::from_header_map) else {
        return Outcome::Broken;
    };
    match (status.code(), message) {
        (Code::Ok, Ok(Frame { compressed: false, message })) => {
            Outcome::Answered(Answer::Message(message, head.headers))
        }
        (Code::Ok, Ok(_) | Err(_)) => Outcome::Broken,
        (_, _) => failed(&status, body.trailers.unwrap_or_default()),
    }
}

/// The status as the server gave it. Details that contradict it or are too long are left out.
fn failed(status: &Status, metadata: HeaderMap) -> Outcome {
    let code = status.code() as i32;
    if code == 0 {
        return Outcome::Broken;
    }
    let details = pb::Status::decode(status.details()).ok();
    let given =
        details.is_some_and(|details| details.code == code) && status.details().len() <= STATUS_LEN_MAX;
    let encoded = if given {
        Bytes::copy_from_slice(status.details())
    } else {
        let text = status.message();
        let message = text[..text.floor_char_boundary(STATUS_MESSAGE_LEN_MAX)].to_owned();
        pb::Status { code, message, details: Vec::new() }.encode_to_vec().into()
    };
    Outcome::Answered(Answer::Status(encoded, metadata))
}

/// A body that keeps its trailers.
struct Trailed {
    body: Incoming,
    trailers: Option<HeaderMap>,
}

impl http_body::Body for Trailed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, hyper::Error>>> {
        let polled = std::pin::Pin::new(&mut self.body).poll_frame(context);
        if let std::task::Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            self.trailers = Some(trailers.clone());
        }
        polled
    }
}
