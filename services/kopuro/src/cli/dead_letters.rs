//! `kopuro dead-letters`: what a gateway could not process, and what a person does about it.
//!
//! It works from the gateway's own configuration: with its access to the broker, and the secrets of its members, by which
//! its letters are known from what others wrote.

mod desk;
mod list;
mod position;
mod registry;
mod resolve;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use kopuro_core::id::MemberId;

use self::desk::Office;
use self::position::At;
use super::usage;
use crate::config::Config;

/// What `--help` says beside the options.
const ABOUT: &str = "\
A record that a gateway cannot process is put aside with its reason, and its partition goes on. Nothing in the dead-letter \
topic is ever changed: what is done with a letter is appended, and audited. Letters are kept for eight days.

On the embedded broker it works while the process that owns the log is stopped; on Kafka, beside the gateways.";

#[derive(Debug, Args)]
#[command(after_help = ABOUT)]
pub(crate) struct DeadLettersArguments {
    /// The gateway's configuration file.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The member whose letters are meant, if the configuration's gateways speak for several.
    #[arg(long, value_name = "ID", global = true, value_parser = MemberId::parse)]
    member: Option<MemberId>,
    #[command(subcommand)]
    command: DeadLettersCommand,
}

#[derive(Debug, Subcommand)]
enum DeadLettersCommand {
    /// List the letters that wait for a person.
    List(list::ListOptions),
    /// Tell what is known of a letter; never what is sealed in its record.
    Show {
        /// The letter, as PARTITION/OFFSET.
        position: At,
    },
    /// Append records again to where they stood: they pass every check as if read for the first time.
    Replay(resolve::ReplayArguments),
    /// Note that letters were looked at and are left.
    Discard(resolve::DiscardArguments),
}

/// Does what the arguments say.
pub(crate) async fn run(arguments: DeadLettersArguments) -> anyhow::Result<ExitCode> {
    let DeadLettersArguments { config, member, command } = arguments;
    let Some(config) = config else { return Err(usage::missing(&["--config"]).into()) };
    let config = Config::load(&config)?;
    let office = Office::open(&config, member.as_ref()).await?;
    let done = act(&office, command).await;
    office.close().await;
    done
}

async fn act(office: &Office, command: DeadLettersCommand) -> anyhow::Result<ExitCode> {
    match command {
        DeadLettersCommand::List(options) => list::list(office, options).await,
        DeadLettersCommand::Show { position } => show::show(office, position).await,
        DeadLettersCommand::Replay(arguments) => resolve::replay(office, arguments).await,
        DeadLettersCommand::Discard(arguments) => resolve::discard(office, arguments).await,
    }
}
