//! Signing and submitting records.

use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use kopuro_core::time::{Clock as _, UnixMillis};
use kopuro_proto::registry::v1 as wire;
use kopuro_proto::registry::v1::registry_record::Resource as WireResource;
use kopuro_registry::anchor::Anchor;
use kopuro_registry::compose;
use kopuro_registry::record::{Change, Entry, Resource};
use kopuro_telemetry::clock::SystemClock;
use kopuro_trust::signing::Signer;

use super::SigningArguments;
use super::facts::Facts;
use super::log::{LIMIT, Log};
use super::resource::ResourceCommand;
use crate::cli::call::status_json;
use crate::cli::say;
use crate::client::Client;

/// Which revision of a resource a new record may replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replaces {
    /// None: the resource must be new.
    Nothing,
    /// This one.
    Revision(u64),
}

impl FromStr for Replaces {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::Nothing),
            revision => revision.parse().map(Self::Revision).map_err(|_| "it is a revision, or none"),
        }
    }
}

/// Signs a record that replaces the latest revision of its resource, and submits it. Nothing is submitted when the
/// latest revision is not the one that `expected` names, or says the same already.
pub(crate) async fn set(
    client: &Client,
    signing: &SigningArguments,
    expected: Option<Replaces>,
    command: ResourceCommand,
) -> anyhow::Result<ExitCode> {
    let (anchor, signers) = signing.load()?;
    let signers: Vec<&Signer> = signers.iter().collect();
    let now = SystemClock.now();
    let log = Log::read(client).await?;
    log.verify(anchor.clone())?;
    let (wire, descriptor_set) = command.build(now, &log)?;
    let resource = read_back(&anchor, now, wire.clone(), &signers)?;
    let name = resource.name();
    let latest = log.latest(&name);
    let replacing = replacing(&name, latest.as_ref(), &resource, expected)?;
    let replaces = latest.map(|(revision, _)| revision);
    let envelope = compose::sign_record(&anchor.instance, replaces, now, wire, &signers);
    match submit(client, envelope, descriptor_set).await? {
        Ok(wire::SubmitRecordResponse { revision }) => {
            say(format_args!("{name} is revision {revision}{replacing}"));
            Ok(ExitCode::SUCCESS)
        }
        Err(status) => {
            say(format_args!("{:#}", status_json(&status)));
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn submit(
    client: &Client,
    envelope: Vec<u8>,
    descriptor_set: Bytes,
) -> anyhow::Result<Result<wire::SubmitRecordResponse, tonic_types::pb::Status>> {
    let path = "/kopuro.registry.v1.RegistryService/SubmitRecord";
    let request = wire::SubmitRecordRequest { envelope, descriptor_set: descriptor_set.into() };
    Ok(client.unary(path, &[], &request, LIMIT).await?)
}

/// The resource as a reader of the log will see it.
fn read_back(
    anchor: &Anchor,
    now: UnixMillis,
    resource: WireResource,
    signers: &[&Signer],
) -> anyhow::Result<Resource> {
    let record = compose::sign_record(&anchor.instance, None, now, resource, signers);
    match Entry::decode(&record)?.1 {
        Entry::Change(Change { resource, .. }) => Ok(resource),
        Entry::Attestation { .. } => bail!("the record sets nothing"),
    }
}

/// What is replaced, and what becomes another, in words that follow the new revision.
fn replacing(
    name: &str,
    latest: Option<&(u64, Resource)>,
    after: &Resource,
    expected: Option<Replaces>,
) -> anyhow::Result<String> {
    let found = latest.map_or(Replaces::Nothing, |(revision, _)| Replaces::Revision(*revision));
    if expected.is_some_and(|expected| expected != found) {
        match found {
            Replaces::Nothing => bail!("{name} is not in the registry: nothing was submitted"),
            Replaces::Revision(revision) => bail!("{name} is at revision {revision}: nothing was submitted"),
        }
    }
    let Some((revision, before)) = latest else { return Ok(String::new()) };
    if before == after {
        bail!("revision {revision} of {name} says the same already: nothing was submitted");
    }
    let changes = Facts::of(before).changes(&Facts::of(after));
    Ok(format!(", replacing revision {revision}: {}", changes.join("; ")))
}

impl SigningArguments {
    fn load(&self) -> anyhow::Result<(Anchor, Vec<Signer>)> {
        let Self { anchor, keys } = self;
        let anchor = anchor.as_deref().context("--anchor is missing")?;
        let text = std::fs::read_to_string(anchor)
            .with_context(|| format!("{} cannot be read", anchor.display()))?;
        let signers = keys.iter().map(|path| Signer::from_pem_file(path)).collect::<Result<Vec<_>, _>>()?;
        Ok((Anchor::parse(&text)?, signers))
    }
}
