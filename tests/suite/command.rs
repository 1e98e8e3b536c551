//! The `kopuro` command as a child process.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use kopuro::config::Config;
use kopuro::development::{Development, Options, default_instance};
use kopuro::examples::server::Systems;
use kopuro_core::time::Clock as _;
use kopuro_telemetry::clock::SystemClock;
use rand::Rng as _;
use tokio::process::{Child, Command};

use crate::node::http_get;

/// How long a command may take that ends by itself.
const COMMAND_LIMIT: Duration = Duration::from_secs(90);
/// How long `kopuro up` may take to be ready, or to end.
pub(crate) const UP_LIMIT: Duration = Duration::from_secs(60);
/// How often a child is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// The command, to be given arguments.
pub(crate) fn kopuro() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kopuro-under-test"));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs the command to its end.
pub(crate) async fn run(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    let ended = tokio::time::timeout(COMMAND_LIMIT, kopuro().args(arguments).output()).await;
    ended.expect("the command ends in time").unwrap()
}

/// `kopuro up` on a development instance that survives it.
pub(crate) struct Up {
    pub(crate) development: Development,
    config: Config,
    arguments: Vec<OsString>,
    child: Option<Child>,
    folder: tempfile::TempDir,
    _systems: Systems,
}

impl Up {
    /// An instance whose systems this process serves, without examples beside them; nothing else runs yet.
    pub(crate) async fn create(
        served: impl IntoIterator<Item = (&'static str, Router)>,
        kafka: Option<String>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let development =
            Development::create(&folder.path().join("instance"), &default_instance(), SystemClock.now())
                .unwrap();
        let systems = Systems::start_with(&development, served).await.unwrap();
        let endpoints = systems.endpoints.clone();
        development.configure(&Options { kafka, endpoints, operations: true }).unwrap();
        settle_ports(&development.config());
        let config = Config::load(&development.config()).unwrap();
        let arguments = vec!["--no-examples".into(), "--data".into(), folder.path().join("instance").into()];
        Self { development, config, arguments, child: None, folder, _systems: systems }
    }

    /// The same, with what it is given to start with.
    pub(crate) fn given(self, arguments: impl IntoIterator<Item = OsString>) -> Self {
        Self { arguments: arguments.into_iter().collect(), ..self }
    }

    /// Starts it and waits until every gateway is ready.
    pub(crate) async fn start(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let child = kopuro()
            .arg("up")
            .args(&self.arguments)
            .env("RUST_LOG", "info,kopuro=trace,fjall=warn,lsm_tree=warn")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        if tokio::time::timeout(UP_LIMIT, self.ready()).await.is_err() {
            panic!("not ready in time: {}", self.logged());
        }
    }

    async fn ready(&mut self) {
        for gateway in self.config.gateways.clone() {
            while !is_ready(gateway.operations.unwrap()).await {
                let ended = self.child.as_mut().unwrap().try_wait().unwrap();
                assert!(ended.is_none(), "it ended with {ended:?}: {}", self.logged());
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
    }

    /// Waits until a gateway tells that it is not ready.
    pub(crate) async fn until_not_ready(&self, gateway: &str) {
        let address = self.operations(gateway);
        let waiting = async {
            while is_ready(address).await {
                tokio::time::sleep(ASK_EVERY).await;
            }
        };
        tokio::time::timeout(UP_LIMIT, waiting).await.expect("it tells that it drains");
    }

    /// Ends it with SIGKILL, as a power cut would.
    pub(crate) async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    /// Asks it to end with SIGTERM.
    pub(crate) async fn terminate(&self) {
        terminate(self.child.as_ref().unwrap()).await;
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_none()
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        ended(self.child.take().unwrap()).await
    }

    pub(crate) fn gateway(&self, id: &str) -> SocketAddr {
        self.config.gateways.iter().find(|gateway| gateway.id == id).unwrap().listen
    }

    pub(crate) fn operations(&self, id: &str) -> SocketAddr {
        self.config.gateways.iter().find(|gateway| gateway.id == id).unwrap().operations.unwrap()
    }

    /// The gateways' names.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = &str> {
        self.config.gateways.iter().map(|gateway| gateway.id.as_str())
    }

    /// The folder in which the embedded broker keeps its log.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("instance/data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("up.log")
    }

    /// Everything that it has written to its standard streams.
    pub(crate) fn logged(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log()).unwrap()).into_owned()
    }
}

/// Asks a process to end with SIGTERM.
pub(crate) async fn terminate(child: &Child) {
    let pid = child.id().unwrap();
    let sent = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await.unwrap();
    assert!(sent.success());
}

/// Waits until a process has ended.
pub(crate) async fn ended(mut child: Child) -> ExitStatus {
    tokio::time::timeout(UP_LIMIT, child.wait()).await.expect("it ends in time").unwrap()
}

async fn is_ready(operations: SocketAddr) -> bool {
    http_get(operations, "/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// Gives a configuration ports below those that the system hands out by itself, and each to one configuration only: while
/// the process is down between two starts, neither a connection nor a process of another test may take one of them.
fn settle_ports(config: &Path) {
    let text = std::fs::read_to_string(config).unwrap();
    let settled = text.lines().map(|line| match line.split_once(" = \"127.0.0.1:") {
        Some((name @ ("listen" | "operations"), _)) => {
            format!("{name} = \"{}\"", own_port())
        }
        Some(_) | None => line.to_owned(),
    });
    let settled = settled.collect::<Vec<_>>().join("\n");
    std::fs::write(config, settled + "\n").unwrap();
}

fn own_port() -> SocketAddr {
    /// The ports that tests of this process have.
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let (mut random, mut given) = (rand::rng(), GIVEN.lock().unwrap());
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut tried = (0..1000).map(|_| random.random_range(16_000..20_000));
    let port = tried.find(|port| !given.contains(port) && free(port)).expect("a port is free");
    given.insert(port);
    SocketAddr::from(([127, 0, 0, 1], port))
}
