//! A body of one message, without a stream's machinery.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};

use super::frame::PREFIX_LEN;

/// Up to this length prefix and message go out as one piece. **Units:** bytes.
const COPY_LEN_MAX: usize = 16 * 1024;

/// One framed message, and on an answer the trailers that say OK.
#[derive(Debug)]
pub struct MessageBody {
    pieces: [Option<Bytes>; 2],
    trailers: Option<HeaderMap>,
}

impl MessageBody {
    /// The body of a request.
    pub fn new(message: Bytes) -> Self {
        let mut prefix = BytesMut::with_capacity(PREFIX_LEN + message.len().min(COPY_LEN_MAX));
        prefix.put_u8(0);
        prefix.put_u32(u32::try_from(message.len()).expect("messages are held to 4 MiB"));
        let pieces = if message.len() <= COPY_LEN_MAX {
            prefix.put_slice(&message);
            [Some(prefix.freeze()), None]
        } else {
            [Some(prefix.freeze()), Some(message)]
        };
        Self { pieces, trailers: None }
    }

    /// The body of an answer.
    pub(super) fn with_ok(message: Bytes) -> Self {
        let ok = (HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
        Self { trailers: Some(HeaderMap::from_iter([ok])), ..Self::new(message) }
    }
}

impl http_body::Body for MessageBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let data = this.pieces.iter_mut().find_map(Option::take).map(Frame::data);
        Poll::Ready(data.or_else(|| this.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.iter().all(Option::is_none) && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.iter().flatten().map(|piece| piece.len() as u64).sum())
    }
}
