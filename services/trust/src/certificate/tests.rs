//! The certificate profile: one certificate that keeps it, and one for each way to break it.

use kopuro_core::digest::KeyId;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    NameConstraints, RevokedCertParams, SanType, SerialNumber, SignatureAlgorithm,
};

use super::*;

mod limbo;

/// 2026-11-18T00:26:40Z.
const NOW: UnixMillis = UnixMillis::new(1_795_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An instant as rcgen takes it; its type is of a crate that is not a dependency here.
macro_rules! at {
    ($instant:expr) => {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis($instant.as_u64())
    };
}

struct Root {
    params: CertificateParams,
    key: KeyPair,
    certificate: CertificateDer<'static>,
}

impl Root {
    fn new(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = params("root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { params, key, certificate }
    }

    fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        self.leaf_with(&rcgen::PKCS_ECDSA_P256_SHA256, change)
    }

    fn leaf_with(
        &self,
        algorithm: &'static SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        let mut params = params("gateway");
        params.subject_alt_names = vec![SanType::DnsName("gateway.example.kg".try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let key = KeyPair::generate_for(algorithm).unwrap();
        params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap().der().clone()
    }

    fn intermediate(&self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = params("intermediate");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate =
            params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap().der().clone();
        Self { params, key, certificate }
    }

    fn revocation_list(&self, serial: u64, next_update: UnixMillis) -> CertificateRevocationListDer<'static> {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: at!(NOW.minus(DAY)),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: at!(NOW.minus(DAY)),
            next_update: at!(next_update),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        // rcgen will not sign a list for an issuer without cRLSign, so its parameters are made to say it.
        let mut issuer = self.params.clone();
        issuer.key_usages = vec![KeyUsagePurpose::CrlSign];
        params.signed_by(&Issuer::from_params(&issuer, &self.key)).unwrap().der().clone()
    }

    fn trust(&self) -> TrustStore {
        TrustStore::new([self.certificate.clone()], []).unwrap()
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(0x1234));
    params.not_before = at!(NOW.minus(DAY));
    params.not_after = at!(NOW.plus(DAY));
    params
}

fn rule_broken(result: Result<VerifiedCertificate, CertificateError>) -> &'static str {
    match result {
        Err(CertificateError::Profile { rule, .. }) => rule,
        other => panic!("the profile did not refuse: {other:?}"),
    }
}

fn path_error(result: Result<VerifiedCertificate, CertificateError>) -> webpki::Error {
    match result {
        Err(CertificateError::Path(error)) => error,
        other => panic!("the path was not refused: {other:?}"),
    }
}

#[test]
fn a_good_certificate_is_verified_and_read() {
    let root = Root::new(|_| {});
    let leaf = root.leaf(|_| {});
    for role in [PeerRole::Client, PeerRole::Server] {
        let verified = root.trust().verify_peer(&leaf, &[], NOW, role).unwrap();
        let spki = EndEntityCert::try_from(&leaf).unwrap().subject_public_key_info();
        assert_eq!(verified.key_id(), KeyId::of_spki(&spki));
        assert_eq!(verified.fingerprint(), Digest::of(&leaf));
        assert_eq!(verified.dns_names(), ["gateway.example.kg"]);
        assert_eq!(verified.subject(), "CN=gateway");
        assert_eq!(verified.not_after(), NOW.plus(DAY));
    }
}

#[test]
fn the_key_types_of_the_profile_are_taken() {
    let root = Root::new(|_| {});
    let verify =
        |algorithm| root.trust().verify_peer(&root.leaf_with(algorithm, |_| {}), &[], NOW, PeerRole::Client);
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        assert!(verify(algorithm).is_ok(), "{algorithm:?} was refused");
    }
    assert!(verify(&rcgen::PKCS_RSA_SHA256).is_ok(), "RSA of 2048 bits was refused");
    assert!(rule_broken(verify(&rcgen::PKCS_ECDSA_P521_SHA256)).starts_with("its key must be"));
}

