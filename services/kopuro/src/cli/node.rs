//! `kopuro up`, `kopuro gateway`, `kopuro registry serve`: processes that run until they are told to end.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use kopuro_core::time::Clock as _;
use kopuro_telemetry::clock::SystemClock;
use kopuro_telemetry::trace::{self, SERVICE_FILTER, TraceGuard, TraceSettings};
use tokio::signal::unix::{SignalKind, signal};

use super::{ConfigArguments, say};
use crate::config::{Config, LogFormat, TelemetryConfig};
use crate::development::{Development, Options};
use crate::process::{Process, open_broker};

#[derive(Debug, Args)]
pub(crate) struct UpArguments {
    /// The folder of the instance; a development instance is made there when it holds none.
    #[arg(long, value_name = "FOLDER", default_value = ".kopuro/up")]
    data: PathBuf,
    /// A new development instance is carried by this Kafka broker, without TLS, instead of the embedded one.
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// Run this configuration, instead of the development instance's.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "kafka"])]
    config: Option<PathBuf>,
    /// Check the configuration, tell all its faults, and end.
    #[arg(long)]
    check_config: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RoleArguments {
    #[command(flatten)]
    config: ConfigArguments,
}

/// Runs every role of a configuration.
pub(crate) async fn up(arguments: UpArguments) -> anyhow::Result<ExitCode> {
    let UpArguments { data, kafka, config, check_config } = arguments;
    let path = match config {
        Some(path) => path,
        None => match Development::find(&data) {
            Some(development) => development.config(),
            None if check_config => {
                say(format_args!("{} holds no instance: the first start makes one", data.display()));
                return Ok(ExitCode::SUCCESS);
            }
            None => make_development(&data, kafka)?,
        },
    };
    run(Config::load(&path)?, check_config, "kopuro").await
}

/// Runs the gateways of a configuration.
pub(crate) async fn gateway(arguments: RoleArguments) -> anyhow::Result<ExitCode> {
    let ConfigArguments { config, check_config } = arguments.config;
    let config = Config { registry: None, ..Config::load(&config)? };
    run(config, check_config, "kopuro-gateway").await
}

/// Runs the registry service of a configuration.
pub(crate) async fn registry(arguments: RoleArguments) -> anyhow::Result<ExitCode> {
    let ConfigArguments { config, check_config } = arguments.config;
    let config = Config { gateways: Vec::new(), ..Config::load(&config)? };
    run(config, check_config, "kopuro-registry").await
}

/// Sets up logs for a command that is no service.
pub(crate) fn logs(service: &str, filter: &'static str) -> anyhow::Result<TraceGuard> {
    let settings = TraceSettings { filter, json: false, otlp_endpoint: None, service: service.into() };
    Ok(trace::init(&settings)?)
}

fn make_development(data: &std::path::Path, kafka: Option<String>) -> anyhow::Result<PathBuf> {
    let development = Development::create(data, SystemClock.now())?;
    development.configure(&Options { kafka, operations: true, ..Options::default() })?;
    say(format_args!("made a development instance in {}", data.display()));
    Ok(development.config())
}

async fn run(config: Config, check_only: bool, service: &str) -> anyhow::Result<ExitCode> {
    if check_only {
        say("the configuration is valid");
        return Ok(ExitCode::SUCCESS);
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
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    tracing::info!("draining");
    process.drain().await;
    broker.close().await;
    Ok(ExitCode::SUCCESS)
}
