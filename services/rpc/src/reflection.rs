//! gRPC reflection, v1 and v1alpha: a caller is shown what it may call, and nothing beyond.
//!
//! Descriptors are cut at the level of wire bytes: services and methods that the caller may not call are taken out of
//! a file, and every other byte is left as it was registered, custom options included. Messages are not cut.

mod files;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use kopuro_core::error::Reason;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic_reflection::pb;

pub use files::{Files, FilesError};
pub use service::{ReflectionV1, ReflectionV1Alpha, servers};

use crate::authorize::{Rule, Table};
use crate::callers::Caller;

/// The methods of one contract that a caller may call.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The contract's encoded `google.protobuf.FileDescriptorSet`.
    pub descriptor_set: Bytes,
    /// By service's full name, the methods by their own names.
    pub methods: BTreeMap<String, BTreeSet<String>>,
}

/// Knows what a caller may call.
#[async_trait]
pub trait Disclosure: Send + Sync + 'static {
    /// Everything that `caller` may call, contract by contract. It is asked once for each reflection stream.
    ///
    /// # Errors
    /// The reason why nobody can say.
    async fn shown_to(&self, caller: &Caller) -> Result<Vec<Shown>, Reason>;
}

/// Any caller may ask; what it is shown depends on it.
pub fn table() -> Table {
    Table::new([
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Rule::AnyCaller),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Rule::AnyCaller),
    ])
}

/// The services that the bus itself offers to every caller.
fn own_services() -> [Shown; 3] {
    let shown = |descriptor_set: &'static [u8], service: &str, methods: &[&str]| Shown {
        descriptor_set: Bytes::from_static(descriptor_set),
        methods: BTreeMap::from([(service.to_owned(), methods.iter().map(ToString::to_string).collect())]),
    };
    [
        shown(tonic_health::pb::FILE_DESCRIPTOR_SET, "grpc.health.v1.Health", &["Check", "Watch"]),
        shown(pb::v1::FILE_DESCRIPTOR_SET, "grpc.reflection.v1.ServerReflection", &["ServerReflectionInfo"]),
        shown(
            pb::v1alpha::FILE_DESCRIPTOR_SET,
            "grpc.reflection.v1alpha.ServerReflection",
            &["ServerReflectionInfo"],
        ),
    ]
}

/// The messages that the details of a status are: a client that knows no schema could not show a refusal otherwise.
///
/// tonic-types names the files without their folder; here they are called as every importer calls them.
fn status_details() -> Shown {
    let set = FileDescriptorSet::decode(tonic_types::pb::FILE_DESCRIPTOR_SET);
    let mut set = set.expect("the descriptor set of tonic-types is well-formed");
    for file in set.file.iter_mut().filter(|file| file.package() == "google.rpc") {
        let name = file.name().rsplit('/').next().unwrap_or_default();
        file.name = Some(format!("google/rpc/{name}"));
    }
    Shown { descriptor_set: set.encode_to_vec().into(), methods: BTreeMap::new() }
}

/// What a caller sees: the contracts shown to it, the bus's own services, and the details of a status.
async fn files_for(disclosure: &Arc<dyn Disclosure>, caller: &Caller) -> Result<Files, Reason> {
    let mut shown = disclosure.shown_to(caller).await?;
    shown.extend(own_services());
    shown.push(status_details());
    let read = tokio::task::spawn_blocking(move || Files::of(&shown)).await;
    read.map_err(|_| Reason::Internal)?.map_err(|_| Reason::ContractUnavailable)
}

#[cfg(test)]
mod tests;
