//! SHA-256 digests, the names that statements, keys and contracts go by.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The length of a digest. **Units:** bytes.
pub const DIGEST_LEN: usize = 32;

/// A SHA-256 digest (FIPS 180-4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; DIGEST_LEN]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_parts(&[bytes])
    }

    /// The digest of `parts` written one after another, with nothing between them.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// Takes the 32 bytes of a digest made elsewhere.
    pub const fn from_bytes(bytes: [u8; DIGEST_LEN]) -> Self {
        Self(bytes)
    }

    /// Reads a digest from the wire; `None` unless it is exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Reads 64 hexadecimal digits in either case.
    pub fn parse_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; DIGEST_LEN];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// The digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; DIGEST_LEN] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The name of a public key: SHA-256 of its DER SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Digest);

impl KeyId {
    /// The name of the key whose DER SubjectPublicKeyInfo is `spki_der`.
    pub fn of_spki(spki_der: &[u8]) -> Self {
        Self(Digest::of(spki_der))
    }

    /// Takes a digest that already names a key.
    pub const fn from_digest(digest: Digest) -> Self {
        Self(digest)
    }

    /// Reads a key id from the wire; `None` unless it is exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Digest::from_slice(bytes).map(Self)
    }

    /// Reads 64 hexadecimal digits, the form key ids take in envelopes; lower case only, since an
    /// envelope has one valid encoding.
    pub fn parse_hex(text: &str) -> Option<Self> {
        let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        lower.then(|| Digest::parse_hex(text)).flatten().map(Self)
    }

    /// The key id's bytes.
    pub const fn as_bytes(&self) -> &[u8; DIGEST_LEN] {
        self.0.as_bytes()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_sha256() {
        // FIPS 180-4 example: SHA-256("abc").
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), expected);
        assert_eq!(Digest::of_parts(&[b"a", b"", b"bc"]).to_string(), expected);
        assert_eq!(Digest::parse_hex(expected), Some(Digest::of(b"abc")));
    }

    #[test]
    fn a_key_id_has_one_spelling() {
        let lower = KeyId::of_spki(b"key").to_string();
        assert!(KeyId::parse_hex(&lower).is_some());
        assert_eq!(KeyId::parse_hex(&lower.to_uppercase()), None);
        assert_eq!(KeyId::parse_hex(&lower[1..]), None);
        assert_eq!(KeyId::from_slice(&[0; 31]), None);
    }
}
