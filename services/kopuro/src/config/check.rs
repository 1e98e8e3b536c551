//! What must hold of a configuration beyond its syntax.

use std::path::Path;

use kopuro_core::id::{MemberId, SubsystemId};
use kopuro_registry::anchor::Anchor;
use kopuro_rpc::channel::Endpoint;

use super::{BrokerConfig, Config, GatewayConfig, MemberConfig, SystemConfig};

/// Faults that show in the values themselves.
pub(super) fn values(config: &Config) -> Vec<String> {
    let mut faults = Vec::new();
    if config.registry.is_none() && config.gateways.is_empty() {
        faults.push("neither [registry] nor [[gateway]] is there: the process would do nothing".to_owned());
    }
    if let BrokerConfig::Kafka(settings) = &config.broker {
        faults.extend(settings.faults().iter().map(|fault| format!("broker.kafka: {fault}")));
    }
    for (at, gateway) in config.gateways.iter().enumerate() {
        faults.extend(gateway_values(gateway).into_iter().map(|fault| format!("gateway[{at}].{fault}")));
    }
    faults
}

/// Faults that show when the files are looked at.
pub(super) fn files(config: &Config) -> Vec<String> {
    let mut faults = Vec::new();
    match std::fs::read_to_string(&config.anchor) {
        Ok(text) => faults.extend(Anchor::parse(&text).err().map(|error| format!("anchor: {error}"))),
        Err(error) => faults.push(format!("anchor: {} cannot be read: {error}", config.anchor.display())),
    }
    if let Some(registry) = &config.registry {
        let named = [
            ("certificate", &registry.certificate),
            ("key", &registry.key),
            ("checkpoint_key", &registry.checkpoint_key),
            ("attestation_key", &registry.attestation_key),
        ];
        faults.extend(named.iter().filter_map(|(name, path)| missing(&format!("registry.{name}"), path)));
    }
    for (at, gateway) in config.gateways.iter().enumerate() {
        let place = format!("gateway[{at}]");
        let named = [
            ("certificate", &gateway.certificate),
            ("key", &gateway.key),
            ("signing_key", &gateway.signing_key),
        ];
        faults.extend(named.iter().filter_map(|(name, path)| missing(&format!("{place}.{name}"), path)));
        for (at, MemberConfig { id: _, secret, sealing_keys }) in gateway.members.iter().enumerate() {
            faults.extend(missing(&format!("{place}.member[{at}].secret"), secret));
            let sealing = |path| missing(&format!("{place}.member[{at}].sealing_keys"), path);
            faults.extend(sealing_keys.iter().filter_map(|path| sealing(path)));
        }
    }
    faults
}

fn gateway_values(gateway: &GatewayConfig) -> Vec<String> {
    let mut faults = Vec::new();
    if gateway.members.is_empty() {
        faults.push("member: a gateway speaks for at least one member".to_owned());
    }
    if gateway.calls_max == 0 {
        faults.push("calls_max: it must be at least 1".to_owned());
    }
    for (at, member) in gateway.members.iter().enumerate() {
        faults.extend(MemberId::parse(&member.id).err().map(|error| format!("member[{at}].id: {error}")));
    }
    for (at, SystemConfig { subsystem, endpoint }) in gateway.systems.iter().enumerate() {
        faults.extend(
            SubsystemId::parse(subsystem).err().map(|error| format!("system[{at}].subsystem: {error}")),
        );
        faults.extend(Endpoint::parse(endpoint).err().map(|error| format!("system[{at}].endpoint: {error}")));
    }
    faults
}

fn missing(name: &str, path: &Path) -> Option<String> {
    (!path.is_file()).then(|| format!("{name}: {} is not a file", path.display()))
}
