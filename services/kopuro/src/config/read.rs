//! The tables of a configuration, and what must hold of their values.

use kopuro_broker::{KafkaSettings, KafkaTls, SettingsFault};
use kopuro_core::id::SubsystemId;
use kopuro_registry::record::is_label;
use kopuro_rpc::channel::Endpoint;

use super::agree;
use super::files::Kind;
use super::section::Section;
use super::{
    BrokerConfig, CALLS, CALLS_MAX, Config, GatewayConfig, LogFormat, MemberConfig, RegistryConfig, Roles,
    SystemConfig, TelemetryConfig,
};

/// Reads a configuration for a process that runs `roles`; `None`, or something that is not to be used, when a fault was noted.
pub(super) fn config(root: &mut Section<'_>, roles: Roles) -> Option<Config> {
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
    if let Some((keys, fault)) = roles.missing(registry.is_some(), !gateways.is_empty()) {
        root.fault(keys, fault);
    }
    agree::told_apart(root, ("gateway", "id"), gateways.iter().map(|gateway| Some(&*gateway.as_ref()?.id)));
    let gateways = gateways.into_iter().collect::<Option<Vec<_>>>();
    let telemetry = root.section("telemetry", |section| Some(telemetry(section)));
    let registry = match registry {
        Some(registry) => Some(registry?),
        None => None,
    };
    let telemetry = telemetry.flatten().unwrap_or_default();
    Some(roles.only(Config { anchor: anchor?, broker: broker?, registry, gateways: gateways?, telemetry }))
}

fn broker(section: &mut Section<'_>) -> Option<BrokerConfig> {
    let embedded = section.section("embedded", |embedded| embedded.file("folder", Kind::LogFolder));
    match (embedded, section.section("kafka", kafka)) {
        (Some(folder), None) => folder.map(|folder| BrokerConfig::Embedded { folder }),
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
    let listen = section.listener("listen");
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
    let (listen, operations) = (section.listener("listen"), section.optional_listener("operations"));
    let certificate = section.file("certificate", Kind::Certificates);
    let key = section.file("key", Kind::TransportKey { certificate: certificate.clone() });
    let signing_key = section.file("signing_key", Kind::SigningKey);
    let members = section.sections("member", member);
    if members.is_empty() {
        section.fault("member", "a gateway speaks for at least one");
    }
    agree::told_apart(section, ("member", "id"), members.iter().map(|member| Some(&*member.as_ref()?.id)));
    let systems = section.sections("system", system);
    let subsystems = systems.iter().map(|system| Some(&*system.as_ref()?.subsystem));
    agree::told_apart(section, ("system", "subsystem"), subsystems);
    agree::spoken_for(section, &members, &systems);
    let calls_max = calls_max(section);
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

fn calls_max(section: &mut Section<'_>) -> usize {
    let mut calls_max = CALLS;
    section.replace("calls_max", &mut calls_max);
    if !(1..=CALLS_MAX).contains(&calls_max) {
        section.fault("calls_max", format!("it must be between 1 and {CALLS_MAX}"));
    }
    calls_max
}

fn member(section: &mut Section<'_>) -> Option<MemberConfig> {
    let id = section.member("id");
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
    if otlp_endpoint.as_ref().is_some_and(|text| !is_collector(text)) {
        section.fault("otlp_endpoint", "it is not http://host:port: traces are sent without TLS");
    }
    let mut log_format = LogFormat::default();
    section.replace("log_format", &mut log_format);
    TelemetryConfig { otlp_endpoint, log_format }
}

/// Whether a text says where a collector is that can be spoken to: the exporter knows no TLS.
fn is_collector(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    let bare = uri.path_and_query().is_none_or(|path| path == "/");
    let there = uri.authority().is_some_and(|authority| {
        let named = !authority.host().is_empty() && !authority.as_str().contains('@');
        named && authority.port_u16().is_some_and(|port| port != 0)
    });
    uri.scheme_str() == Some("http") && bare && there
}
