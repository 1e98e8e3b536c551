//! Files that hold secrets: written for their owner alone, and read only when nobody else can.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

/// The longest secret file that is read; a P-256 key takes some 240 bytes. **Units:** bytes.
const FILE_LEN_MAX: u64 = 16 * 1024;

/// Why a secret could not be read from its file or written to it. The operator must act; no variant carries what the file holds.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// The file could not be opened or read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The file could not be made: it exists, or the folder does not, or the disk is full.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The path names a folder, a device or a pipe.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Others than the owner can read or change the file.
    #[error("{} can be read or changed by others (mode {mode:04o}): set its mode to 0600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// The permission bits found.
        mode: u32,
    },
    /// The file is longer than any secret of the bus.
    #[error("{} is longer than {FILE_LEN_MAX} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file does not hold exactly one unencrypted PKCS#8 private key in PEM.
    #[error("{} does not hold one PKCS#8 private key in PEM", path.display())]
    NotPkcs8 {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the bytes of a secret file.
///
/// # Errors
/// [`KeyFileError`] when the file cannot be read, is no regular file, is open to others, or is too long.
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let unreadable = |source| KeyFileError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    // The opened file is judged, not the path, so that nobody can exchange it in between.
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(KeyFileError::NotAFile { path: path.to_owned() });
    }
    refuse_exposed(path, &metadata)?;
    // The buffer never grows, so no copy of the secret is left behind in freed memory.
    let mut secret =
        Zeroizing::new(Vec::with_capacity(usize::try_from(FILE_LEN_MAX + 1).unwrap_or(usize::MAX)));
    file.take(FILE_LEN_MAX + 1).read_to_end(&mut secret).map_err(unreadable)?;
    if secret.len() as u64 > FILE_LEN_MAX {
        return Err(KeyFileError::TooLong { path: path.to_owned() });
    }
    Ok(secret)
}

/// Reads a file that holds one PKCS#8 private key in PEM, and returns the key's DER.
///
/// # Errors
/// [`KeyFileError`] as for [`read_secret`], and when the file holds anything but one private key.
pub fn read_pkcs8(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let pem = read_secret(path)?;
    pkcs8_from_pem(&pem).ok_or_else(|| KeyFileError::NotPkcs8 { path: path.to_owned() })
}

/// Writes a new file that only its owner can read, and waits until it is on disk. A file that exists is not touched:
/// overwriting a key may lose the only copy of it.
///
/// # Errors
/// [`KeyFileError::Unwritable`].
pub fn write_secret(path: &Path, secret: &[u8]) -> Result<(), KeyFileError> {
    let write = || {
        let mut file = create_private(path)?;
        file.write_all(secret)?;
        file.sync_all()
    };
    write().map_err(|source| KeyFileError::Unwritable { path: path.to_owned(), source })
}

/// The DER of the only private key in a PEM text; `None` when there is none, or more than one.
pub fn pkcs8_from_pem(pem: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut found = PrivatePkcs8KeyDer::pem_slice_iter(pem);
    let mut only = found.next()?.ok()?;
    let der = Zeroizing::new(only.secret_pkcs8_der().to_vec());
    only.zeroize();
    found.next().is_none().then_some(der)
}

#[cfg(unix)]
fn refuse_exposed(path: &Path, metadata: &std::fs::Metadata) -> Result<(), KeyFileError> {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyFileError::Exposed { path: path.to_owned(), mode }) }
}

#[cfg(unix)]
fn create_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;

    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

#[cfg(not(unix))]
fn refuse_exposed(_path: &Path, _metadata: &std::fs::Metadata) -> Result<(), KeyFileError> {
    Ok(())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file_with(folder: &tempfile::TempDir, text: &[u8], mode: u32) -> PathBuf {
        let path = folder.path().join("key.pem");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_file_open_to_others_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o644] {
            let path = file_with(&folder, b"secret", mode);
            assert!(
                matches!(read_secret(&path), Err(KeyFileError::Exposed { mode: found, .. }) if found == mode)
            );
        }
        for mode in [0o600, 0o400] {
            let path = file_with(&folder, b"secret", mode);
            assert_eq!(read_secret(&path).unwrap().as_slice(), b"secret");
            fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn only_a_short_regular_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let long = file_with(&folder, &[b'x'; 16 * 1024 + 1], 0o600);
        assert!(matches!(read_secret(&long), Err(KeyFileError::TooLong { .. })));
        assert!(matches!(read_secret(folder.path()), Err(KeyFileError::NotAFile { .. })));
        assert!(matches!(read_secret(&folder.path().join("none")), Err(KeyFileError::Unreadable { .. })));
    }

    #[test]
    fn a_written_file_is_its_owners_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write_secret(&path, b"first").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(matches!(write_secret(&path, b"second"), Err(KeyFileError::Unwritable { .. })));
        assert_eq!(read_secret(&path).unwrap().as_slice(), b"first");
    }

    #[test]
    fn a_pem_file_holds_one_private_key() {
        let key = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_pkcs8(&file_with(&folder, key.as_bytes(), 0o600)).unwrap().as_slice(), [0x30, 0]);
        for text in ["", "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n", &[key, key].concat()]
        {
            let path = file_with(&folder, text.as_bytes(), 0o600);
            assert!(matches!(read_pkcs8(&path), Err(KeyFileError::NotPkcs8 { .. })), "{text:?} was accepted");
        }
    }
}
