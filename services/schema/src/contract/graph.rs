//! Which message types a contract's payloads are made of.

use std::collections::HashSet;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, Syntax};

use super::{ContractError, Excess};

/// How many message types a contract may use.
const TYPES_MAX: usize = 1_000;
/// How deep the search may go. The rule compiler goes the same way by recursion, so this bounds its stack too.
const NESTING_MAX: usize = 64;

/// The types that `roots` lead to, themselves included, each once; all of them proto3.
pub(super) fn reachable(roots: &[MessageDescriptor]) -> Result<Vec<MessageDescriptor>, ContractError> {
    let mut search = Search::default();
    for root in roots {
        search.visit(root, 1)?;
    }
    Ok(search.found)
}

#[derive(Default)]
struct Search {
    seen: HashSet<String>,
    found: Vec<MessageDescriptor>,
}

impl Search {
    /// Recursion ends at [`NESTING_MAX`].
    fn visit(&mut self, message: &MessageDescriptor, depth: usize) -> Result<(), ContractError> {
        if !self.seen.insert(message.full_name().to_owned()) {
            return Ok(());
        }
        if depth > NESTING_MAX {
            return Err(ContractError::excess(Excess::TypeNesting, message.full_name()));
        }
        if self.seen.len() > TYPES_MAX {
            return Err(ContractError::excess(Excess::MessageTypes, "the descriptor set"));
        }
        if message.parent_file().syntax() != Syntax::Proto3 {
            return Err(ContractError::NotProto3(message.full_name().to_owned()));
        }
        self.found.push(message.clone());
        message.fields().try_for_each(|field| self.visit_field(&field, depth))
    }

    fn visit_field(&mut self, field: &FieldDescriptor, depth: usize) -> Result<(), ContractError> {
        if field.is_group() {
            return Err(ContractError::NotProto3(field.full_name().to_owned()));
        }
        match field.kind() {
            Kind::Message(message) => self.visit(&message, depth + 1),
            Kind::Enum(listed) if listed.parent_file().syntax() != Syntax::Proto3 => {
                Err(ContractError::NotProto3(listed.full_name().to_owned()))
            }
            _ => Ok(()),
        }
    }
}
