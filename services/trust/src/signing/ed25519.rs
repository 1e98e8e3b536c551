//! The one encoding of an Ed25519 signature and key.

use super::SignatureError;
use crate::spki::{ED25519_KEY_LEN, SpkiError};

/// The length of a signature, `R ‖ S`. **Units:** bytes.
const SIGNATURE_LEN: usize = 64;

/// The group order L = 2²⁵² + 27742317777372353535851937790883648493, least significant byte first (RFC 8032,
/// section 5.1).
pub(super) const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The field prime p = 2²⁵⁵ − 19, least significant byte first.
const FIELD_PRIME: [u8; 32] = [
    0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
];

/// The y coordinates of the eight points whose order divides the cofactor, least significant byte first: order
/// 4, 1, 2, 8 and 8. **Source:** the block list of libsodium, `ge25519_has_small_order`.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// Checks that bytes are 64 long with S below the group order (RFC 8032, section 5.1.7, step 1).
///
/// R needs no check here: the verifier compares its bytes with those it computes.
///
/// # Errors
/// [`SignatureError::Encoding`].
pub(super) fn check_canonical(signature: &[u8]) -> Result<(), SignatureError> {
    let whole: &[u8; SIGNATURE_LEN] = signature.try_into().map_err(|_| SignatureError::Encoding)?;
    if is_below(&whole[32..], &ORDER) { Ok(()) } else { Err(SignatureError::Encoding) }
}

/// Checks that a public key is encoded canonically and is not of small order. That it is a point of the curve
/// is for the library to check.
///
/// # Errors
/// [`SpkiError::Point`].
pub(super) fn check_public_key(key: &[u8; ED25519_KEY_LEN]) -> Result<(), SpkiError> {
    let mut y = *key;
    y[31] &= 0x7f;
    if is_below(&y, &FIELD_PRIME) && !SMALL_ORDER.contains(&y) { Ok(()) } else { Err(SpkiError::Point) }
}

/// Compares two numbers of equal length, least significant byte first.
fn is_below(number: &[u8], bound: &[u8; 32]) -> bool {
    number.iter().rev().lt(bound.iter().rev())
}
