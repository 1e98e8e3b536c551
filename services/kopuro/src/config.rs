//! The configuration file of a node: typed TOML, in which unknown keys are refused and all faults are told at once.

mod check;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use kopuro_broker::KafkaSettings;
use serde::Deserialize;

/// What one process runs. Paths are relative to the file's folder.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// The anchor, from which everything else is verified.
    pub anchor: PathBuf,
    /// The broker.
    pub broker: BrokerConfig,
    /// The registry service, if this process runs it.
    pub registry: Option<RegistryConfig>,
    /// The gateways that this process runs.
    #[serde(default, rename = "gateway")]
    pub gateways: Vec<GatewayConfig>,
    /// Traces and logs.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// Which broker.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Clone, Debug, Deserialize)]
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
#[derive(Clone, Debug, Deserialize)]
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
    #[serde(rename = "member")]
    pub members: Vec<MemberConfig>,
    /// The systems behind it that serve requests.
    #[serde(default, rename = "system")]
    pub systems: Vec<SystemConfig>,
    /// The most calls in flight.
    #[serde(default = "thousand")]
    pub calls_max: usize,
}

/// A member that a gateway speaks for.
#[derive(Clone, Debug, Deserialize)]
pub struct MemberConfig {
    /// Its identifier.
    pub id: String,
    /// The 32-byte secret that the member's replicas share.
    pub secret: PathBuf,
    /// The keys to which content for its subsystems is sealed, PEM PKCS#8.
    pub sealing_keys: Vec<PathBuf>,
}

/// A system that serves requests.
#[derive(Clone, Debug, Deserialize)]
pub struct SystemConfig {
    /// The subsystem that it is.
    pub subsystem: String,
    /// `https://host:port`, or `http://` on loopback.
    pub endpoint: String,
}

/// Traces and logs.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct TelemetryConfig {
    /// An OTLP collector's gRPC endpoint; without one no traces are sent.
    pub otlp_endpoint: Option<String>,
    /// How log lines are written.
    #[serde(default)]
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
    /// Reads and checks a file. Paths come back absolute or relative to the working folder.
    ///
    /// # Errors
    /// [`Faults`]: all of them, but that a value of the wrong type hides what stands behind it.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Faults(vec![format!("{} cannot be read: {error}", path.display())]))?;
        let mut config = Self::parse(&text)?;
        config.rebase(path.parent().unwrap_or(Path::new(".")));
        let faults = check::files(&config);
        if faults.is_empty() { Ok(config) } else { Err(Faults(faults)) }
    }

    /// Reads a configuration without looking at the files that it names.
    ///
    /// # Errors
    /// [`Faults`].
    pub fn parse(text: &str) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let unknown = |path: serde_ignored::Path<'_>| faults.push(format!("unknown key `{path}`"));
        let parsed = toml::Deserializer::parse(text)
            .and_then(|deserializer| serde_ignored::deserialize::<_, _, Self>(deserializer, unknown));
        match parsed {
            Ok(config) => {
                faults.extend(check::values(&config));
                if faults.is_empty() { Ok(config) } else { Err(Faults(faults)) }
            }
            Err(error) => {
                faults.push(error.to_string().trim_end().to_owned());
                Err(Faults(faults))
            }
        }
    }

    /// The same, with every port left to the system: for a process that tells its addresses itself. Between choosing a
    /// free port and listening on it, another process may take it.
    #[must_use]
    pub fn on_any_ports(mut self) -> Self {
        let gateways = self.gateways.iter_mut();
        let of_gateways =
            gateways.flat_map(|gateway| [Some(&mut gateway.listen), gateway.operations.as_mut()]);
        let of_registry = self.registry.iter_mut().map(|registry| Some(&mut registry.listen));
        of_gateways.chain(of_registry).flatten().for_each(|address| address.set_port(0));
        self
    }

    fn rebase(&mut self, folder: &Path) {
        let Self { anchor, broker, registry, gateways, telemetry: _ } = self;
        let mut paths = vec![anchor];
        match broker {
            BrokerConfig::Embedded { folder } => paths.push(folder),
            BrokerConfig::Kafka(KafkaSettings { tls: Some(tls), .. }) => {
                paths.extend([&mut tls.ca, &mut tls.certificate, &mut tls.key]);
            }
            BrokerConfig::Kafka(_) => {}
        }
        if let Some(registry) = registry {
            let RegistryConfig { listen: _, certificate, key, checkpoint_key, attestation_key, bootstrap } =
                registry;
            paths.extend([certificate, key, checkpoint_key, attestation_key]);
            paths.extend(bootstrap);
        }
        for gateway in gateways {
            paths.extend([&mut gateway.certificate, &mut gateway.key, &mut gateway.signing_key]);
            for MemberConfig { id: _, secret, sealing_keys } in &mut gateway.members {
                paths.push(secret);
                paths.extend(sealing_keys);
            }
        }
        for path in paths {
            *path = folder.join(&*path);
        }
    }
}

const fn thousand() -> usize {
    1024
}

#[cfg(test)]
mod tests;
