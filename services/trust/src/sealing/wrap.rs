//! A content key wrapped for one recipient, as it travels.

use kopuro_core::digest::KeyId;

use super::{KEY_LEN, SealError, TAG_LEN};
use crate::spki::{P256_POINT_LEN, UNCOMPRESSED};

/// The length of HPKE's encapsulated key for P-256 (RFC 9180, section 7.1). **Units:** bytes.
pub const ENC_LEN: usize = P256_POINT_LEN;
/// The length of a sealed epoch key and of a wrapped content key: the key and the tag. **Units:** bytes.
pub const SEALED_KEY_LEN: usize = KEY_LEN + TAG_LEN;

/// How a content key is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WrapSuite {
    /// The epoch key by single-shot HPKE in base mode with DHKEM(P-256, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM;
    /// the content key by AES-256-GCM under HKDF-Expand of the epoch key.
    EpochP256Aes256Gcm,
}

impl WrapSuite {
    /// Reads the suite's number in `kopuro.exchange.v1.WrapSuite`; `None` for zero and any unknown one.
    pub const fn from_wire(number: i32) -> Option<Self> {
        match number {
            1 => Some(Self::EpochP256Aes256Gcm),
            _ => None,
        }
    }

    /// The suite's number in `kopuro.exchange.v1.WrapSuite`.
    pub const fn to_wire(self) -> i32 {
        match self {
            Self::EpochP256Aes256Gcm => 1,
        }
    }
}

/// A content key wrapped for one recipient key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrap {
    /// How the key is wrapped.
    pub suite: WrapSuite,
    /// The recipient's key.
    pub recipient_key_id: KeyId,
    /// HPKE's encapsulated key, an uncompressed P-256 point.
    pub enc: [u8; ENC_LEN],
    /// The epoch key, sealed by HPKE.
    pub sealed_epoch_key: [u8; SEALED_KEY_LEN],
    /// The content key, wrapped under the epoch key for one statement.
    pub wrapped_content_key: [u8; SEALED_KEY_LEN],
}

impl Wrap {
    /// Reads the fields of a wrap from the wire.
    ///
    /// # Errors
    /// [`SealError::UnknownSuite`], or [`SealError::Malformed`] when a field has the wrong length or `enc` is no
    /// uncompressed point.
    pub fn from_wire(
        suite: i32,
        recipient_key_id: &[u8],
        enc: &[u8],
        sealed_epoch_key: &[u8],
        wrapped_content_key: &[u8],
    ) -> Result<Self, SealError> {
        let suite = WrapSuite::from_wire(suite).ok_or(SealError::UnknownSuite)?;
        let recipient_key_id = KeyId::from_slice(recipient_key_id).ok_or(SealError::Malformed)?;
        let enc: [u8; ENC_LEN] = enc.try_into().map_err(|_| SealError::Malformed)?;
        if enc[0] != UNCOMPRESSED {
            return Err(SealError::Malformed);
        }
        let sealed_epoch_key = sealed_epoch_key.try_into().map_err(|_| SealError::Malformed)?;
        let wrapped_content_key = wrapped_content_key.try_into().map_err(|_| SealError::Malformed)?;
        Ok(Self { suite, recipient_key_id, enc, sealed_epoch_key, wrapped_content_key })
    }
}
