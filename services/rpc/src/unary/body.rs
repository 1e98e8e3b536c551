//! A body of one message, without a stream's machinery.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};

use super::frame::PREFIX_LEN;
use super::intake::Slot;

/// Up to this length prefix and message go out as one piece. **Units:** bytes.
const COPY_LEN_MAX: usize = 16 * 1024;
/// The longest piece given to HTTP/2 at once. It takes the next one only when the peer has room for it, so this is also
/// what a peer that reads nothing makes it hold. **Units:** bytes.
const PIECE_LEN_MAX: usize = 64 * 1024;

/// One framed message, and on an answer the trailers that say OK.
#[derive(Debug)]
pub struct MessageBody {
    pieces: [Bytes; 2],
    trailers: Option<HeaderMap>,
    _slot: Option<Slot>,
}

impl MessageBody {
    /// The body of a request.
    pub fn new(message: Bytes) -> Self {
        let mut prefix = BytesMut::with_capacity(PREFIX_LEN + message.len().min(COPY_LEN_MAX));
        prefix.put_u8(0);
        prefix.put_u32(u32::try_from(message.len()).expect("messages are held to 4 MiB"));
        let pieces = if message.len() <= COPY_LEN_MAX {
            prefix.put_slice(&message);
            [prefix.freeze(), Bytes::new()]
        } else {
            [prefix.freeze(), message]
        };
        Self { pieces, trailers: None, _slot: None }
    }

    /// The body of an answer.
    pub(super) fn with_ok(message: Bytes) -> Self {
        let ok = (HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
        Self { trailers: Some(HeaderMap::from_iter([ok])), ..Self::new(message) }
    }

    /// The body, with the room that its request has taken until it is sent.
    pub(super) fn holding(self, slot: Slot) -> Self {
        Self { _slot: Some(slot), ..self }
    }

    fn next_piece(&mut self) -> Option<Bytes> {
        let piece = self.pieces.iter_mut().find(|piece| !piece.is_empty())?;
        Some(piece.split_to(piece.len().min(PIECE_LEN_MAX)))
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
        let data = this.next_piece().map(Frame::data);
        Poll::Ready(data.or_else(|| this.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.iter().all(Bytes::is_empty) && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum())
    }
}
