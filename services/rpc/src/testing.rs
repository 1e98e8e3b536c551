//! What the tests of this crate share: an authority with its certificates, callers that can be let in and out, and a
//! client that may send anything.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kopuro_core::digest::KeyId;
use kopuro_core::error::Reason;
use kopuro_core::id::SubsystemId;
use kopuro_core::time::{Clock as _, UnixMillis};
use kopuro_telemetry::audit::{AuditEvent, AuditSink};
use kopuro_telemetry::clock::SystemClock;
use kopuro_telemetry::metrics::Metrics;
use kopuro_trust::certificate::{TrustStore, VerifiedCertificate};
use kopuro_trust::pki::{Authority, CertificatePurpose, Issued, Validity};
use kopuro_trust::tls::{self, Identity, Protocols, ServerVerifier};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::callers::{Caller, Callers};
use crate::channel::Servers;
use crate::listener::{Listener, ListenerParts, ListenerSettings};
use crate::refusals::Refusals;

pub(crate) const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// An authority, a gateway's certificate and a system's.
pub(crate) struct Scene {
    pub(crate) root: Authority,
    pub(crate) gateway: Issued,
    pub(crate) system: Issued,
}

pub(crate) fn validity() -> Validity {
    let now = SystemClock.now();
    Validity { not_before: now.minus(Duration::from_secs(60)), not_after: now.plus(Duration::from_secs(600)) }
}

pub(crate) fn subsystem() -> SubsystemId {
    SubsystemId::parse("KG/GOV/70000005/portal").unwrap()
}

impl Scene {
    pub(crate) fn new() -> Self {
        let root = Authority::create_root("root", validity()).unwrap();
        let gateway = root.issue(CertificatePurpose::Gateway, "gateway", &[], validity()).unwrap();
        let system = root.issue(CertificatePurpose::System, "system", &[], validity()).unwrap();
        Self { root, gateway, system }
    }

    pub(crate) fn trust(&self) -> Arc<TrustStore> {
        Arc::new(TrustStore::new([self.root.certificate().clone()], []).unwrap())
    }

    /// The configuration of a client that shows `identity`.
    pub(crate) fn client(&self, identity: &Identity) -> ClientConfig {
        tls::client_config(identity, self.trust(), Protocols::Http2).unwrap()
    }

    /// The configuration of a client that shows nothing.
    pub(crate) fn anonymous(&self) -> ClientConfig {
        let mut config = ClientConfig::builder_with_provider(Arc::new(tls::provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ServerVerifier::new(self.trust())))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    /// A listener with the system registered.
    pub(crate) async fn listen(&self, router: Router, settings: ListenerSettings) -> Node {
        let registry = Registry::with(&[&self.system]);
        let (metrics, audit) = (Metrics::new(), Arc::new(Audit::default()));
        let refusals = Refusals::new(Arc::clone(&metrics), Arc::clone(&audit) as _, Arc::new(SystemClock));
        let parts = ListenerParts {
            router,
            callers: Arc::clone(&registry) as _,
            changes: registry.changes.subscribe(),
            refusals,
            metrics: Arc::clone(&metrics),
        };
        let identity = self.gateway.identity();
        let listener = Listener::start(LOOPBACK, (&identity, self.trust()), settings, parts).await.unwrap();
        Node { listener, registry, metrics, audit }
    }
}

/// A listener, and what it works with.
pub(crate) struct Node {
    pub(crate) listener: Listener,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) audit: Arc<Audit>,
}

/// Who may connect, changed at will.
pub(crate) struct Registry {
    keys: Mutex<HashMap<KeyId, Result<(), Reason>>>,
    pub(crate) changes: watch::Sender<u64>,
}

impl Registry {
    pub(crate) fn with(known: &[&Issued]) -> Arc<Self> {
        let keys = known.iter().map(|issued| (issued.key_id().unwrap(), Ok(()))).collect();
        Arc::new(Self { keys: Mutex::new(keys), changes: watch::channel(0).0 })
    }

    /// Sets what is known of a key, without telling anybody.
    pub(crate) fn set(&self, issued: &Issued, verdict: Result<(), Reason>) {
        self.keys.lock().unwrap().insert(issued.key_id().unwrap(), verdict);
    }

    pub(crate) fn tell(&self) {
        self.changes.send_modify(|size| *size += 1);
    }
}

impl Callers for Registry {
    fn identify(&self, certificate: &VerifiedCertificate, _: UnixMillis) -> Result<Caller, Reason> {
        let key_id = certificate.key_id();
        self.keys.lock().unwrap().get(&key_id).copied().unwrap_or(Err(Reason::CertificateUnknown))?;
        Ok(Caller {
            key_id,
            subsystems: vec![subsystem()],
            gateway: None,
            member: Some(subsystem().member()),
        })
    }
}

impl Servers for Registry {
    fn accepts(&self, certificate: &VerifiedCertificate) -> bool {
        self.identify(certificate, UnixMillis::new(0)).is_ok()
    }
}

#[derive(Default)]
pub(crate) struct Audit(pub(crate) Mutex<Vec<AuditEvent>>);

impl AuditSink for Audit {
    fn record(&self, event: AuditEvent) {
        self.0.lock().unwrap().push(event);
    }
}

/// A client's connection, over which anything can be sent.
pub(crate) struct Client {
    pub(crate) sender: SendRequest<Full<Bytes>>,
    /// Ends when the connection does.
    pub(crate) ended: JoinHandle<hyper::Result<()>>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, config: ClientConfig) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let name = "localhost".try_into().unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(std::io::Error::other)?;
        Ok(Self { sender, ended: tokio::spawn(connection) })
    }

    /// Sends a body to `/a.B/C` as gRPC.
    pub(crate) fn send(
        &self,
        body: Vec<u8>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + 'static {
        self.sender.clone().send_request(request("/a.B/C", body))
    }
}

pub(crate) fn request(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(format!("https://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(body.into()))
        .unwrap()
}

/// A message with its prefix.
pub(crate) fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flag];
    bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend(message);
    bytes
}

/// The status of an answer, wherever it stands, and what was sent before it.
pub(crate) async fn finish(response: Response<Incoming>) -> (Status, Bytes, HeaderMap) {
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let status = Status::from_header_map(&head.headers).or_else(|| Status::from_header_map(&trailers));
    (status.expect("an answer has a status"), body.to_bytes(), head.headers)
}

/// The documented reason that an answer gives.
pub(crate) fn reason(status: &Status) -> Reason {
    Reason::parse(&status.get_details_error_info().expect("a refusal has error info").reason).unwrap()
}
