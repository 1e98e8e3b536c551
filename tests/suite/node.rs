//! A whole bus in this process: a development instance, its agencies' systems, the registry and every gateway, over real
//! mutual TLS on free ports of the loopback.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use kopuro::client::{Client, Connection};
use kopuro::config::Config;
use kopuro::development::{Development, Options, default_instance};
use kopuro::examples::server::Systems;
use kopuro::process::{OpenBroker, Process, open_broker};
use kopuro_core::error::Reason;
use kopuro_core::time::Clock as _;
use kopuro_telemetry::clock::SystemClock;
use kopuro_telemetry::metrics::{Ending, Role};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::wire::{Wire, showing};

/// How long the bus may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// A bus at work.
pub(crate) struct Node {
    pub(crate) development: Development,
    process: Process,
    broker: OpenBroker,
    systems: BTreeMap<&'static str, Systems>,
    _folder: tempfile::TempDir,
}

impl Node {
    /// These systems over an embedded broker.
    pub(crate) async fn start(served: impl IntoIterator<Item = (&'static str, Router)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let development =
            Development::create(&folder.path().join("instance"), &default_instance(), SystemClock.now())
                .unwrap();
        let (mut systems, mut endpoints) = (BTreeMap::new(), BTreeMap::new());
        for (code, router) in served {
            let started = Systems::start_with(&development, [(code, router)]).await.unwrap();
            endpoints.extend(started.endpoints.clone());
            systems.insert(code, started);
        }
        development.configure(&Options { endpoints, operations: true, ..Options::default() }).unwrap();
        let config = Config::load(&development.config()).unwrap();
        let broker = open_broker(&config.broker).await.unwrap();
        let process = Process::start(&config, broker.port()).await.unwrap();
        tokio::time::timeout(READY_LIMIT, process.ready()).await.expect("the bus is ready in time");
        Self { development, process, broker, systems, _folder: folder }
    }

    /// A client with a system's certificate.
    pub(crate) fn client(&self, system: &str, gateway: &str) -> Client {
        client(&self.development, system, self.gateway(gateway))
    }

    /// A connection with a system's certificate, over which anything can be sent.
    pub(crate) async fn wire(&self, system: &str, gateway: &str) -> Wire {
        let config = showing(&self.development.system(system), &self.authority());
        Wire::connect(self.gateway(gateway), config).await
    }

    pub(crate) fn gateway(&self, id: &str) -> SocketAddr {
        self.process.gateway(id).unwrap()
    }

    pub(crate) fn registry(&self) -> SocketAddr {
        self.process.registry().unwrap()
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.development.tls_authority()
    }

    /// Takes a system down: its socket is closed.
    pub(crate) fn take_down(&mut self, code: &str) {
        assert!(self.systems.remove(code).is_some(), "{code} is not up");
    }

    /// How often a gateway has refused for this reason, as operators see it.
    pub(crate) async fn refusals(&self, gateway: &str, role: Role, reason: Reason) -> u64 {
        let labels = format!("role=\"{}\",reason=\"{}\"", role.name(), reason.name());
        self.counted("kopuro_exchange_refusals_total", gateway, &labels).await
    }

    /// How many exchanges have ended so at a gateway.
    pub(crate) async fn ended(&self, gateway: &str, role: Role, ending: Ending) -> u64 {
        let labels = format!("role=\"{}\",ending=\"{}\"", role.name(), ending.name());
        self.counted("kopuro_exchanges_total", gateway, &labels).await
    }

    async fn counted(&self, name: &str, gateway: &str, labels: &str) -> u64 {
        let text = self.metrics().await;
        let series = format!("{name}{{gateway=\"{gateway}\",{labels}}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)).map_or(0, |count| count.parse().unwrap())
    }

    /// What Prometheus is answered, head and body.
    pub(crate) async fn metrics(&self) -> String {
        http_get(self.process.operations("gw-portal").unwrap(), "/metrics").await.unwrap()
    }

    /// Drains and closes everything.
    pub(crate) async fn stop(self) {
        let Self { process, broker, systems, .. } = self;
        process.drain().await;
        drop(systems);
        broker.close().await;
    }
}

/// A client of a gateway with a system's certificate.
pub(crate) fn client(development: &Development, system: &str, gateway: SocketAddr) -> Client {
    let identity = development.system(system);
    Client::new(&Connection {
        endpoint: format!("https://{gateway}"),
        certificate: identity.chain,
        key: identity.key,
        authority: development.tls_authority(),
    })
    .unwrap()
}

/// What an operator's endpoint answers, head and body.
pub(crate) async fn http_get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
