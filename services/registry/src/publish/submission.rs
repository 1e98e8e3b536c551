//! A record as it was handed in, and what comes with it.

use bytes::Bytes;
use kopuro_core::digest::Digest;
use kopuro_core::error::{Reason, Refusal};

use super::refusal::refused;
use crate::record::{Change, Contract, Entry, Resource};
use crate::topics::DESCRIPTOR_SET_LEN_MAX;

/// A well-formed record. Its signatures are not yet verified.
#[derive(Debug)]
pub(super) struct Submission {
    envelope: Bytes,
    change: Change,
    descriptor_set: Option<Bytes>,
}

impl Submission {
    pub(super) fn read(envelope: Bytes, descriptor_set: Bytes) -> Result<Self, Refusal> {
        let (_, entry) = Entry::decode(&envelope).map_err(|error| refused(&error.into()))?;
        let Entry::Change(change) = entry else {
            return Err(Refusal::with(Reason::RegistryRecordInvalid, "attestations are the registry's own"));
        };
        let descriptor_set = (!descriptor_set.is_empty()).then_some(descriptor_set);
        let submission = Self { envelope, change, descriptor_set };
        submission.check_descriptor_set()?;
        Ok(submission)
    }

    pub(super) fn envelope(&self) -> &Bytes {
        &self.envelope
    }

    pub(super) fn descriptor_set(&self) -> Option<&Bytes> {
        self.descriptor_set.as_ref()
    }

    /// The contract version that the record sets, if it sets one.
    pub(super) fn contract(&self) -> Option<&Contract> {
        match &self.change.resource {
            Resource::Contract(contract) => Some(contract),
            Resource::Member(_)
            | Resource::Subsystem(_)
            | Resource::Gateway(_)
            | Resource::Key(_)
            | Resource::PackageOwnership(_)
            | Resource::AccessRight(_)
            | Resource::Group(_) => None,
        }
    }

    fn check_descriptor_set(&self) -> Result<(), Refusal> {
        let Some(bytes) = &self.descriptor_set else { return Ok(()) };
        let Some(contract) = self.contract() else {
            let detail = "a descriptor set comes with a contract only";
            return Err(Refusal::with(Reason::RegistryRecordInvalid, detail));
        };
        if bytes.len() > DESCRIPTOR_SET_LEN_MAX {
            return Err(Refusal::with(Reason::ContractInvalid, "the descriptor set is larger than 1 MiB"));
        }
        if contract.digest != Digest::of(bytes) || contract.size_bytes != bytes.len() as u64 {
            let detail = "the descriptor set has another digest or size than the record says";
            return Err(Refusal::with(Reason::ContractInvalid, detail));
        }
        Ok(())
    }
}
