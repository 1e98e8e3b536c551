//! The development authority: what it makes passes the strict profile, openssl, and a round trip through files.

use std::fs;
use std::sync::Arc;

use super::*;
use crate::certificate::{PeerRole, TrustStore};
use crate::sealing::SealingKey;
use crate::signing::{SignatureAlgorithm, Signer};
use crate::test_openssl::Openssl;
use crate::tls::{self, Protocols};

const NOW: UnixMillis = UnixMillis::new(1_795_000_000_000);
const VALIDITY: Validity = Validity {
    not_before: UnixMillis::new(1_794_999_940_000),
    not_after: UnixMillis::new(1_826_536_000_000),
};

fn root() -> Authority {
    Authority::create_root("Kopuro development root", VALIDITY).unwrap()
}

fn trust(root: &Authority) -> TrustStore {
    TrustStore::new([root.certificate().clone()], []).unwrap()
}

#[test]
fn what_is_issued_keeps_the_profile_for_its_roles() {
    let root = root();
    for (purpose, client, server) in [
        (CertificatePurpose::Gateway, true, true),
        (CertificatePurpose::System, true, true),
        (CertificatePurpose::Service, false, true),
        (CertificatePurpose::Client, true, false),
    ] {
        let issued =
            root.issue(purpose, "KG/GOV/70000005/civil-registry", &["gw.example.kg"], VALIDITY).unwrap();
        for (role, good) in [(PeerRole::Client, client), (PeerRole::Server, server)] {
            let verified = trust(&root).verify_peer(issued.certificate(), &[], NOW, role);
            assert_eq!(verified.is_ok(), good, "{purpose:?} as {role:?}: {verified:?}");
        }
    }
}

#[test]
fn a_server_is_for_its_names_and_for_this_machine() {
    let root = root();
    let names = ["gw.example.kg", "10.0.0.7"];
    let issued = root.issue(CertificatePurpose::Gateway, "gateway", &names, VALIDITY).unwrap();
    for name in ["localhost", "127.0.0.1", "::1", "gw.example.kg", "10.0.0.7"] {
        let name = rustls_pki_types::ServerName::try_from(name).unwrap();
        assert!(
            trust(&root).verify_server(issued.certificate(), &[], NOW, &name).is_ok(),
            "{name:?} was refused"
        );
    }
    assert!(matches!(
        root.issue(CertificatePurpose::Gateway, "gateway", &["ү"], VALIDITY),
        Err(PkiError::Name(_))
    ));
}

#[test]
fn a_member_authority_issues_under_the_root() {
    let root = root();
    let member = root.create_intermediate("member", VALIDITY).unwrap();
    let member = Authority::from_pem(&member.chain_pem(), &member.key_pem()).unwrap();
    let issued = member.issue(CertificatePurpose::System, "system", &[], VALIDITY).unwrap();
    let intermediates = std::slice::from_ref(member.certificate());
    let verify = |chain| trust(&root).verify_peer(issued.certificate(), chain, NOW, PeerRole::Client);
    assert!(verify(intermediates).is_ok() && verify(&[]).is_err());
    let deeper = member.create_intermediate("deeper", VALIDITY).unwrap();
    let issued = deeper.issue(CertificatePurpose::System, "system", &[], VALIDITY).unwrap();
    let chain = [deeper.certificate().clone(), member.certificate().clone()];
    assert!(trust(&root).verify_peer(issued.certificate(), &chain, NOW, PeerRole::Client).is_err());
}

#[test]
fn an_authority_is_read_back_with_its_own_key_only() {
    let (root, other) = (root(), root());
    let again = Authority::from_pem(&root.chain_pem(), &root.key_pem()).unwrap();
    let issued = again.issue(CertificatePurpose::Gateway, "gateway", &[], VALIDITY).unwrap();
    assert!(trust(&root).verify_peer(issued.certificate(), &[], NOW, PeerRole::Client).is_ok());
    assert!(Authority::from_pem(&root.chain_pem(), &other.key_pem()).is_err());
    assert!(Authority::from_pem("", &root.key_pem()).is_err());
}

#[test]
fn keys_go_through_files() {
    let folder = tempfile::tempdir().unwrap();
    for algorithm in [SignatureAlgorithm::EcdsaP256Sha256, SignatureAlgorithm::Ed25519] {
        let key = NewKey::signing(algorithm);
        let written = files::write_key(folder.path(), &format!("{algorithm:?}"), &key).unwrap();
        let signer = Signer::from_pem_file(&written.private).unwrap();
        assert_eq!((signer.key_id(), signer.algorithm()), (key.key_id(), algorithm));
        assert!(files::write_key(folder.path(), &format!("{algorithm:?}"), &key).is_err());
    }
    let key = NewKey::sealing();
    let written = files::write_key(folder.path(), "sealing", &key).unwrap();
    assert_eq!(SealingKey::from_pem_file(&written.private).unwrap().key_id(), key.key_id());
}

#[test]
fn an_identity_goes_through_files() {
    let folder = tempfile::tempdir().unwrap();
    let root = root();
    let member = root.create_intermediate("member", VALIDITY).unwrap();
    let issued = member.issue(CertificatePurpose::Gateway, "gateway", &[], VALIDITY).unwrap();
    let written = files::write_issued(folder.path(), "gateway", &issued).unwrap();
    let identity = tls::Identity::from_pem_files(&written.chain, &written.key).unwrap();
    assert_eq!(identity.certificate(), issued.certificate());
    assert!(tls::server_config(&identity, Arc::new(trust(&root)), Protocols::Http2).is_ok());
    assert_eq!(fs::read_to_string(&written.chain).unwrap().matches("BEGIN CERTIFICATE").count(), 2);
}

#[test]
fn openssl_takes_what_is_issued() {
    let Some(openssl) = Openssl::find("openssl_takes_what_is_issued") else { return };
    let root = root();
    let member = root.create_intermediate("member", VALIDITY).unwrap();
    let issued = member.issue(CertificatePurpose::Gateway, "gateway", &[], VALIDITY).unwrap();
    for purpose in ["sslserver", "sslclient"] {
        openssl.verifies_chain(&root.chain_pem(), &issued.chain_pem(), purpose, NOW.as_u64() / 1_000);
    }
    for key in [NewKey::sealing(), NewKey::signing(SignatureAlgorithm::Ed25519)] {
        assert_eq!(openssl.public_of(&key.private_pem()), key.public_pem());
    }
}
