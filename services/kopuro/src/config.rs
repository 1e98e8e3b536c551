//! The configuration file of a node: typed TOML, in which unknown keys are refused and all faults are told at once.

mod agree;
mod files;
mod read;
mod roles;
mod section;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use kopuro_broker::KafkaSettings;
use kopuro_rpc::unary::IntakeSettings;
use serde::Deserialize;

use files::NamedFile;
pub use roles::Roles;
use section::{Notes, Section};

/// The most calls in flight of a gateway that names no number.
const CALLS: usize = 1024;
/// The most calls in flight that a gateway may be told to take: what its intake lets in at once.
const CALLS_MAX: usize = IntakeSettings::REQUESTS_MAX;

/// What one process runs. Paths are relative to the file's folder.
#[derive(Clone, Debug)]
pub struct Config {
    /// The anchor, from which everything else is verified.
    pub anchor: PathBuf,
    /// The broker.
    pub broker: BrokerConfig,
    /// The registry service, if this process runs it.
    pub registry: Option<RegistryConfig>,
    /// The gateways that this process runs.
    pub gateways: Vec<GatewayConfig>,
    /// Traces and logs.
    pub telemetry: TelemetryConfig,
}

/// Which broker.
#[derive(Clone, Debug)]
pub enum BrokerConfig {
    /// A durable log in this process; for development and single-process pilots.
    Embedded {
        /// The folder of the log.
        folder: PathBuf,
    },
    /// A Kafka cluster.
    Kafka(KafkaSettings),
}

/// The registry service.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its certificate's key, PEM PKCS#8, readable by its owner only.
    pub key: PathBuf,
    /// The Ed25519 key of checkpoints, PEM PKCS#8.
    pub checkpoint_key: PathBuf,
    /// The key of attestations, PEM PKCS#8.
    pub attestation_key: PathBuf,
    /// A folder of signed records submitted at start, in the order of their names; records that are in the log already
    /// are left as they are.
    pub bootstrap: Option<PathBuf>,
}

/// One gateway.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Its name in the registry.
    pub id: String,
    /// Where systems connect, over mutual TLS.
    pub listen: SocketAddr,
    /// Where `/metrics`, `/livez` and `/readyz` are served, without TLS; loopback or an operators' network.
    pub operations: Option<SocketAddr>,
    /// Its certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its certificate's key, PEM PKCS#8, readable by its owner only.
    pub key: PathBuf,
    /// The key of its statements, PEM PKCS#8.
    pub signing_key: PathBuf,
    /// The members that it speaks for.
    pub members: Vec<MemberConfig>,
    /// The systems behind it that serve requests.
    pub systems: Vec<SystemConfig>,
    /// The most calls in flight. **Limits:** 1 to 2048.
    pub calls_max: usize,
}

/// A member that a gateway speaks for.
#[derive(Clone, Debug)]
pub struct MemberConfig {
    /// Its identifier.
    pub id: String,
    /// The 32-byte secret that the member's replicas share.
    pub secret: PathBuf,
    /// The keys to which content for its subsystems is sealed, PEM PKCS#8.
    pub sealing_keys: Vec<PathBuf>,
}

/// A system that serves requests.
#[derive(Clone, Debug)]
pub struct SystemConfig {
    /// The subsystem that it is.
    pub subsystem: String,
    /// `https://host:port`, or `http://` on loopback.
    pub endpoint: String,
}

/// Traces and logs.
#[derive(Clone, Debug, Default)]
pub struct TelemetryConfig {
    /// An OTLP collector's gRPC endpoint, `http://host:port`; without one no traces are sent.
    pub otlp_endpoint: Option<String>,
    /// How log lines are written.
    pub log_format: LogFormat,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Everything that is wrong with a configuration.
#[derive(Debug)]
pub struct Faults(pub Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the configuration has {} fault(s):", self.0.len())?;
        self.0.iter().try_for_each(|fault| write!(formatter, "\n  - {fault}"))
    }
}

impl std::error::Error for Faults {}

impl Config {
    /// Reads a file for a process that runs every role in it; see [`Self::load_for`].
    ///
    /// # Errors
    /// As [`Self::load_for`].
    pub fn load(path: &Path) -> Result<Self, Faults> {
        Self::load_for(path, Roles::Every)
    }

    /// Reads a file for a process that runs these roles, and looks at every file that it names, without making or changing
    /// any. Roles that the process does not run are checked and left out. Paths come back absolute or relative to the
    /// working folder.
    ///
    /// # Errors
    /// [`Faults`]: all of them, each with its place, but that nothing more is told of a file that is not TOML.
    pub fn load_for(path: &Path, roles: Roles) -> Result<Self, Faults> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Faults(vec![format!("{} cannot be read: {error}", path.display())]))?;
        let (config, notes) = Self::read(&text, path.parent().unwrap_or(Path::new(".")), roles)?;
        if let Some(instance) = files::instance(&notes.files()) {
            agree::members(&notes, &instance);
        }
        let files: Vec<_> = notes.files().iter().filter_map(NamedFile::fault).collect();
        sound(config, [notes.into_faults(), files].concat())
    }

    /// Reads a configuration of every role without looking at the files that it names.
    ///
    /// # Errors
    /// As [`Self::load_for`].
    pub fn parse(text: &str) -> Result<Self, Faults> {
        let (config, notes) = Self::read(text, Path::new(""), Roles::Every)?;
        sound(config, notes.into_faults())
    }

    fn read(text: &str, folder: &Path, roles: Roles) -> Result<(Option<Self>, Notes), Faults> {
        let table = text.parse().map_err(|error: toml::de::Error| Faults(vec![error.to_string()]))?;
        let notes = Notes::default();
        let config = Section::root(table, folder, &notes, |root| read::config(root, roles));
        agree::listeners(&notes);
        Ok((config, notes))
    }
}

/// What was read, if no fault was noted.
fn sound(config: Option<Config>, faults: Vec<String>) -> Result<Config, Faults> {
    config.filter(|_| faults.is_empty()).ok_or(Faults(faults))
}

#[cfg(test)]
mod tests;
