//! Questions about parts of a certificate.

use rustls_pki_types::DnsName;
use x509_parser::extensions::{
    AuthorityKeyIdentifier, ExtendedKeyUsage, GeneralName, NameConstraints, ParsedExtension,
    SubjectAlternativeName,
};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::prelude::{SubjectPublicKeyInfo, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::PeerRole;

/// The longest serial number (RFC 5280, section 4.1.2.2). **Units:** bytes.
const SERIAL_LEN_MAX: usize = 20;
/// The lengths of RSA moduli that are taken: 2048 to 4096 bits. **Units:** bytes.
const RSA_LEN: std::ops::RangeInclusive<usize> = 256..=512;

/// Whether a serial number is positive and not too long.
pub(super) fn is_allowed_serial(serial: &[u8]) -> bool {
    let positive = serial.first().is_some_and(|byte| *byte < 0x80) && serial.iter().any(|byte| *byte != 0);
    positive && serial.len() <= SERIAL_LEN_MAX
}

/// Whether usages are TLS usages only, and include the one for `role`. `anyExtendedKeyUsage` is no TLS usage.
pub(super) fn is_for(usage: &ExtendedKeyUsage<'_>, role: PeerRole) -> bool {
    let foreign = usage.any
        || usage.code_signing
        || usage.email_protection
        || usage.time_stamping
        || usage.ocsp_signing
        || !usage.other.is_empty();
    let right = match role {
        PeerRole::Client => usage.client_auth,
        PeerRole::Server => usage.server_auth,
    };
    right && !foreign
}

/// Whether a key is of a type of the profile. Points must be uncompressed, so that a key has one key id.
pub(super) fn is_allowed_key(spki: &SubjectPublicKeyInfo<'_>) -> bool {
    let algorithm = &spki.algorithm.algorithm;
    let curve = spki.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    match spki.parsed() {
        Ok(PublicKey::RSA(rsa)) => *algorithm == OID_PKCS1_RSAENCRYPTION && is_allowed_modulus(rsa.modulus),
        Ok(PublicKey::EC(point)) if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY => match point.data() {
            [0x04, coordinates @ ..] => {
                (curve == Some(OID_EC_P256) && coordinates.len() == 64)
                    || (curve == Some(OID_NIST_EC_P384) && coordinates.len() == 96)
            }
            _ => false,
        },
        Ok(PublicKey::Unknown(key)) => *algorithm == OID_SIG_ED25519 && key.len() == 32,
        Ok(_) | Err(_) => false,
    }
}

/// A DER integer that begins with a zero byte has its highest bit set in the next, so its size is a multiple of 8.
fn is_allowed_modulus(modulus: &[u8]) -> bool {
    modulus.strip_prefix(&[0]).is_some_and(|bytes| RSA_LEN.contains(&bytes.len()))
}

/// Whether an extension is understood here, and one that may be critical.
pub(super) fn may_be_critical(extension: &ParsedExtension<'_>) -> bool {
    matches!(
        extension,
        ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::ExtendedKeyUsage(_)
            | ParsedExtension::NameConstraints(_)
            | ParsedExtension::SubjectAlternativeName(_)
            | ParsedExtension::CRLDistributionPoints(_)
    )
}

/// Whether every DNS name is a host name, without underscore or wildcard-only labels (RFC 5280, section 4.2.1.6).
pub(super) fn are_host_names(names: &SubjectAlternativeName<'_>) -> bool {
    names.general_names.iter().all(|name| match name {
        GeneralName::DNSName(dns) => {
            let host = dns.strip_prefix("*.").unwrap_or(dns);
            !host.contains('_') && DnsName::try_from(host).is_ok()
        }
        _ => true,
    })
}

/// Whether name constraints constrain something, by names in their proper form: a DNS name has no leading period
/// (RFC 5280, section 4.2.1.10).
pub(super) fn are_name_constraints_sound(constraints: &NameConstraints<'_>) -> bool {
    let subtrees =
        || [&constraints.permitted_subtrees, &constraints.excluded_subtrees].into_iter().flatten().flatten();
    let is_dotted =
        |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(dns) if dns.starts_with('.'));
    subtrees().next().is_some() && !subtrees().any(|subtree| is_dotted(&subtree.base))
}

/// What a certificate's authority key identifier says.
pub(super) fn authority_key_id<'a>(
    certificate: &'a X509Certificate<'_>,
) -> Option<&'a AuthorityKeyIdentifier<'a>> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => Some(id),
        _ => None,
    })
}

/// Whether an authority key identifier is a key identifier and nothing else: an issuer's name and serial number
/// would be a second way to say whose key it is.
pub(super) fn is_plain(id: &AuthorityKeyIdentifier<'_>) -> bool {
    id.key_identifier.is_some() && id.authority_cert_issuer.is_none() && id.authority_cert_serial.is_none()
}

/// A certificate's subject key identifier.
pub(super) fn subject_key_id<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    })
}

/// Whether a certificate has policy constraints, which nothing here evaluates.
pub(super) fn has_policy_constraints(certificate: &X509Certificate<'_>) -> bool {
    certificate.extensions().iter().any(|extension| {
        matches!(
            extension.parsed_extension(),
            ParsedExtension::PolicyConstraints(_) | ParsedExtension::InhibitAnyPolicy(_)
        )
    })
}
