//! Making one connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kopuro_trust::certificate::{CertificateError, VerifiedCertificate};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Endpoint, Security, Servers};
use crate::unary::MessageBody;

/// How often a silent server is asked whether it is there, while calls wait. gRPC servers hang up on clients that ask more
/// than every five minutes (gRPC core and Java, their default `permit_keepalive_time`).
const KEEP_ALIVE: Duration = Duration::from_secs(310);
/// How long a server may stay silent after it was asked.
const KEEP_ALIVE_LIMIT: Duration = Duration::from_secs(20);
/// The largest header list taken. **Units:** bytes.
const HEADER_LIST_LEN_MAX: u32 = 32 * 1024;

/// A connection, with the certificate that its server showed.
pub(super) struct Connected {
    pub(super) sender: SendRequest<MessageBody>,
    pub(super) certificate: Option<VerifiedCertificate>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("connecting took too long")]
    TooLong,
    #[error("the endpoint cannot be reached")]
    Unreachable(#[source] io::Error),
    #[error("the handshake failed")]
    Handshake(#[source] io::Error),
    #[error("the server's certificate cannot be read")]
    Certificate(#[source] CertificateError),
    #[error("the server's certificate is valid, and not of a key that may serve here")]
    Stranger,
    #[error("the server speaks no http/2")]
    Http(#[source] hyper::Error),
}

/// Connects, within `limit`.
pub(super) async fn connect(
    endpoint: &Endpoint,
    security: &Security,
    limit: Duration,
) -> Result<Connected, ConnectError> {
    tokio::time::timeout(limit, attempt(endpoint, security)).await.unwrap_or(Err(ConnectError::TooLong))
}

async fn attempt(endpoint: &Endpoint, security: &Security) -> Result<Connected, ConnectError> {
    let addresses = endpoint.addresses().await;
    let stream = TcpStream::connect(addresses.as_slice()).await.map_err(ConnectError::Unreachable)?;
    // Without it the connection is slower and still right.
    let _ = stream.set_nodelay(true);
    match (endpoint, security) {
        (Endpoint::Tls { name, .. }, Security::Mutual { config, servers }) => {
            let (stream, certificate) = shake_hands(stream, name, config, &**servers).await?;
            Ok(Connected { sender: http2(stream).await?, certificate: Some(certificate) })
        }
        (Endpoint::Plain { .. } | Endpoint::Tls { .. }, Security::Plain | Security::Mutual { .. }) => {
            Ok(Connected { sender: http2(stream).await?, certificate: None })
        }
    }
}

async fn shake_hands(
    stream: TcpStream,
    name: &ServerName<'static>,
    config: &Arc<ClientConfig>,
    servers: &dyn Servers,
) -> Result<(TlsStream<TcpStream>, VerifiedCertificate), ConnectError> {
    let connector = TlsConnector::from(Arc::clone(config));
    let stream = connector.connect(name.clone(), stream).await.map_err(ConnectError::Handshake)?;
    let certificate =
        VerifiedCertificate::of_connection(stream.get_ref().1).map_err(ConnectError::Certificate)?;
    match certificate.filter(|certificate| servers.accepts(certificate)) {
        Some(certificate) => Ok((stream, certificate)),
        None => Err(ConnectError::Stranger),
    }
}

async fn http2<S>(stream: S) -> Result<SendRequest<MessageBody>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_LIMIT)
        .max_header_list_size(HEADER_LIST_LEN_MAX);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(ConnectError::Http)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a server broke off");
        }
    });
    Ok(sender)
}
