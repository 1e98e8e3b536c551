//! `kopuro registry list`: the records, in columns or as JSON.

use std::process::ExitCode;

use kopuro_core::time::UnixMillis;
use kopuro_registry::record::{Change, Entry};
use serde_json::{Map, Value, json};

use super::facts::Facts;
use super::log::Log;
use crate::cli::columns::{NONE, aligned, time};
use crate::cli::say;
use crate::client::Client;

const HEADINGS: [&str; 5] = ["REVISION", "KIND", "STATE", "NAME", "FACTS"];

/// What is listed, and how.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct ListOptions {
    /// Every record of the log, also those that were replaced.
    #[arg(long)]
    history: bool,
    /// An array of objects: revision, kind, name, state, create_time, replaced_by, facts.
    #[arg(long)]
    json: bool,
}

/// Prints the latest record of each resource, or every record.
pub(crate) async fn list(client: &Client, options: ListOptions) -> anyhow::Result<ExitCode> {
    let log = Log::read(client).await?;
    let rows: Vec<Row> = rows(&log).filter(|row| options.history || row.replaced_by.is_none()).collect();
    if options.json {
        say(format_args!("{:#}", rows.iter().map(Row::to_json).collect::<Value>()));
    } else {
        let cells: Vec<_> = rows.iter().map(Row::columns).collect();
        aligned(HEADINGS, &cells).iter().for_each(say);
    }
    Ok(ExitCode::SUCCESS)
}

/// A record as it is listed.
#[derive(Debug)]
struct Row {
    revision: u64,
    kind: String,
    name: String,
    state: String,
    create_time: Option<UnixMillis>,
    replaced_by: Option<u64>,
    facts: Vec<(&'static str, String)>,
}

fn rows(log: &Log) -> impl Iterator<Item = Row> {
    let replaced = log.replaced();
    log.entries().map(move |(revision, entry)| Row {
        revision,
        replaced_by: replaced.get(&revision).copied(),
        ..match entry {
            Ok(Entry::Change(change)) => Row::of_change(&change),
            Ok(Entry::Attestation { instance: _, digest, create_time }) => {
                Row { create_time: Some(create_time), ..Row::new("attestation", &digest) }
            }
            Err(error) => Row::new("unreadable", &error),
        }
    })
}

impl Row {
    fn new(kind: &str, name: &impl ToString) -> Self {
        Self {
            revision: 0,
            kind: kind.to_owned(),
            name: name.to_string(),
            state: NONE.to_owned(),
            create_time: None,
            replaced_by: None,
            facts: Vec::new(),
        }
    }

    fn of_change(change: &Change) -> Self {
        let Change { instance: _, replaces: _, create_time, resource } = change;
        let (name, facts) = (resource.name(), Facts::of(resource));
        let (kind, name) = name.split_once('/').unwrap_or((&name, ""));
        Self {
            state: facts.state().to_owned(),
            create_time: Some(*create_time),
            facts: facts.others().map(|(name, value)| (name, value.to_owned())).collect(),
            ..Self::new(kind, &name)
        }
    }

    fn columns(&self) -> [String; 5] {
        let mut facts: Vec<String> =
            self.facts.iter().map(|(name, value)| format!("{name}={value}")).collect();
        facts.extend(self.replaced_by.map(|revision| format!("replaced_by={revision}")));
        let revision = self.revision.to_string();
        [revision, self.kind.clone(), self.state.clone(), self.name.clone(), facts.join("  ")]
    }

    fn to_json(&self) -> Value {
        let Self { revision, kind, name, state, create_time, replaced_by, facts } = self;
        let facts: Map<String, Value> =
            facts.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
        let state = (state != NONE).then_some(state);
        let create_time = create_time.map(time);
        json!({
            "revision": revision, "kind": kind, "name": name, "state": state,
            "create_time": create_time, "replaced_by": replaced_by, "facts": facts,
        })
    }
}
