//! Signing and submitting records, and reading the log.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kopuro_core::time::Clock as _;
use kopuro_proto::registry::v1 as wire;
use kopuro_registry::anchor::Anchor;
use kopuro_registry::compose;
use kopuro_registry::record::Entry;
use kopuro_registry::view::View;
use kopuro_telemetry::clock::SystemClock;
use kopuro_trust::signing::Signer;

use super::SigningArguments;
use super::resource::ResourceCommand;
use crate::cli::call::status_json;
use crate::cli::say;
use crate::client::Client;

/// How long the registry service may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Signs a record that replaces the latest revision of its resource, and submits it.
pub(crate) async fn set(
    client: &Client,
    signing: &SigningArguments,
    command: ResourceCommand,
) -> anyhow::Result<ExitCode> {
    let SigningArguments { anchor, keys } = signing;
    let text =
        std::fs::read_to_string(anchor).with_context(|| format!("{} cannot be read", anchor.display()))?;
    let anchor = Anchor::parse(&text)?;
    let signers = keys.iter().map(|path| Signer::from_pem_file(path)).collect::<Result<Vec<_>, _>>()?;
    let signers: Vec<&Signer> = signers.iter().collect();
    let now = SystemClock.now();
    let (resource, descriptor_set) = command.build(now)?;
    let unreplaced = compose::sign_record(&anchor.instance, None, now, resource.clone(), &signers);
    let (_, entry) = Entry::decode(&unreplaced)?;
    let Entry::Change(change) = entry else { bail!("the record sets nothing") };
    let name = change.resource.name();
    let replaces = read_view(client, anchor.clone()).await?.revision(&name);
    let envelope = compose::sign_record(&anchor.instance, replaces, now, resource, &signers);
    let request = wire::SubmitRecordRequest { envelope, descriptor_set: descriptor_set.into() };
    let path = "/kopuro.registry.v1.RegistryService/SubmitRecord";
    let submitted = client.unary::<_, wire::SubmitRecordResponse>(path, &[], &request, LIMIT).await?;
    match submitted {
        Ok(wire::SubmitRecordResponse { revision }) => {
            say(format_args!("{name} is revision {revision}"));
            Ok(ExitCode::SUCCESS)
        }
        Err(status) => {
            say(format_args!("{:#}", status_json(&status)));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Prints one line for each record.
pub(crate) async fn list(client: &Client) -> anyhow::Result<ExitCode> {
    for (revision, envelope) in read_log(client).await?.iter().enumerate() {
        let line = match Entry::decode(envelope) {
            Ok((_, Entry::Change(change))) => change.resource.name(),
            Ok((_, Entry::Attestation { digest, .. })) => format!("attestation/{digest}"),
            Err(error) => format!("unreadable: {error}"),
        };
        say(format_args!("{revision:>6}  {line}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The view that the log adds up to, verified here.
async fn read_view(client: &Client, anchor: Anchor) -> anyhow::Result<View> {
    let mut view = View::new(anchor);
    for envelope in read_log(client).await? {
        view.apply(&envelope).context("the registry's log holds a record that does not verify")?;
    }
    Ok(view)
}

async fn read_log(client: &Client) -> anyhow::Result<Vec<Vec<u8>>> {
    let path = "/kopuro.registry.v1.RegistryService/ListRecords";
    let mut log = Vec::new();
    loop {
        let request = wire::ListRecordsRequest { first_revision: log.len() as u64, page_size: 500 };
        let listed = client.unary::<_, wire::ListRecordsResponse>(path, &[], &request, LIMIT).await?;
        let wire::ListRecordsResponse { envelopes, size } = match listed {
            Ok(response) => response,
            Err(status) => bail!("{}", status_json(&status)),
        };
        let last = envelopes.is_empty();
        log.extend(envelopes);
        if last || log.len() as u64 >= size {
            return Ok(log);
        }
    }
}
