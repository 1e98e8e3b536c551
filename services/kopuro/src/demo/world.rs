//! What the demonstration runs on: an instance, its process, the example systems, and the meddling operator.

mod hold;
mod trail;

use std::sync::Arc;

use anyhow::Context as _;
use kopuro_broker::{Broker, StartAt, StoredRecord, TopicPartition, Watermarks};
use kopuro_core::id::{Instance, SubsystemId};
use kopuro_core::time::Clock as _;
use kopuro_core::topic::{InstanceTopic, MemberTopic, SubsystemTopic, TopicName};
use kopuro_telemetry::clock::SystemClock;
use tokio::signal::unix::{SignalKind, signal};

use super::DemoOptions;
use super::meddler::Meddler;
use super::report::Screen;
use crate::client::{Client, ClientError, Connection};
use crate::config::Config;
use crate::development::{Agency, Development, INSTANCE, Options};
use crate::examples::Violations;
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
        let development = Development::create(&options.folder, SystemClock.now())?;
        screen.line("starting the agencies' systems");
        let violations = Violations::default();
        let systems = Systems::start(&development, &violations).await?;
        let endpoints = systems.endpoints.clone();
        development.configure(&Options { kafka: options.kafka.clone(), endpoints, operations: true })?;
        screen.line("starting the broker, the registry and four gateways");
        let config = Config::load(&development.config())?.on_any_ports();
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
        subsystem("portal")
    }

    pub(super) fn pensions(&self) -> SubsystemId {
        subsystem("pensions")
    }

    pub(super) fn violations(&self) -> SubsystemId {
        subsystem("violations")
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
        let instance = Instance::parse(INSTANCE)?;
        let topic = TopicName::of_instance(InstanceTopic::Audit, &instance);
        let target = TopicPartition { topic, partition: 0 };
        Ok(AuditTrail::new(self.broker().tail(&target, StartAt::Latest).await?))
    }

    /// Keeps everything running until it is told to end, with commands to try.
    pub(super) async fn hold(&self) -> anyhow::Result<()> {
        hold::show(&self.development, &self.process);
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
}

fn subsystem(code: &str) -> SubsystemId {
    let agency = Agency::of_system(code).expect("every example system belongs to an agency");
    let system = agency.systems.iter().find(|system| system.code == code);
    agency.subsystem(system.expect("the agency was found by its system"))
}
