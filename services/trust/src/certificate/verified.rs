//! What the bus reads from a certificate that it has verified.

use kopuro_core::digest::{Digest, KeyId};
use kopuro_core::time::UnixMillis;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::CertificateError;

/// The longest subject text that is kept; what follows is cut. **Units:** bytes.
const SUBJECT_LEN_MAX: usize = 256;
/// The most names that are kept.
const DNS_NAMES_MAX: usize = 64;

/// A peer's certificate after it was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCertificate {
    key_id: KeyId,
    fingerprint: Digest,
    dns_names: Vec<String>,
    subject: String,
    not_after: UnixMillis,
}

impl VerifiedCertificate {
    /// Reads the certificate that a peer showed in a finished handshake under a configuration of [`crate::tls`],
    /// which verified it; `None` before the handshake, or when the configuration asks for no certificate.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`] when it cannot be read, which the verification excludes.
    pub fn of_connection(connection: &rustls::CommonState) -> Result<Option<Self>, CertificateError> {
        connection.peer_certificates().and_then(<[_]>::first).map(Self::read).transpose()
    }

    pub(super) fn read(certificate: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
        let not_after = u64::try_from(parsed.validity().not_after.timestamp());
        Ok(Self {
            key_id: KeyId::of_spki(parsed.public_key().raw),
            fingerprint: Digest::of(certificate),
            dns_names: dns_names(&parsed),
            subject: bounded(parsed.subject().to_string()),
            not_after: UnixMillis::new(
                not_after.map_err(|_| CertificateError::Malformed)?.saturating_mul(1_000),
            ),
        })
    }

    /// The name of the peer's transport key: SHA-256 of its SubjectPublicKeyInfo.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// SHA-256 of the whole certificate.
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// The DNS names of the certificate, of which at most 64 are kept.
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    /// The subject as text, for people to read; nothing is decided from it. At most 256 bytes are kept.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// When the certificate expires; a connection must not outlive it.
    pub fn not_after(&self) -> UnixMillis {
        self.not_after
    }
}

fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|extension| &extension.value.general_names);
    let dns = names
        .filter_map(|name| if let GeneralName::DNSName(dns) = name { Some((*dns).to_owned()) } else { None });
    dns.take(DNS_NAMES_MAX).collect()
}

fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(SUBJECT_LEN_MAX));
    text
}
