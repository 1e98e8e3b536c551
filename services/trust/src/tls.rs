//! TLS configurations of the bus: TLS 1.3 only, mutual, under the strict certificate profile.
//!
//! A resumed session is not asked for its certificate again, so a revoked client would stay in (measured): there
//! are no tickets, no session storage, and no early data. On a change of anchors, revocation lists or identity the
//! owner makes another configuration, and closes the connections whose certificates it no longer trusts.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;

use crate::certificate::TrustStore;
use crate::key_file::{self, KeyFileError};

pub use self::verifier::{ClientVerifier, ServerVerifier};

#[cfg(test)]
mod tests;
mod verifier;

/// Why a TLS configuration could not be made; the operator must act.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The private key's file was refused.
    #[error("the transport key file was refused")]
    Key(#[source] KeyFileError),
    /// The certificate chain could not be read.
    #[error("the certificate chain cannot be read")]
    Chain(#[source] rustls_pki_types::pem::Error),
    /// The chain is empty.
    #[error("the certificate chain is empty")]
    EmptyChain,
    /// The key is of an unknown kind, or is not the certificate's.
    #[error("the transport key cannot be used with its certificate")]
    Identity(#[source] rustls::Error),
}

/// Which protocols are offered above TLS (ALPN, RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/2 only, as gRPC needs.
    Http2,
    /// HTTP/2, and HTTP/1.1 for those who lack it.
    Http2AndHttp1,
}

/// A certificate chain and the private key of its first certificate. `Debug` shows the length of the chain only.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads a chain, leaf first, from a PEM file, and the PKCS#8 key from a PEM file that only its owner can read.
    ///
    /// # Errors
    /// [`TlsError::Chain`], [`TlsError::EmptyChain`], [`TlsError::Key`], or [`TlsError::Identity`] when the key is not
    /// the certificate's.
    pub fn from_pem_files(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = read_chain(chain)?;
        let key = key_file::read_pkcs8(key).map_err(TlsError::Key)?;
        let identity = Self::new(chain, &key)?;
        let (chain, key) = (identity.chain.clone(), identity.key.clone_key());
        CertifiedKey::from_der(chain, key, &provider()).map_err(TlsError::Identity)?;
        Ok(identity)
    }

    /// Takes a chain, leaf first, and the DER of its PKCS#8 key.
    ///
    /// # Errors
    /// [`TlsError::EmptyChain`].
    pub fn new(chain: Vec<CertificateDer<'static>>, key_pkcs8_der: &[u8]) -> Result<Self, TlsError> {
        if chain.is_empty() {
            return Err(TlsError::EmptyChain);
        }
        // rustls clears private keys when they are dropped.
        Ok(Self { chain, key: PrivatePkcs8KeyDer::from(key_pkcs8_der.to_vec()).into() })
    }

    /// The certificate that peers will see.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Identity({} certificates)", self.chain.len())
    }
}

/// Reads the certificates of a PEM file, of which there must be one at least.
///
/// # Errors
/// [`TlsError::Chain`] or [`TlsError::EmptyChain`].
pub fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(TlsError::Chain)?;
    if chain.is_empty() { Err(TlsError::EmptyChain) } else { Ok(chain) }
}

/// The one provider of the process: aws-lc, with the hybrid key exchange X25519MLKEM768 preferred and the classical
/// ones accepted, and the signatures that the certificate profile takes.
pub fn provider() -> CryptoProvider {
    use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};

    CryptoProvider {
        kx_groups: vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1],
        signature_verification_algorithms: verifier::ALGORITHMS,
        ..aws_lc_rs::default_provider()
    }
}

/// The configuration of a server that asks every client for a certificate.
///
/// # Errors
/// [`TlsError::Identity`].
pub fn server_config(
    identity: &Identity,
    clients: Arc<TrustStore>,
    protocols: Protocols,
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has suites of TLS 1.3")
        .with_client_cert_verifier(Arc::new(ClientVerifier::new(clients)))
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(TlsError::Identity)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.alpn_protocols = protocols.names();
    Ok(config)
}

/// The configuration of a client that shows its certificate.
///
/// # Errors
/// [`TlsError::Identity`].
pub fn client_config(
    identity: &Identity,
    servers: Arc<TrustStore>,
    protocols: Protocols,
) -> Result<ClientConfig, TlsError> {
    let mut config = client_builder(servers)
        .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(TlsError::Identity)?;
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.alpn_protocols = protocols.names();
    Ok(config)
}

fn client_builder(
    servers: Arc<TrustStore>,
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerVerifier::new(servers)))
}

impl Protocols {
    fn names(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http2 => vec![b"h2".to_vec()],
            Self::Http2AndHttp1 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        }
    }
}
