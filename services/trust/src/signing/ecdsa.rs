//! The one encoding of a P-256 signature: DER `SEQUENCE { INTEGER r, INTEGER s }` (RFC 3279, section 2.2.3) with
//! the shortest lengths and integers, 1 ≤ r < n and 1 ≤ s ≤ n/2.

use super::SignatureError;

/// The length of r, of s, and of the order n. **Units:** bytes.
const SCALAR_LEN: usize = 32;

type Scalar = [u8; SCALAR_LEN];

/// The order n of the P-256 group (SP 800-186, section 3.2.1.3).
const ORDER: Scalar = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
    0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// (n − 1)/2, the largest low s.
const HALF_ORDER: Scalar = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xde,
    0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

const TAG_SEQUENCE: u8 = 0x30;
const TAG_INTEGER: u8 = 0x02;

/// Writes `r ‖ s` as DER, with s replaced by n − s where that is the smaller one.
pub(super) fn to_canonical_der(fixed: &[u8; 2 * SCALAR_LEN]) -> Vec<u8> {
    let (r, s) = split(fixed);
    let s = if s > HALF_ORDER { negate(&s) } else { s };
    encode(&r, &s)
}

/// Checks that bytes are the one encoding of a pair (r, s) in range.
///
/// # Errors
/// [`SignatureError::Encoding`] or [`SignatureError::HighS`].
pub(super) fn check_canonical(signature: &[u8]) -> Result<(), SignatureError> {
    let (r, s) = decode(signature).ok_or(SignatureError::Encoding)?;
    if r >= ORDER || s >= ORDER {
        return Err(SignatureError::Encoding);
    }
    if s > HALF_ORDER { Err(SignatureError::HighS) } else { Ok(()) }
}

/// Writes a pair as the shortest DER.
pub(super) fn encode(r: &Scalar, s: &Scalar) -> Vec<u8> {
    let mut der = Vec::with_capacity(72);
    der.extend([TAG_SEQUENCE, 0]);
    for scalar in [r, s] {
        let significant = scalar.iter().position(|byte| *byte != 0).unwrap_or(SCALAR_LEN - 1);
        let body = &scalar[significant..];
        let sign = usize::from(body[0] >= 0x80);
        der.extend([TAG_INTEGER, length_octet(body.len() + sign)]);
        der.extend(std::iter::repeat_n(0, sign));
        der.extend(body);
    }
    der[1] = length_octet(der.len() - 2);
    der
}

/// Reads a pair; `None` for any bytes but the shortest DER of two positive integers of at most 32 bytes.
pub(super) fn decode(der: &[u8]) -> Option<(Scalar, Scalar)> {
    let (header, body) = der.split_at_checked(2)?;
    // Two integers of 33 bytes take 70, so a length is always one octet below 0x80.
    if header != [TAG_SEQUENCE, u8::try_from(body.len()).ok()?] {
        return None;
    }
    let (r, rest) = decode_integer(body)?;
    let (s, rest) = decode_integer(rest)?;
    rest.is_empty().then_some((r, s))
}

fn decode_integer(der: &[u8]) -> Option<(Scalar, &[u8])> {
    let (header, rest) = der.split_at_checked(2)?;
    if header[0] != TAG_INTEGER {
        return None;
    }
    let (body, rest) = rest.split_at_checked(usize::from(header[1]))?;
    let magnitude = match body {
        [0, tail @ ..] if tail.first().is_some_and(|byte| *byte >= 0x80) => tail,
        [first, ..] if (1..0x80).contains(first) => body,
        _ => return None,
    };
    let mut scalar = [0; SCALAR_LEN];
    let start = SCALAR_LEN.checked_sub(magnitude.len())?;
    scalar[start..].copy_from_slice(magnitude);
    Some((scalar, rest))
}

/// n − `scalar`, for a scalar below n.
pub(super) fn negate(scalar: &Scalar) -> Scalar {
    let mut difference = [0; SCALAR_LEN];
    let mut borrow = false;
    for index in (0..SCALAR_LEN).rev() {
        let (without, under) = ORDER[index].overflowing_sub(scalar[index]);
        let (with, under_again) = without.overflowing_sub(u8::from(borrow));
        difference[index] = with;
        borrow = under || under_again;
    }
    difference
}

fn split(fixed: &[u8; 2 * SCALAR_LEN]) -> (Scalar, Scalar) {
    let mut scalars = ([0; SCALAR_LEN], [0; SCALAR_LEN]);
    scalars.0.copy_from_slice(&fixed[..SCALAR_LEN]);
    scalars.1.copy_from_slice(&fixed[SCALAR_LEN..]);
    scalars
}

fn length_octet(len: usize) -> u8 {
    u8::try_from(len).expect("a P-256 signature takes at most 72 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_the_order_is_half_the_order() {
        // n is odd: n = 2·half + 1, so n − half = half + 1.
        let mut half_and_one = HALF_ORDER;
        half_and_one[31] += 1;
        assert_eq!(negate(&HALF_ORDER), half_and_one);
    }

    #[test]
    fn scalars_at_the_edges_have_one_encoding() {
        let mut one = [0; 32];
        one[31] = 1;
        let mut high_bit = [0; 32];
        high_bit[31] = 0x80;
        for scalar in [one, high_bit, HALF_ORDER] {
            let der = encode(&scalar, &scalar);
            assert_eq!(decode(&der), Some((scalar, scalar)));
            assert_eq!(check_canonical(&der), Ok(()));
        }
        assert_eq!(encode(&one, &high_bit), [0x30, 7, 2, 1, 1, 2, 2, 0, 0x80]);
    }

    #[test]
    fn scalars_out_of_range_are_refused() {
        let mut one = [0; 32];
        one[31] = 1;
        let zero = [0; 32];
        for (r, s) in [(ORDER, one), (one, ORDER), (zero, one), (one, zero), ([0xff; 32], one)] {
            assert_eq!(check_canonical(&encode(&r, &s)), Err(SignatureError::Encoding));
        }
        assert_eq!(check_canonical(&encode(&one, &negate(&one))), Err(SignatureError::HighS));
        assert_eq!(check_canonical(&encode(&one, &negate(&HALF_ORDER))), Err(SignatureError::HighS));
    }
}