#[test]
fn a_leaf_that_breaks_a_rule_is_refused() {
    type Change = fn(&mut CertificateParams);
    let cases: [(Change, &str); 14] = [
        (|leaf| leaf.extended_key_usages = vec![], "extended key usage"),
        (|leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth], "extended key usage"),
        (|leaf| leaf.extended_key_usages.push(ExtendedKeyUsagePurpose::Any), "extended key usage"),
        (|leaf| leaf.extended_key_usages.push(ExtendedKeyUsagePurpose::CodeSigning), "extended key usage"),
        (
            |leaf| leaf.extended_key_usages.push(ExtendedKeyUsagePurpose::Other(vec![1, 2, 3])),
            "extended key usage",
        ),
        (|leaf| leaf.key_usages = vec![], "digitalSignature"),
        (|leaf| leaf.key_usages = vec![KeyUsagePurpose::KeyAgreement], "digitalSignature"),
        (|leaf| leaf.key_usages.push(KeyUsagePurpose::KeyCertSign), "keyCertSign"),
        (|leaf| leaf.key_usages.push(KeyUsagePurpose::CrlSign), "cRLSign"),
        (|leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), "authority"),
        (|leaf| leaf.serial_number = Some(SerialNumber::from(vec![1; 21])), "serial number"),
        (|leaf| leaf.serial_number = Some(SerialNumber::from(0)), "serial number"),
        (|leaf| leaf.use_authority_key_identifier_extension = false, "authority key identifier"),
        (
            |leaf| {
                let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 1], vec![5, 0]);
                unknown.set_criticality(true);
                leaf.custom_extensions.push(unknown);
            },
            "critical extensions",
        ),
    ];
    let root = Root::new(|_| {});
    for (change, words) in cases {
        let rule = rule_broken(root.trust().verify_peer(&root.leaf(change), &[], NOW, PeerRole::Client));
        assert!(rule.contains(words), "expected a rule about {words}, got: {rule}");
    }
}

#[test]
fn a_server_has_the_name_that_was_called() {
    let root = Root::new(|_| {});
    let (trust, leaf) = (root.trust(), root.leaf(|_| {}));
    let verify =
        |name: &'static str| trust.verify_server(&leaf, &[], NOW, &ServerName::try_from(name).unwrap());
    assert!(verify("gateway.example.kg").is_ok());
    assert!(matches!(path_error(verify("gateway.example.com")), webpki::Error::CertNotValidForName(_)));
    let nameless = root.leaf(|leaf| leaf.subject_alt_names = vec![]);
    assert!(trust.verify_peer(&nameless, &[], NOW, PeerRole::Client).is_ok());
    assert!(
        rule_broken(trust.verify_peer(&nameless, &[], NOW, PeerRole::Server)).contains("alternative names")
    );
}

#[test]
fn validity_is_kept_by_leaf_and_anchor() {
    let root = Root::new(|_| {});
    let leaf = root.leaf(|_| {});
    let verify = |root: &Root, leaf, now| root.trust().verify_peer(leaf, &[], now, PeerRole::Client);
    assert!(verify(&root, &leaf, NOW.plus(DAY)).is_ok());
    let second = Duration::from_secs(1);
    let long_root = Root::new(|root| {
        root.not_before = at!(NOW.minus(9 * DAY));
        root.not_after = at!(NOW.plus(9 * DAY));
    });
    let leaf_of_long_root = long_root.leaf(|_| {});
    let expired = verify(&long_root, &leaf_of_long_root, NOW.plus(DAY).plus(second));
    assert!(matches!(path_error(expired), webpki::Error::CertExpired { .. }));
    let early = verify(&long_root, &leaf_of_long_root, NOW.minus(DAY).minus(second));
    assert!(matches!(path_error(early), webpki::Error::CertNotValidYet { .. }));
    let long_leaf = root.leaf(|leaf| leaf.not_after = at!(NOW.plus(9 * DAY)));
    assert!(verify(&root, &long_leaf, NOW).is_ok());
    assert_eq!(path_error(verify(&root, &long_leaf, NOW.plus(2 * DAY))), webpki::Error::UnknownIssuer);
}

#[test]
fn only_anchors_are_trusted() {
    let (root, other) = (Root::new(|_| {}), Root::new(|_| {}));
    let leaf = root.leaf(|_| {});
    let foreign =
        other.trust().verify_peer(&leaf, std::slice::from_ref(&root.certificate), NOW, PeerRole::Client);
    assert!(path_error(foreign) != webpki::Error::CertRevoked);
    let trailing = CertificateDer::from([&leaf[..], &[0]].concat());
    assert_eq!(
        root.trust().verify_peer(&trailing, &[], NOW, PeerRole::Client),
        Err(CertificateError::Malformed)
    );
    let many = vec![root.certificate.clone(); INTERMEDIATES_MAX + 1];
    let too_many = root.trust().verify_peer(&leaf, &many, NOW, PeerRole::Client);
    assert_eq!(too_many, Err(CertificateError::TooManyIntermediates));
    assert_eq!(TrustStore::new([], []).unwrap_err(), CertificateError::NoAnchor);
}

