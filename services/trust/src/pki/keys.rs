//! Keys that need no certificate: for signing, for sealing, and a member's secret.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use kopuro_core::digest::KeyId;
use zeroize::Zeroizing;

use super::pem;
use crate::member_secret::MEMBER_SECRET_LEN;
use crate::random;
use crate::signing::SignatureAlgorithm;

/// A private key for signing or sealing, and its public half. It has no `Debug`.
pub struct NewKey {
    pkcs8_der: Zeroizing<Vec<u8>>,
    spki_der: Vec<u8>,
}

impl NewKey {
    /// Makes a key that signs statements, registry records or checkpoints.
    ///
    /// # Panics
    /// When the generator fails (see [`random::bytes`]).
    pub fn signing(algorithm: SignatureAlgorithm) -> Self {
        match algorithm {
            SignatureAlgorithm::EcdsaP256Sha256 => Self::p256(),
            SignatureAlgorithm::Ed25519 => Self::ed25519(),
        }
    }

    /// Makes a key to which contents are sealed.
    ///
    /// # Panics
    /// When the generator fails (see [`random::bytes`]).
    pub fn sealing() -> Self {
        Self::p256()
    }

    fn p256() -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .expect("the generator of aws-lc aborts the process rather than fail");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref())
            .expect("a generated key can be read");
        let spki = pair.public_key().as_der().expect("a generated key has a public half");
        Self { pkcs8_der: Zeroizing::new(pkcs8.as_ref().to_vec()), spki_der: spki.as_ref().to_vec() }
    }

    /// Version 1 of PKCS#8, without the public half: OpenSSL 3.0 reads no other.
    fn ed25519() -> Self {
        let pair =
            Ed25519KeyPair::generate().expect("the generator of aws-lc aborts the process rather than fail");
        let pkcs8 = pair.to_pkcs8v1().expect("a generated key can be written");
        let spki = pair.public_key().as_der().expect("a generated key has a public half");
        Self { pkcs8_der: Zeroizing::new(pkcs8.as_ref().to_vec()), spki_der: spki.as_ref().to_vec() }
    }

    /// The private key as DER (PKCS#8).
    pub fn pkcs8_der(&self) -> &[u8] {
        &self.pkcs8_der
    }

    /// The public key as DER SubjectPublicKeyInfo, as the registry takes it.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// The name of the key.
    pub fn key_id(&self) -> KeyId {
        KeyId::of_spki(&self.spki_der)
    }

    /// The private key in PEM (PKCS#8).
    pub fn private_pem(&self) -> Zeroizing<String> {
        pem::private_key(&self.pkcs8_der)
    }

    /// The public key in PEM (SubjectPublicKeyInfo).
    pub fn public_pem(&self) -> String {
        pem::public_key(&self.spki_der)
    }
}

/// Draws a member secret.
///
/// # Panics
/// When the generator fails (see [`random::bytes`]).
pub fn new_member_secret() -> Zeroizing<[u8; MEMBER_SECRET_LEN]> {
    Zeroizing::new(random::bytes())
}
