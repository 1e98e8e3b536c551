//! A client that may send anything: any certificate or none, any headers, any bytes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kopuro::client::trust_store;
use kopuro::development::IdentityFiles;
use kopuro_core::error::Reason;
use kopuro_rpc::refusals::{EXCHANGE_ID, SIDE};
use kopuro_trust::tls::{self, Identity, Protocols, ServerVerifier};
use prost::Message;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic_types::StatusExt as _;

/// How long any one answer may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A connection to a gateway.
pub(crate) struct Wire {
    sender: SendRequest<Full<Bytes>>,
    /// Ends when the connection does.
    pub(crate) ended: JoinHandle<hyper::Result<()>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: Status,
    pub(crate) headers: HeaderMap,
    pub(crate) message: Bytes,
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr, config: ClientConfig) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = shaken.unwrap();
        Self { sender, ended: tokio::spawn(connection) }
    }

    /// Sends a body as it is to a path as it is.
    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> hyper::Result<Seen> {
        let request = Request::post(format!("https://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Full::new(body.into())).unwrap();
        let answered = async {
            let (head, body) = self.sender.clone().send_request(request).await?.into_parts();
            let body = body.collect().await?;
            let trailers = body.trailers().cloned().unwrap_or_default();
            let status =
                Status::from_header_map(&head.headers).or_else(|| Status::from_header_map(&trailers));
            let status = status.expect("a grpc answer has a status");
            Ok(Seen { status, headers: head.headers, message: body.to_bytes() })
        };
        tokio::time::timeout(LIMIT, answered).await.expect("an answer in time")
    }
}

impl Seen {
    /// The documented reason, if one is told.
    pub(crate) fn reason(&self) -> Option<Reason> {
        Reason::parse(&self.status.get_details_error_info()?.reason)
    }

    /// The exchange, as the header names it.
    pub(crate) fn exchange(&self) -> &str {
        self.header(EXCHANGE_ID)
    }

    /// The side at fault, as the header names it.
    pub(crate) fn side(&self) -> &str {
        self.header(SIDE)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The message without its prefix.
    pub(crate) fn decode<M: Message + Default>(&self) -> M {
        M::decode(&self.message[5..]).unwrap()
    }
}

/// The configuration of a client that shows a certificate of the instance whose authority is given.
pub(crate) fn showing(files: &IdentityFiles, authority: &Path) -> ClientConfig {
    presenting(&Identity::from_pem_files(&files.chain, &files.key).unwrap(), authority)
}

/// The configuration of a client that shows `identity`, whoever issued it.
pub(crate) fn presenting(identity: &Identity, authority: &Path) -> ClientConfig {
    tls::client_config(identity, trust_store(authority).unwrap(), Protocols::Http2).unwrap()
}

/// The configuration of a client that shows no certificate.
pub(crate) fn anonymous(authority: &Path) -> ClientConfig {
    let verifier = ServerVerifier::new(trust_store(authority).unwrap());
    let mut config = ClientConfig::builder_with_provider(Arc::new(tls::provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// A message with its prefix.
pub(crate) fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flag];
    bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend(message);
    bytes
}
