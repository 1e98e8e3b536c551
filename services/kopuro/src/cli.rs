//! The command line.

mod call;
mod columns;
mod dead_letters;
mod demo;
mod node;
mod pki;
mod registry;
mod up;
mod usage;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The exit code of a configuration fault (`EX_USAGE` of sysexits.h).
pub const EXIT_CONFIG: u8 = 64;

/// The exit code of arguments that do not add up to a command, as clap has it.
const EXIT_USAGE: u8 = 2;

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
    Up(up::UpArguments),
    /// Run the gateways of a configuration.
    Gateway(node::RoleArguments),
    /// Run the registry service, and add signed records to it.
    Registry(registry::RegistryArguments),
    /// List, show, replay and discard the records that a gateway could not process.
    DeadLetters(dead_letters::DeadLettersArguments),
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
        Command::Up(arguments) => up::run(arguments).await,
        Command::Gateway(arguments) => node::gateway(arguments).await,
        Command::Registry(arguments) => registry::run(arguments).await,
        Command::DeadLetters(arguments) => dead_letters::run(arguments).await,
        Command::Pki(arguments) => pki::run(&arguments),
        Command::Call(arguments) => call::run(arguments).await,
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            if let Some(usage) = error.downcast_ref::<clap::Error>() {
                return usage.print().map_or(ExitCode::FAILURE, |()| ExitCode::from(EXIT_USAGE));
            }
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
fn say(line: impl std::fmt::Display) {
    write_line(&mut std::io::stdout().lock(), line);
}

/// Writes a line to somebody who may have read enough and gone, as `head` does.
fn write_line(output: &mut impl Write, line: impl std::fmt::Display) {
    match writeln!(output, "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            panic!("standard output cannot be written: {error}")
        }
        Ok(()) | Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn a_reader_that_has_gone_is_no_fault() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        drop(reader);
        write_line(&mut writer, "a line");
    }

    #[test]
    fn the_arguments_fit_together() {
        Arguments::command().debug_assert();
    }
}
