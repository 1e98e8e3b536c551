//! Signatures over the bytes of an envelope: ECDSA P-256 with SHA-256 in DER, or Ed25519.
//!
//! A message has one valid signature encoding per key and signature value. DER admits many spellings of a pair
//! (r, s), and (r, n − s) verifies wherever (r, s) does; both would let anyone turn a signed envelope into a
//! different one that still verifies. The verifier therefore takes the shortest DER with s ≤ n/2 and nothing else.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, ParsedPublicKey,
};
use kopuro_core::digest::KeyId;
use thiserror::Error;

use crate::key_file::{self, KeyFileError};
use crate::spki::{PublicKey, SpkiError};

mod ecdsa;
mod ed25519;
#[cfg(test)]
mod tests;

/// A signature algorithm of the bus. The registry says which one a key uses; the wire never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// ECDSA over P-256 with SHA-256 (FIPS 186-5), in DER with s ≤ n/2.
    EcdsaP256Sha256,
    /// Ed25519 (RFC 8032), 64 bytes.
    Ed25519,
}

/// Why a signing key could not be loaded.
#[derive(Debug, Error)]
pub enum SigningKeyError {
    /// The key's file could not be read.
    #[error("the signing key file was refused")]
    File(#[source] KeyFileError),
    /// The key is not an unencrypted P-256 or Ed25519 private key in PKCS#8.
    #[error("the signing key is neither P-256 nor Ed25519 in PKCS#8")]
    Unsupported,
}

/// Why a signature was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// The bytes are not the one encoding that a signature of this algorithm has.
    #[error("the signature is not in its canonical encoding")]
    Encoding,
    /// The ECDSA signature is the high-s twin of another one.
    #[error("the signature has a high s")]
    HighS,
    /// The signature is not by this key over this message.
    #[error("the signature does not verify")]
    Mismatch,
}

/// A private key that signs, belonging to one replica of a gateway or to one administrator.
///
/// `Debug` shows the key id only. aws-lc clears the private key when the signer is dropped.
pub struct Signer {
    key: PrivateKey,
    key_id: KeyId,
    public_spki_der: Vec<u8>,
}

enum PrivateKey {
    EcdsaP256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    /// Reads a PEM file that holds one PKCS#8 private key and that only its owner can read.
    ///
    /// # Errors
    /// [`SigningKeyError`]; the operator must replace the file or set its mode.
    pub fn from_pem_file(path: &Path) -> Result<Self, SigningKeyError> {
        let der = key_file::read_pkcs8(path).map_err(SigningKeyError::File)?;
        Self::from_pkcs8_der(&der)
    }

    /// Takes the DER of an unencrypted PKCS#8 private key (RFC 5958); its own algorithm identifier decides.
    ///
    /// # Errors
    /// [`SigningKeyError::Unsupported`] unless it is a P-256 or an Ed25519 key.
    pub fn from_pkcs8_der(pkcs8_der: &[u8]) -> Result<Self, SigningKeyError> {
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8_der) {
            let spki = pair.public_key().as_der();
            return Self::new(PrivateKey::EcdsaP256(pair), spki);
        }
        // OpenSSL writes Ed25519 keys without their public half; this call takes both forms.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8_der)
            .map_err(|_| SigningKeyError::Unsupported)?;
        let spki = pair.public_key().as_der();
        Self::new(PrivateKey::Ed25519(pair), spki)
    }

    fn new(
        key: PrivateKey,
        spki: Result<PublicKeyX509Der<'_>, aws_lc_rs::error::Unspecified>,
    ) -> Result<Self, SigningKeyError> {
        let spki = spki.map_err(|_| SigningKeyError::Unsupported)?;
        let public = PublicKey::parse(spki.as_ref()).map_err(|_| SigningKeyError::Unsupported)?;
        Ok(Self { key, key_id: public.key_id(), public_spki_der: public.to_der() })
    }

    /// The name of the key: SHA-256 of its SubjectPublicKeyInfo.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The public half, as DER SubjectPublicKeyInfo.
    pub fn public_spki_der(&self) -> &[u8] {
        &self.public_spki_der
    }

    /// The algorithm that the key signs with.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        match self.key {
            PrivateKey::EcdsaP256(_) => SignatureAlgorithm::EcdsaP256Sha256,
            PrivateKey::Ed25519(_) => SignatureAlgorithm::Ed25519,
        }
    }

    /// The key that verifies what this one signs.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey::from_spki_der(&self.public_spki_der).expect("the public half of a usable key is usable")
    }

    /// Signs `message` and returns the signature in its canonical encoding.
    ///
    /// # Panics
    /// When aws-lc cannot sign with a key that it accepted: its generator or its memory has failed.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.key {
            PrivateKey::EcdsaP256(pair) => {
                // The argument is for compatibility only: aws-lc draws the nonce from its own generator.
                let fixed = pair.sign(&SystemRandom::new(), message).expect("an accepted P-256 key signs");
                let fixed = fixed.as_ref().try_into().expect("a fixed P-256 signature is 64 bytes");
                ecdsa::to_canonical_der(fixed)
            }
            PrivateKey::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Signer({})", self.key_id)
    }
}

/// A public key that verifies, as the registry holds it. Cloning shares the parsed key.
#[derive(Clone)]
pub struct VerifyingKey {
    inner: Arc<VerifyingInner>,
}

struct VerifyingInner {
    algorithm: SignatureAlgorithm,
    key: ParsedPublicKey,
    key_id: KeyId,
    spki_der: Vec<u8>,
}

impl VerifyingKey {
    /// Takes a key as DER SubjectPublicKeyInfo in its canonical encoding, which also names the algorithm.
    ///
    /// # Errors
    /// [`SpkiError`] when the algorithm or the encoding is another one, or when the key is not a point of the
    /// curve, or is one of the Ed25519 points of small order, under which one signature fits many messages.
    pub fn from_spki_der(spki_der: &[u8]) -> Result<Self, SpkiError> {
        let public = PublicKey::parse(spki_der)?;
        let (algorithm, parsed) = match public {
            PublicKey::P256(point) => {
                (SignatureAlgorithm::EcdsaP256Sha256, ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point))
            }
            PublicKey::Ed25519(key) => {
                ed25519::check_public_key(key)?;
                (SignatureAlgorithm::Ed25519, ParsedPublicKey::new(&ED25519, key))
            }
        };
        let key = parsed.map_err(|_| SpkiError::Point)?;
        let inner = VerifyingInner { algorithm, key, key_id: public.key_id(), spki_der: spki_der.to_vec() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The name of the key.
    pub fn key_id(&self) -> KeyId {
        self.inner.key_id
    }

    /// The key as DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.inner.spki_der
    }

    /// The algorithm that the key verifies.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.inner.algorithm
    }

    /// Verifies that `signature` is this key's, over exactly `message`, in its canonical encoding.
    ///
    /// # Errors
    /// [`SignatureError`]; the message must be treated as forged.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        match self.inner.algorithm {
            SignatureAlgorithm::EcdsaP256Sha256 => ecdsa::check_canonical(signature)?,
            SignatureAlgorithm::Ed25519 => ed25519::check_canonical(signature)?,
        }
        self.inner.key.verify_sig(message, signature).map_err(|_| SignatureError::Mismatch)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "VerifyingKey({:?}, {})", self.inner.algorithm, self.inner.key_id)
    }
}
