//! What every suite of this crate stands on. The suites are in `suite/`, one binary.

pub mod prerequisite;
