//! Writes what the development authority made. No file that exists is touched; private files are their owner's.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{Authority, Issued, NewKey};
use crate::key_file::{KeyFileError, write_secret};

/// The files of a certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain in PEM, the certificate itself first.
    pub chain: PathBuf,
    /// The private key in PEM, with mode 0600.
    pub key: PathBuf,
}

/// The files of a signing or sealing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFiles {
    /// The private key in PEM, with mode 0600.
    pub private: PathBuf,
    /// The public key in PEM.
    pub public: PathBuf,
}

/// Writes an authority to `<name>.crt.pem` and `<name>.key.pem` in an existing folder.
///
/// # Errors
/// [`KeyFileError::Unwritable`].
pub fn write_authority(
    folder: &Path,
    name: &str,
    authority: &Authority,
) -> Result<CertificateFiles, KeyFileError> {
    write_certificate(folder, name, &authority.chain_pem(), &authority.key_pem())
}

/// Writes a certificate to `<name>.crt.pem` and its key to `<name>.key.pem` in an existing folder.
///
/// # Errors
/// [`KeyFileError::Unwritable`].
pub fn write_issued(folder: &Path, name: &str, issued: &Issued) -> Result<CertificateFiles, KeyFileError> {
    write_certificate(folder, name, &issued.chain_pem(), &issued.key_pem())
}

/// Writes a key to `<name>.key.pem` and its public half to `<name>.pub.pem` in an existing folder.
///
/// # Errors
/// [`KeyFileError::Unwritable`].
pub fn write_key(folder: &Path, name: &str, key: &NewKey) -> Result<KeyFiles, KeyFileError> {
    let files = KeyFiles {
        private: folder.join(format!("{name}.key.pem")),
        public: folder.join(format!("{name}.pub.pem")),
    };
    write_secret(&files.private, key.private_pem().as_bytes())?;
    write_public(&files.public, key.public_pem().as_bytes())?;
    Ok(files)
}

fn write_certificate(
    folder: &Path,
    name: &str,
    chain: &str,
    key: &str,
) -> Result<CertificateFiles, KeyFileError> {
    let files = CertificateFiles {
        chain: folder.join(format!("{name}.crt.pem")),
        key: folder.join(format!("{name}.key.pem")),
    };
    write_secret(&files.key, key.as_bytes())?;
    write_public(&files.chain, chain.as_bytes())?;
    Ok(files)
}

fn write_public(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|source| KeyFileError::Unwritable { path: path.to_owned(), source })
}
