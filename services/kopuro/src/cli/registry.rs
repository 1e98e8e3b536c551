//! `kopuro registry`: the service, and signed records from the command line.
//!
//! Keys stay with their owner: a record is signed here and submitted; the service only sees what is signed.

mod facts;
mod list;
mod log;
mod resource;
mod submit;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::call::ConnectionArguments;
use super::{node, usage};
use list::ListOptions;
use resource::ResourceCommand;
use submit::Replaces;

#[derive(Debug, Args)]
pub(crate) struct RegistryArguments {
    #[command(subcommand)]
    command: RegistryCommand,
}

#[derive(Debug, Subcommand)]
enum RegistryCommand {
    /// Run the registry service of a configuration.
    Serve(node::RoleArguments),
    /// Sign and submit a record that sets a resource.
    Set(SetArguments),
    /// List the latest record of each resource, or the whole log.
    List(ListArguments),
}

#[derive(Debug, Args)]
struct SetArguments {
    #[command(subcommand)]
    resource: ResourceCommand,
    /// The revision that the record replaces, or `none` for a resource that must be new. Without it, the latest.
    #[arg(long, value_name = "REVISION", global = true)]
    replaces: Option<Replaces>,
    #[command(flatten)]
    signing: SigningArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Who signs, and for which instance. The options may stand before and after the resource.
#[derive(Debug, Args)]
pub(crate) struct SigningArguments {
    /// The anchor of the instance.
    #[arg(long, value_name = "FILE", env = "KOPURO_ANCHOR", global = true)]
    anchor: Option<PathBuf>,
    /// The key that signs: the authority's or the member's administration key; repeat it for several.
    #[arg(long = "sign", value_name = "FILE", global = true)]
    keys: Vec<PathBuf>,
}

impl SigningArguments {
    /// The options that are needed and were not given.
    fn missing(&self) -> Vec<&'static str> {
        let Self { anchor, keys } = self;
        let missing = [("--anchor", anchor.is_none()), ("--sign", keys.is_empty())];
        missing.into_iter().filter_map(|(name, missing)| missing.then_some(name)).collect()
    }
}

#[derive(Debug, Args)]
struct ListArguments {
    #[command(flatten)]
    options: ListOptions,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Does what the arguments say.
pub(crate) async fn run(arguments: RegistryArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        RegistryCommand::Serve(role) => node::registry(role).await,
        RegistryCommand::Set(SetArguments { resource, replaces, signing, connection }) => {
            usage::require(&[signing.missing(), connection.missing()].concat())?;
            submit::set(&connection.client()?, &signing, replaces, resource).await
        }
        RegistryCommand::List(ListArguments { options, connection }) => {
            list::list(&connection.client()?, options).await
        }
    }
}
