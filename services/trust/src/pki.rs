//! A development authority: certificates and keys for demonstrations, tests and a pilot's first day.
//!
//! It does on one machine what a centre does with ceremonies: the authority's key lies in a file, and whoever has it
//! can issue for anybody. Everything is returned in memory; [`files`] writes it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use kopuro_core::digest::KeyId;
use kopuro_core::time::UnixMillis;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::tls::Identity;
use crate::{key_file, random};

pub use self::keys::{NewKey, new_member_secret};

pub mod files;
mod keys;
mod pem;
#[cfg(test)]
mod tests;

/// The length of a serial number, of which 159 bits are random (RFC 5280 allows 20). **Units:** bytes.
const SERIAL_LEN: usize = 20;

/// Why something could not be issued.
#[derive(Debug, Error)]
pub enum PkiError {
    /// A name is no DNS name or IP address, or not ASCII.
    #[error("a name cannot stand in a certificate")]
    Name(#[source] rcgen::Error),
    /// The authority's certificate or key cannot be read, or they do not belong together.
    #[error("the authority's certificate or key cannot be used")]
    Authority,
    /// rcgen or aws-lc could not make a key or a certificate.
    #[error("a key or certificate could not be made")]
    Issue(#[source] rcgen::Error),
}

/// When a certificate is valid, both ends included. **Units:** whole seconds; the rest is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first instant.
    pub not_before: UnixMillis,
    /// The last instant.
    pub not_after: UnixMillis,
}

/// What a certificate is for, which decides its extended key usages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CertificatePurpose {
    /// A gateway: a server to its members' systems, and a client to providers' systems and the registry.
    Gateway,
    /// An agency's information system: a client of its gateway as a consumer, a server to it as a provider.
    System,
    /// A central service, such as the registry, that is only called.
    Service,
    /// An operator's tool, which only calls.
    Client,
}

/// An authority that can issue certificates. It has no `Debug`, for it holds a private key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    /// The authorities between the root and the certificates issued here, the issuer of the latter first.
    intermediates: Vec<CertificateDer<'static>>,
}

impl Authority {
    /// Makes a root authority with a P-256 key.
    ///
    /// # Errors
    /// [`PkiError`].
    pub fn create_root(name: &str, validity: Validity) -> Result<Self, PkiError> {
        let key = KeyPair::generate().map_err(PkiError::Issue)?;
        let params = authority_params(name, BasicConstraints::Unconstrained, validity);
        let certificate = params.self_signed(&key).map_err(PkiError::Issue)?.der().clone();
        Ok(Self { issuer: Issuer::new(params, key), certificate, intermediates: Vec::new() })
    }

    /// Makes an authority under this one, for one member say, which issues to peers only.
    ///
    /// # Errors
    /// [`PkiError`].
    pub fn create_intermediate(&self, name: &str, validity: Validity) -> Result<Self, PkiError> {
        let key = KeyPair::generate().map_err(PkiError::Issue)?;
        let params = authority_params(name, BasicConstraints::Constrained(0), validity);
        let certificate = params.signed_by(&key, &self.issuer).map_err(PkiError::Issue)?.der().clone();
        let intermediates = [std::slice::from_ref(&certificate), &self.intermediates].concat();
        Ok(Self { issuer: Issuer::new(params, key), certificate, intermediates })
    }

    /// Reads an authority back from what [`Self::chain_pem`] and [`Self::key_pem`] wrote.
    ///
    /// # Errors
    /// [`PkiError::Authority`].
    pub fn from_pem(chain_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect();
        let chain = chain.map_err(|_| PkiError::Authority)?;
        let certificate = chain.first().ok_or(PkiError::Authority)?.clone();
        let key_der = key_file::pkcs8_from_pem(key_pem.as_bytes()).ok_or(PkiError::Authority)?;
        let key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(key_der.as_slice()))
            .map_err(|_| PkiError::Authority)?;
        if spki_of(&certificate)? != rcgen::PublicKeyData::subject_public_key_info(&key) {
            return Err(PkiError::Authority);
        }
        let intermediates = chain.into_iter().filter(|certificate| !is_self_signed(certificate)).collect();
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|_| PkiError::Authority)?;
        Ok(Self { issuer, certificate, intermediates })
    }

    /// The authority's certificate; a root's is the anchor that peers trust.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The authority's certificate in PEM, followed by those of the authorities above it but for the root.
    pub fn chain_pem(&self) -> String {
        let above = self.intermediates.iter().filter(|certificate| **certificate != self.certificate);
        std::iter::once(&self.certificate)
            .chain(above)
            .map(|certificate| pem::certificate(certificate))
            .collect()
    }

    /// The authority's private key in PEM (PKCS#8).
    pub fn key_pem(&self) -> Zeroizing<String> {
        pem::private_key(self.issuer.key().serialized_der())
    }

    /// Issues a certificate and the P-256 key for it. One that serves is also for `localhost`, `127.0.0.1` and
    /// `::1`; `names` are further DNS names and IP addresses.
    ///
    /// # Errors
    /// [`PkiError`].
    pub fn issue(
        &self,
        purpose: CertificatePurpose,
        common_name: &str,
        names: &[&str],
        validity: Validity,
    ) -> Result<Issued, PkiError> {
        let key = KeyPair::generate().map_err(PkiError::Issue)?;
        let mut params = params(common_name, validity);
        params.subject_alt_names = alternative_names(purpose, names)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = extended_key_usages(purpose);
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(PkiError::Issue)?.der().clone();
        let chain = [std::slice::from_ref(&certificate), &self.intermediates].concat();
        Ok(Issued { chain, key_pkcs8_der: Zeroizing::new(key.serialize_der()) })
    }
}

