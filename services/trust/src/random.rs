//! The edge at which the crate meets chance.

/// Draws `N` bytes from the cryptographic generator of aws-lc, which the operating system seeds.
///
/// It is the crate's only source: ECDSA nonces and HPKE's ephemeral keys are drawn from the same generator
/// inside aws-lc, out of any caller's reach, so a generator passed as an argument would promise a determinism
/// that signing and sealing cannot keep.
///
/// # Panics
/// When the generator fails, which aws-lc itself treats as fatal: no key or salt may be made without it.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut drawn = [0; N];
    aws_lc_rs::rand::fill(&mut drawn).expect("the generator of aws-lc aborts the process rather than fail");
    drawn
}
