//! Contracts for tests, compiled from source.

use kopuro_core::id::MethodId;
use kopuro_core::time::UnixMillis;
use prost_protovalidate::types::DESCRIPTOR_POOL;
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, File, FileResolver, GoogleFileResolver};

use crate::{Contract, ContractError, Direction, Invalid, Method, ValidateError};

/// When the tests take place.
pub(crate) const NOW: UnixMillis = UnixMillis::new(1_795_000_000_000);

/// Compiles `test.proto` and gives the descriptor set with all imports.
pub(crate) fn descriptor_set(source: &str) -> Vec<u8> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Source(source.to_owned()));
    resolver.add(GoogleFileResolver::new());
    resolver.add(DescriptorSetFileResolver::decode(DESCRIPTOR_POOL.encode_to_vec().as_slice()).unwrap());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file("test.proto").unwrap().encode_file_descriptor_set()
}

/// Loads a contract whose one method `test.v1.TestService/Call` takes a `CallRequest`; `body` defines it and may
/// use protovalidate.
pub(crate) fn load(body: &str) -> Result<Contract, ContractError> {
    Contract::load(&descriptor_set(&source(body)))
}

pub(crate) fn source(body: &str) -> String {
    format!(
        "syntax = 'proto3'; package test.v1; import 'buf/validate/validate.proto';
         service TestService {{ rpc Call(CallRequest) returns (CallResponse); }}
         message CallResponse {{}}
         {body}"
    )
}

pub(crate) fn method<'c>(contract: &'c Contract, path: &str) -> &'c Method {
    contract.method(&MethodId::parse_path(path).unwrap()).unwrap()
}

pub(crate) fn call(contract: &Contract) -> &Method {
    method(contract, "/test.v1.TestService/Call")
}

/// What is wrong with a request, if anything.
pub(crate) fn fault_of(method: &Method, payload: &[u8]) -> Option<Invalid> {
    match method.validate(Direction::Request, payload, NOW) {
        Ok(()) => None,
        Err(ValidateError::Invalid(invalid)) => Some(invalid),
        Err(ValidateError::Fault(fault)) => panic!("{fault}"),
    }
}

/// The violations of a request, each as `path rule`.
pub(crate) fn faults(method: &Method, payload: &[u8]) -> Vec<String> {
    let violations = fault_of(method, payload).map(|invalid| invalid.violations).unwrap_or_default();
    violations.iter().map(|violation| format!("{} {}", violation.field_path, violation.rule_id)).collect()
}

struct Source(String);

impl FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name {
            "test.proto" => File::from_source(name, &self.0),
            other => Err(protox::Error::file_not_found(other)),
        }
    }
}
