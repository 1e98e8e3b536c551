//! `kopuro registry`: the service, and signed records from the command line.
//!
//! Keys stay with their owner: a record is signed here and submitted; the service only sees what is signed.

mod resource;
mod submit;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::call::ConnectionArguments;
use super::node;
use resource::ResourceCommand;

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
    /// List the records of the log.
    List(ListArguments),
}

#[derive(Debug, Args)]
struct SetArguments {
    #[command(subcommand)]
    resource: ResourceCommand,
    #[command(flatten)]
    signing: SigningArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Who signs, and for which instance.
#[derive(Debug, Args)]
pub(crate) struct SigningArguments {
    /// The anchor of the instance.
    #[arg(long, value_name = "FILE", env = "KOPURO_ANCHOR")]
    anchor: PathBuf,
    /// The key that signs: the authority's or the member's administration key; repeat it for several.
    #[arg(long = "sign", value_name = "FILE", required = true)]
    keys: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct ListArguments {
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Does what the arguments say.
pub(crate) async fn run(arguments: RegistryArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        RegistryCommand::Serve(role) => node::registry(role).await,
        RegistryCommand::Set(SetArguments { resource, signing, connection }) => {
            submit::set(&connection.client()?, &signing, resource).await
        }
        RegistryCommand::List(ListArguments { connection }) => submit::list(&connection.client()?).await,
    }
}
