//! The founding records of an instance, submitted at the start of its registry.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;
use kopuro_registry::publish::Publisher;
use std::sync::Arc;

/// Submits every `*.record` of a folder in the order of the names, each with the `*.descriptors` beside it. Those that are
/// in the log already keep their revision.
pub(super) async fn submit(publisher: &Arc<Publisher>, folder: &Path) -> anyhow::Result<usize> {
    let records = records(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    for path in &records {
        let shown = || path.display().to_string();
        let envelope = Bytes::from(std::fs::read(path).with_context(shown)?);
        let descriptors = path.with_extension("descriptors");
        let descriptor_set =
            if descriptors.is_file() { Bytes::from(std::fs::read(descriptors)?) } else { Bytes::new() };
        publisher.submit(envelope, descriptor_set).await.with_context(shown)?;
    }
    Ok(records.len())
}

fn records(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut records: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    records.retain(|path| path.extension().is_some_and(|kind| kind == "record"));
    records.sort();
    Ok(records)
}
