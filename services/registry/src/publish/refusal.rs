//! From what the log says of a record to the refusal that its submitter gets.

use std::error::Error;

use kopuro_core::error::{Reason, Refusal};

use crate::view::ApplyError;

pub(super) fn refused(error: &ApplyError) -> Refusal {
    match error {
        ApplyError::Record(fault) => Refusal::with(Reason::RegistryRecordInvalid, fault),
        ApplyError::Instance => Refusal::with(Reason::RegistryRecordInvalid, "it is for another instance"),
        ApplyError::Rule(rule) => Refusal::with(Reason::RegistryRecordInvalid, rule),
        ApplyError::NotAuthorized(why) => Refusal::with(Reason::RegistryNotAuthorized, why),
        ApplyError::Conflict { latest } => {
            let conflict = Refusal::new(Reason::RegistryConflict);
            latest.map_or(conflict.clone(), |latest| conflict.fact("latest_revision", latest))
        }
    }
}

/// The broker's fault stays in the process.
pub(super) fn unavailable(error: impl Error + 'static) -> Refusal {
    tracing::warn!(error = &error as &dyn Error, "the registry's log cannot be used");
    Refusal::with(Reason::RegistryUnavailable, "the same record may be submitted again")
}
