//! Making an instance so that a making that was cut short, at any moment, is no obstacle to the next one.
//!
//! Everything is made on a stage within the folder, the configuration last; then it is moved out, the configuration last
//! again. So a folder holds an instance exactly when it holds the configuration, and what stands on a stage is either
//! whole, and only to be moved out, or of no use. The stage is within the folder, not beside it: the folder may be
//! mounted, and may be all that is writable.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use kopuro_broker::durable::sync_folder;

use super::folder::PARTS;
use super::{ANCHOR, CONFIG, DATA, DevelopmentError};

/// The stage.
const STAGE: &str = ".making";
/// What is made, on the stage.
const MADE: &str = "instance";
/// The file that the maker locks, on the stage.
const LOCK: &str = "lock";

/// A folder in which this process alone makes an instance, until this is dropped.
#[derive(Debug)]
pub(super) struct Making {
    folder: PathBuf,
    made: PathBuf,
    _lock: File,
}

impl Making {
    /// Takes the folder, making it if it is missing.
    pub(super) fn begin(folder: &Path) -> Result<Self, DevelopmentError> {
        let unusable = |source| DevelopmentError::Folder(folder.to_owned(), source);
        let stage = folder.join(STAGE);
        fs::create_dir_all(&stage).map_err(unusable)?;
        let lock = File::options().create(true).truncate(false).write(true).open(stage.join(LOCK));
        let lock = lock.map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder: folder.to_owned(), made: stage.join(MADE), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DevelopmentError::Making(folder.to_owned())),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    /// Where the instance is made before it is moved out.
    pub(super) fn stage(&self) -> &Path {
        &self.made
    }

    /// Whether an earlier making came as far as moving out what it had made.
    pub(super) fn is_whole(&self) -> bool {
        self.made.join(CONFIG).is_file()
    }

    /// Clears away what an earlier making left, and refuses a folder where something stands in the way of a new one.
    pub(super) fn clear(&self) -> Result<(), DevelopmentError> {
        match fs::remove_dir_all(&self.made) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        let mut names = PARTS.into_iter().chain([ANCHOR, CONFIG, DATA]);
        let free = names.try_for_each(|name| refuse(&self.folder.join(name)));
        if free.is_err() {
            clear_stage(&self.folder);
        }
        free
    }

    /// Moves out what was made, as far as that has not been done.
    pub(super) fn finish(self) -> Result<(), DevelopmentError> {
        for name in PARTS.into_iter().chain([ANCHOR]) {
            self.move_out(name)?;
        }
        sync_folder(&self.folder)?;
        self.move_out(CONFIG)?;
        sync_folder(&self.folder)?;
        // The folder above may be none that this process may read.
        let _ = self.folder.parent().map(sync_folder);
        clear_stage(&self.folder);
        Ok(())
    }

    fn move_out(&self, name: &str) -> Result<(), DevelopmentError> {
        let (from, to) = (self.made.join(name), self.folder.join(name));
        if from.try_exists()? {
            refuse(&to)?;
            fs::rename(from, to)?;
        }
        Ok(())
    }
}

/// Clears away the stage of a making that came to its end. Nothing else is touched, and whatever stands there beside
/// stays: an instance is none the worse for it.
pub(super) fn clear_stage(folder: &Path) {
    let stage = folder.join(STAGE);
    let _ = fs::remove_dir(stage.join(MADE));
    let _ = fs::remove_file(stage.join(LOCK));
    let _ = fs::remove_dir(stage);
}

/// Refuses to put anything where something stands.
fn refuse(path: &Path) -> Result<(), DevelopmentError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(DevelopmentError::Occupied(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
