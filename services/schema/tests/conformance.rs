//! protovalidate's own conformance cases, against contracts made of their messages.
//!
//! The cases are those of protovalidate's harness, dumped with the wanted results. They lie outside the repository:
//! `KOPURO_VECTORS` names their folder, `../shared/vectors` beside the repository by default.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and its helpers with it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::{env, fs};

use kopuro_core::id::MethodId;
use kopuro_core::time::UnixMillis;
use kopuro_schema::{Contract, ContractError, Direction, Excess, ValidateError};
use prost::Message;
use prost_protovalidate::types::field_path_element::Subscript;
use prost_protovalidate::types::{FieldPathElement, Violations};
use prost_reflect::{DescriptorPool, Syntax};
use prost_types::{Any, FileDescriptorProto, MethodDescriptorProto, ServiceDescriptorProto};

/// When the cases were dumped; some hold instants of half an hour before and after.
const NOW: UnixMillis = UnixMillis::new(1_795_410_797_000);

/// `buf.validate.conformance.harness.ResultSet`, as far as it is needed.
#[derive(Clone, PartialEq, Message)]
struct ResultSet {
    #[prost(message, repeated, tag = "3")]
    suites: Vec<Suite>,
}

#[derive(Clone, PartialEq, Message)]
struct Suite {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "4")]
    cases: Vec<Case>,
    /// Kept as bytes: decoding it would lose the rules.
    #[prost(bytes = "vec", tag = "5")]
    descriptor_set: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Case {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "3")]
    wanted: Option<Wanted>,
    #[prost(message, optional, tag = "5")]
    input: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Wanted {
    #[prost(oneof = "Outcome", tags = "1, 2, 3, 4, 5")]
    outcome: Option<Outcome>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Outcome {
    #[prost(bool, tag = "1")]
    Success(bool),
    #[prost(message, tag = "2")]
    Violations(Violations),
    #[prost(string, tag = "3")]
    CompilationError(String),
    #[prost(string, tag = "4")]
    RuntimeError(String),
    #[prost(string, tag = "5")]
    UnexpectedError(String),
}

/// How the cases came out.
#[derive(Default, Debug)]
struct Tally {
    passed: usize,
    /// Messages that contracts may not have: proto2 and editions.
    not_proto3: usize,
    /// Rules past the bounds of contracts.
    beyond_bounds: BTreeSet<String>,
    failed: Vec<String>,
}

#[test]
fn contracts_judge_as_protovalidate_does() {
    let Some(dump) = dump() else {
        eprintln!("skipped: no conformance cases at KOPURO_VECTORS");
        return;
    };
    let mut tally = Tally::default();
    for suite in ResultSet::decode(dump.as_slice()).unwrap().suites {
        run(&suite, &mut tally);
    }
    eprintln!(
        "{} passed, {} not proto3, beyond bounds: {:?}",
        tally.passed, tally.not_proto3, tally.beyond_bounds
    );
    assert!(tally.failed.is_empty(), "{} failed:\n{}", tally.failed.len(), tally.failed.join("\n"));
    assert!(tally.passed > 2_000, "only {} cases ran", tally.passed);
    assert!(tally.beyond_bounds.is_empty(), "bounds refuse rules of protovalidate's own cases");
}

fn dump() -> Option<Vec<u8>> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let folder = env::var_os("KOPURO_VECTORS").map_or_else(default, PathBuf::from);
    fs::read(folder.join("protovalidate-conformance-dump.binpb")).ok()
}

fn run(suite: &Suite, tally: &mut Tally) {
    let descriptor_set = without_editions(&suite.descriptor_set);
    let pool = DescriptorPool::decode(descriptor_set.as_slice()).unwrap();
    let mut contracts = BTreeMap::new();
    for case in &suite.cases {
        let input = case.input.as_ref().unwrap();
        let message = input.type_url.rsplit('/').next().unwrap().to_owned();
        let file = pool.get_message_by_name(&message).map(|message| message.parent_file());
        let Some(file) = file.filter(|file| file.syntax() == Syntax::Proto3) else {
            tally.not_proto3 += 1;
            continue;
        };
        let load = || load(&descriptor_set, file.name(), &message);
        let contract = contracts.entry(message.clone()).or_insert_with(load);
        match judge(contract, &input.value, case.wanted.as_ref().unwrap().outcome.as_ref().unwrap()) {
            Judged::AsWanted => tally.passed += 1,
            Judged::BeyondBounds(excess) => drop(tally.beyond_bounds.insert(format!("{message} {excess}"))),
            Judged::Otherwise(found) => tally.failed.push(format!("{}/{}: {found}", suite.name, case.name)),
        }
    }
}

