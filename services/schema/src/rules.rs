//! The rules of a contract, evaluated by prost-protovalidate.
//!
//! The library is given only what its contract's bounds and the scan have let through, is asked for nothing but
//! rule ids and field paths, and may not take the node down: a panic inside it is a fault of the rules.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kopuro_core::time::UnixMillis;
use prost_protovalidate::types::field_path_element::Subscript;
use prost_protovalidate::types::{FieldPath, FieldPathElement};
use prost_protovalidate::{Error, ValidationOption, Validator, ValidatorOption};
use prost_reflect::{DynamicMessage, MessageDescriptor};

use crate::contract::{ContractError, RuleTexts};
use crate::violation::{VIOLATIONS_MAX, Violation};

/// The longest description of a violation. **Units:** bytes.
const DESCRIPTION_LEN_MAX: usize = 256;

/// Why rules could not be evaluated. It names no value: what the library says may quote the payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleFault {
    /// The evaluation panicked.
    #[error("the evaluation panicked")]
    Panicked,
    /// A payload that the scan accepted could not be decoded.
    #[error("a scanned payload could not be decoded")]
    Undecodable,
    /// A rule failed on this payload, for example by a division by zero.
    #[error("a rule failed{}", rule_id.as_deref().map(|id| format!(": {id}")).unwrap_or_default())]
    Failed {
        /// The rule, where it is known.
        rule_id: Option<String>,
    },
}

/// The compiled rules of one contract. The library caches by the name of the message type, so that each contract
/// has a validator of its own.
pub(crate) struct Rules {
    validator: Validator,
    texts: RuleTexts,
    /// The message types that carry rules, or lead to types that do.
    ruled: HashSet<String>,
}

impl Rules {
    /// Compiles the rules of `messages`, which `roots` lead to, and tries each on an empty message.
    pub(crate) fn compile(
        descriptor_set: &[u8],
        roots: &[MessageDescriptor],
        messages: &[MessageDescriptor],
        texts: RuleTexts,
    ) -> Result<Self, ContractError> {
        let ruled = leading_to(&texts.ruled, messages);
        let options = [
            ValidatorOption::AdditionalDescriptorSetBytes(descriptor_set.to_vec()),
            ValidatorOption::MessageDescriptors(roots.iter().chain(messages).cloned().collect()),
            ValidatorOption::DisableLazy,
        ];
        let validator =
            contained(|| Validator::with_options(&options)).map_err(|_| ContractError::Unreadable)?;
        let rules = Self { validator, texts, ruled };
        messages.iter().try_for_each(|message| rules.check_compiled(message))?;
        Ok(rules)
    }

    /// Evaluates the rules on a scanned payload. **Limits:** at most [`VIOLATIONS_MAX`] violations are given.
    pub(crate) fn evaluate(
        &self,
        message: &MessageDescriptor,
        payload: &[u8],
        now: UnixMillis,
    ) -> Result<Vec<Violation>, RuleFault> {
        if !self.ruled.contains(message.full_name()) {
            return Ok(Vec::new());
        }
        let message = DynamicMessage::decode(message.clone(), payload).map_err(|_| RuleFault::Undecodable)?;
        let now = now.to_proto();
        let options = [ValidationOption::NowFn(Arc::new(move || now))];
        match contained(|| self.validator.validate_with(&message, &options)) {
            Err(Panicked) => Err(RuleFault::Panicked),
            Ok(Ok(())) => Ok(Vec::new()),
            Ok(Err(Error::Validation(error))) => Ok(error
                .violations()
                .iter()
                .take(VIOLATIONS_MAX)
                .map(|violation| self.violation(violation))
                .collect()),
            Ok(Err(error)) => Err(RuleFault::Failed { rule_id: self.failed_rule(&error) }),
        }
    }

    /// The library compiles a rule with the message type and tells of a failure when the type is validated.
    fn check_compiled(&self, message: &MessageDescriptor) -> Result<(), ContractError> {
        let uncompilable =
            |cause| ContractError::RulesUncompilable { owner: message.full_name().to_owned(), cause };
        match contained(|| self.validator.validate(&DynamicMessage::new(message.clone()))) {
            Err(Panicked) => Err(uncompilable("the rule compiler panicked".to_owned())),
            Ok(Err(Error::Compilation(error))) => Err(uncompilable(error.cause)),
            // That an empty message breaks rules, or fails in them, is nothing wrong with the rules.
            Ok(Ok(()) | Err(_)) => Ok(()),
        }
    }

    fn violation(&self, violation: &prost_protovalidate::Violation) -> Violation {
        let rule_id = violation.rule_id();
        Violation {
            field_path: violation.to_proto().field.map(|path| path_text(&path)).unwrap_or_default(),
            rule_id: Cow::Owned(shortened(rule_id)),
            description: match self.texts.cel_messages.get(rule_id) {
                // A CEL rule may put values into what it returns; the contract's own words cannot.
                Some(message) if message.is_empty() => Cow::Borrowed("the rule does not hold"),
                Some(message) => Cow::Owned(shortened(message)),
                None if violation.message().is_empty() => Cow::Borrowed("the rule does not hold"),
                None => Cow::Owned(shortened(violation.message())),
            },
        }
    }

    /// Which CEL rule an error of the library is about. The rest of its text may quote the payload.
    fn failed_rule(&self, error: &Error) -> Option<String> {
        let text = error.to_string();
        let names = |id: &&String| !id.is_empty() && text.contains(&format!("CEL rule `{id}`"));
        self.texts.cel_messages.keys().find(names).map(|id| shortened(id))
    }
}

/// The code panicked.
pub(crate) struct Panicked;

/// Runs code of a library that may panic on hostile input.
pub(crate) fn contained<T>(run: impl FnOnce() -> T) -> Result<T, Panicked> {
    // What the code shares with the outside is behind locks that the library recovers when poisoned.
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| Panicked)
}

/// The types of `messages` from which a type in `ruled` can be reached.
fn leading_to(ruled: &[String], messages: &[MessageDescriptor]) -> HashSet<String> {
    let mut users: HashMap<String, Vec<&str>> = HashMap::new();
    for message in messages {
        for field in message.fields() {
            if let Some(used) = field.kind().as_message() {
                users.entry(used.full_name().to_owned()).or_default().push(message.full_name());
            }
        }
    }
    let mut leading = HashSet::new();
    let mut pending: Vec<&str> = ruled.iter().map(String::as_str).collect();
    while let Some(name) = pending.pop() {
        if leading.insert(name.to_owned()) {
            pending.extend(users.get(name).into_iter().flatten());
        }
    }
    leading
}

/// `dossiers[3].pin`; keys of maps are left out, since they may be personal data.
fn path_text(path: &FieldPath) -> String {
    path.elements.iter().map(element_text).collect::<Vec<_>>().join(".")
}

fn element_text(element: &FieldPathElement) -> String {
    let name = element.field_name();
    match &element.subscript {
        None => name.to_owned(),
        Some(Subscript::Index(index)) => format!("{name}[{index}]"),
        Some(
            Subscript::BoolKey(_) | Subscript::IntKey(_) | Subscript::UintKey(_) | Subscript::StringKey(_),
        ) => format!("{name}[*]"),
    }
}

fn shortened(text: &str) -> String {
    let end = (0..=DESCRIPTION_LEN_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests;