#[test]
fn an_anchor_that_breaks_a_rule_is_refused() {
    type Change = fn(&mut CertificateParams);
    let cases: [(Change, &str); 4] = [
        (|root| root.distinguished_name = rcgen::DistinguishedName::new(), "subject"),
        (|root| root.is_ca = IsCa::ExplicitNoCa, "basic constraints"),
        (|root| root.key_usages = vec![], "keyCertSign"),
        (|root| root.key_usages = vec![KeyUsagePurpose::CrlSign], "keyCertSign"),
    ];
    for (change, words) in cases {
        let root = Root::new(change);
        match TrustStore::new([root.certificate], []).unwrap_err() {
            CertificateError::Profile { rule, .. } => assert!(rule.contains(words), "{rule}"),
            other => panic!("unexpected: {other:?}"),
        }
    }
}

#[test]
fn an_anchor_of_an_older_version_is_refused() {
    let root = Root::new(|_| {});
    // [0] { INTEGER 2 }, the version that allows extensions.
    let at = root.certificate.windows(5).position(|window| window == [0xa0, 3, 2, 1, 2]).unwrap();
    let mut older = root.certificate.to_vec();
    older[at + 4] = 1;
    let error = TrustStore::new([older.into()], []).unwrap_err();
    assert!(matches!(error, CertificateError::Profile { rule: "it must be of version 3", .. }), "{error:?}");
}

#[test]
fn intermediates_keep_the_profile() {
    let root = Root::new(|_| {});
    let verify = |change: fn(&mut CertificateParams)| {
        let intermediate = root.intermediate(change);
        let leaf = intermediate.leaf(|_| {});
        root.trust().verify_peer(&leaf, &[intermediate.certificate], NOW, PeerRole::Client)
    };
    assert!(verify(|_| {}).is_ok());
    assert!(rule_broken(verify(|authority| authority.key_usages = vec![])).contains("keyCertSign"));
    let anonymous = verify(|authority| authority.use_authority_key_identifier_extension = false);
    assert!(rule_broken(anonymous).contains("authority key identifier"));
    let no_authority = verify(|authority| authority.is_ca = IsCa::NoCa);
    assert_eq!(path_error(no_authority), webpki::Error::EndEntityUsedAsCa);
    let constrained = |subtree: &str| {
        let permitted = vec![GeneralSubtree::DnsName(subtree.to_owned())];
        let constraints = NameConstraints { permitted_subtrees: permitted, excluded_subtrees: vec![] };
        let intermediate = root.intermediate(|authority| authority.name_constraints = Some(constraints));
        let leaf = intermediate.leaf(|_| {});
        root.trust().verify_peer(&leaf, &[intermediate.certificate], NOW, PeerRole::Client)
    };
    assert!(constrained("example.kg").is_ok());
    assert_eq!(path_error(constrained("example.com")), webpki::Error::NameConstraintViolation);
}

#[test]
fn revocation_lists_are_enforced() {
    let root = Root::new(|_| {});
    let leaf = root.leaf(|leaf| leaf.serial_number = Some(SerialNumber::from(7_000)));
    let verify = |root: &Root, list| {
        let trust = TrustStore::new([root.certificate.clone()], [list]).unwrap();
        trust.verify_peer(&leaf, &[], NOW, PeerRole::Client)
    };
    assert!(verify(&root, root.revocation_list(7_001, NOW.plus(DAY))).is_ok());
    let revoked = verify(&root, root.revocation_list(7_000, NOW.plus(DAY)));
    assert_eq!(path_error(revoked), webpki::Error::CertRevoked);
    let stale = verify(&root, root.revocation_list(7_001, NOW.minus(Duration::from_secs(60))));
    assert!(matches!(path_error(stale), webpki::Error::CrlExpired { .. }));
    let other = Root::new(|root| root.distinguished_name.push(DnType::OrganizationName, "other"));
    let uncovered = verify(&root, other.revocation_list(7_001, NOW.plus(DAY)));
    assert_eq!(path_error(uncovered), webpki::Error::UnknownRevocationStatus);
}

/// webpki does not look at the key usage of an anchor that issues a list.
#[test]
fn a_list_of_an_anchor_that_may_not_sign_lists_is_refused() {
    let root = Root::new(|root| root.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    let list = root.revocation_list(7_001, NOW.plus(DAY));
    let trust = TrustStore::new([root.certificate.clone()], [list]).unwrap();
    let refused = trust.verify_peer(&root.leaf(|_| {}), &[], NOW, PeerRole::Client);
    assert!(rule_broken(refused).contains("cRLSign"));
}