enum Judged {
    AsWanted,
    BeyondBounds(Excess),
    Otherwise(String),
}

fn judge(contract: &Result<Contract, ContractError>, payload: &[u8], wanted: &Outcome) -> Judged {
    let contract = match (contract, wanted) {
        (Ok(contract), _) => contract,
        (Err(ContractError::Excess { excess, .. }), _) => return Judged::BeyondBounds(*excess),
        (Err(_), Outcome::CompilationError(_)) => return Judged::AsWanted,
        (Err(error), wanted) => return Judged::Otherwise(format!("{error}; wanted {wanted:?}")),
    };
    let method = contract.method(&MethodId::parse_path("/kopuro.test.v1.Test/Call").unwrap()).unwrap();
    match (method.validate(Direction::Request, payload, NOW), wanted) {
        (Ok(()), Outcome::Success(_)) => Judged::AsWanted,
        (Err(ValidateError::Fault(_)), Outcome::RuntimeError(_)) => Judged::AsWanted,
        (Err(ValidateError::Invalid(invalid)), Outcome::Violations(wanted)) => {
            let found = invalid.violations.iter().map(|v| format!("{} {}", v.field_path, v.rule_id));
            let (found, wanted): (BTreeSet<_>, _) = (found.collect(), told(wanted));
            if found == wanted {
                Judged::AsWanted
            } else {
                Judged::Otherwise(format!("{found:?}; wanted {wanted:?}"))
            }
        }
        (found, wanted) => Judged::Otherwise(format!("{found:?}; wanted {wanted:?}")),
    }
}

fn told(violations: &Violations) -> BTreeSet<String> {
    let told = violations.violations.iter().map(|violation| {
        let path = violation.field.iter().flat_map(|path| &path.elements).map(element).collect::<Vec<_>>();
        format!("{} {}", path.join("."), violation.rule_id())
    });
    told.collect()
}

fn element(element: &FieldPathElement) -> String {
    match &element.subscript {
        None => element.field_name().to_owned(),
        Some(Subscript::Index(index)) => format!("{}[{index}]", element.field_name()),
        Some(_) => format!("{}[*]", element.field_name()),
    }
}

/// The contract whose one method takes `message`, which `file` defines.
fn load(descriptor_set: &[u8], file: &str, message: &str) -> Result<Contract, ContractError> {
    let method = MethodDescriptorProto {
        name: Some("Call".into()),
        input_type: Some(format!(".{message}")),
        output_type: Some(format!(".{message}")),
        ..MethodDescriptorProto::default()
    };
    let service = ServiceDescriptorProto {
        name: Some("Test".into()),
        method: vec![method],
        ..ServiceDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("kopuro/test/v1/test.proto".into()),
        package: Some("kopuro.test.v1".into()),
        dependency: vec![file.into()],
        service: vec![service],
        syntax: Some("proto3".into()),
        ..FileDescriptorProto::default()
    };
    let mut set = descriptor_set.to_vec();
    prost::encoding::message::encode(1, &file, &mut set);
    Contract::load(&set)
}

/// The descriptor set without files that use editions, which prost-reflect cannot read, and without those that
/// import them.
fn without_editions(descriptor_set: &[u8]) -> Vec<u8> {
    let mut files = Files::decode(descriptor_set).unwrap().files;
    let mut kept = BTreeSet::new();
    // Imports stand before what imports them.
    files.retain(|file| {
        let file = FileDescriptorProto::decode(file.as_slice()).unwrap();
        let readable =
            file.syntax() != "editions" && file.dependency.iter().all(|import| kept.contains(import));
        if readable {
            kept.insert(file.name().to_owned());
        }
        readable
    });
    Files { files }.encode_to_vec()
}

/// A descriptor set whose files are kept as bytes.
#[derive(Clone, PartialEq, Message)]
struct Files {
    #[prost(bytes = "vec", repeated, tag = "1")]
    files: Vec<Vec<u8>>,
}
