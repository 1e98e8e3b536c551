//! Files that are whole after a crash or the loss of power.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// What ends the name of a file that is being written.
const FRESH: &str = ".tmp";

/// Puts `bytes` in the place of the file at `path`, whole or not at all, and on disk when this returns. A file that was
/// there leaves its permissions to the new one; a link is followed. One process at a time may replace a file.
///
/// # Errors
/// An [`io::Error`]; what was there before still stands, unless the folder alone could not be synced.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (path, permissions) = match fs::metadata(path) {
        Ok(metadata) => (fs::canonicalize(path)?, Some(metadata.permissions())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (path.to_owned(), None),
        Err(error) => return Err(error),
    };
    let fresh = fresh(&path)?;
    let mut file = File::create(&fresh)?;
    if let Some(permissions) = permissions {
        file.set_permissions(permissions)?;
    }
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, &path)?;
    sync_folder(path.parent().unwrap_or(Path::new("")))
}

/// Waits until what was made, renamed and removed in a folder is on disk.
///
/// # Errors
/// An [`io::Error`].
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let here = path.as_os_str().is_empty();
    File::open(if here { Path::new(".") } else { path })?.sync_all()
}

/// Where the file is written before it takes its place.
fn fresh(path: &Path) -> io::Result<PathBuf> {
    let mut name = OsString::from(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    name.push(FRESH);
    Ok(path.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kopuro.toml");
        for bytes in [&b"a long first text"[..], b"a second", b""] {
            replace(&path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn what_a_replacement_cut_short_left_behind_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kopuro.toml");
        replace(&path, b"first").unwrap();
        fs::write(fresh(&path).unwrap(), "a text that is longer than the next").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        replace(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
    }

    #[test]
    fn permissions_and_links_stay() {
        let folder = tempfile::tempdir().unwrap();
        let [path, link] = ["kopuro.toml", "link.toml"].map(|name| folder.path().join(name));
        fs::write(&path, "first").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&path, &link).unwrap();
        replace(&link, b"second").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kopuro.toml");
        replace(&path, b"first").unwrap();
        fs::create_dir(fresh(&path).unwrap()).unwrap();
        assert!(replace(&path, b"second").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"first");
    }
}
