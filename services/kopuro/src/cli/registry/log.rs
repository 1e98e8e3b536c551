//! The registry's log as the service lists it.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kopuro_proto::registry::v1 as wire;
use kopuro_registry::anchor::Anchor;
use kopuro_registry::record::{Change, Entry, RecordError, Resource};
use kopuro_registry::view::View;

use crate::cli::call::status_json;
use crate::client::Client;

/// How long the registry service may take.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// The entries of the log, from the first.
pub(super) struct Log {
    envelopes: Vec<Vec<u8>>,
}

impl Log {
    /// Reads all of it.
    pub(super) async fn read(client: &Client) -> anyhow::Result<Self> {
        let path = "/kopuro.registry.v1.RegistryService/ListRecords";
        let mut envelopes = Vec::new();
        loop {
            let request = wire::ListRecordsRequest { first_revision: envelopes.len() as u64, page_size: 500 };
            let listed = client.unary::<_, wire::ListRecordsResponse>(path, &[], &request, LIMIT).await?;
            let wire::ListRecordsResponse { envelopes: page, size } = match listed {
                Ok(response) => response,
                Err(status) => bail!("{}", status_json(&status)),
            };
            let last = page.is_empty();
            envelopes.extend(page);
            if last || envelopes.len() as u64 >= size {
                return Ok(Self { envelopes });
            }
        }
    }

    /// Verifies every entry, from the anchor on.
    pub(super) fn verify(&self, anchor: Anchor) -> anyhow::Result<()> {
        let mut view = View::new(anchor);
        for envelope in &self.envelopes {
            view.apply(envelope).context("the registry's log holds a record that does not verify")?;
        }
        Ok(())
    }

    /// What each entry says, by its revision.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, Result<Entry, RecordError>)> {
        let read = |envelope: &Vec<u8>| Entry::decode(envelope).map(|(_, entry)| entry);
        (0..).zip(self.envelopes.iter().map(read))
    }

    /// The latest record of the resource with this name.
    pub(super) fn latest(&self, name: &str) -> Option<(u64, Resource)> {
        let named = self.entries().filter_map(|(revision, entry)| match entry {
            Ok(Entry::Change(Change { resource, .. })) if resource.name() == name => {
                Some((revision, resource))
            }
            Ok(Entry::Change(_) | Entry::Attestation { .. }) | Err(_) => None,
        });
        named.last()
    }

    /// By the revision of each record that was replaced, the one that replaces it.
    pub(super) fn replaced(&self) -> HashMap<u64, u64> {
        let replaced = self.entries().filter_map(|(revision, entry)| match entry {
            Ok(Entry::Change(Change { replaces, .. })) => Some((replaces?, revision)),
            Ok(Entry::Attestation { .. }) | Err(_) => None,
        });
        replaced.collect()
    }
}
