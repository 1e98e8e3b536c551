//! Keys and what they prove: signing, sealing, member secrets, the certificate profile, TLS, and the
//! development authority.
//!
//! The crate works on bytes. It signs and verifies the pre-authentication encoding that `kopuro-core` makes of
//! an envelope, and seals the encoding of a content; it never parses either. Time is an argument everywhere.
//! Randomness comes from one place, [`random`], because the library underneath draws its own in any case.

pub mod certificate;
pub mod key_file;
pub mod member_secret;
pub mod pki;
pub mod random;
pub mod sealing;
pub mod signing;
pub mod spki;
pub mod tls;

#[cfg(test)]
mod test_openssl;
