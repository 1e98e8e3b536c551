//! What operators ask over plain HTTP: `/metrics`, `/livez`, `/readyz`. It belongs on an address that only they reach.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use kopuro_telemetry::metrics::Metrics;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The most connections at once.
const CONNECTIONS_MAX: usize = 64;
/// How long a request's headers may take.
const HEADERS_LIMIT: Duration = Duration::from_secs(5);
/// How long a connection may live.
const CONNECTION_LIMIT: Duration = Duration::from_secs(60);
/// How long the accept loop rests after the system could not give it a connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
/// The content type of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the node can do its work, and if not, why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether it can.
    pub ready: bool,
    /// What is missing, for people; empty when it can.
    pub reasons: Vec<String>,
}

/// The operations listener at work. Dropping it ends it.
#[derive(Debug)]
pub struct Operations {
    local_addr: SocketAddr,
    _stop: DropGuard,
}

#[derive(Clone)]
struct Told {
    metrics: Arc<Metrics>,
    readiness: watch::Receiver<Readiness>,
}

impl Operations {
    /// Listens on `address`; port 0 lets the system choose one.
    ///
    /// # Errors
    /// When the address cannot be listened on; the operator must act.
    pub async fn start(
        address: SocketAddr,
        metrics: Arc<Metrics>,
        readiness: watch::Receiver<Readiness>,
    ) -> Result<Self, io::Error> {
        let socket = TcpListener::bind(address).await?;
        let local_addr = socket.local_addr()?;
        let router = Router::new()
            .route("/metrics", get(show_metrics))
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(show_readiness))
            .with_state(Told { metrics, readiness });
        let stop = CancellationToken::new();
        tokio::spawn(serve(socket, router, stop.clone()));
        Ok(Self { local_addr, _stop: stop.drop_guard() })
    }

    /// The address listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

async fn show_metrics(State(told): State<Told>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], told.metrics.encode())
}

async fn show_readiness(State(told): State<Told>) -> Response {
    let readiness = told.readiness.borrow().clone();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

async fn serve(socket: TcpListener, router: Router, stop: CancellationToken) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let taken = tokio::select! {
            () = stop.cancelled() => return,
            taken = socket.accept() => taken,
        };
        let Ok((stream, _)) = taken else {
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else { continue };
        let (service, stop) = (TowerToHyperService::new(router.clone()), stop.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEADERS_LIMIT);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = stop.cancelled() => {}
                _ = tokio::time::timeout(CONNECTION_LIMIT, connection) => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn operators_are_told_the_truth() {
        let missing = Readiness { ready: false, reasons: vec!["the broker does not answer".to_owned()] };
        let (tell, told) = watch::channel(missing);
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let operations = Operations::start(loopback, Metrics::new(), told).await.unwrap();
        let address = operations.local_addr();
        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
        let answer = get(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.ends_with(r#"{"ready":false,"reasons":["the broker does not answer"]}"#), "{answer}");
        tell.send_replace(Readiness { ready: true, reasons: Vec::new() });
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/metrics").await.contains("kopuro_rpc_connections"));
        assert!(get(address, "/other").await.starts_with("HTTP/1.1 404"));
    }
}
