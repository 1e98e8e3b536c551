//! What operators see: metrics, traces, and the audit trail.
//!
//! Nothing here takes a payload or a person's data. Metric labels come from closed sets: reasons of the catalogue, stages,
//! roles; a value that a peer chose is never a label.

pub mod audit;
pub mod clock;
pub mod metrics;
pub mod trace;
