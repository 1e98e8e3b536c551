//! Certificates of peers: a path to an anchor by rustls-webpki, and a strict profile on top.
//!
//! webpki builds paths for the web: it accepts a leaf without extended key usage, or with any, a leaf that may sign
//! certificates, an anchor that has expired, and a list of revocations from an issuer that may sign none. Of 191
//! x509-limbo cases it accepts 55 that should be refused. The profile in the private module `profile` closes those gaps.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use kopuro_core::digest::Digest;
use kopuro_core::time::UnixMillis;
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, ServerName, SignatureVerificationAlgorithm, TrustAnchor,
    UnixTime,
};
use thiserror::Error;
use webpki::aws_lc_rs as algorithm;
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};

pub use self::profile::PeerRole;
pub use self::verified::VerifiedCertificate;

mod profile;
#[cfg(test)]
mod tests;
mod verified;

/// The most certificates a peer may send besides its own; webpki follows at most six.
const INTERMEDIATES_MAX: usize = 6;
/// The longest certificate that is read. **Units:** bytes.
const CERTIFICATE_LEN_MAX: usize = 16 * 1024;

/// The signatures that certificates and revocation lists may carry. SHA-1 and P-521 are not among them.
pub(crate) static SIGNATURE_ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithm::ECDSA_P256_SHA256,
    algorithm::ECDSA_P256_SHA384,
    algorithm::ECDSA_P384_SHA256,
    algorithm::ECDSA_P384_SHA384,
    algorithm::ED25519,
    algorithm::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithm::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithm::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
    algorithm::RSA_PKCS1_2048_8192_SHA256,
    algorithm::RSA_PKCS1_2048_8192_SHA384,
    algorithm::RSA_PKCS1_2048_8192_SHA512,
];

