//! What a configuration gives access to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kopuro_broker::Broker;
use kopuro_core::id::MemberId;
use kopuro_core::time::Clock;
use kopuro_exchange::audit::BrokerAudit;
use kopuro_exchange::dead_letter::{DeadLetters, Listed};
use kopuro_registry::anchor::Anchor;
use kopuro_telemetry::audit::AuditSink;
use kopuro_telemetry::clock::SystemClock;
use kopuro_telemetry::metrics::{Alarm, Metrics};
use kopuro_trust::member_secret::MemberSecret;

use super::position::At;
use crate::cli::usage;
use crate::config::{BrokerConfig, Config, GatewayConfig, MemberConfig};
use crate::process::{OpenBroker, open_broker};

/// How long the audit trail may take to have what was done.
const AUDIT_LIMIT: Duration = Duration::from_secs(30);

/// The dead letters that a configuration's gateways may look at, and what is needed beside them.
pub(super) struct Office {
    pub(super) desks: Vec<DeadLetters>,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) anchor: Anchor,
    pub(super) clock: Arc<dyn Clock>,
    audit: Arc<BrokerAudit>,
    metrics: Arc<Metrics>,
    open: OpenBroker,
}

impl Office {
    /// Opens the broker of a configuration for its members, or for one of them.
    pub(super) async fn open(config: &Config, member: Option<&MemberId>) -> anyhow::Result<Self> {
        let members = members(config, member)?;
        let anchor =
            Anchor::parse(&std::fs::read_to_string(&config.anchor).context("the anchor cannot be read")?)?;
        let open = open(&config.broker).await?;
        let (broker, metrics) = (open.port(), Metrics::new());
        let clock = Arc::new(SystemClock) as Arc<dyn Clock>;
        let audit = BrokerAudit::start(Arc::clone(&broker), &anchor.instance, Arc::clone(&metrics));
        let desk = |(member, secret, gateway)| DeadLetters {
            broker: Arc::clone(&broker),
            member,
            secret: Arc::new(secret),
            gateway,
            audit: Arc::clone(&audit) as Arc<dyn AuditSink>,
            clock: Arc::clone(&clock),
        };
        let desks = members.into_iter().map(desk).collect();
        Ok(Self {
            desks,
            broker: Arc::clone(&broker),
            anchor,
            clock: Arc::clone(&clock),
            audit,
            metrics,
            open,
        })
    }

    /// The desk of the one member that is meant.
    pub(super) fn desk(&self) -> anyhow::Result<&DeadLetters> {
        match self.desks.as_slice() {
            [desk] => Ok(desk),
            desks => {
                let members: Vec<&str> = desks.iter().map(|desk| desk.member.as_str()).collect();
                let told = format!("name one member with --member: {}", members.join(", "));
                Err(usage::fault(&told).into())
            }
        }
    }

    /// Waits until what was done is in the audit trail.
    pub(super) async fn audited(&self) -> anyhow::Result<()> {
        let settled = tokio::time::timeout(AUDIT_LIMIT, self.audit.settled()).await;
        if settled.is_err() || self.metrics.alarms(Alarm::AuditLost) > 0 {
            bail!("what was done is noted in the dead-letter topic, but not in the audit trail");
        }
        Ok(())
    }

    /// Writes out what is queued, and frees an embedded log.
    pub(super) async fn close(self) {
        self.open.close().await;
    }
}

/// The letter at a position.
pub(super) fn find(letters: Vec<Listed>, At(position): At) -> Option<Listed> {
    letters.into_iter().find(|listed| listed.position == position)
}

/// Each member that is meant, with its secret and the first gateway that speaks for it.
fn members(
    config: &Config,
    wanted: Option<&MemberId>,
) -> anyhow::Result<Vec<(MemberId, MemberSecret, String)>> {
    let mut found: Vec<(MemberId, MemberSecret, String)> = Vec::new();
    for GatewayConfig { id: gateway, members, .. } in &config.gateways {
        for MemberConfig { id, secret, sealing_keys: _ } in members {
            let id = MemberId::parse(id)?;
            let meant = wanted.is_none_or(|wanted| *wanted == id);
            if meant && found.iter().all(|(known, _, _)| *known != id) {
                let shown = || format!("the member secret {}", secret.display());
                found.push((id, MemberSecret::from_file(secret).with_context(shown)?, gateway.clone()));
            }
        }
    }
    match wanted {
        Some(wanted) if found.is_empty() => bail!("no gateway of the configuration speaks for {wanted}"),
        None if found.is_empty() => bail!("the configuration has no gateway"),
        Some(_) | None => Ok(found),
    }
}

async fn open(config: &BrokerConfig) -> anyhow::Result<OpenBroker> {
    match config {
        BrokerConfig::Embedded { folder } => {
            if !holds_log(folder) {
                bail!("there is no log in {}: nothing has run on it yet", folder.display());
            }
            let told = "the embedded log cannot be opened: one process owns it, so stop the one that runs on it first";
            open_broker(config).await.context(told)
        }
        BrokerConfig::Kafka(_) => open_broker(config).await.context("Kafka cannot be reached"),
    }
}

/// A log is not made by looking at it.
fn holds_log(folder: &Path) -> bool {
    folder.join("log").is_dir()
}
