//! A client for people and tests: unary calls with JSON or bytes, over mutual TLS.

mod reflect;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use kopuro_core::id::MethodId;
use kopuro_rpc::channel::{Answer, Channel, ChannelSettings, Endpoint, Outcome, Security, Servers};
use kopuro_trust::certificate::{TrustStore, VerifiedCertificate};
use kopuro_trust::tls::{Identity, Protocols, client_config};
use prost::Message as _;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tonic_types::pb;

pub use reflect::describe;

/// How a client connects.
#[derive(Clone, Debug)]
pub struct Connection {
    /// `https://host:port`.
    pub endpoint: String,
    /// The client's certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM PKCS#8.
    pub key: PathBuf,
    /// The authority of the server's certificate, PEM.
    pub authority: PathBuf,
}

/// Why a client could not connect or call.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file could not be read or used.
    #[error("{0} cannot be used")]
    File(String),
    /// The endpoint is malformed.
    #[error("the endpoint cannot be used")]
    Endpoint(#[from] kopuro_rpc::channel::EndpointError),
    /// The metadata is malformed.
    #[error("the metadata entry {0} is malformed")]
    Metadata(String),
    /// The server could not be reached: nothing was sent.
    #[error("the server could not be reached")]
    NotSent,
    /// The server did not answer in time.
    #[error("the server did not answer in time")]
    TimedOut,
    /// The answer broke off.
    #[error("the connection or the answer broke off")]
    Broken,
    /// The server does not show the method.
    #[error("the server shows no method {0} to this caller")]
    NotShown(String),
    /// A text is no JSON form of the message.
    #[error("the JSON is no {0}: {1}")]
    Json(String, String),
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The message, or the status that was answered instead.
    pub result: Result<Bytes, pb::Status>,
    /// The metadata.
    pub metadata: HeaderMap,
}

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    channel: Channel,
}

/// The profile and the name in the certificate are enough: this client has no view of the registry.
struct ByName;

impl Servers for ByName {
    fn accepts(&self, _certificate: &VerifiedCertificate) -> bool {
        true
    }
}

impl Client {
    /// A client that will connect when it first calls.
    ///
    /// # Errors
    /// [`ClientError::File`] or [`ClientError::Endpoint`].
    pub fn new(connection: &Connection) -> Result<Self, ClientError> {
        let Connection { endpoint, certificate, key, authority } = connection;
        let unusable = |path: &Path| ClientError::File(path.display().to_string());
        let identity = Identity::from_pem_files(certificate, key).map_err(|_| unusable(key))?;
        let store = trust_store(authority).ok_or_else(|| unusable(authority))?;
        let config = client_config(&identity, store, Protocols::Http2).map_err(|_| unusable(certificate))?;
        let security = Security::Mutual { config: Arc::new(config), servers: Arc::new(ByName) };
        let channel = Channel::new(Endpoint::parse(endpoint)?, security, ChannelSettings::default())?;
        Ok(Self { channel })
    }

    /// Calls a method with a message in its wire form.
    ///
    /// # Errors
    /// [`ClientError`] when there is no answer; a status that was answered is a [`Reply`].
    pub async fn call(
        &self,
        path: &str,
        metadata: &[(&str, &str)],
        message: Bytes,
        timeout: Duration,
    ) -> Result<Reply, ClientError> {
        match self.channel.unary(path, headers(metadata)?, message, timeout).await {
            Outcome::Answered(Answer::Message(message, metadata)) => {
                Ok(Reply { result: Ok(message), metadata })
            }
            Outcome::Answered(Answer::Status(status, metadata)) => {
                let status = pb::Status::decode(status).map_err(|_| ClientError::Broken)?;
                Ok(Reply { result: Err(status), metadata })
            }
            Outcome::NotSent => Err(ClientError::NotSent),
            Outcome::TimedOut => Err(ClientError::TimedOut),
            Outcome::Broken | Outcome::TooLarge => Err(ClientError::Broken),
        }
    }

    /// Calls a method with typed messages.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn unary<Q: prost::Message, R: prost::Message + Default>(
        &self,
        path: &str,
        metadata: &[(&str, &str)],
        request: &Q,
        timeout: Duration,
    ) -> Result<Result<R, pb::Status>, ClientError> {
        let reply = self.call(path, metadata, request.encode_to_vec().into(), timeout).await?;
        match reply.result {
            Ok(message) => R::decode(message).map(Ok).map_err(|_| ClientError::Broken),
            Err(status) => Ok(Err(status)),
        }
    }

    /// Calls a method with JSON, by the schema that the server shows.
    ///
    /// # Errors
    /// [`ClientError`]; a status that was answered is a [`Reply`], whose message is JSON otherwise.
    pub async fn call_json(
        &self,
        method: &MethodId,
        metadata: &[(&str, &str)],
        json: &str,
        timeout: Duration,
    ) -> Result<Reply, ClientError> {
        let descriptor = reflect::method(self, method, timeout).await?;
        let message = reflect::from_json(descriptor.input(), json)?;
        let mut reply = self.call(&method.path(), metadata, message, timeout).await?;
        if let Ok(message) = &reply.result {
            reply.result = Ok(reflect::to_json(descriptor.output(), message)?);
        }
        Ok(reply)
    }
}

/// The authorities of a PEM file.
pub fn trust_store(path: &Path) -> Option<Arc<TrustStore>> {
    let pem = std::fs::read(path).ok()?;
    let anchors: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    TrustStore::new(anchors.ok()?, []).ok().map(Arc::new)
}

fn headers(metadata: &[(&str, &str)]) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    for (name, value) in metadata {
        let malformed = || ClientError::Metadata((*name).to_owned());
        let header = HeaderName::try_from(*name).map_err(|_| malformed())?;
        headers.append(header, HeaderValue::try_from(*value).map_err(|_| malformed())?);
    }
    Ok(headers)
}
