//! The `kopuro` command.

use std::process::ExitCode;

use clap::Parser as _;
use kopuro::cli::{self, Arguments};

#[tokio::main]
async fn main() -> ExitCode {
    cli::run(Arguments::parse()).await
}
