//! Reading one length-prefixed message from a body.

use std::io::Read as _;

use bytes::{Buf as _, Bytes, BytesMut};
use flate2::bufread::GzDecoder;
use http_body_util::BodyExt as _;
use kopuro_core::content::MESSAGE_LEN_MAX;
use kopuro_core::error::{Reason, Refusal};

/// The length of a message's prefix: a flag and the length. **Units:** bytes.
pub(super) const PREFIX_LEN: usize = 5;
/// What room is made for before any of a message has arrived. **Units:** bytes.
const FIRST_CAPACITY_MAX: usize = 64 * 1024;

/// A message as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) compressed: bool,
    pub(crate) message: Bytes,
}

/// Reads exactly one message and the end of the body. The length announced is checked, and `make_room` asked with it and
/// with whether the message is compressed, before the message is read.
pub(crate) async fn read_message<B>(
    body: &mut B,
    mut make_room: impl FnMut(usize, bool) -> Result<(), Refusal>,
) -> Result<Frame, Refusal>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let mut received = BytesMut::new();
    let mut prefix = None;
    while let Some(piece) = body.frame().await {
        let piece = piece.map_err(|_| framing("the body broke off"))?;
        let Ok(data) = piece.into_data() else { continue };
        if prefix.is_none() && received.is_empty() && data.len() >= PREFIX_LEN {
            let (compressed, length) = read_prefix(&data)?;
            prefix = Some((compressed, length));
            make_room(length, compressed)?;
            received.reserve(length.min(FIRST_CAPACITY_MAX));
            received.extend_from_slice(&data[PREFIX_LEN..]);
        } else {
            received.extend_from_slice(&data);
        }
        if prefix.is_none() && received.len() >= PREFIX_LEN {
            let (compressed, length) = read_prefix(&received)?;
            received.advance(PREFIX_LEN);
            prefix = Some((compressed, length));
            make_room(length, compressed)?;
        }
        if prefix.is_some_and(|(_, length)| received.len() > length) {
            return Err(framing("more than one message"));
        }
    }
    match prefix {
        Some((compressed, length)) if received.len() == length => {
            Ok(Frame { compressed, message: received.freeze() })
        }
        Some(_) => Err(framing("the message is shorter than announced")),
        None => Err(framing("no message")),
    }
}

/// Inflates a gzip message, of one member, to at most the limit: what it would become is never held beyond that.
pub(crate) fn inflate(compressed: &[u8]) -> Result<Bytes, Refusal> {
    let mut message = Vec::new();
    let mut decoder = GzDecoder::new(compressed);
    let limit = MESSAGE_LEN_MAX as u64 + 1;
    let read = decoder.by_ref().take(limit).read_to_end(&mut message);
    read.map_err(|_| framing("the message is no gzip"))?;
    if message.len() > MESSAGE_LEN_MAX {
        return Err(Reason::PayloadTooLarge.into());
    }
    if !decoder.into_inner().is_empty() {
        return Err(framing("bytes follow the compressed message"));
    }
    Ok(message.into())
}

fn read_prefix(bytes: &[u8]) -> Result<(bool, usize), Refusal> {
    let compressed = match bytes[0] {
        0 => false,
        1 => true,
        _ => return Err(framing("the compression flag is neither 0 nor 1")),
    };
    let length = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize;
    if length > MESSAGE_LEN_MAX { Err(Reason::PayloadTooLarge.into()) } else { Ok((compressed, length)) }
}

fn framing(detail: &'static str) -> Refusal {
    Refusal::with(Reason::FramingInvalid, detail)
}
