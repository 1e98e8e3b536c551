//! The command line.

mod call;
mod demo;
mod node;
mod pki;
mod registry;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The exit code of a configuration fault (`EX_USAGE` of sysexits.h).
pub const EXIT_CONFIG: u8 = 64;

/// Kopuro carries signed requests between state agencies.
#[derive(Debug, Parser)]
#[command(name = "kopuro", version, about, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show agencies exchanging signed, sealed, validated requests; ends by itself.
    Demo(demo::DemoArguments),
    /// Run every role in one process on a durable data folder.
    Up(node::UpArguments),
    /// Run the gateways of a configuration.
    Gateway(node::RoleArguments),
    /// Run the registry service, and add signed records to it.
    Registry(registry::RegistryArguments),
    /// Make keys and certificates for development.
    Pki(pki::PkiArguments),
    /// Call a method through a gateway: JSON in, JSON out.
    Call(call::CallArguments),
}

/// A configuration file.
#[derive(Debug, clap::Args)]
pub struct ConfigArguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the configuration, tell all its faults, and end.
    #[arg(long)]
    check_config: bool,
}

/// Runs the command that the arguments name.
pub async fn run(arguments: Arguments) -> ExitCode {
    let done = match arguments.command {
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Up(arguments) => node::up(arguments).await,
        Command::Gateway(arguments) => node::gateway(arguments).await,
        Command::Registry(arguments) => registry::run(arguments).await,
        Command::Pki(arguments) => pki::run(&arguments),
        Command::Call(arguments) => call::run(arguments).await,
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            let config = error.downcast_ref::<crate::config::Faults>().is_some();
            if config { ExitCode::from(EXIT_CONFIG) } else { ExitCode::FAILURE }
        }
    }
}

#[allow(clippy::print_stderr, reason = "a command tells its user what went wrong")]
fn complain(error: &anyhow::Error) {
    eprintln!("kopuro: {error:#}");
}

/// Writes a line for the command's user.
#[allow(clippy::print_stdout, reason = "a command's result goes to standard output")]
fn say(line: impl std::fmt::Display) {
    println!("{line}");
}
