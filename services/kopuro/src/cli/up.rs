//! `kopuro up`: every role in one process, by default on a development instance with example systems behind it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use kopuro_broker::{Broker as _, BrokerError, KafkaBroker, KafkaSettings, TopicPartition, Watermarks};
use kopuro_core::id::Instance;
use kopuro_core::time::Clock as _;
use kopuro_core::topic::{InstanceTopic, TopicName};
use kopuro_telemetry::clock::SystemClock;

use super::{node, say};
use crate::config::{BrokerConfig, Config};
use crate::development::{Development, Options, default_instance};
use crate::examples::Violations;
use crate::examples::commands::commands;
use crate::examples::server::Systems;
use crate::process::Process;

/// The process's name in traces.
const SERVICE: &str = "kopuro";

#[derive(Debug, Args)]
pub(crate) struct UpArguments {
    #[command(flatten)]
    development: DevelopmentArguments,
    /// Run this configuration, instead of a development instance.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["data", "kafka", "instance", "no_examples"]
    )]
    config: Option<PathBuf>,
    /// Check the configuration, tell all its faults, and end.
    #[arg(long)]
    check_config: bool,
}

#[derive(Debug, Args)]
struct DevelopmentArguments {
    /// The folder of the instance; a development instance is made there when it holds none.
    #[arg(long, value_name = "FOLDER", default_value = ".kopuro/up")]
    data: PathBuf,
    /// A new development instance is carried by this Kafka broker, without TLS, instead of the embedded one.
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// What a new development instance is called: up to 16 letters, digits and hyphens. Instances on one Kafka broker need
    /// names of their own. Without it, KG.
    #[arg(long, value_name = "NAME")]
    instance: Option<Instance>,
    /// Run no example systems behind the development instance's gateways.
    #[arg(long)]
    no_examples: bool,
}

/// Runs every role of a configuration, or of a development instance.
pub(crate) async fn run(arguments: UpArguments) -> anyhow::Result<ExitCode> {
    let UpArguments { development, config, check_config } = arguments;
    match config {
        Some(path) => node::run(Config::load(&path)?, check_config, SERVICE, async |_| Ok(())).await,
        None if check_config => check(&development),
        None => run_development(&development).await,
    }
}

fn check(arguments: &DevelopmentArguments) -> anyhow::Result<ExitCode> {
    let data = &arguments.data;
    let Some(development) = Development::find(data)? else {
        say(format_args!("{} holds no instance: the first start makes one", data.display()));
        return Ok(ExitCode::SUCCESS);
    };
    load(&development, arguments)?;
    Ok(node::valid())
}

async fn run_development(arguments: &DevelopmentArguments) -> anyhow::Result<ExitCode> {
    let development = match Development::open(&arguments.data)? {
        Some(development) => development,
        None => make(arguments).await?,
    };
    let mut config = load(&development, arguments)?;
    let systems = match arguments.no_examples {
        true => None,
        false => Some(Systems::stand_in(&development, &mut config, &Violations::default()).await?),
    };
    let served = systems.as_ref().map_or_else(Vec::new, |systems| systems.endpoints.keys().collect());
    node::run(config, false, SERVICE, async |process| {
        development.keep_ports(process)?;
        process.ready().await;
        welcome(&development, process, &served)
    })
    .await
}

async fn make(arguments: &DevelopmentArguments) -> anyhow::Result<Development> {
    let DevelopmentArguments { data, kafka, instance, no_examples: _ } = arguments;
    let instance = instance.clone().unwrap_or_else(default_instance);
    if let Some(server) = kafka {
        refuse_taken(server, &instance).await?;
    }
    let options = Options { kafka: kafka.clone(), operations: true, ..Options::default() };
    let development = Development::make(data, &instance, SystemClock.now(), &options)?;
    say(format_args!("made the development instance {} in {}", development.instance(), data.display()));
    Ok(development)
}

/// Refuses a broker that carries an instance of this name, before anything is made.
async fn refuse_taken(server: &str, instance: &Instance) -> anyhow::Result<()> {
    let broker = KafkaBroker::connect(KafkaSettings::single_broker(server)).await?;
    let topic = TopicName::of_instance(InstanceTopic::Registry, instance);
    match broker.watermarks(&TopicPartition { topic, partition: 0 }).await {
        Err(BrokerError::Topic(_)) | Ok(Watermarks { high: 0, .. }) => Ok(()),
        Ok(_) => bail!(
            "the broker at {server} carries an instance named {instance} already: start that one from its own folder \
             (--data), or give this one another name (--instance)"
        ),
        Err(error) => Err(error.into()),
    }
}

/// The configuration of an instance, unless the arguments ask for another one than it is.
fn load(development: &Development, arguments: &DevelopmentArguments) -> anyhow::Result<Config> {
    let DevelopmentArguments { data, kafka, instance, no_examples: _ } = arguments;
    let config = Config::load(&development.config())?;
    let known = development.instance();
    if instance.as_ref().is_some_and(|asked| asked != known) {
        bail!(
            "{} holds the instance {known}; another one needs a folder of its own (--data)",
            data.display()
        );
    }
    if kafka.as_ref().is_some_and(|asked| !carried_by(&config, asked)) {
        bail!(
            "the instance in {} is carried by another broker, as {} says; one on this broker needs a folder of its own \
             (--data)",
            data.display(),
            development.config().display()
        );
    }
    Ok(config)
}

fn carried_by(config: &Config, server: &str) -> bool {
    match &config.broker {
        BrokerConfig::Kafka(settings) => settings.bootstrap_servers.iter().any(|known| known == server),
        BrokerConfig::Embedded { .. } => false,
    }
}

/// Tells a newcomer what runs and what to try.
fn welcome(development: &Development, process: &Process, served: &[&String]) -> anyhow::Result<()> {
    let (instance, config) = (development.instance(), development.config());
    say(format_args!("\nthe development instance {instance} is ready; end it with Ctrl-C"));
    if served.is_empty() {
        say("no example systems run behind its gateways");
    } else {
        let served = served.iter().map(|code| code.as_str()).collect::<Vec<_>>().join(", ");
        say(format_args!("example systems answer with invented data, kept in memory only: {served}"));
    }
    say(format_args!("systems of your own are named under [[gateway.system]] in {}", config.display()));
    if !served.is_empty() {
        let commands = commands(development, process, &std::env::current_exe()?)?;
        say(format_args!("\ntry, in another terminal:\n\n{commands}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::Arguments;

    #[test]
    fn a_configuration_of_ones_own_runs_no_development_instance() {
        for argument in [["--data", "up"], ["--kafka", "localhost:9092"], ["--instance", "KG"]] {
            assert!(Arguments::try_parse_from(up(&argument)).is_err(), "{argument:?}");
        }
        assert!(Arguments::try_parse_from(up(&["--no-examples"])).is_err());
        assert!(Arguments::try_parse_from(up(&[])).is_ok());
    }

    fn up<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["kopuro", "up", "--config", "kopuro.toml"], more].concat()
    }

    #[test]
    fn an_instance_has_a_valid_name() {
        let parse = |name| Arguments::try_parse_from(["kopuro", "up", "--instance", name]);
        assert!(parse("KG-2").is_ok());
        for name in ["K.G", "", "ABCDEFGHIJKLMNOPQ"] {
            assert!(parse(name).is_err(), "{name:?}");
        }
    }
}
