//! Processes that run until they are told to end: `kopuro gateway`, `kopuro registry serve`, and what `kopuro up` shares.

use std::process::ExitCode;

use clap::Args;
use kopuro_telemetry::trace::{self, SERVICE_FILTER, TraceGuard, TraceSettings};
use tokio::signal::unix::{SignalKind, signal};

use super::{ConfigArguments, say};
use crate::config::{Config, LogFormat, Roles, TelemetryConfig};
use crate::process::{Process, open_broker};

#[derive(Debug, Args)]
pub(crate) struct RoleArguments {
    #[command(flatten)]
    config: ConfigArguments,
}

/// Runs the gateways of a configuration.
pub(crate) async fn gateway(arguments: RoleArguments) -> anyhow::Result<ExitCode> {
    let ConfigArguments { config, check_config } = arguments.config;
    let config = Config::load_for(&config, Roles::Gateways)?;
    run(config, check_config, "kopuro-gateway", async |_| Ok(())).await
}

/// Runs the registry service of a configuration.
pub(crate) async fn registry(arguments: RoleArguments) -> anyhow::Result<ExitCode> {
    let ConfigArguments { config, check_config } = arguments.config;
    let config = Config::load_for(&config, Roles::Registry)?;
    run(config, check_config, "kopuro-registry", async |_| Ok(())).await
}

/// Sets up logs for a command that is no service.
pub(crate) fn logs(service: &str, filter: &'static str) -> anyhow::Result<TraceGuard> {
    let settings = TraceSettings { filter, json: false, otlp_endpoint: None, service: service.into() };
    Ok(trace::init(&settings)?)
}

/// Tells that a configuration has no fault.
pub(super) fn valid() -> ExitCode {
    say("the configuration is valid");
    ExitCode::SUCCESS
}

/// Runs what `config` says until the process is told to end. `started` is told of the process once everything listens,
/// and the process ends when it fails.
pub(super) async fn run(
    config: Config,
    check_only: bool,
    service: &str,
    started: impl AsyncFnOnce(&Process) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    if check_only {
        return Ok(valid());
    }
    let TelemetryConfig { otlp_endpoint, log_format } = config.telemetry.clone();
    let json = log_format == LogFormat::Json;
    let _guard =
        trace::init(&TraceSettings { filter: SERVICE_FILTER, json, otlp_endpoint, service: service.into() })?;
    let mut terminate = signal(SignalKind::terminate())?;
    let broker = open_broker(&config.broker).await?;
    let process = Process::start(&config, broker.port()).await?;
    for (id, address) in process.gateways() {
        tracing::info!(gateway = id, %address, "a gateway listens");
    }
    if let Some(address) = process.registry() {
        tracing::info!(%address, "the registry listens");
    }
    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into),
        Err(error) = started(&process) => Err(error),
    };
    tracing::info!("draining");
    process.drain().await;
    broker.close().await;
    ended.map(|()| ExitCode::SUCCESS)
}
