//! A development instance has every kind of file.

use std::fs;

use kopuro_core::time::Clock as _;
use kopuro_telemetry::clock::SystemClock;

use super::super::*;
use crate::development::{Development, Options, default_instance};

struct Instance {
    folder: tempfile::TempDir,
}

impl Instance {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let development = Development::create(folder.path(), &default_instance(), SystemClock.now()).unwrap();
        development.configure(&Options::default()).unwrap();
        Self { folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Every path beneath the folder.
    fn listing(&self) -> Vec<PathBuf> {
        let mut found = vec![self.folder.path().to_owned()];
        let mut next = 0;
        while next < found.len() {
            if found[next].is_dir() {
                found.extend(fs::read_dir(&found[next]).unwrap().map(|entry| entry.unwrap().path()));
            }
            next += 1;
        }
        found.sort();
        found
    }

    fn faults(&self) -> Vec<String> {
        Config::load(&self.at("kopuro.toml")).err().map_or(Vec::new(), |faults| faults.0)
    }
}

#[test]
fn what_a_start_needs_is_there_and_nothing_is_made() {
    let instance = Instance::new();
    let before = instance.listing();
    assert_eq!(instance.faults(), Vec::<String>::new());
    assert_eq!(instance.listing(), before);
    fs::write(instance.at("data"), "no folder").unwrap();
    assert!(instance.faults()[0].starts_with("broker.embedded.folder"), "{:?}", instance.faults());
}

#[test]
fn every_file_that_cannot_be_used_is_told() {
    let instance = Instance::new();
    fs::write(instance.at("anchor.toml"), "instance = \"KG\"").unwrap();
    fs::write(instance.at("registry/registry.crt.pem"), "").unwrap();
    fs::copy(instance.at("registry/attestation.key.pem"), instance.at("registry/checkpoint.key.pem"))
        .unwrap();
    fs::copy(instance.at("systems/portal.key.pem"), instance.at("gateways/gw-portal.key.pem")).unwrap();
    fs::write(instance.at("gateways/gw-portal-signing.key.pem"), "garbage").unwrap();
    fs::write(instance.at("gateways/70000001.secret"), "short").unwrap();
    fs::remove_file(instance.at("gateways/portal-sealing.key.pem")).unwrap();
    fs::remove_dir_all(instance.at("bootstrap")).unwrap();
    let told = instance.faults();
    for expected in [
        ("anchor: ", "anchor.toml"),
        ("registry.certificate: ", "the certificate chain is empty"),
        ("registry.checkpoint_key: ", "Ed25519"),
        ("registry.bootstrap: ", "No such file"),
        ("gateway[0].key: ", "cannot be used with its certificate"),
        ("gateway[0].signing_key: ", "PKCS#8"),
        ("gateway[0].member[0].secret: ", "32 bytes"),
        ("gateway[0].member[0].sealing_keys[0]: ", "No such file"),
    ] {
        let found = told.iter().filter(|fault| fault.starts_with(expected.0) && fault.contains(expected.1));
        assert_eq!(found.count(), 1, "{expected:?} in {told:#?}");
    }
    assert_eq!(told.len(), 8, "{told:#?}");
}

#[test]
fn a_member_of_another_instance_is_told() {
    let instance = Instance::new();
    let text = fs::read_to_string(instance.at("kopuro.toml")).unwrap();
    fs::write(instance.at("kopuro.toml"), text.replace("KG/GOV/70000011", "RU/GOV/70000011")).unwrap();
    let told = instance.faults();
    let fault = "gateway[2].member[0].id: RU/GOV/70000011 is not of the anchor's instance, KG";
    assert_eq!(told, [fault], "{told:#?}");
}

#[test]
fn files_and_values_are_told_together() {
    let instance = Instance::new();
    fs::remove_file(instance.at("anchor.toml")).unwrap();
    let text = fs::read_to_string(instance.at("kopuro.toml")).unwrap();
    fs::write(instance.at("kopuro.toml"), format!("{text}\n[telemetry]\nlog_format = 7\n")).unwrap();
    let told = instance.faults();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].starts_with("telemetry.log_format: ") && told[1].starts_with("anchor: "), "{told:#?}");
}
