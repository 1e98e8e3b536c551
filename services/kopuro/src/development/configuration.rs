//! The configuration file of a development instance.

use kopuro_core::id::Instance;

use super::agencies::{AGENCIES, Agency};
use super::{DATA, Options};

/// A port of the loopback that the system chooses.
const ANY_PORT: &str = "127.0.0.1:0";

/// The text of the configuration.
pub(super) fn write(instance: &Instance, options: &Options) -> String {
    let mut text = String::from(
        "# A development instance. Every key in this folder is for development only.\n\
         # A port of 0 is chosen by the system at the first start, and kept here.\n\n",
    );
    text += "anchor = \"anchor.toml\"\n\n";
    text += &broker(options.kafka.as_deref());
    text += &format!(
        "[registry]\nlisten = \"{ANY_PORT}\"\ncertificate = \"registry/registry.crt.pem\"\n\
         key = \"registry/registry.key.pem\"\ncheckpoint_key = \"registry/checkpoint.key.pem\"\n\
         attestation_key = \"registry/attestation.key.pem\"\nbootstrap = \"bootstrap\"\n"
    );
    for agency in AGENCIES {
        text += &gateway(instance, agency, options);
    }
    text
}

fn broker(kafka: Option<&str>) -> String {
    match kafka {
        None => format!("[broker.embedded]\nfolder = \"{DATA}/log\"\n\n"),
        Some(server) => format!(
            "[broker.kafka]\nbootstrap_servers = [\"{server}\"]\nreplication_factor = 1\nin_sync_replicas_min = 1\n\n"
        ),
    }
}

fn gateway(instance: &Instance, agency: &Agency, options: &Options) -> String {
    let Agency { gateway, code, .. } = agency;
    let mut text = format!("\n[[gateway]]\nid = \"{gateway}\"\nlisten = \"{ANY_PORT}\"\n");
    if options.operations {
        text += &format!("operations = \"{ANY_PORT}\"\n");
    }
    text += &format!(
        "certificate = \"gateways/{gateway}.crt.pem\"\nkey = \"gateways/{gateway}.key.pem\"\n\
         signing_key = \"gateways/{gateway}-signing.key.pem\"\n\n[[gateway.member]]\nid = \"{}\"\n\
         secret = \"gateways/{code}.secret\"\n",
        agency.member(instance)
    );
    let sealing = agency.systems.iter().map(|system| format!("\"gateways/{}-sealing.key.pem\"", system.code));
    text += &format!("sealing_keys = [{}]\n", sealing.collect::<Vec<_>>().join(", "));
    for system in agency.systems {
        if let Some(endpoint) = options.endpoints.get(system.code) {
            let subsystem = agency.subsystem(instance, system);
            text +=
                &format!("\n[[gateway.system]]\nsubsystem = \"{subsystem}\"\nendpoint = \"{endpoint}\"\n");
        }
    }
    text
}
