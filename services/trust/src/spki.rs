//! Public keys as they are written down: DER SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
//!
//! A key id is the hash of these bytes, so a key must have one encoding only. For each algorithm that encoding
//! is a constant prefix and then the key, which leaves nothing to parse and nothing to vary: compressed points,
//! explicit curve parameters and long-form lengths are refused.

use kopuro_core::digest::KeyId;
use thiserror::Error;

/// What precedes the uncompressed point of a P-256 key (RFC 5480, section 2).
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// What precedes an Ed25519 key (RFC 8410, section 4).
const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The length of an uncompressed P-256 point. **Units:** bytes.
pub const P256_POINT_LEN: usize = 65;

/// The length of an Ed25519 public key. **Units:** bytes.
pub const ED25519_KEY_LEN: usize = 32;

/// The first byte of an uncompressed point (SEC 1, section 2.3.3).
pub(crate) const UNCOMPRESSED: u8 = 0x04;

/// Why bytes are not a public key that the bus takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SpkiError {
    /// The algorithm is not one of the bus, or the encoding is not its canonical one.
    #[error("the public key is neither P-256 nor Ed25519 in its canonical encoding")]
    Unsupported,
    /// The key's bytes name no point that is safe to use.
    #[error("the public key is not a valid point")]
    Point,
}

/// A public key, split into its algorithm and its raw bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKey<'a> {
    /// The uncompressed point of a P-256 key: `04 ‖ x ‖ y`.
    P256(&'a [u8; P256_POINT_LEN]),
    /// An Ed25519 key.
    Ed25519(&'a [u8; ED25519_KEY_LEN]),
}

impl<'a> PublicKey<'a> {
    /// Reads a DER SubjectPublicKeyInfo. Whether the bytes are a point of the curve is for the user of the key
    /// to find out.
    ///
    /// # Errors
    /// [`SpkiError::Unsupported`] for any other algorithm and any other encoding.
    pub fn parse(spki_der: &'a [u8]) -> Result<Self, SpkiError> {
        if let Some(point) = spki_der.strip_prefix(&P256_PREFIX) {
            let point: &[u8; P256_POINT_LEN] = point.try_into().map_err(|_| SpkiError::Unsupported)?;
            return if point[0] == UNCOMPRESSED {
                Ok(Self::P256(point))
            } else {
                Err(SpkiError::Unsupported)
            };
        }
        let key = spki_der.strip_prefix(&ED25519_PREFIX).and_then(|key| key.try_into().ok());
        key.map(Self::Ed25519).ok_or(SpkiError::Unsupported)
    }

    /// Writes the key as DER SubjectPublicKeyInfo.
    pub fn to_der(self) -> Vec<u8> {
        match self {
            Self::P256(point) => [&P256_PREFIX[..], point].concat(),
            Self::Ed25519(key) => [&ED25519_PREFIX[..], key].concat(),
        }
    }

    /// The key's name.
    pub fn key_id(self) -> KeyId {
        KeyId::of_spki(&self.to_der())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_encoding() {
        let mut point = [7; P256_POINT_LEN];
        point[0] = 4;
        for key in [PublicKey::P256(&point), PublicKey::Ed25519(&[9; ED25519_KEY_LEN])] {
            assert_eq!(PublicKey::parse(&key.to_der()), Ok(key));
        }
    }

    #[test]
    fn another_encoding_is_refused() {
        let mut point = [7; P256_POINT_LEN];
        point[0] = 4;
        let der = PublicKey::P256(&point).to_der();
        let mut compressed = der.clone();
        compressed[26] = 2;
        let longer = [&der[..], &[0]].concat();
        for bytes in [&[][..], &der[..90], &longer, &compressed, &[0x30; 91]] {
            assert_eq!(PublicKey::parse(bytes), Err(SpkiError::Unsupported));
        }
    }
}