/// A certificate with the authorities between it and the root, and its private key.
pub struct Issued {
    chain: Vec<CertificateDer<'static>>,
    key_pkcs8_der: Zeroizing<Vec<u8>>,
}

impl Issued {
    /// The certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// The certificate and then its intermediate authorities, in PEM.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|certificate| pem::certificate(certificate)).collect()
    }

    /// The private key in PEM (PKCS#8).
    pub fn key_pem(&self) -> Zeroizing<String> {
        pem::private_key(&self.key_pkcs8_der)
    }

    /// The public key as DER SubjectPublicKeyInfo, as the registry takes it.
    ///
    /// # Errors
    /// [`PkiError::Authority`] when the certificate cannot be read, which issuing it excludes.
    pub fn spki_der(&self) -> Result<Vec<u8>, PkiError> {
        spki_of(self.certificate())
    }

    /// The name of the key, by which the registry knows it.
    ///
    /// # Errors
    /// [`PkiError::Authority`] when the certificate cannot be read, which issuing it excludes.
    pub fn key_id(&self) -> Result<KeyId, PkiError> {
        spki_of(self.certificate()).map(|spki| KeyId::of_spki(&spki))
    }

    /// The certificate and key as TLS takes them.
    pub fn identity(&self) -> Identity {
        Identity::new(self.chain.clone(), &self.key_pkcs8_der).expect("a chain begins with its certificate")
    }
}

fn authority_params(name: &str, constraints: BasicConstraints, validity: Validity) -> CertificateParams {
    let mut params = params(name, validity);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

fn params(common_name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(serial_number());
    // rcgen's type for instants is of a crate that nothing else here needs.
    let at = |instant: UnixMillis| {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(instant.as_u64() / 1_000)
    };
    params.not_before = at(validity.not_before);
    params.not_after = at(validity.not_after);
    params
}

/// A random serial number: positive, and without leading zero bytes, so that it has one encoding.
fn serial_number() -> SerialNumber {
    let mut serial = random::bytes::<SERIAL_LEN>();
    serial[0] = serial[0] & 0x7f | 0x40;
    SerialNumber::from(serial.to_vec())
}

fn alternative_names(purpose: CertificatePurpose, names: &[&str]) -> Result<Vec<SanType>, PkiError> {
    let dns = |name: &str| name.try_into().map(SanType::DnsName).map_err(PkiError::Name);
    let mut all = Vec::new();
    if serves(purpose) {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        all.push(dns("localhost")?);
        all.extend(loopback.map(SanType::IpAddress));
    }
    for name in names {
        all.push(name.parse().map(SanType::IpAddress).or_else(|_| dns(name))?);
    }
    Ok(all)
}

fn serves(purpose: CertificatePurpose) -> bool {
    match purpose {
        CertificatePurpose::Gateway | CertificatePurpose::System | CertificatePurpose::Service => true,
        CertificatePurpose::Client => false,
    }
}

fn extended_key_usages(purpose: CertificatePurpose) -> Vec<ExtendedKeyUsagePurpose> {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};

    match purpose {
        CertificatePurpose::Gateway | CertificatePurpose::System => vec![ServerAuth, ClientAuth],
        CertificatePurpose::Service => vec![ServerAuth],
        CertificatePurpose::Client => vec![ClientAuth],
    }
}

fn spki_of(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, PkiError> {
    let parsed = webpki::EndEntityCert::try_from(certificate).map_err(|_| PkiError::Authority)?;
    Ok(parsed.subject_public_key_info().to_vec())
}

/// The DER SubjectPublicKeyInfo of a certificate in PEM.
///
/// # Errors
/// [`PkiError::Authority`] when the text holds no certificate.
pub fn spki_of_pem_certificate(pem: &[u8]) -> Result<Vec<u8>, PkiError> {
    let certificate = CertificateDer::from_pem_slice(pem).map_err(|_| PkiError::Authority)?;
    spki_of(&certificate)
}

fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    webpki::EndEntityCert::try_from(certificate).is_ok_and(|parsed| parsed.issuer() == parsed.subject())
}
