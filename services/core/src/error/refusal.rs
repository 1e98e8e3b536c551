//! A refusal on its way to the one who is refused.

use std::fmt;
use std::time::Duration;

use super::catalogue::Reason;

/// The most violations one refusal carries.
const VIOLATIONS_MAX: usize = 32;

/// One fault of a payload, for `google.rpc.BadRequest`. It never repeats the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path of the field from the message, for example `dossiers[3].pin`.
    pub field: String,
    /// The rule broken, for machines, for example `STRING_PATTERN`.
    pub reason: String,
    /// What is wrong with it.
    pub description: String,
}

/// One documented reason with what is known of this case. It holds nothing that the caller may not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason, from the catalogue.
    pub reason: Reason,
    /// What is known of this case beyond the catalogue's text; empty when that says all.
    pub detail: String,
    /// The faults of the payload, at most 32.
    pub violations: Vec<FieldViolation>,
    /// How long the caller should wait before it calls again.
    pub retry_after: Option<Duration>,
    /// Further facts for machines, for `ErrorInfo.metadata`.
    pub metadata: Vec<(&'static str, String)>,
}

impl Refusal {
    /// A refusal for `reason` with nothing to add.
    pub fn new(reason: Reason) -> Self {
        Self {
            reason,
            detail: String::new(),
            violations: Vec::new(),
            retry_after: None,
            metadata: Vec::new(),
        }
    }

    /// A refusal for `reason` with what is known of this case.
    pub fn with(reason: Reason, detail: impl fmt::Display) -> Self {
        Self { detail: detail.to_string(), ..Self::new(reason) }
    }

    /// Adds a fact for machines.
    #[must_use]
    pub fn fact(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.metadata.push((name, value.to_string()));
        self
    }

    /// Adds the faults of a payload; those past the 32nd are left out.
    #[must_use]
    pub fn violations(mut self, violations: impl IntoIterator<Item = FieldViolation>) -> Self {
        self.violations.extend(violations.into_iter().take(VIOLATIONS_MAX));
        self
    }

    /// Says how long to wait before calling again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The text for people: what went wrong and, where it is known, in this case.
    pub fn message(&self) -> String {
        let cause = self.reason.entry().cause;
        if self.detail.is_empty() { cause.to_owned() } else { format!("{cause}: {}", self.detail) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.reason, self.message())
    }
}

impl std::error::Error for Refusal {}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}
