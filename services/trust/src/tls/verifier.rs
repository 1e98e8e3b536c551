//! The strict certificate profile as rustls asks for it.

use std::sync::Arc;

use kopuro_core::time::UnixMillis;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::aws_lc_rs as algorithm;

use crate::certificate::{CertificateError, PeerRole, SIGNATURE_ALGORITHMS, TrustStore};

/// The signatures that peers may make in a handshake, most wanted first.
pub(super) const ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: SIGNATURE_ALGORITHMS,
    mapping: &[
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[algorithm::ECDSA_P256_SHA256]),
        (SignatureScheme::ED25519, &[algorithm::ED25519]),
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[algorithm::ECDSA_P384_SHA384]),
        (SignatureScheme::RSA_PSS_SHA256, &[algorithm::RSA_PSS_2048_8192_SHA256_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA384, &[algorithm::RSA_PSS_2048_8192_SHA384_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA512, &[algorithm::RSA_PSS_2048_8192_SHA512_LEGACY_KEY]),
        // TLS 1.3 takes these for certificates only (RFC 8446, section 4.2.3).
        (SignatureScheme::RSA_PKCS1_SHA256, &[algorithm::RSA_PKCS1_2048_8192_SHA256]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[algorithm::RSA_PKCS1_2048_8192_SHA384]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[algorithm::RSA_PKCS1_2048_8192_SHA512]),
    ],
};

/// Verifies the certificates of clients, which are mandatory.
#[derive(Debug)]
pub struct ClientVerifier {
    trust: Arc<TrustStore>,
}

impl ClientVerifier {
    /// Makes a verifier that trusts the clients of `trust`.
    pub fn new(trust: Arc<TrustStore>) -> Self {
        Self { trust }
    }
}

impl ClientCertVerifier for ClientVerifier {
    /// None: a client has one certificate for the bus, and a stranger need not learn whom the gateway trusts.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.trust.verify_peer(end_entity, intermediates, millis(now), PeerRole::Client);
        verified.map(|_| ClientCertVerified::assertion()).map_err(to_rustls)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12_refused())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &ALGORITHMS)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ALGORITHMS.supported_schemes()
    }
}

/// Verifies the certificates of servers, and that they are for the name that was called.
#[derive(Debug)]
pub struct ServerVerifier {
    trust: Arc<TrustStore>,
}

impl ServerVerifier {
    /// Makes a verifier that trusts the servers of `trust`.
    pub fn new(trust: Arc<TrustStore>) -> Self {
        Self { trust }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.trust.verify_server(end_entity, intermediates, millis(now), server_name);
        verified.map(|_| ServerCertVerified::assertion()).map_err(to_rustls)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12_refused())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &ALGORITHMS)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ALGORITHMS.supported_schemes()
    }
}

fn tls12_refused() -> rustls::Error {
    rustls::Error::General("only tls 1.3 is spoken here".to_owned())
}

fn millis(now: UnixTime) -> UnixMillis {
    UnixMillis::new(now.as_secs().saturating_mul(1_000))
}

/// Chooses the alert that the peer gets; the reason stays with us, as the error's source.
fn to_rustls(error: CertificateError) -> rustls::Error {
    use rustls::CertificateError as Alert;

    let alert = match &error {
        CertificateError::Path(webpki::Error::UnknownIssuer) => Alert::UnknownIssuer,
        CertificateError::Path(webpki::Error::CertExpired { .. }) => Alert::Expired,
        CertificateError::Path(webpki::Error::CertNotValidYet { .. }) => Alert::NotValidYet,
        CertificateError::Path(webpki::Error::CertRevoked) => Alert::Revoked,
        CertificateError::Path(webpki::Error::UnknownRevocationStatus) => Alert::UnknownRevocationStatus,
        CertificateError::Path(webpki::Error::CertNotValidForName(_)) => Alert::NotValidForName,
        CertificateError::Malformed => Alert::BadEncoding,
        CertificateError::Path(_)
        | CertificateError::TooManyIntermediates
        | CertificateError::RevocationList(_)
        | CertificateError::NoAnchor
        | CertificateError::Profile { .. } => Alert::Other(OtherError(Arc::new(error))),
    };
    alert.into()
}
