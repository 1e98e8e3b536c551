//! Looking at the files that a configuration names, as those who use them will, without making or changing any.

use std::error::Error;
use std::path::{Path, PathBuf};

use kopuro_core::id::Instance;
use kopuro_gateway::trust_of;
use kopuro_registry::anchor::Anchor;
use kopuro_trust::key_file;
use kopuro_trust::member_secret::MemberSecret;
use kopuro_trust::sealing::SealingKey;
use kopuro_trust::signing::{SignatureAlgorithm, Signer};
use kopuro_trust::tls::{self, Identity};

/// A file that a configuration names.
#[derive(Debug)]
pub(super) struct NamedFile {
    /// Where it is named, such as `gateway[0].key`.
    pub(super) place: String,
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
}

/// What a file has to be.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// The anchor.
    Anchor,
    /// Certificates, PEM, at least one.
    Certificates,
    /// The key of the certificate, if that is named.
    TransportKey { certificate: Option<PathBuf> },
    /// A key that signs.
    SigningKey,
    /// A key that signs checkpoints.
    CheckpointKey,
    /// A key to which content is sealed.
    SealingKey,
    /// A member's secret.
    Secret,
    /// The key of a Kafka client: librdkafka reads kinds that the bus does not use itself.
    KafkaKey,
    /// A folder that must be there.
    Folder,
    /// The folder of the log, which the first start makes.
    LogFolder,
}

type Fault = Box<dyn Error + Send + Sync>;

impl NamedFile {
    /// What is wrong with the file.
    pub(super) fn fault(&self) -> Option<String> {
        let Self { place, path, kind } = self;
        let fault = kind.look_at(path).err()?;
        let (mut told, path) = (with_sources(&*fault), path.display().to_string());
        if !told.contains(&path) {
            told = format!("{path}: {told}");
        }
        Some(format!("{place}: {told}"))
    }
}

impl Kind {
    fn look_at(&self, path: &Path) -> Result<(), Fault> {
        match self {
            Self::Anchor => drop(trust_of(&anchor(path)?)?),
            Self::Certificates => drop(tls::read_chain(path)?),
            Self::TransportKey { certificate } => transport_key(path, certificate.as_deref())?,
            Self::SigningKey => drop(Signer::from_pem_file(path)?),
            Self::CheckpointKey => checkpoint_key(path)?,
            Self::SealingKey => drop(SealingKey::from_pem_file(path)?),
            Self::Secret => drop(MemberSecret::from_file(path)?),
            Self::KafkaKey => kafka_key(path)?,
            Self::Folder => drop(std::fs::read_dir(path)?),
            Self::LogFolder => log_folder(path)?,
        }
        Ok(())
    }
}

/// The instance of the anchor among these files; `None` while it cannot be read, which is a fault of its own.
pub(super) fn instance(files: &[NamedFile]) -> Option<Instance> {
    let named = files.iter().find(|file| matches!(file.kind, Kind::Anchor))?;
    anchor(&named.path).ok().map(|anchor| anchor.instance)
}

fn anchor(path: &Path) -> Result<Anchor, Fault> {
    Ok(Anchor::parse(&std::fs::read_to_string(path)?)?)
}

/// A chain that cannot be read is a fault of its own, not of the key.
fn transport_key(key: &Path, certificate: Option<&Path>) -> Result<(), Fault> {
    match certificate.filter(|chain| tls::read_chain(chain).is_ok()) {
        Some(chain) => drop(Identity::from_pem_files(chain, key)?),
        None => drop(key_file::read_pkcs8(key)?),
    }
    Ok(())
}

fn checkpoint_key(path: &Path) -> Result<(), Fault> {
    match Signer::from_pem_file(path)?.algorithm() {
        SignatureAlgorithm::Ed25519 => Ok(()),
        SignatureAlgorithm::EcdsaP256Sha256 => Err("checkpoints are signed with an Ed25519 key only".into()),
    }
}

fn log_folder(path: &Path) -> Result<(), Fault> {
    match std::fs::read_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn kafka_key(path: &Path) -> Result<(), Fault> {
    let pem = std::fs::read(path)?;
    let holds_key = pem.windows(KEY_LABEL.len()).any(|window| window == KEY_LABEL);
    if holds_key { Ok(()) } else { Err("it holds no private key in PEM".into()) }
}

/// What ends the first line of any private key in PEM.
const KEY_LABEL: &[u8] = b"PRIVATE KEY-----";

fn with_sources(error: &dyn Error) -> String {
    let own = error.to_string().trim_end().to_owned();
    error.source().map_or(own.clone(), |source| format!("{own}: {}", with_sources(source)))
}
