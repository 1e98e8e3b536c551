//! The folder of a development instance.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use kopuro_broker::durable::sync_folder;
use kopuro_trust::key_file::{KeyFileError, write_secret};
use kopuro_trust::pki::files::{write_issued, write_key};
use kopuro_trust::pki::{Issued, NewKey};
use kopuro_trust::signing::SignatureAlgorithm;

use super::DevelopmentError;

/// The folders within it.
pub(super) const PARTS: [&str; 6] = ["authority", "bootstrap", "gateways", "members", "registry", "systems"];

/// Writes below one folder, and never over a file that is there.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        for part in PARTS {
            fs::create_dir_all(path.join(part))?;
        }
        Ok(Self(path.to_owned()))
    }

    /// Waits until all its files are found after the loss of power.
    pub(super) fn sync(&self) -> io::Result<()> {
        PARTS.iter().try_for_each(|part| sync_folder(&self.sub(part)))?;
        sync_folder(&self.0)
    }

    pub(super) fn sub(&self, part: &str) -> PathBuf {
        self.0.join(part)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        write_new(&self.0.join(name), bytes)
    }

    pub(super) fn secret(&self, name: &str, secret: &[u8]) -> Result<(), KeyFileError> {
        write_secret(&self.0.join(name), secret)
    }

    pub(super) fn key(
        &self,
        part: &str,
        name: &str,
        algorithm: SignatureAlgorithm,
    ) -> Result<NewKey, DevelopmentError> {
        let key = NewKey::signing(algorithm);
        self.private_key(part, name, &key)?;
        Ok(key)
    }

    pub(super) fn private_key(&self, part: &str, name: &str, key: &NewKey) -> Result<(), DevelopmentError> {
        write_key(&self.sub(part), name, key)?;
        Ok(())
    }

    pub(super) fn issued(&self, part: &str, name: &str, issued: &Issued) -> Result<(), DevelopmentError> {
        write_issued(&self.sub(part), name, issued)?;
        Ok(())
    }
}

/// Writes a file that must not exist, and waits until it is on disk.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
