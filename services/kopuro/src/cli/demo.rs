//! `kopuro demo`.

use std::process::ExitCode;

use clap::Args;

use crate::demo::{self, DemoOptions};

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Print a summary as JSON.
    #[arg(long)]
    json: bool,
    /// Keep it running, and print commands to try.
    #[arg(long)]
    hold: bool,
    /// Carry it over a Kafka broker, without TLS, instead of the embedded one.
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
}

/// Shows the demonstration in a folder that is removed afterwards.
pub(crate) async fn run(arguments: DemoArguments) -> anyhow::Result<ExitCode> {
    let DemoArguments { json, hold, kafka } = arguments;
    let _guard = super::node::logs("kopuro-demo", "warn")?;
    let folder = tempfile::tempdir()?;
    let options = DemoOptions { folder: folder.path().join("instance"), kafka, json, hold };
    let passed = demo::run(&options).await?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
