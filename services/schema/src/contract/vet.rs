//! The texts in a contract's rules: CEL within its bounds, patterns that compile to little, messages to show.

use std::collections::HashMap;

use prost_protovalidate::regex::RegexBuilder;
use prost_protovalidate::types::field_rules::Type;
use prost_protovalidate::types::{
    ConstraintDecodeError, DESCRIPTOR_POOL, FieldConstraintsExt, FieldRules, MessageConstraintsExt,
    OneofConstraintsExt, PredefinedRules, Rule,
};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use super::cel::{self, Refused};
use super::{ContractError, Excess};

/// The longest pattern. **Units:** bytes.
const PATTERN_BYTES_MAX: usize = 512;
/// The most that a compiled pattern may take. **Units:** bytes.
const PATTERN_COMPILED_BYTES_MAX: usize = 256 << 10;
/// The numbers of protovalidate's options: rules of messages, oneofs and fields, and predefined rules.
const VALIDATE_OPTIONS: [u32; 2] = [1159, 1160];
const PREDEFINED_OPTION: &str = "buf.validate.predefined";

/// What the rules of a contract say of themselves.
#[derive(Default)]
pub(crate) struct RuleTexts {
    /// The messages of CEL rules by rule id; the first of an id counts.
    pub(crate) cel_messages: HashMap<String, String>,
    /// The message types that carry a rule, by full name.
    pub(crate) ruled: Vec<String>,
}

/// Checks the rules of `messages` and the predefined rules of `pool`.
pub(super) fn rules(
    pool: &DescriptorPool,
    messages: &[MessageDescriptor],
) -> Result<RuleTexts, ContractError> {
    let mut vet = Vet { owner: String::new(), texts: RuleTexts::default() };
    for message in messages {
        message.full_name().clone_into(&mut vet.owner);
        vet.message(message)?;
    }
    for extension in pool.all_extensions() {
        extension.full_name().clone_into(&mut vet.owner);
        vet.predefined(&extension.options())?;
    }
    Ok(vet.texts)
}

struct Vet {
    /// Whose rules are being read.
    owner: String,
    texts: RuleTexts,
}

impl Vet {
    fn message(&mut self, message: &MessageDescriptor) -> Result<(), ContractError> {
        let mut ruled = false;
        self.readable(&message.options())?;
        if let Some(rules) = message.message_constraints().map_err(|error| self.undecodable(&error))? {
            ruled = true;
            self.cel(&rules.cel, &rules.cel_expression)?;
        }
        for oneof in message.oneofs() {
            self.readable(&oneof.options())?;
            ruled |= oneof.oneof_constraints().map_err(|error| self.undecodable(&error))?.is_some();
        }
        for field in message.fields() {
            self.readable(&field.options())?;
            if let Some(rules) = field.field_constraints().map_err(|error| self.undecodable(&error))? {
                ruled = true;
                self.field(&rules)?;
            }
        }
        if ruled {
            self.texts.ruled.push(self.owner.clone());
        }
        Ok(())
    }

    fn field(&mut self, rules: &FieldRules) -> Result<(), ContractError> {
        self.cel(&rules.cel, &rules.cel_expression)?;
        match &rules.r#type {
            Some(Type::String(rules)) => self.pattern(rules.pattern.as_deref()),
            Some(Type::Bytes(rules)) => self.pattern(rules.pattern.as_deref()),
            Some(Type::Repeated(rules)) => rules.items.as_deref().map_or(Ok(()), |items| self.field(items)),
            Some(Type::Map(rules)) => {
                let nested = rules.keys.iter().chain(&rules.values);
                nested.into_iter().try_for_each(|rules| self.field(rules))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn predefined(&mut self, options: &DynamicMessage) -> Result<(), ContractError> {
        self.readable(options)?;
        let option = DESCRIPTOR_POOL
            .get_extension_by_name(PREDEFINED_OPTION)
            .expect("protovalidate defines its option for predefined rules");
        if !options.has_extension(&option) {
            return Ok(());
        }
        let value = options.get_extension(&option);
        let rules = value.as_message().and_then(|message| message.transcode_to::<PredefinedRules>().ok());
        let rules = rules.ok_or_else(|| ContractError::RulesUnreadable(self.owner.clone()))?;
        self.cel(&rules.cel, &[])
    }

    fn cel(&mut self, rules: &[Rule], expressions: &[String]) -> Result<(), ContractError> {
        for expression in rules.iter().map(Rule::expression).chain(expressions.iter().map(String::as_str)) {
            cel::check(expression).map_err(|refused| self.refused(refused))?;
        }
        for rule in rules {
            let message = || rule.message().to_owned();
            self.texts.cel_messages.entry(rule.id().to_owned()).or_insert_with(message);
        }
        for expression in expressions {
            self.texts.cel_messages.entry(expression.clone()).or_default();
        }
        Ok(())
    }

    fn pattern(&self, pattern: Option<&str>) -> Result<(), ContractError> {
        let Some(pattern) = pattern else { return Ok(()) };
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(ContractError::excess(Excess::PatternSize, self.owner.as_str()));
        }
        match RegexBuilder::new(pattern).size_limit(PATTERN_COMPILED_BYTES_MAX).build() {
            Ok(_) => Ok(()),
            Err(_) => Err(ContractError::Pattern(self.owner.clone())),
        }
    }

    /// Refuses options that carry a rule whose definition is missing: it would be passed over in silence.
    fn readable(&self, options: &DynamicMessage) -> Result<(), ContractError> {
        match options.unknown_fields().any(|field| VALIDATE_OPTIONS.contains(&field.number())) {
            true => Err(ContractError::RulesUnreadable(self.owner.clone())),
            false => Ok(()),
        }
    }

    fn refused(&self, refused: Refused) -> ContractError {
        match refused {
            Refused::Excess(excess) => ContractError::excess(excess, self.owner.as_str()),
            Refused::Unparsable(cause) => {
                ContractError::RulesUncompilable { owner: self.owner.clone(), cause }
            }
        }
    }

    fn undecodable(&self, error: &ConstraintDecodeError) -> ContractError {
        ContractError::RulesUncompilable { owner: self.owner.clone(), cause: error.to_string() }
    }
}
