//! A development instance: an authority, agencies, gateways, systems, contracts and rights, made in one go.
//!
//! It is what a first start, the demonstration, the end-to-end tests and the benches run on. All keys are made here and
//! lie in one folder, which is what development means; in earnest each key is made by its owner and stays there.

mod agencies;
mod configuration;
mod folder;
mod making;
mod ports;
mod records;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kopuro_broker::durable;
use kopuro_core::id::Instance;
use kopuro_core::time::UnixMillis;
use kopuro_registry::anchor::{Anchor, AnchorError};
use kopuro_trust::key_file::KeyFileError;
use kopuro_trust::member_secret::MEMBER_SECRET_LEN;
use kopuro_trust::pki::files::write_authority;
use kopuro_trust::pki::{
    Authority, CertificatePurpose, Issued, NewKey, PkiError, Validity, new_member_secret,
};
use kopuro_trust::random;
use kopuro_trust::signing::{SignatureAlgorithm, Signer, VerifyingKey};

use crate::process::Process;

pub use agencies::{AGENCIES, Agency, ContractSource, Right, System, rights};
use folder::Folder;
use making::Making;
use records::Records;

/// How long the keys and certificates of a development instance are valid.
const VALID_FOR: Duration = Duration::from_secs(365 * 24 * 3600);
/// How far back they begin, for machines whose clock is behind.
const VALID_SINCE: Duration = Duration::from_secs(3600);

/// The name of the configuration in an instance's folder.
const CONFIG: &str = "kopuro.toml";
/// The name of the anchor there.
const ANCHOR: &str = "anchor.toml";
/// The name of the folder there that an instance fills while it runs.
const DATA: &str = "data";

