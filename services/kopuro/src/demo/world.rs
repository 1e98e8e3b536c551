//! What the demonstration runs on: an instance, its process, the example systems, and the meddling operator.

mod trail;

use std::sync::Arc;

use anyhow::Context as _;
use kopuro_broker::{Broker, StartAt, StoredRecord, TopicPartition, Watermarks};
use kopuro_core::id::SubsystemId;
use kopuro_core::time::Clock as _;
use kopuro_core::topic::{InstanceTopic, MemberTopic, SubsystemTopic, TopicName};
use kopuro_telemetry::clock::SystemClock;
use tokio::signal::unix::{SignalKind, signal};

use super::DemoOptions;
use super::meddler::Meddler;
use super::report::Screen;
use crate::client::{Client, ClientError, Connection};
use crate::config::Config;
use crate::development::{Agency, Development, Options, default_instance, passing_instance};
use crate::examples::Violations;
use crate::examples::commands::commands;
use crate::examples::server::Systems;
use crate::process::{OpenBroker, Process, open_broker};
pub(super) use trail::{AuditTrail, DeadLetters};

/// Everything that runs.
pub(super) struct World {
    development: Development,
    process: Process,
    broker: OpenBroker,
    meddler: Arc<Meddler>,
    violations: Violations,
    systems: Systems,
}

impl World {
    pub(super) async fn start(options: &DemoOptions, screen: &Screen) -> anyhow::Result<Self> {
        screen.line("making keys and certificates, signing the founding records");
        let kafka = options.kafka.clone();
        // What it leaves on a cluster is of no use to the next one.
        let instance = if kafka.is_some() { passing_instance() } else { default_instance() };
        let with = Options { kafka, operations: true, ..Options::default() };
        let development = Development::make(&options.folder, &instance, SystemClock.now(), &with)?;
        screen.line("starting the agencies' systems");
        let (violations, mut config) = (Violations::default(), Config::load(&development.config())?);
        let systems = Systems::stand_in(&development, &mut config, &violations).await?;
        screen.line("starting the broker, the registry and four gateways");
        let broker = open_broker(&config.broker).await?;
        let meddler = Meddler::new(broker.port());
        let process = Process::start(&config, Arc::clone(&meddler) as Arc<dyn Broker>).await?;
        process.ready().await;
        Ok(Self { development, process, broker, meddler, violations, systems })
    }

    /// A client with the certificate of a system, connected to a gateway.
    pub(super) fn client(&self, system: &str, gateway: &str) -> Result<Client, ClientError> {
        let identity = self.development.system(system);
        let address = self.process.gateway(gateway).ok_or(ClientError::NotSent)?;
        Client::new(&Connection {
            endpoint: format!("https://{address}"),
            certificate: identity.chain,
            key: identity.key,
            authority: self.development.tls_authority(),
        })
    }

    pub(super) fn meddler(&self) -> &Meddler {
        &self.meddler
    }

    pub(super) fn broker(&self) -> &dyn Broker {
        &*self.meddler
    }

    /// How many payments the traffic police has booked.
    pub(super) fn payments(&self) -> u64 {
        self.violations.payments()
    }

    pub(super) fn portal(&self) -> SubsystemId {
        self.subsystem("portal")
    }

    pub(super) fn pensions(&self) -> SubsystemId {
        self.subsystem("pensions")
    }

    pub(super) fn violations(&self) -> SubsystemId {
        self.subsystem("violations")
    }

    /// The last request that was stored for a provider.
    pub(super) async fn last_request(
        &self,
        provider: &SubsystemId,
    ) -> anyhow::Result<(TopicPartition, StoredRecord)> {
        let topic = TopicName::of_subsystem(SubsystemTopic::Call, provider);
        let mut last: Option<(TopicPartition, StoredRecord)> = None;
        for partition in 0..self.broker().partitions(&topic).await? {
            let target = TopicPartition { topic: topic.clone(), partition };
            let Watermarks { low, high } = self.broker().watermarks(&target).await?;
            if high > low {
                let stored = self.broker().tail(&target, StartAt::Offset(high - 1)).await?.next().await?;
                let later = last.as_ref().is_none_or(|(_, known)| known.append_time <= stored.append_time);
                last = if later { Some((target, stored)) } else { last };
            }
        }
        last.context("no request is stored")
    }

    /// What is put aside for a provider from here on.
    pub(super) async fn dead_letters(
        &self,
        provider: &SubsystemId,
        partition: u32,
    ) -> anyhow::Result<DeadLetters> {
        let topic = TopicName::of_member(MemberTopic::DeadLetter, &provider.member());
        let target = TopicPartition { topic, partition };
        Ok(DeadLetters::new(self.broker().tail(&target, StartAt::Latest).await?))
    }

    /// What is audited from here on.
    pub(super) async fn audit_trail(&self) -> anyhow::Result<AuditTrail> {
        let topic = TopicName::of_instance(InstanceTopic::Audit, self.development.instance());
        let target = TopicPartition { topic, partition: 0 };
        Ok(AuditTrail::new(self.broker().tail(&target, StartAt::Latest).await?))
    }

    /// Commands to try while it is held.
    pub(super) fn commands(&self) -> std::io::Result<String> {
        commands(&self.development, &self.process, &std::env::current_exe()?)
    }

    /// Keeps everything running until it is told to end.
    pub(super) async fn hold(&self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted?,
            _ = terminate.recv() => {}
        }
        Ok(())
    }

    pub(super) async fn stop(self) {
        let Self { process, broker, systems, .. } = self;
        process.drain().await;
        drop(systems);
        broker.close().await;
    }

    fn subsystem(&self, code: &str) -> SubsystemId {
        let agency = Agency::of_system(code).expect("every example system belongs to an agency");
        let system = agency.systems.iter().find(|system| system.code == code);
        agency.subsystem(self.development.instance(), system.expect("the agency was found by its system"))
    }
}