/// Why a certificate, or a list of them, was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// The bytes are no certificate, or too many of them.
    #[error("the certificate is malformed or too long")]
    Malformed,
    /// The peer sent more certificates than a path may have.
    #[error("the peer sent more than {INTERMEDIATES_MAX} intermediate certificates")]
    TooManyIntermediates,
    /// A revocation list is malformed.
    #[error("a revocation list is malformed")]
    RevocationList(#[source] webpki::Error),
    /// There is no anchor at all.
    #[error("no anchor was given")]
    NoAnchor,
    /// No valid path leads to an anchor, or the certificate is revoked, or is for another name.
    #[error("the certificate is not valid here")]
    Path(#[source] webpki::Error),
    /// The certificate, or one on its path, breaks the profile.
    #[error("{subject} breaks the certificate profile: {rule}")]
    Profile {
        /// Which certificate of the path.
        subject: &'static str,
        /// The rule that it breaks.
        rule: &'static str,
    },
}

/// The certificates that peers are trusted by: anchors, and the lists of what their issuers revoked.
///
/// A store does not change. On a change the owner makes another one, and TLS configurations from it: connections
/// then never see half of a change.
pub struct TrustStore {
    anchors: Vec<Anchor>,
    revocation_lists: Vec<CertRevocationList<'static>>,
}

struct Anchor {
    /// The whole certificate; webpki's own form drops validity and key usage.
    certificate: CertificateDer<'static>,
    trust: TrustAnchor<'static>,
}

impl TrustStore {
    /// Takes self-signed authorities as anchors, and revocation lists. With at least one list, every certificate on
    /// a path must be covered by one that has not expired.
    ///
    /// # Errors
    /// [`CertificateError`] when there is no anchor, or an anchor breaks the profile or a list cannot be read: the
    /// operator must act. An anchor that has expired is taken, and no path leads to it.
    pub fn new(
        anchors: impl IntoIterator<Item = CertificateDer<'static>>,
        revocation_lists: impl IntoIterator<Item = CertificateRevocationListDer<'static>>,
    ) -> Result<Self, CertificateError> {
        let anchors = anchors.into_iter().map(Anchor::new).collect::<Result<Vec<_>, _>>()?;
        if anchors.is_empty() {
            return Err(CertificateError::NoAnchor);
        }
        let revocation_lists = revocation_lists.into_iter().map(|list| read_list(&list));
        Ok(Self { anchors, revocation_lists: revocation_lists.collect::<Result<_, _>>()? })
    }

    /// Verifies a peer's certificate for its role at `now`.
    ///
    /// # Errors
    /// [`CertificateError`]; the connection must be refused.
    pub fn verify_peer(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixMillis,
        role: PeerRole,
    ) -> Result<VerifiedCertificate, CertificateError> {
        if intermediates.len() > INTERMEDIATES_MAX {
            return Err(CertificateError::TooManyIntermediates);
        }
        let too_long = |certificate: &CertificateDer<'_>| certificate.len() > CERTIFICATE_LEN_MAX;
        if too_long(end_entity) || intermediates.iter().any(too_long) {
            return Err(CertificateError::Malformed);
        }
        profile::check_leaf(end_entity, role)?;
        self.check_path(end_entity, intermediates, now, role)?;
        VerifiedCertificate::read(end_entity)
    }

    /// Verifies a server's certificate, and that it is for the name or address that was called.
    ///
    /// # Errors
    /// As for [`Self::verify_peer`].
    pub fn verify_server(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixMillis,
        name: &ServerName<'_>,
    ) -> Result<VerifiedCertificate, CertificateError> {
        let verified = self.verify_peer(end_entity, intermediates, now, PeerRole::Server)?;
        let leaf = EndEntityCert::try_from(end_entity).map_err(CertificateError::Path)?;
        leaf.verify_is_valid_for_subject_name(name).map_err(CertificateError::Path)?;
        Ok(verified)
    }

    fn check_path(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixMillis,
        role: PeerRole,
    ) -> Result<(), CertificateError> {
        let leaf = EndEntityCert::try_from(end_entity).map_err(CertificateError::Path)?;
        let anchors: Vec<_> = self.anchors_valid_at(now).map(|anchor| anchor.trust.clone()).collect();
        let lists: Vec<_> = self.revocation_lists.iter().collect();
        // webpki knows no reason of ours, so the profile's verdict on the last path tried is kept beside its own.
        let verdict = Cell::new(None);
        let check_profile = |path: &VerifiedPath<'_>| {
            let checked = self.check_authorities(path);
            checked.map_err(|error| {
                verdict.set(Some(error));
                webpki::Error::UnknownIssuer
            })
        };
        let path = leaf.verify_for_usage(
            SIGNATURE_ALGORITHMS,
            &anchors,
            intermediates,
            UnixTime::since_unix_epoch(Duration::from_millis(now.as_u64())),
            key_usage(role),
            revocation(&lists),
            Some(&check_profile),
        );
        path.map(drop).map_err(|error| verdict.take().unwrap_or(CertificateError::Path(error)))
    }

    /// Checks the authorities of a path that webpki found valid.
    fn check_authorities(&self, path: &VerifiedPath<'_>) -> Result<(), CertificateError> {
        let with_lists = !self.revocation_lists.is_empty();
        for authority in path.intermediate_certificates() {
            profile::check_authority(&authority.der(), profile::Position::Intermediate, with_lists)?;
        }
        let is_ours = |anchor: &&Anchor| anchor.trust == *path.anchor();
        let anchor = self.anchors.iter().find(is_ours).ok_or(CertificateError::NoAnchor)?;
        profile::check_authority(&anchor.certificate, profile::Position::Anchor, with_lists)
    }

    fn anchors_valid_at(&self, now: UnixMillis) -> impl Iterator<Item = &Anchor> {
        self.anchors.iter().filter(move |anchor| profile::is_valid_at(&anchor.certificate, now))
    }
}

impl fmt::Debug for TrustStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprints = self.anchors.iter().map(|anchor| Digest::of(&anchor.certificate));
        formatter.debug_list().entries(fingerprints).finish()
    }
}

impl Anchor {
    fn new(certificate: CertificateDer<'static>) -> Result<Self, CertificateError> {
        profile::check_authority(&certificate, profile::Position::Anchor, false)?;
        let trust =
            webpki::anchor_from_trusted_cert(&certificate).map_err(CertificateError::Path)?.to_owned();
        Ok(Self { certificate, trust })
    }
}

fn read_list(
    list: &CertificateRevocationListDer<'_>,
) -> Result<CertRevocationList<'static>, CertificateError> {
    profile::check_revocation_list(list)?;
    OwnedCertRevocationList::from_der(list).map(Into::into).map_err(CertificateError::RevocationList)
}

fn key_usage(role: PeerRole) -> KeyUsage {
    match role {
        PeerRole::Client => KeyUsage::client_auth(),
        PeerRole::Server => KeyUsage::server_auth(),
    }
}

/// With lists: the whole path, an unknown state is refused, and so is a list past its next update, which webpki
/// accepts by default.
fn revocation<'a>(lists: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
    let builder = RevocationOptionsBuilder::new(lists).ok()?;
    let strict =
        builder.with_depth(RevocationCheckDepth::Chain).with_status_policy(UnknownStatusPolicy::Deny);
    Some(strict.with_expiration_policy(ExpirationPolicy::Enforce).build())
}
