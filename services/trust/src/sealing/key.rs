//! A recipient's key pair. It belongs to a subsystem; the replicas of its gateway share it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::agreement::{ECDH_P256, ParsedPublicKey, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::encoding::{AsBigEndian as _, EcPrivateKeyBin};
use kopuro_core::digest::KeyId;
use rustls::crypto::hpke::{HpkePrivateKey, HpkePublicKey};
use thiserror::Error;

use crate::key_file::{self, KeyFileError};
use crate::spki::{P256_POINT_LEN, PublicKey, SpkiError};

/// Why a sealing key could not be loaded.
#[derive(Debug, Error)]
pub enum SealingKeyError {
    /// The key's file could not be read.
    #[error("the sealing key file was refused")]
    File(#[source] KeyFileError),
    /// The key is not an unencrypted P-256 private key in PKCS#8.
    #[error("the sealing key is not P-256 in PKCS#8")]
    Unsupported,
}

/// The public half of a recipient's key, as the registry holds it. Cloning shares it.
#[derive(Clone)]
pub struct SealingPublicKey {
    key_id: KeyId,
    point: Arc<HpkePublicKey>,
}

impl SealingPublicKey {
    /// Takes a P-256 key as DER SubjectPublicKeyInfo in its canonical encoding.
    ///
    /// # Errors
    /// [`SpkiError`] for another algorithm or encoding, or a point that is not on the curve.
    pub fn from_spki_der(spki_der: &[u8]) -> Result<Self, SpkiError> {
        match PublicKey::parse(spki_der)? {
            PublicKey::P256(point) => Self::from_point(point),
            PublicKey::Ed25519(_) => Err(SpkiError::Unsupported),
        }
    }

    fn from_point(point: &[u8; P256_POINT_LEN]) -> Result<Self, SpkiError> {
        ParsedPublicKey::try_from(UnparsedPublicKey::new(&ECDH_P256, point)).map_err(|_| SpkiError::Point)?;
        let key_id = PublicKey::P256(point).key_id();
        Ok(Self { key_id, point: Arc::new(HpkePublicKey(point.to_vec())) })
    }

    /// The name of the key.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The key as DER SubjectPublicKeyInfo.
    pub fn to_spki_der(&self) -> Vec<u8> {
        let point = self.point.0.as_slice().try_into().expect("the point was 65 bytes when it was taken");
        PublicKey::P256(point).to_der()
    }

    pub(super) fn as_hpke(&self) -> &HpkePublicKey {
        &self.point
    }
}

impl fmt::Debug for SealingPublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SealingPublicKey({})", self.key_id)
    }
}

/// The private half of a recipient's key. `Debug` shows the key id only; the key is cleared when dropped.
pub struct SealingKey {
    private: HpkePrivateKey,
    public: SealingPublicKey,
}

impl SealingKey {
    /// Reads a PEM file that holds one PKCS#8 private key and that only its owner can read.
    ///
    /// # Errors
    /// [`SealingKeyError`]; the operator must replace the file or set its mode.
    pub fn from_pem_file(path: &Path) -> Result<Self, SealingKeyError> {
        let der = key_file::read_pkcs8(path).map_err(SealingKeyError::File)?;
        Self::from_pkcs8_der(&der)
    }

    /// Takes the DER of an unencrypted PKCS#8 private key (RFC 5958).
    ///
    /// # Errors
    /// [`SealingKeyError::Unsupported`] unless it is a P-256 key.
    pub fn from_pkcs8_der(pkcs8_der: &[u8]) -> Result<Self, SealingKeyError> {
        let pair = PrivateKey::from_private_key_der(&ECDH_P256, pkcs8_der);
        Self::from_pair(&pair.map_err(|_| SealingKeyError::Unsupported)?).ok_or(SealingKeyError::Unsupported)
    }

    fn from_pair(pair: &PrivateKey) -> Option<Self> {
        let scalar: EcPrivateKeyBin<'_> = pair.as_be_bytes().ok()?;
        let public = pair.compute_public_key().ok()?;
        let public = SealingPublicKey::from_point(public.as_ref().try_into().ok()?).ok()?;
        Some(Self { private: HpkePrivateKey::from(scalar.as_ref().to_vec()), public })
    }

    /// The name of the key.
    pub fn key_id(&self) -> KeyId {
        self.public.key_id()
    }

    /// The public half.
    pub fn public(&self) -> &SealingPublicKey {
        &self.public
    }

    pub(super) fn as_hpke(&self) -> &HpkePrivateKey {
        &self.private
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SealingKey({})", self.key_id())
    }
}
