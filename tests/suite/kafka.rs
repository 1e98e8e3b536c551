//! A real Kafka of a test's own: what its operator can read is all in its folder, and all of that test.

use std::path::Path;
use std::process::Command;

use kopuro_tests::prerequisite::{KAFKA, prerequisite};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/kafka/kafka");

/// A broker, which ends with this.
pub(crate) struct Kafka {
    pub(crate) address: String,
    folder: tempfile::TempDir,
}

impl Kafka {
    /// Starts one where the machine has what it needs; otherwise the suite is named as skipped.
    pub(crate) async fn start(suite: &str) -> Option<Self> {
        prerequisite(KAFKA, suite)?;
        let folder = tempfile::tempdir().unwrap();
        let started = tokio::task::spawn_blocking(move || {
            let output = script(folder.path(), "start");
            (folder, output)
        });
        let (folder, output) = started.await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(Self { address: String::from_utf8(output.stdout).unwrap().trim().to_owned(), folder })
    }

    /// Stops it, so that everything it keeps is in its files, and gives their folder.
    pub(crate) async fn at_rest(&self) -> &Path {
        let folder = self.folder.path().to_owned();
        let stopped = tokio::task::spawn_blocking(move || script(&folder, "stop")).await.unwrap();
        assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
        self.folder.path()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let stopped = script(self.folder.path(), "stop");
        if !std::thread::panicking() {
            assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
        }
    }
}

fn script(data: &Path, command: &str) -> std::process::Output {
    Command::new(SCRIPT).arg(command).env("KOPURO_KAFKA_DATA", data).output().unwrap()
}
