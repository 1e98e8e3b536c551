//! Handshakes in memory, without a socket: who gets in, and with what.

use std::time::Duration;

use kopuro_core::time::UnixMillis;
use rustls::{ClientConnection, HandshakeKind, NamedGroup, ProtocolVersion, ServerConnection};
use rustls_pki_types::ServerName;

use super::*;
use crate::certificate::VerifiedCertificate;
use crate::pki::{Authority, CertificatePurpose, Issued, Validity};

/// The handshakes run by rustls's own clock, so certificates are made to be valid by it.
fn validity() -> Validity {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = UnixMillis::new(u64::try_from(now.as_millis()).unwrap());
    Validity { not_before: now.minus(Duration::from_secs(60)), not_after: now.plus(Duration::from_secs(600)) }
}

struct Scene {
    root: Authority,
    gateway: Issued,
    system: Issued,
}

impl Scene {
    fn new() -> Self {
        let root = Authority::create_root("root", validity()).unwrap();
        let gateway = root.issue(CertificatePurpose::Gateway, "gateway", &[], validity()).unwrap();
        let system = root.issue(CertificatePurpose::System, "system", &[], validity()).unwrap();
        Self { root, gateway, system }
    }

    fn trust(&self) -> Arc<TrustStore> {
        Arc::new(TrustStore::new([self.root.certificate().clone()], []).unwrap())
    }

    fn server(&self) -> ServerConfig {
        server_config(&self.gateway.identity(), self.trust(), Protocols::Http2).unwrap()
    }

    fn client(&self) -> ClientConfig {
        client_config(&self.system.identity(), self.trust(), Protocols::Http2).unwrap()
    }
}

fn connect(client: ClientConfig, server: ServerConfig, name: &'static str) -> Result<Pair, rustls::Error> {
    let name = ServerName::try_from(name).unwrap();
    let mut pair = (ClientConnection::new(Arc::new(client), name)?, ServerConnection::new(Arc::new(server))?);
    while pair.0.is_handshaking() || pair.1.is_handshaking() || pair.0.wants_write() || pair.1.wants_write() {
        let mut wire = Vec::new();
        pair.0.write_tls(&mut wire).unwrap();
        pair.1.read_tls(&mut wire.as_slice()).unwrap();
        pair.1.process_new_packets()?;
        wire.clear();
        pair.1.write_tls(&mut wire).unwrap();
        pair.0.read_tls(&mut wire.as_slice()).unwrap();
        pair.0.process_new_packets()?;
    }
    Ok(pair)
}

type Pair = (ClientConnection, ServerConnection);

#[test]
fn a_handshake_is_mutual_tls13_with_the_hybrid_key_exchange() {
    let scene = Scene::new();
    let (client, server) = connect(scene.client(), scene.server(), "localhost").unwrap();
    assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(client.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519MLKEM768);
    assert_eq!(client.alpn_protocol(), Some(&b"h2"[..]));
    let seen = VerifiedCertificate::of_connection(&server).unwrap().unwrap();
    assert_eq!(seen.key_id(), scene.system.key_id().unwrap());
    let seen = VerifiedCertificate::of_connection(&client).unwrap().unwrap();
    assert_eq!(seen.key_id(), scene.gateway.key_id().unwrap());
}

#[test]
fn a_classical_client_gets_in() {
    let scene = Scene::new();
    let mut classical = provider();
    classical.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::SECP256R1];
    let client = ClientConfig::builder_with_provider(Arc::new(classical))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerVerifier::new(scene.trust())))
        .with_client_auth_cert(scene.system.identity().chain, scene.system.identity().key)
        .unwrap();
    let mut server = scene.server();
    server.alpn_protocols.clear();
    let (client, _) = connect(client, server, "127.0.0.1").unwrap();
    assert_eq!(client.negotiated_key_exchange_group().unwrap().name(), NamedGroup::secp256r1);
}

#[test]
fn a_client_without_a_certificate_stays_out() {
    let scene = Scene::new();
    let mut client = client_builder(scene.trust()).with_no_client_auth();
    client.alpn_protocols = Protocols::Http2.names();
    assert_eq!(
        connect(client, scene.server(), "localhost").unwrap_err(),
        rustls::Error::NoCertificatesPresented
    );
}

#[test]
fn strangers_and_wrong_roles_stay_out() {
    let (scene, other) = (Scene::new(), Scene::new());
    let stranger = client_config(&other.system.identity(), scene.trust(), Protocols::Http2).unwrap();
    assert!(connect(stranger, scene.server(), "localhost").is_err());
    let impostor = server_config(&other.gateway.identity(), scene.trust(), Protocols::Http2).unwrap();
    assert!(connect(scene.client(), impostor, "localhost").is_err());
    let misnamed = connect(scene.client(), scene.server(), "gateway.example.kg").unwrap_err();
    assert_eq!(misnamed, rustls::CertificateError::NotValidForName.into());

    let service = scene.root.issue(CertificatePurpose::Service, "registry", &[], validity()).unwrap();
    let calling = client_config(&service.identity(), scene.trust(), Protocols::Http2).unwrap();
    assert!(
        connect(calling, scene.server(), "localhost").is_err(),
        "a service's certificate is not for calling"
    );
    let tool = scene.root.issue(CertificatePurpose::Client, "operator", &["localhost"], validity()).unwrap();
    let serving = server_config(&tool.identity(), scene.trust(), Protocols::Http2).unwrap();
    assert!(
        connect(scene.client(), serving, "localhost").is_err(),
        "a client's certificate is not for serving"
    );
}

#[test]
fn a_certificate_past_its_end_stays_out() {
    let scene = Scene::new();
    let past = Validity { not_before: UnixMillis::new(1_000), not_after: UnixMillis::new(2_000) };
    let expired = scene.root.issue(CertificatePurpose::System, "system", &[], past).unwrap();
    let client = client_config(&expired.identity(), scene.trust(), Protocols::Http2).unwrap();
    assert_eq!(
        connect(client, scene.server(), "localhost").unwrap_err(),
        rustls::CertificateError::Expired.into()
    );
}

#[test]
fn no_session_is_resumed() {
    let scene = Scene::new();
    let (mut client, server) = (scene.client(), Arc::new(scene.server()));
    // A client that would resume if it were ever given a ticket.
    client.resumption = Resumption::in_memory_sessions(8);
    for _ in 0..2 {
        let (client, _) = connect(client.clone(), server.as_ref().clone(), "localhost").unwrap();
        assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(client.tls13_tickets_received(), 0);
    }
    assert!(!server.session_storage.can_cache());
    assert_eq!((server.send_tls13_tickets, server.max_early_data_size), (0, 0));
}

#[test]
fn an_identity_is_a_key_and_its_certificate() {
    let scene = Scene::new();
    let (chain, key) = (scene.gateway.identity().chain, scene.system.identity().key);
    let mixed = Identity::new(chain, key.secret_der()).unwrap();
    assert!(matches!(server_config(&mixed, scene.trust(), Protocols::Http2), Err(TlsError::Identity(_))));
    assert!(matches!(Identity::new(Vec::new(), &[]), Err(TlsError::EmptyChain)));
    assert_eq!(format!("{mixed:?}"), "Identity(1 certificates)");
}
