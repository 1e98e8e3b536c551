//! The rules that certificates must keep beyond a valid path. Each names its source.

use kopuro_core::time::UnixMillis;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate, X509Version};

use super::CertificateError;

mod parts;

/// On which side of a connection a peer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerRole {
    /// The peer called; its certificate must be for `clientAuth`.
    Client,
    /// The peer was called; its certificate must be for `serverAuth`.
    Server,
}

/// Where on a path an authority stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    Intermediate,
    Anchor,
}

impl Position {
    fn name(self) -> &'static str {
        match self {
            Self::Intermediate => "an intermediate certificate",
            Self::Anchor => "an anchor",
        }
    }
}

const LEAF: &str = "the peer's certificate";

/// A rule, and whether it is kept.
type Rule = (bool, &'static str);

/// Checks a peer's own certificate.
///
/// Gateways and agency systems call and are called, so their certificates are for both `serverAuth` and
/// `clientAuth`; the allowed usages are these two, and the one for the peer's role must be there.
pub(super) fn check_leaf(certificate: &CertificateDer<'_>, role: PeerRole) -> Result<(), CertificateError> {
    let parsed = parse(certificate)?;
    keep(LEAF, common_rules(&parsed))?;
    keep(LEAF, leaf_usage_rules(&parsed, role)?)?;
    keep(LEAF, leaf_name_rules(&parsed, role)?)
}

fn leaf_usage_rules(
    certificate: &X509Certificate<'_>,
    role: PeerRole,
) -> Result<[Rule; 6], CertificateError> {
    let constraints = read(certificate.basic_constraints())?;
    let usage = read(certificate.key_usage())?.map(|extension| extension.value);
    let purposes = read(certificate.extended_key_usage())?;
    let names = read(certificate.name_constraints())?;
    let is_authority = constraints
        .is_some_and(|extension| extension.value.ca || extension.value.path_len_constraint.is_some());
    Ok([
        // RFC 5280, section 4.2.1.9.
        (!is_authority, "a peer must not be an authority"),
        // RFC 5280, section 4.2.1.10.
        (names.is_none(), "a peer must have no name constraints"),
        // RFC 5280, section 4.2.1.3; in TLS 1.3 the key signs (RFC 8446, section 4.4.2.2).
        (usage.is_some_and(|usage| usage.digital_signature()), "its key usage must include digitalSignature"),
        (!usage.is_some_and(|usage| usage.key_cert_sign()), "its key usage must not include keyCertSign"),
        (!usage.is_some_and(|usage| usage.crl_sign()), "its key usage must not include cRLSign"),
        // RFC 5280, section 4.2.1.12.
        (
            purposes.is_some_and(|extension| parts::is_for(extension.value, role)),
            "its extended key usage must be for this role, and for TLS only",
        ),
    ])
}

fn leaf_name_rules(certificate: &X509Certificate<'_>, role: PeerRole) -> Result<[Rule; 4], CertificateError> {
    let names = read(certificate.subject_alternative_name())?;
    let anonymous = certificate.subject().iter_attributes().next().is_none();
    let issuer_id = parts::authority_key_id(certificate);
    Ok([
        // RFC 5280, section 4.2.1.6.
        (
            names.as_ref().map_or(!anonymous, |extension| extension.critical == anonymous),
            "its alternative names must be critical exactly when it has no subject",
        ),
        (role == PeerRole::Client || names.is_some(), "a server must have alternative names"),
        (
            names.is_none_or(|extension| parts::are_host_names(extension.value)),
            "its alternative dns names must be host names",
        ),
        // RFC 5280, section 4.2.1.1.
        (
            issuer_id.is_some_and(parts::is_plain),
            "it must have an authority key identifier, by key identifier only",
        ),
    ])
}

/// Checks an authority on the path; `signs_lists` when revocation lists of it are in use.
pub(super) fn check_authority(
    certificate: &CertificateDer<'_>,
    position: Position,
    signs_lists: bool,
) -> Result<(), CertificateError> {
    let parsed = parse(certificate)?;
    keep(position.name(), common_rules(&parsed))?;
    keep(position.name(), authority_usage_rules(&parsed, position, signs_lists)?)?;
    keep(position.name(), authority_name_rules(&parsed, position)?)
}

fn authority_usage_rules(
    certificate: &X509Certificate<'_>,
    position: Position,
    signs_lists: bool,
) -> Result<[Rule; 5], CertificateError> {
    let constraints = read(certificate.basic_constraints())?;
    let usage = read(certificate.key_usage())?.map(|extension| extension.value);
    let purposes = read(certificate.extended_key_usage())?;
    Ok([
        // RFC 5280, section 4.2.1.9.
        (
            constraints.is_some_and(|extension| extension.critical && extension.value.ca),
            "its basic constraints must be critical and make it an authority",
        ),
        // RFC 5280, section 4.2.1.3.
        (usage.is_some_and(|usage| usage.key_cert_sign()), "its key usage must include keyCertSign"),
        (
            !signs_lists || usage.is_some_and(|usage| usage.crl_sign()),
            "its key usage must include cRLSign when its revocation list is used",
        ),
        // webpki evaluates the extended key usages of intermediates, and overlooks those of anchors.
        (position == Position::Intermediate || purposes.is_none(), "it must have no extended key usage"),
        (
            !parts::has_policy_constraints(certificate),
            "it must have no policy constraints, which are not evaluated",
        ),
    ])
}

fn authority_name_rules(
    certificate: &X509Certificate<'_>,
    position: Position,
) -> Result<[Rule; 5], CertificateError> {
    let constraints = read(certificate.name_constraints())?;
    let (own_id, issuer_id) = (parts::subject_key_id(certificate), parts::authority_key_id(certificate));
    let self_issued = certificate.subject() == certificate.issuer();
    let names_itself =
        issuer_id.and_then(|id| id.key_identifier.as_ref()).is_none_or(|id| Some(id.0) == own_id);
    Ok([
        // RFC 5280, section 4.2.1.10.
        (
            constraints.is_none_or(|extension| {
                extension.critical && parts::are_name_constraints_sound(extension.value)
            }),
            "its name constraints must be critical, not empty, and without leading periods",
        ),
        // RFC 5280, section 4.1.2.6.
        (certificate.subject().iter_attributes().next().is_some(), "it must have a subject"),
        // RFC 5280, section 4.2.1.2.
        (own_id.is_some(), "it must have a subject key identifier"),
        // RFC 5280, section 4.2.1.1: only a self-signed certificate may do without.
        (
            issuer_id.map_or(position == Position::Anchor && self_issued, parts::is_plain),
            "it must have an authority key identifier, by key identifier only",
        ),
        (
            position == Position::Intermediate || !self_issued || names_itself,
            "its authority key identifier must be its own, since it issued itself",
        ),
    ])
}

/// Checks a revocation list beyond what webpki reads of it: its number must be there, and not be critical (RFC 5280,
/// section 5.2.3).
pub(super) fn check_revocation_list(list: &CertificateRevocationListDer<'_>) -> Result<(), CertificateError> {
    let parsed = CertificateRevocationList::from_der(list);
    let Ok(([], list)) = parsed else { return Err(CertificateError::Malformed) };
    let is_number = |parsed: &ParsedExtension<'_>| matches!(parsed, ParsedExtension::CRLNumber(_));
    let number = list.extensions().iter().find(|extension| is_number(extension.parsed_extension()));
    let rule = "it must have a number that is not critical";
    keep("a revocation list", [(number.is_some_and(|extension| !extension.critical), rule)])
}

/// Whether an instant lies within a certificate's validity.
pub(super) fn is_valid_at(certificate: &CertificateDer<'_>, now: UnixMillis) -> bool {
    let Ok(parsed) = parse(certificate) else { return false };
    let validity = parsed.validity();
    let now_s = i64::try_from(now.as_u64() / 1_000).unwrap_or(i64::MAX);
    (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now_s)
}

/// The rules for every certificate of a path.
fn common_rules(certificate: &X509Certificate<'_>) -> [Rule; 5] {
    let extensions = certificate.extensions();
    let unreadable = |parsed: &ParsedExtension<'_>| matches!(parsed, ParsedExtension::ParseError { .. });
    let readable = certificate.extensions_map().is_ok()
        && !extensions.iter().any(|extension| unreadable(extension.parsed_extension()));
    let understood = extensions
        .iter()
        .all(|extension| !extension.critical || parts::may_be_critical(extension.parsed_extension()));
    [
        (certificate.version() == X509Version::V3, "it must be of version 3"),
        // RFC 5280, section 4.1.2.2.
        (
            parts::is_allowed_serial(certificate.raw_serial()),
            "its serial number must be positive and at most 20 bytes",
        ),
        (
            parts::is_allowed_key(certificate.public_key()),
            "its key must be P-256, P-384, Ed25519 or RSA of 2048 to 4096 bits",
        ),
        // RFC 5280, section 4.2.
        (readable, "its extensions must be readable, each at most once"),
        // RFC 5280, section 4.2: an unknown critical extension is refused; webpki does so except on anchors. Key
        // identifiers and access information must not be critical at all (4.2.1.1, 4.2.1.2, 4.2.2.1).
        (understood, "its critical extensions must be ones that are understood and may be critical"),
    ]
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CertificateError> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) | Err(_) => Err(CertificateError::Malformed),
    }
}

fn read<T, E>(extension: Result<T, E>) -> Result<T, CertificateError> {
    extension.map_err(|_| CertificateError::Malformed)
}

fn keep<const N: usize>(subject: &'static str, rules: [Rule; N]) -> Result<(), CertificateError> {
    let broken = rules.into_iter().find(|(kept, _)| !kept);
    broken.map_or(Ok(()), |(_, rule)| Err(CertificateError::Profile { subject, rule }))
}
