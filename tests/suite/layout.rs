//! The floors of the workspace: a crate depends only on crates of strictly lower floors.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

/// Every crate's floor and folder.
const FLOORS: &[(u8, &str, &str)] = &[
    (0, "proto", "kopuro-proto"),
    (1, "services/core", "kopuro-core"),
    (2, "services/trust", "kopuro-trust"),
    (2, "services/tlog", "kopuro-tlog"),
    (2, "services/schema", "kopuro-schema"),
    (2, "services/broker", "kopuro-broker"),
    (2, "services/telemetry", "kopuro-telemetry"),
    (3, "services/rpc", "kopuro-rpc"),
    (4, "services/registry", "kopuro-registry"),
    (5, "services/exchange", "kopuro-exchange"),
    (5, "services/ledger", "kopuro-ledger"),
    (5, "services/evidence", "kopuro-evidence"),
    (6, "services/operations", "kopuro-operations"),
    (6, "gateway", "kopuro-gateway"),
    (7, "services/kopuro", "kopuro"),
    (8, "tests", "kopuro-tests"),
    (8, "benches", "kopuro-benches"),
];

#[test]
fn dependencies_point_down() {
    let faults = faults(&workspace());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_crate_may_use_a_lower_floor_only() {
    let on = |user: &str, used: &str| faults_of(&package(user, &[used]));
    assert_eq!(on("kopuro-exchange", "kopuro-registry"), Vec::<String>::new());
    assert_eq!(on("kopuro-tests", "kopuro"), Vec::<String>::new());
    assert_eq!(
        on("kopuro-registry", "kopuro-exchange"),
        ["kopuro-registry (floor 4) may not depend on kopuro-exchange (floor 5)"]
    );
    assert_eq!(
        on("kopuro-trust", "kopuro-tlog"),
        ["kopuro-trust (floor 2) may not depend on kopuro-tlog (floor 2)"]
    );
    assert_eq!(on("kopuro", "kopuro-tests"), ["kopuro (floor 7) may not depend on kopuro-tests (floor 8)"]);
}

#[test]
fn a_crate_stands_in_the_table_and_in_its_folder() {
    assert_eq!(faults_of(&package("kopuro-common", &[])), ["kopuro-common has no floor"]);
    let mut moved = package("kopuro-core", &[]);
    moved.manifest_path = "/kopuro/services/kernel/Cargo.toml".to_owned();
    assert_eq!(faults_of(&moved), ["kopuro-core is not in services/core"]);
}

/// Everything that breaks a rule. Development and build dependencies count as any other.
fn faults(metadata: &Metadata) -> Vec<String> {
    metadata.packages.iter().flat_map(faults_of).collect()
}

fn faults_of(package: &Package) -> Vec<String> {
    let user = package.name.as_str();
    let Some((floor, folder)) = place(user) else {
        return vec![format!("{user} has no floor")];
    };
    let mut faults = Vec::new();
    if !Path::new(&package.manifest_path).ends_with(format!("{folder}/Cargo.toml")) {
        faults.push(format!("{user} is not in {folder}"));
    }
    for Dependency { name: used } in &package.dependencies {
        if let Some((below, _)) = place(used).filter(|(below, _)| *below >= floor) {
            faults.push(format!("{user} (floor {floor}) may not depend on {used} (floor {below})"));
        }
    }
    faults
}

/// The floor and the folder of a crate of the workspace.
fn place(name: &str) -> Option<(u8, &'static str)> {
    FLOORS.iter().find(|(_, _, listed)| *listed == name).map(|(floor, folder, _)| (*floor, *folder))
}

/// What cargo tells of the workspace: every crate with all its kinds of dependencies.
fn workspace() -> Metadata {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).unwrap();
    assert!(metadata.packages.len() > 10, "cargo listed {} crates", metadata.packages.len());
    metadata
}

fn package(name: &str, dependencies: &[&str]) -> Package {
    let (_, folder) = place(name).unwrap_or((0, "services/elsewhere"));
    Package {
        name: name.to_owned(),
        manifest_path: format!("/kopuro/{folder}/Cargo.toml"),
        dependencies: dependencies.iter().map(|name| Dependency { name: (*name).to_owned() }).collect(),
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
}
