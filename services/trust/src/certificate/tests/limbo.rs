//! The x509-limbo suite: whatever must be refused is refused, and whatever is good is taken, save for the exceptions
//! listed with their reason.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;

use super::*;

const OWN_OPTION: &str =
    "the depth is an option of the suite; the profile's own limit is the authorities' path length";
const CN_UNUSED: &str = "a rule of the web's authorities; no name is ever read from the common name here";
const WEB_ONLY: &str = "a rule of the web's authorities that RFC 5280 does not have";
const WILDCARDS: &str = "needs the list of public suffixes; the anchors are the centre's own";

/// Cases that the suite wants refused and that are accepted here, each with the reason.
const ACCEPTED: &[(&str, &str)] = &[
    ("pathlen::max-chain-depth-0-exhausted", OWN_OPTION),
    ("pathlen::max-chain-depth-1-exhausted", OWN_OPTION),
    ("webpki::cn::case-mismatch", CN_UNUSED),
    ("webpki::cn::ipv4-hex-mismatch", CN_UNUSED),
    ("webpki::cn::ipv4-leading-zeros-mismatch", CN_UNUSED),
    ("webpki::cn::ipv6-non-rfc5952-mismatch", CN_UNUSED),
    ("webpki::cn::ipv6-uncompressed-mismatch", CN_UNUSED),
    ("webpki::cn::ipv6-uppercase-mismatch", CN_UNUSED),
    ("webpki::cn::not-in-san", CN_UNUSED),
    ("webpki::cn::punycode-not-in-san", CN_UNUSED),
    ("webpki::cn::utf8-vs-punycode-mismatch", CN_UNUSED),
    ("webpki::eku::ee-critical-eku", WEB_ONLY),
    ("webpki::san::public-suffix-multi-label-wildcard-san", WILDCARDS),
    ("webpki::san::public-suffix-private-namespace-wildcard-san", WILDCARDS),
];

const STRICTER: &str = "RFC 5280 allows it, the profile does not";
const CROSS_SIGNED: &str =
    "its anchor is cross-signed and names no issuer key, which another case wants refused";
const WEBPKI: &str = "webpki does not evaluate it, and refuses";

/// Cases that the suite wants accepted and that are refused here, each with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("crl::issuer-no-keyusage-extension", STRICTER),
    ("cve::cve-2024-0567", CROSS_SIGNED),
    ("online::fastly.com", STRICTER),
    ("pathlen::self-issued-certs-pathlen", WEBPKI),
    ("pathlen::validation-ignores-pathlen-in-leaf", STRICTER),
    ("rfc5280::ca-as-leaf", STRICTER),
    ("rfc5280::eku::ee-without-eku", STRICTER),
    ("rfc5280::nc::nc-permits-email-domain", WEBPKI),
    ("rfc5280::nc::nc-permits-email-exact", WEBPKI),
    ("rfc5280::nc::nc-permits-email-literal-asterisk-exact-match", WEBPKI),
    ("rfc5280::nc::nc-permits-email-literal-double-asterisk", WEBPKI),
    ("rfc5280::nc::nc-permits-email-literal-mid-asterisk", WEBPKI),
    ("rfc5280::nc::permitted-dn-match", WEBPKI),
    ("rfc5280::nc::permitted-self-issued", WEBPKI),
    ("rfc5280::no-keyusage", STRICTER),
    ("rfc5280::unknown-critical-extension-unrelated-root", STRICTER),
    ("webpki::nc::permitted-dns-match-noncritical", STRICTER),
];

/// Where the vectors are: `KOPURO_VECTORS`, or `shared/vectors` beside the repository.
fn suite() -> Option<Value> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors");
    let folder = std::env::var_os("KOPURO_VECTORS").map_or_else(|| PathBuf::from(default), PathBuf::from);
    let Ok(text) = std::fs::read(folder.join("x509-limbo.json")) else {
        eprintln!("SKIPPED x509-limbo: no x509-limbo.json in {}", folder.display());
        return None;
    };
    Some(serde_json::from_slice(&text).unwrap())
}

#[test]
fn verdicts_are_those_of_limbo() {
    let Some(suite) = suite() else { return };
    let cases = suite["testcases"].as_array().unwrap();
    assert!(cases.len() > 200, "the suite is not whole");
    let disagreements: BTreeSet<_> = cases.iter().filter_map(disagreement).collect();
    let listed: BTreeSet<_> = ACCEPTED.iter().chain(REFUSED).map(|(id, _)| (*id).to_owned()).collect();
    let unlisted: Vec<_> = disagreements.difference(&listed).collect();
    let settled: Vec<_> = listed.difference(&disagreements).collect();
    assert!(
        unlisted.is_empty() && settled.is_empty(),
        "not listed: {unlisted:#?}; listed in vain: {settled:#?}"
    );
}

/// The name of a case on which the suite and this crate disagree.
fn disagreement(case: &Value) -> Option<String> {
    let wanted = case["expected_result"] == "SUCCESS";
    (run(case).is_ok() != wanted).then(|| case["id"].as_str().unwrap().to_owned())
}

fn run(case: &Value) -> Result<(), CertificateError> {
    let certificates = |field: &str| -> Vec<CertificateDer<'static>> {
        let pems = case[field].as_array().unwrap().iter().map(|pem| pem.as_str().unwrap());
        pems.map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).collect()
    };
    let leaf = CertificateDer::from_pem_slice(case["peer_certificate"].as_str().unwrap().as_bytes()).unwrap();
    let lists =
        case["crls"].as_array().unwrap().iter().map(|pem| {
            CertificateRevocationListDer::from_pem_slice(pem.as_str().unwrap().as_bytes()).unwrap()
        });
    let trust = TrustStore::new(certificates("trusted_certs"), lists)?;
    let (intermediates, now) = (certificates("untrusted_intermediates"), time_of(case, &leaf));
    let role = if case["validation_kind"] == "CLIENT" { PeerRole::Client } else { PeerRole::Server };
    let name = case["expected_peer_name"]["value"].as_str().and_then(|name| ServerName::try_from(name).ok());
    match (role, name) {
        (PeerRole::Server, Some(name)) => trust.verify_server(&leaf, &intermediates, now, &name).map(drop),
        (role, _) => trust.verify_peer(&leaf, &intermediates, now, role).map(drop),
    }
}

/// The instant that the case names, or one within its leaf's validity.
fn time_of(case: &Value, leaf: &CertificateDer<'_>) -> UnixMillis {
    let named = case["validation_time"].as_str().map(|text| {
        let (date, time) = text.split_once('T').unwrap();
        let numbers =
            |text: &str, by: char| -> Vec<i32> { text.split(by).map(|part| part.parse().unwrap()).collect() };
        let (date, time) = (numbers(date, '-'), numbers(&time[..8], ':'));
        let month = u8::try_from(date[1]).unwrap();
        let day = rcgen::date_time_ymd(date[0], month, u8::try_from(date[2]).unwrap()).unix_timestamp();
        day + i64::from(time[0] * 3_600 + time[1] * 60 + time[2])
    });
    let seconds = named.unwrap_or_else(|| {
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf).unwrap();
        parsed.validity().not_before.timestamp() + 1
    });
    UnixMillis::new(u64::try_from(seconds).unwrap() * 1_000)
}
