//! The resources as arguments.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::{Args, Subcommand, ValueEnum};
use kopuro_core::digest::KeyId;
use kopuro_core::id::{MemberId, PackageName, ServiceName, SubsystemId};
use kopuro_core::time::UnixMillis;
use kopuro_proto::registry::v1::registry_record::Resource;
use kopuro_registry::compose;
use kopuro_registry::record::{Grantee, KeyPurpose, KeyState, Resource as Known};

use super::log::Log;
use crate::cli::pki::read_spki;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a new key is valid. **Units:** days.
const DAYS: u32 = 365;

/// What is set.
#[derive(Debug, Subcommand)]
pub(crate) enum ResourceCommand {
    /// An agency; signed by the authority.
    Member {
        /// Such as KG/GOV/70000005.
        id: MemberId,
        /// Its name for people.
        #[arg(long)]
        title: String,
        /// The partitions of its topics, fixed for good.
        #[arg(long, default_value_t = 3)]
        partitions: u32,
    },
    /// An information system of a member; signed by the authority.
    Subsystem {
        /// Such as KG/GOV/70000005/civil-registry.
        id: SubsystemId,
        /// Its name for people.
        #[arg(long)]
        title: String,
    },
    /// A gateway; signed by the authority.
    Gateway {
        /// Its name.
        id: String,
        /// A member that it may speak for; repeat it for several.
        #[arg(long = "member", required = true)]
        members: Vec<MemberId>,
    },
    /// A public key; signed by its member's administration key, or by the authority.
    Key(KeyArguments),
    /// Ownership of a protobuf package; signed by the authority.
    Package {
        /// Such as kg.socialfund.
        package: PackageName,
        /// The owner.
        #[arg(long)]
        member: MemberId,
    },
    /// A contract version that a subsystem offers; signed by the package owner's administration key.
    Contract {
        /// The package, such as kg.socialfund.v1.
        package: PackageName,
        /// The subsystem that offers it.
        #[arg(long)]
        subsystem: SubsystemId,
        /// The encoded descriptor set, as `protoc --include_imports --descriptor_set_out` writes it.
        #[arg(long, value_name = "FILE")]
        descriptor_set: PathBuf,
        /// The version's number, rising from 1.
        #[arg(long, default_value_t = 1)]
        version: u32,
    },
    /// A permission to call; signed by the provider's administration key.
    Right {
        /// The subsystem that lets in.
        #[arg(long)]
        provider: SubsystemId,
        /// The subsystem that is let in.
        #[arg(long)]
        consumer: SubsystemId,
        /// The service.
        #[arg(long)]
        service: ServiceName,
        /// One method; without it, all of the service.
        #[arg(long)]
        method: Option<String>,
    },
}

/// A key's record.
#[derive(Debug, Args)]
pub(crate) struct KeyArguments {
    /// The public key or the certificate, PEM.
    file: PathBuf,
    /// What it is for.
    #[arg(long)]
    purpose: PurposeArgument,
    /// The member that it belongs to; none for the authority's own.
    #[arg(long)]
    member: Option<MemberId>,
    /// A subsystem that it speaks for; repeat it for several.
    #[arg(long = "subsystem")]
    subsystems: Vec<SubsystemId>,
    /// The gateway that holds it.
    #[arg(long)]
    gateway: Option<String>,
    /// Whether it may be used.
    #[arg(long, default_value = "active")]
    state: StateArgument,
    /// For how many days from this one; a registered key keeps its validity without it, and a new one has 365.
    #[arg(long)]
    days: Option<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PurposeArgument {
    Transport,
    Signing,
    Sealing,
    Administration,
    Checkpoint,
    Attestation,
    Authority,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StateArgument {
    Active,
    Retired,
    Revoked,
}

impl ResourceCommand {
    /// The resource, and with a contract its descriptor set.
    pub(crate) fn build(self, now: UnixMillis, log: &Log) -> anyhow::Result<(Resource, Bytes)> {
        let resource = match self {
            Self::Member { id, title, partitions } => compose::member(&id, &title, partitions),
            Self::Subsystem { id, title } => compose::subsystem(&id, &title),
            Self::Gateway { id, members } => compose::gateway(&id, &members),
            Self::Key(key) => key.build(now, log)?,
            Self::Package { package, member } => compose::package_ownership(&package, &member),
            Self::Contract { package, subsystem, descriptor_set, version } => {
                let bytes = std::fs::read(&descriptor_set)
                    .with_context(|| format!("{} cannot be read", descriptor_set.display()))?;
                let contract = compose::contract(&subsystem, &package, version, &bytes)?;
                return Ok((contract, bytes.into()));
            }
            Self::Right { provider, consumer, service, method } => {
                let grantee = Grantee::Subsystem(consumer);
                compose::access_right(&provider, grantee, &service, method.as_deref())
            }
        };
        Ok((resource, Bytes::new()))
    }
}

impl KeyArguments {
    fn build(self, now: UnixMillis, log: &Log) -> anyhow::Result<Resource> {
        let Self { file, purpose, member, subsystems, gateway, state, days } = self;
        let spki = read_spki(&file)?;
        let validity = match (days, log.latest(&format!("key/{}", KeyId::of_spki(&spki)))) {
            (None, Some((_, Known::Key(known)))) => known.not_before..=known.not_after,
            (days, _) => now..=now.plus(DAY.saturating_mul(days.unwrap_or(DAYS))),
        };
        let key = compose::key(&spki, purpose.into(), validity);
        let key = key.for_subsystems(&subsystems).in_state(state.into());
        let key = member.iter().fold(key, |key, member| key.of_member(member));
        let key = gateway.iter().fold(key, |key, gateway| key.held_by(gateway));
        Ok(key.build())
    }
}

impl From<PurposeArgument> for KeyPurpose {
    fn from(purpose: PurposeArgument) -> Self {
        match purpose {
            PurposeArgument::Transport => Self::Transport,
            PurposeArgument::Signing => Self::Signing,
            PurposeArgument::Sealing => Self::Sealing,
            PurposeArgument::Administration => Self::Administration,
            PurposeArgument::Checkpoint => Self::Checkpoint,
            PurposeArgument::Attestation => Self::Attestation,
            PurposeArgument::Authority => Self::Authority,
        }
    }
}

impl From<StateArgument> for KeyState {
    fn from(state: StateArgument) -> Self {
        match state {
            StateArgument::Active => Self::Active,
            StateArgument::Retired => Self::Retired,
            StateArgument::Revoked => Self::Revoked,
        }
    }
}
