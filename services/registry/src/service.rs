//! The registry as a gRPC service. Who may call is for the gate in front of it; what a record may change, for its
//! signatures.

use std::sync::Arc;

use kopuro_core::digest::Digest;
use kopuro_core::error::{Reason, Refusal};
use kopuro_proto::registry::v1::registry_service_server::RegistryService;
use kopuro_proto::registry::v1::{
    GetCheckpointRequest, GetCheckpointResponse, GetContractRequest, GetContractResponse, ListRecordsRequest,
    ListRecordsResponse, SubmitRecordRequest, SubmitRecordResponse,
};
use kopuro_rpc::status::to_status;
use tonic::{Request, Response, Status};

use crate::contracts::Contracts;
use crate::publish::Publisher;

/// The number of records on a page when none is asked for.
const PAGE_SIZE: u32 = 100;
/// The most records on a page.
const PAGE_SIZE_MAX: u32 = 500;

/// `kopuro.registry.v1.RegistryService` over a publisher and the contracts.
#[derive(Clone)]
pub struct RegistryEndpoint {
    publisher: Arc<Publisher>,
    contracts: Arc<Contracts>,
}

impl RegistryEndpoint {
    /// Serves what `publisher` writes and `contracts`, which must be followed, holds.
    pub fn new(publisher: Arc<Publisher>, contracts: Arc<Contracts>) -> Self {
        Self { publisher, contracts }
    }
}

#[tonic::async_trait]
impl RegistryService for RegistryEndpoint {
    async fn submit_record(
        &self,
        request: Request<SubmitRecordRequest>,
    ) -> Result<Response<SubmitRecordResponse>, Status> {
        let SubmitRecordRequest { envelope, descriptor_set } = request.into_inner();
        let revision = self.publisher.submit(envelope.into(), descriptor_set.into()).await;
        Ok(Response::new(SubmitRecordResponse { revision: revision.map_err(status)? }))
    }

    async fn list_records(
        &self,
        request: Request<ListRecordsRequest>,
    ) -> Result<Response<ListRecordsResponse>, Status> {
        let ListRecordsRequest { first_revision, page_size } = request.into_inner();
        let listed = self.publisher.list(first_revision, read_page_size(page_size)).await;
        let (envelopes, size) = listed.map_err(status)?;
        let envelopes = envelopes.into_iter().map(Into::into).collect();
        Ok(Response::new(ListRecordsResponse { envelopes, size }))
    }

    async fn get_checkpoint(
        &self,
        request: Request<GetCheckpointRequest>,
    ) -> Result<Response<GetCheckpointResponse>, Status> {
        let GetCheckpointRequest {} = request.into_inner();
        Ok(Response::new(GetCheckpointResponse { checkpoint: self.publisher.checkpoint() }))
    }

    async fn get_contract(
        &self,
        request: Request<GetContractRequest>,
    ) -> Result<Response<GetContractResponse>, Status> {
        let GetContractRequest { digest } = request.into_inner();
        let digest = read_digest(&digest).map_err(status)?;
        let descriptor_set = self.contracts.descriptor_set(&digest).await;
        let descriptor_set = descriptor_set.map_err(|reason| status(reason.into()))?.into();
        Ok(Response::new(GetContractResponse { descriptor_set }))
    }
}

/// More than the most is answered with the most, as AIP-158 asks.
fn read_page_size(page_size: u32) -> usize {
    let wanted = if page_size == 0 { PAGE_SIZE } else { page_size };
    usize::try_from(wanted.min(PAGE_SIZE_MAX)).expect("a page is small")
}

fn read_digest(bytes: &[u8]) -> Result<Digest, Refusal> {
    let malformed = || Refusal::with(Reason::RegistryRecordInvalid, "a digest takes 32 bytes");
    Digest::from_slice(bytes).ok_or_else(malformed)
}

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn status(refusal: Refusal) -> Status {
    to_status(&refusal, None)
}
