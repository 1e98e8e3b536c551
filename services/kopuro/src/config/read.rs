//! The tables of a configuration, and what must hold of their values.

use std::collections::HashMap;

use kopuro_broker::{KafkaSettings, KafkaTls, SettingsFault};
use kopuro_core::id::{MemberId, SubsystemId};
use kopuro_registry::record::is_label;
use kopuro_rpc::channel::Endpoint;

use super::files::Kind;
use super::section::Section;
use super::{
    BrokerConfig, CALLS_MAX, Config, GatewayConfig, LogFormat, MemberConfig, RegistryConfig, SystemConfig,
    TelemetryConfig,
};

/// Reads a configuration; `None`, or something that is not to be used, when a fault was noted.
pub(super) fn config(root: &mut Section<'_>) -> Option<Config> {
    let anchor = root.file("anchor", Kind::Anchor);
    let broker = match root.section("broker", broker) {
        Some(broker) => broker,
        None => {
            root.fault("broker", "[broker.embedded] or [broker.kafka] must be there");
            None
        }
    };
    let registry = root.section("registry", registry);
    let gateways = root.sections("gateway", gateway);
    if registry.is_none() && gateways.is_empty() {
        root.fault("registry, gateway", "neither is there: the process would do nothing");
    }
    told_apart(root, &gateways);
    let gateways = gateways.into_iter().collect::<Option<Vec<_>>>();
    let telemetry = root.section("telemetry", telemetry).unwrap_or_default();
    let registry = match registry {
        Some(registry) => Some(registry?),
        None => None,
    };
    Some(Config { anchor: anchor?, broker: broker?, registry, gateways: gateways?, telemetry })
}

/// Two gateways of one name would be one to the registry.
fn told_apart(root: &Section<'_>, gateways: &[Option<GatewayConfig>]) {
    let mut known = HashMap::new();
    for (at, gateway) in gateways.iter().enumerate() {
        let Some(gateway) = gateway else { continue };
        if let Some(first) = known.insert(&gateway.id, at) {
            root.fault(&format!("gateway[{at}].id"), format!("it is that of gateway[{first}]"));
        }
    }
}

fn broker(section: &mut Section<'_>) -> Option<BrokerConfig> {
    let embedded = section.section("embedded", |embedded| embedded.file("folder", Kind::LogFolder));
    match (embedded, section.section("kafka", kafka)) {
        (Some(folder), None) => Some(BrokerConfig::Embedded { folder: folder? }),
        (None, Some(settings)) => settings.map(BrokerConfig::Kafka),
        (Some(_), Some(_)) => {
            section.fault("kafka", "there is one broker, embedded or Kafka");
            None
        }
        (None, None) => {
            section.fault("embedded, kafka", "one of them must be there");
            None
        }
    }
}

fn kafka(section: &mut Section<'_>) -> Option<KafkaSettings> {
    let servers = section.required("bootstrap_servers");
    let tls = section.section("tls", kafka_tls);
    let mut settings = KafkaSettings::cluster(servers.clone().unwrap_or_default());
    section.replace("replication_factor", &mut settings.replication_factor);
    section.replace("in_sync_replicas_min", &mut settings.in_sync_replicas_min);
    section.replace("append_timeout_ms", &mut settings.append_timeout_ms);
    section.replace("request_timeout_ms", &mut settings.request_timeout_ms);
    let told = |fault: &SettingsFault| servers.is_some() || *fault != SettingsFault::NoServers;
    settings.faults().into_iter().filter(told).for_each(|fault| section.fault_here(fault));
    settings.tls = match tls {
        Some(tls) => Some(tls?),
        None => None,
    };
    servers.is_some().then_some(settings)
}

fn kafka_tls(section: &mut Section<'_>) -> Option<KafkaTls> {
    let ca = section.file("ca", Kind::Certificates);
    let certificate = section.file("certificate", Kind::Certificates);
    let key = section.file("key", Kind::KafkaKey);
    Some(KafkaTls { ca: ca?, certificate: certificate?, key: key? })
}

fn registry(section: &mut Section<'_>) -> Option<RegistryConfig> {
    let listen = section.required("listen");
    let certificate = section.file("certificate", Kind::Certificates);
    let key = section.file("key", Kind::TransportKey { certificate: certificate.clone() });
    let checkpoint_key = section.file("checkpoint_key", Kind::CheckpointKey);
    let attestation_key = section.file("attestation_key", Kind::SigningKey);
    let bootstrap = section.optional_file("bootstrap", Kind::Folder);
    Some(RegistryConfig {
        listen: listen?,
        certificate: certificate?,
        key: key?,
        checkpoint_key: checkpoint_key?,
        attestation_key: attestation_key?,
        bootstrap,
    })
}

fn gateway(section: &mut Section<'_>) -> Option<GatewayConfig> {
    let id =
        section.text("id", |id| is_label(id).then_some(()).ok_or("it is not of a-z, 0-9 and -, 1 to 63"));
    let (listen, operations) = (section.required("listen"), section.optional("operations"));
    let certificate = section.file("certificate", Kind::Certificates);
    let key = section.file("key", Kind::TransportKey { certificate: certificate.clone() });
    let signing_key = section.file("signing_key", Kind::SigningKey);
    let members = section.sections("member", member);
    if members.is_empty() {
        section.fault("member", "a gateway speaks for at least one");
    }
    let systems = section.sections("system", system);
    let mut calls_max = CALLS_MAX;
    section.replace("calls_max", &mut calls_max);
    if calls_max == 0 {
        section.fault("calls_max", "it must be at least 1");
    }
    Some(GatewayConfig {
        id: id?,
        listen: listen?,
        operations,
        certificate: certificate?,
        key: key?,
        signing_key: signing_key?,
        members: members.into_iter().collect::<Option<_>>()?,
        systems: systems.into_iter().collect::<Option<_>>()?,
        calls_max,
    })
}

fn member(section: &mut Section<'_>) -> Option<MemberConfig> {
    let id = section.text("id", MemberId::parse);
    let secret = section.file("secret", Kind::Secret);
    let sealing_keys = section.file_list("sealing_keys", &Kind::SealingKey);
    Some(MemberConfig { id: id?, secret: secret?, sealing_keys: sealing_keys? })
}

fn system(section: &mut Section<'_>) -> Option<SystemConfig> {
    let subsystem = section.text("subsystem", SubsystemId::parse);
    let endpoint = section.text("endpoint", Endpoint::parse);
    Some(SystemConfig { subsystem: subsystem?, endpoint: endpoint? })
}

fn telemetry(section: &mut Section<'_>) -> TelemetryConfig {
    let otlp_endpoint: Option<String> = section.optional("otlp_endpoint");
    let is_address = |text: &String| text.parse::<http::Uri>().is_ok_and(|uri| uri.scheme().is_some());
    if otlp_endpoint.as_ref().is_some_and(|text| !is_address(text)) {
        section.fault("otlp_endpoint", "it is not http://host:port or https://host:port");
    }
    let mut log_format = LogFormat::default();
    section.replace("log_format", &mut log_format);
    TelemetryConfig { otlp_endpoint, log_format }
}
