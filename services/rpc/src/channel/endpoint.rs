//! Where a server is.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderValue, Uri};
use rustls_pki_types::ServerName;

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Plaintext HTTP/2 with prior knowledge, on the loopback.
    Plain {
        /// A loopback address, or `localhost`.
        host: String,
        /// The port.
        port: u16,
    },
    /// HTTP/2 over TLS.
    Tls {
        /// A DNS name or an address, which the server's certificate must name.
        host: String,
        /// The port.
        port: u16,
        /// The host as TLS asks for it.
        name: ServerName<'static>,
    },
}

/// Why a text is no endpoint, or an endpoint cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is not `http://HOST:PORT` or `https://HOST:PORT`.
    #[error("an endpoint must be http://host:port or https://host:port")]
    Shape,
    /// It is plaintext to another machine.
    #[error("plaintext is for the loopback only")]
    NotLoopback,
    /// The host is neither a DNS name nor an address.
    #[error("the host of the endpoint is neither a name nor an address")]
    Host,
    /// Plaintext was given for TLS, or TLS for plaintext.
    #[error("the endpoint needs another kind of security")]
    Security,
}

impl Endpoint {
    /// Reads `http://127.0.0.1:50051` or `https://pensions.example.kg:8443`.
    ///
    /// # Errors
    /// [`EndpointError`]; the one who configured it must act.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let uri: Uri = text.parse().map_err(|_| EndpointError::Shape)?;
        let authority = uri.authority().ok_or(EndpointError::Shape)?;
        let port = authority.port_u16().filter(|port| *port != 0).ok_or(EndpointError::Shape)?;
        let bare = uri.path_and_query().is_none_or(|path| path == "/") && !authority.as_str().contains('@');
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        match uri.scheme_str() {
            Some("http") if bare && is_loopback(&host) => Ok(Self::Plain { host, port }),
            Some("http") if bare => Err(EndpointError::NotLoopback),
            Some("https") if bare => {
                let name = ServerName::try_from(host.clone()).map_err(|_| EndpointError::Host)?;
                Ok(Self::Tls { host, port, name })
            }
            Some(_) | None => Err(EndpointError::Shape),
        }
    }

    pub(super) fn scheme(&self) -> &'static str {
        match self {
            Self::Plain { .. } => "http",
            Self::Tls { .. } => "https",
        }
    }

    pub(super) fn authority(&self) -> HeaderValue {
        let (Self::Plain { host, port } | Self::Tls { host, port, .. }) = self;
        let text = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        HeaderValue::try_from(text).expect("the authority of a URI is a header value")
    }

    /// Where to connect. What a name of the loopback stands for must be the loopback.
    pub(super) async fn addresses(&self) -> Vec<SocketAddr> {
        let (Self::Plain { host, port } | Self::Tls { host, port, .. }) = self;
        let Ok(found) = tokio::net::lookup_host((host.as_str(), *port)).await else { return Vec::new() };
        let usable = |address: &SocketAddr| match self {
            Self::Plain { .. } => address.ip().is_loopback(),
            Self::Tls { .. } => true,
        };
        found.filter(usable).collect()
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read() {
        for text in ["http://127.0.0.1:5005", "http://[::1]:5005", "http://localhost:5005/"] {
            assert!(matches!(Endpoint::parse(text), Ok(Endpoint::Plain { port: 5005, .. })), "{text}");
        }
        for text in
            ["https://pensions.example.kg:8443", "https://10.0.0.1:8443", "https://[2001:db8::1]:8443"]
        {
            let endpoint = Endpoint::parse(text).unwrap();
            assert!(matches!(endpoint, Endpoint::Tls { port: 8443, .. }), "{text}");
            assert_eq!(endpoint.authority(), text.strip_prefix("https://").unwrap());
        }
    }

    #[test]
    fn plaintext_stays_on_the_machine() {
        for text in ["http://10.0.0.1:80", "http://pensions.example.kg:80", "http://127.0.0.1.example.kg:80"]
        {
            assert_eq!(Endpoint::parse(text), Err(EndpointError::NotLoopback), "{text}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        let texts = [
            "",
            "127.0.0.1:1",
            "http://127.0.0.1",
            "ftp://127.0.0.1:1",
            "https://a:1/path",
            "https://a:0",
            "https://u@a:1",
        ];
        for text in texts {
            assert_eq!(Endpoint::parse(text), Err(EndpointError::Shape), "{text}");
        }
    }
}