/// Why a development instance could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum DevelopmentError {
    /// A certificate could not be issued.
    #[error("a certificate could not be issued")]
    Pki(#[from] PkiError),
    /// A private file could not be written.
    #[error("a key could not be written")]
    Key(#[from] KeyFileError),
    /// The folder of an instance cannot be used.
    #[error("the folder {} cannot be used", .0.display())]
    Folder(PathBuf, #[source] std::io::Error),
    /// Another process makes an instance in the folder.
    #[error("another process makes an instance in {}: wait until it is made", .0.display())]
    Making(PathBuf),
    /// Something that no making left stands where an instance is to be made.
    #[error("{} stands where an instance would be made: choose another folder, or move it away", .0.display())]
    Occupied(PathBuf),
    /// A file or folder could not be read or written.
    #[error("a file could not be read or written")]
    Io(#[from] std::io::Error),
    /// The anchor of an instance cannot be used.
    #[error("the anchor cannot be used")]
    Anchor(#[from] AnchorError),
    /// The configuration of an instance cannot be read.
    #[error("the configuration cannot be read")]
    Configuration(#[from] toml::de::Error),
}

/// What varies between development instances.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The `host:port` of a Kafka broker, instead of the embedded one.
    pub kafka: Option<String>,
    /// Where each system serves, by the subsystem's code, such as `pensions`.
    pub endpoints: BTreeMap<String, String>,
    /// Every gateway's operations endpoint is configured too.
    pub operations: bool,
}

/// What a development instance is called when nobody says otherwise.
pub fn default_instance() -> Instance {
    Instance::parse("KG").expect("the name is valid")
}

/// A name for an instance that nobody will start again, so that it meets no other on a broker that several use.
pub fn passing_instance() -> Instance {
    let number = u32::from_be_bytes(random::bytes());
    Instance::parse(&format!("KG-{number:08x}")).expect("the name is valid")
}

/// Where a development instance lies.
#[derive(Clone, Debug)]
pub struct Development {
    folder: PathBuf,
    instance: Instance,
}

/// A certificate with its key, as files.
#[derive(Clone, Debug)]
pub struct IdentityFiles {
    /// The chain, PEM.
    pub chain: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

impl Development {
    /// The instance that lies in `folder`, if there is one.
    ///
    /// # Errors
    /// [`DevelopmentError`] when there is one whose anchor cannot be read.
    pub fn find(folder: &Path) -> Result<Option<Self>, DevelopmentError> {
        if folder.join(CONFIG).is_file() { Self::read(folder).map(Some) } else { Ok(None) }
    }

    fn read(folder: &Path) -> Result<Self, DevelopmentError> {
        let Anchor { instance, .. } = Anchor::parse(&fs::read_to_string(folder.join(ANCHOR))?)?;
        Ok(Self { folder: folder.to_owned(), instance })
    }

    /// Makes an instance in `folder` with its configuration, valid from `now` for a year, and takes up what an earlier
    /// making left that was cut short: one that had made everything is brought to its end, with its own name and
    /// options. Anything else that stands in the folder stays. Finds the instance that another process has just made.
    ///
    /// # Errors
    /// [`DevelopmentError`]; nothing that exists is overwritten.
    pub fn make(
        folder: &Path,
        instance: &Instance,
        now: UnixMillis,
        options: &Options,
    ) -> Result<Self, DevelopmentError> {
        let making = Making::begin(folder)?;
        if let Some(made) = Self::open(folder)? {
            return Ok(made);
        }
        if !making.is_whole() {
            making.clear()?;
            Self::create(making.stage(), instance, now)?.configure(options)?;
        }
        making.finish()?;
        Self::read(folder)
    }

    /// As [`Self::find`], and clears away what a making may have left that was cut short at its very end.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn open(folder: &Path) -> Result<Option<Self>, DevelopmentError> {
        let found = Self::find(folder)?;
        if found.is_some() {
            making::clear_stage(folder);
        }
        Ok(found)
    }

    /// Makes the keys, certificates and founding records of an instance in `folder`, valid from `now` for a year. They
    /// are on disk when this returns.
    ///
    /// # Errors
    /// [`DevelopmentError`]; nothing that exists is overwritten.
    pub fn create(folder: &Path, instance: &Instance, now: UnixMillis) -> Result<Self, DevelopmentError> {
        let validity = Validity { not_before: now.minus(VALID_SINCE), not_after: now.plus(VALID_FOR) };
        let mut maker = Maker::new(Folder::create(folder)?, instance, now, validity)?;
        maker.registry()?;
        for agency in AGENCIES {
            maker.agency(agency)?;
        }
        maker.contracts_and_rights(instance)?;
        maker.folder.sync()?;
        Ok(Self { folder: folder.to_owned(), instance: instance.clone() })
    }

    /// Writes the configuration of a process with every role, on ports of the loopback that the system chooses: whole or
    /// not at all.
    ///
    /// # Errors
    /// [`DevelopmentError::Io`], also when there is one.
    pub fn configure(&self, options: &Options) -> Result<(), DevelopmentError> {
        if self.config().try_exists()? {
            return Err(std::io::Error::from(std::io::ErrorKind::AlreadyExists).into());
        }
        let text = configuration::write(&self.instance, options);
        Ok(durable::replace(&self.config(), text.as_bytes())?)
    }

    /// Writes down the ports that the system chose for `process`, so that it is found there after its next start too.
    /// Ports that the configuration names are left as they are.
    ///
    /// # Errors
    /// [`DevelopmentError::Io`] or [`DevelopmentError::Configuration`].
    pub fn keep_ports(&self, process: &Process) -> Result<(), DevelopmentError> {
        let text = fs::read_to_string(self.config())?;
        let kept = ports::keep(&text, |place| ports::of(process, place))?;
        if kept != text {
            durable::replace(&self.config(), kept.as_bytes())?;
        }
        Ok(())
    }

    /// What it is called.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// The configuration of a process with every role.
    pub fn config(&self) -> PathBuf {
        self.folder.join(CONFIG)
    }

    /// The anchor.
    pub fn anchor(&self) -> PathBuf {
        self.folder.join(ANCHOR)
    }

    /// The authority under which all certificates are issued, PEM.
    pub fn tls_authority(&self) -> PathBuf {
        self.folder.join("authority/tls.crt.pem")
    }

    /// The certificate of a system, by its subsystem's code.
    pub fn system(&self, code: &str) -> IdentityFiles {
        self.identity("systems", code)
    }

    /// The certificate of a gateway.
    pub fn gateway(&self, id: &str) -> IdentityFiles {
        self.identity("gateways", id)
    }

    /// A member's administration key, by the member's code.
    pub fn administration_key(&self, member_code: &str) -> PathBuf {
        self.folder.join(format!("members/{member_code}-administration.key.pem"))
    }

    /// The authority's key.
    pub fn authority_key(&self) -> PathBuf {
        self.folder.join("authority/authority.key.pem")
    }

    fn identity(&self, folder: &str, name: &str) -> IdentityFiles {
        let file = |kind| self.folder.join(format!("{folder}/{name}.{kind}.pem"));
        IdentityFiles { chain: file("crt"), key: file("key") }
    }
}

/// Makes an instance step by step.
struct Maker {
    folder: Folder,
    records: Records,
    validity: Validity,
    tls: Authority,
}

impl Maker {
    fn new(
        folder: Folder,
        instance: &Instance,
        now: UnixMillis,
        validity: Validity,
    ) -> Result<Self, DevelopmentError> {
        let tls = Authority::create_root(&format!("{instance} development authority"), validity)?;
        write_authority(&folder.sub("authority"), "tls", &tls)?;
        let authority = folder.key("authority", "authority", SignatureAlgorithm::EcdsaP256Sha256)?;
        let anchor = Anchor {
            instance: instance.clone(),
            authority_keys: vec![verifying(&authority)],
            authority_signatures: 1,
            tls_authorities: vec![tls.chain_pem()],
        };
        folder.write(ANCHOR, anchor.to_toml().as_bytes())?;
        let records =
            Records::new(instance.clone(), now, validity, signer(&authority), folder.sub("bootstrap"));
        Ok(Self { folder, records, validity, tls })
    }

    fn registry(&mut self) -> Result<(), DevelopmentError> {
        self.issue("registry", "registry", CertificatePurpose::Service)?;
        let checkpoint = self.folder.key("registry", "checkpoint", SignatureAlgorithm::Ed25519)?;
        let attestation = self.folder.key("registry", "attestation", SignatureAlgorithm::EcdsaP256Sha256)?;
        self.records.delegate(&checkpoint, records::Purpose::Checkpoint)?;
        self.records.delegate(&attestation, records::Purpose::Attestation)?;
        Ok(())
    }

    fn agency(&mut self, agency: &Agency) -> Result<(), DevelopmentError> {
        let administration = format!("{}-administration", agency.code);
        let administration =
            self.folder.key("members", &administration, SignatureAlgorithm::EcdsaP256Sha256)?;
        self.records.agency(agency, &administration)?;
        let gateway = self.issue("gateways", agency.gateway, CertificatePurpose::Gateway)?;
        let signing = format!("{}-signing", agency.gateway);
        let signing = self.folder.key("gateways", &signing, SignatureAlgorithm::EcdsaP256Sha256)?;
        self.records.gateway_keys(agency, &gateway.spki_der()?, signing.spki_der())?;
        let secret: zeroize::Zeroizing<[u8; MEMBER_SECRET_LEN]> = new_member_secret();
        self.folder.secret(&format!("gateways/{}.secret", agency.code), secret.as_slice())?;
        for system in agency.systems {
            let issued = self.issue("systems", system.code, CertificatePurpose::System)?;
            let sealing = NewKey::sealing();
            self.folder.private_key("gateways", &format!("{}-sealing", system.code), &sealing)?;
            self.records.system_keys(agency, system, &issued.spki_der()?, sealing.spki_der())?;
        }
        Ok(())
    }

    fn contracts_and_rights(&mut self, instance: &Instance) -> Result<(), DevelopmentError> {
        for agency in AGENCIES {
            for system in agency.systems {
                for contract in system.contracts {
                    self.records.contract(agency, system, contract)?;
                }
            }
        }
        for right in rights(instance) {
            self.records.right(&right)?;
        }
        Ok(())
    }

    fn issue(
        &self,
        folder: &str,
        name: &str,
        purpose: CertificatePurpose,
    ) -> Result<Issued, DevelopmentError> {
        let issued = self.tls.issue(purpose, name, &[], self.validity)?;
        self.folder.issued(folder, name, &issued)?;
        Ok(issued)
    }
}

fn signer(key: &NewKey) -> Signer {
    Signer::from_pkcs8_der(key.pkcs8_der()).expect("a generated key can be read")
}

fn verifying(key: &NewKey) -> VerifyingKey {
    VerifyingKey::from_spki_der(key.spki_der()).expect("a generated key can be read")
}
