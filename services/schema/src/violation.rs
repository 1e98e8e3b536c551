//! What is wrong with a payload, told without repeating any of it.

use std::borrow::Cow;
use std::fmt;

use tonic_types::{BadRequest, FieldViolation};

use crate::rules::RuleFault;

/// How many violations of one payload are reported at most.
pub(crate) const VIOLATIONS_MAX: usize = 16;
/// The longest reason in `google.rpc.BadRequest`. **Units:** bytes.
const REASON_LEN_MAX: usize = 63;

/// One way in which a payload breaks its contract. It names fields and rules, never values: map keys in the path
/// are shown as `[*]`, since a key may be personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field by its path, for example `dossiers[3].pin`; empty for the message as a whole.
    pub field_path: String,
    /// The rule broken, for example `string.pattern` or `structure.unknown_field`.
    pub rule_id: Cow<'static, str>,
    /// What the rule asks, in words of the contract or of protovalidate.
    pub description: Cow<'static, str>,
}

/// Which of the two checks a payload failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InvalidKind {
    /// The scan of the wire bytes. The payload was not decoded.
    Structure,
    /// The rules.
    Rules,
}

/// A payload that breaks its contract. **Limits:** one to 16 violations.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payload breaks its contract in {} place(s)", violations.len())]
pub struct Invalid {
    /// Which check it failed.
    pub kind: InvalidKind,
    /// How it failed.
    pub violations: Vec<Violation>,
}

/// Why a payload cannot be let through.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    /// The payload breaks its contract; its sender must act.
    #[error("invalid payload")]
    Invalid(#[source] Invalid),
    /// The rules could not be evaluated; the contract's owner must act.
    #[error("rules could not be evaluated")]
    Fault(#[source] RuleFault),
}

impl Invalid {
    /// The violations as `google.rpc.BadRequest`, for the details of a gRPC status.
    pub fn to_bad_request(&self) -> BadRequest {
        BadRequest::new(self.violations.iter().map(Violation::to_field_violation).collect::<Vec<_>>())
    }
}

impl Violation {
    fn to_field_violation(&self) -> FieldViolation {
        let mut violation = FieldViolation::new(&self.field_path, self.description.as_ref());
        violation.reason = reason_of(&self.rule_id);
        violation
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field_path, rule_id, description } = self;
        match field_path.as_str() {
            "" => write!(formatter, "{description} ({rule_id})"),
            path => write!(formatter, "{path}: {description} ({rule_id})"),
        }
    }
}

/// `string.pattern` → `STRING_PATTERN`, as `google.rpc.BadRequest` wants its reasons.
fn reason_of(rule_id: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    rule_id.chars().take(REASON_LEN_MAX).map(upper).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_become_a_bad_request() {
        let violation = Violation {
            field_path: "dossiers[3].pin".into(),
            rule_id: "string.pattern".into(),
            description: "does not match".into(),
        };
        let invalid = Invalid { kind: InvalidKind::Rules, violations: vec![violation] };
        let bad_request = invalid.to_bad_request();
        let [field] = bad_request.field_violations.as_slice() else { panic!("one violation expected") };
        assert_eq!(field.field, "dossiers[3].pin");
        assert_eq!(field.reason, "STRING_PATTERN");
        assert_eq!(field.description, "does not match");
    }
}
