//! The folder of a development instance.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kopuro_trust::key_file::{KeyFileError, write_secret};
use kopuro_trust::pki::files::{write_issued, write_key};
use kopuro_trust::pki::{Issued, NewKey};
use kopuro_trust::signing::SignatureAlgorithm;

use super::DevelopmentError;

/// Writes below one folder, and never over a file that is there.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        for part in ["authority", "bootstrap", "gateways", "members", "registry", "systems"] {
            fs::create_dir_all(path.join(part))?;
        }
        Ok(Self(path.to_owned()))
    }

    pub(super) fn sub(&self, part: &str) -> io::Result<PathBuf> {
        let path = self.0.join(part);
        fs::create_dir_all(&path)?;
        Ok(path)
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
        write_key(&self.sub(part)?, name, key)?;
        Ok(())
    }

    pub(super) fn issued(&self, part: &str, name: &str, issued: &Issued) -> Result<(), DevelopmentError> {
        write_issued(&self.sub(part)?, name, issued)?;
        Ok(())
    }
}

/// Writes a file over the one that is there, whole or not at all.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes)?;
    fs::rename(beside, path)
}

/// Writes a file that must not exist.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    io::Write::write_all(&mut file, bytes)
}
