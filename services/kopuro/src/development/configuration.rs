//! The configuration file of a development instance.

use std::net::{SocketAddr, TcpListener};

use super::agencies::{AGENCIES, Agency};
use super::{DevelopmentError, Options};

/// The text of the configuration.
pub(super) fn write(options: &Options) -> Result<String, DevelopmentError> {
    let mut ports = Ports::default();
    let mut text =
        String::from("# A development instance. Every key in this folder is for development only.\n\n");
    text += "anchor = \"anchor.toml\"\n\n";
    text += &broker(options.kafka.as_deref());
    text += &format!(
        "[registry]\nlisten = \"{}\"\ncertificate = \"registry/registry.crt.pem\"\n\
         key = \"registry/registry.key.pem\"\ncheckpoint_key = \"registry/checkpoint.key.pem\"\n\
         attestation_key = \"registry/attestation.key.pem\"\nbootstrap = \"bootstrap\"\n",
        ports.next()?
    );
    for agency in AGENCIES {
        text += &gateway(agency, options, &mut ports)?;
    }
    Ok(text)
}

fn broker(kafka: Option<&str>) -> String {
    match kafka {
        None => "[broker.embedded]\nfolder = \"data/log\"\n\n".to_owned(),
        Some(server) => format!(
            "[broker.kafka]\nbootstrap_servers = [\"{server}\"]\nreplication_factor = 1\nin_sync_replicas_min = 1\n\n"
        ),
    }
}

fn gateway(agency: &Agency, options: &Options, ports: &mut Ports) -> Result<String, DevelopmentError> {
    let Agency { gateway, code, .. } = agency;
    let mut text = format!("\n[[gateway]]\nid = \"{gateway}\"\nlisten = \"{}\"\n", ports.next()?);
    if options.operations {
        text += &format!("operations = \"{}\"\n", ports.next()?);
    }
    text += &format!(
        "certificate = \"gateways/{gateway}.crt.pem\"\nkey = \"gateways/{gateway}.key.pem\"\n\
         signing_key = \"gateways/{gateway}-signing.key.pem\"\n\n[[gateway.member]]\nid = \"{}\"\n\
         secret = \"gateways/{code}.secret\"\n",
        agency.member()
    );
    let sealing = agency.systems.iter().map(|system| format!("\"gateways/{}-sealing.key.pem\"", system.code));
    text += &format!("sealing_keys = [{}]\n", sealing.collect::<Vec<_>>().join(", "));
    for system in agency.systems {
        if let Some(endpoint) = options.endpoints.get(system.code) {
            let subsystem = agency.subsystem(system);
            text +=
                &format!("\n[[gateway.system]]\nsubsystem = \"{subsystem}\"\nendpoint = \"{endpoint}\"\n");
        }
    }
    Ok(text)
}

/// Free ports of the loopback address. Each is held until all are chosen, so none is given twice.
#[derive(Default)]
struct Ports(Vec<TcpListener>);

impl Ports {
    fn next(&mut self) -> std::io::Result<SocketAddr> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        self.0.push(listener);
        Ok(address)
    }
}
