//! From a socket to a connection with a verdict on its peer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use kopuro_core::error::{Reason, Refusal};
use kopuro_core::time::UnixMillis;
use kopuro_trust::certificate::{CertificateError, PeerRole, TrustStore, VerifiedCertificate};
use kopuro_trust::tls::{self, Identity, Protocols, TlsError};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::TLS13;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{ListenerParts, ListenerSettings};

/// The server's configuration, and whom it trusts.
pub(super) struct Admission {
    acceptor: TlsAcceptor,
    clients: Arc<TrustStore>,
}

/// The admission in force. It is replaced whole.
pub(super) struct Admissions {
    current: ArcSwap<Admission>,
    replaced: watch::Sender<u64>,
    count: AtomicU64,
}

/// A connection after its handshake.
pub(super) struct Admitted {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) verdict: Result<Peer, Refusal>,
}

/// A peer with a good certificate.
pub(super) struct Peer {
    pub(super) certificate: VerifiedCertificate,
    chain: Vec<CertificateDer<'static>>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("the handshake took too long")]
    TooLong,
    #[error("the handshake failed")]
    Failed(#[source] io::Error),
}

impl Admission {
    pub(super) fn new(identity: &Identity, clients: Arc<TrustStore>) -> Result<Self, TlsError> {
        let strict = tls::server_config(identity, Arc::clone(&clients), Protocols::Http2)?;
        let provider = Arc::new(tls::provider());
        let verifier = DangerousDeferredVerifier(provider.signature_verification_algorithms);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has suites of TLS 1.3")
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::clone(&strict.cert_resolver));
        // A resumed session would skip the certificate: FORMATS, "TLS".
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        config.alpn_protocols.clone_from(&strict.alpn_protocols);
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), clients })
    }

    fn judge(&self, chain: &[CertificateDer<'_>], now: UnixMillis) -> Result<VerifiedCertificate, Refusal> {
        let (leaf, intermediates) = chain.split_first().ok_or(Reason::CertificateRequired)?;
        let verified = self.clients.verify_peer(leaf, intermediates, now, PeerRole::Client);
        verified.map_err(|error| Refusal::with(Reason::CertificateInvalid, rule_broken(&error)))
    }
}

impl Admissions {
    pub(super) fn new(admission: Admission) -> Self {
        let (replaced, _) = watch::channel(0);
        Self { current: ArcSwap::from_pointee(admission), replaced, count: AtomicU64::new(0) }
    }

    pub(super) fn replace(&self, admission: Admission) {
        self.current.store(Arc::new(admission));
        self.replaced.send_replace(self.count.fetch_add(1, Ordering::AcqRel) + 1);
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.replaced.subscribe()
    }

    /// Whether a peer's certificate, which was good once, is good under the admission in force.
    pub(super) fn is_good(&self, peer: &Peer, now: UnixMillis) -> bool {
        self.current.load().judge(&peer.chain, now).is_ok()
    }

    /// Shakes hands and judges the peer.
    pub(super) async fn admit(
        &self,
        stream: TcpStream,
        settings: &ListenerSettings,
        parts: &ListenerParts,
    ) -> Result<Admitted, HandshakeError> {
        let admission = self.current.load_full();
        // Small answers must not wait for one another. Without it the connection is slower and still right.
        let _ = stream.set_nodelay(true);
        let stream = shake_hands(&admission.acceptor, stream, settings.handshake_limit).await?;
        let (_, connection) = stream.get_ref();
        let chain: Vec<_> = connection
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|der| der.clone().into_owned())
            .collect();
        let now = parts.refusals.now();
        let verdict = admission.judge(&chain, now).and_then(|certificate| {
            parts.callers.identify(&certificate, now)?;
            Ok(Peer { certificate, chain })
        });
        Ok(Admitted { stream, verdict })
    }
}

async fn shake_hands(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    limit: Duration,
) -> Result<TlsStream<TcpStream>, HandshakeError> {
    let shaken = tokio::time::timeout(limit, acceptor.accept(stream)).await;
    shaken.map_err(|_| HandshakeError::TooLong)?.map_err(HandshakeError::Failed)
}

/// What the peer is told of its own certificate.
fn rule_broken(error: &CertificateError) -> String {
    match error {
        CertificateError::Path(cause) => format!("{error}: {cause}"),
        CertificateError::Malformed
        | CertificateError::TooManyIntermediates
        | CertificateError::RevocationList(_)
        | CertificateError::NoAnchor
        | CertificateError::Profile { .. } => error.to_string(),
    }
}

/// Takes any certificate whose key the peer proves to hold, or none. It is dangerous by itself: [`Admission::judge`]
/// gives the verdict before a single request is served.
#[derive(Debug)]
struct DangerousDeferredVerifier(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for DangerousDeferredVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only tls 1.3 is spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
