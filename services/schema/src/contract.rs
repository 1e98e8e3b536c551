//! Loading a contract from its descriptor set.

mod cel;
mod graph;
mod preflight;
mod vet;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::{fmt, io, thread};

use bytes::Bytes;
use kopuro_core::digest::Digest;
use kopuro_core::id::{IdError, MethodId, ServiceName};
use prost_reflect::{DescriptorError, DescriptorPool, MessageDescriptor};

use crate::method::{Checks, Method};
use crate::rules::{Panicked, Rules, contained};
use crate::scan::{Plans, ScanLimits};

pub(crate) use self::vet::RuleTexts;

/// The largest descriptor set. **Units:** bytes.
pub(crate) const DESCRIPTOR_SET_BYTES_MAX: usize = 1 << 20;
/// The stack on which a contract is loaded; the bounds of [`cel`] come to 24 MiB. **Units:** bytes.
const LOADING_STACK_BYTES: usize = 32 << 20;

/// A provider's services as registered: methods, messages and rules. Contracts are immutable; a new version is
/// another contract with another digest.
///
/// **Limits:** 1 MiB of descriptors; proto2 and proto3 files, with messages of methods in proto3; 1,000 message
/// types nesting at most 64 deep; 256 singular fields a type; CEL of 1 KiB without comprehensions in
/// comprehensions; patterns of 512 bytes.
pub struct Contract {
    digest: Digest,
    descriptor_set: Bytes,
    pool: DescriptorPool,
    methods: BTreeMap<MethodId, Method>,
}

/// Why a descriptor set is no contract. Its owner must act; names in it are those of the descriptor set.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// A bound is exceeded.
    #[error("{of} exceeds the limit on {excess}")]
    Excess {
        /// The limit.
        excess: Excess,
        /// The message or rule by name, or `the descriptor set`.
        of: String,
    },
    /// The bytes are no descriptor set.
    #[error("the descriptor set cannot be read")]
    Unreadable,
    /// Imports or types are missing, or contradict each other.
    #[error("the descriptor set does not hold together")]
    Inconsistent(#[source] DescriptorError),
    /// A file uses protobuf editions, which the bus does not read.
    #[error("a file of the descriptor set is neither proto2 nor proto3")]
    Syntax,
    /// A method's message, or one within it, is not proto3.
    #[error("{0} is not proto3")]
    NotProto3(String),
    /// A rule is there but its definition is not, so that it would be ignored.
    #[error("the rules of {0} cannot be read: buf/validate/validate.proto is not in the descriptor set")]
    RulesUnreadable(String),
    /// A rule does not compile.
    #[error("the rules of {owner} do not compile: {cause}")]
    RulesUncompilable {
        /// The message or extension by its full name.
        owner: String,
        /// What the rule compiler says.
        cause: String,
    },
    /// A pattern is no regular expression, or a costly one.
    #[error("a pattern in the rules of {0} does not compile within its limits")]
    Pattern(String),
    /// A service or method has a name that the bus does not take.
    #[error("a service or method is misnamed")]
    Name(#[from] IdError),
    /// The machine has no thread for the work; its operator must act.
    #[error("no thread to load the contract on")]
    Thread(#[source] io::Error),
    /// There is nothing to call.
    #[error("the descriptor set holds no method")]
    NoMethod,
}

/// A bound on contracts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Excess {
    /// 1 MiB of encoded descriptors.
    DescriptorSetSize,
    /// 1,000 message types.
    MessageTypes,
    /// 64 levels of types within types.
    TypeNesting,
    /// 256 singular fields of a message type.
    Fields,
    /// 1 KiB of source of a CEL expression.
    CelSize,
    /// 24 levels of a CEL expression, 64 brackets and 128 characters of operators in its source.
    CelDepth,
    /// A comprehension (`all`, `exists`, `map`, `filter`, …) within another.
    CelComprehension,
    /// 512 bytes of a pattern.
    PatternSize,
}

impl Contract {
    /// Loads a contract from an encoded `google.protobuf.FileDescriptorSet` that holds all imports.
    ///
    /// Bounds are checked before the rules are compiled. The work is done on a thread of its own with a deep stack,
    /// which this waits for: milliseconds for an ordinary contract. Registrations are to be vetted in a process of
    /// their own nevertheless.
    ///
    /// # Errors
    /// [`ContractError`] when the descriptor set is malformed, exceeds a bound, or holds a rule that does not
    /// compile: its owner must act.
    pub fn load(descriptor_set: &[u8]) -> Result<Self, ContractError> {
        Self::load_with_limits(descriptor_set, ScanLimits::default())
    }

    /// Loads a contract whose payloads are held to `limits`.
    ///
    /// # Errors
    /// As [`Contract::load`].
    pub fn load_with_limits(descriptor_set: &[u8], limits: ScanLimits) -> Result<Self, ContractError> {
        preflight::check(descriptor_set)?;
        let loaded =
            on_deep_stack(|| Self::compile(descriptor_set, limits)).map_err(ContractError::Thread)?;
        loaded.unwrap_or(Err(ContractError::Unreadable))
    }

    fn compile(descriptor_set: &[u8], limits: ScanLimits) -> Result<Self, ContractError> {
        // From the bytes: through prost's descriptor types custom options would be lost, and so every rule.
        let pool = contained(|| DescriptorPool::decode(descriptor_set))
            .map_err(|Panicked| ContractError::Unreadable)?
            .map_err(ContractError::Inconsistent)?;
        let roots = payloads(&pool);
        let messages = graph::reachable(&roots)?;
        let texts = vet::rules(&pool, &messages)?;
        let plans =
            Plans::of(&messages).map_err(|excess| ContractError::excess(Excess::Fields, excess.message))?;
        let rules = Rules::compile(descriptor_set, &roots, &messages, texts)?;
        let checks = Arc::new(Checks { plans, rules, limits });
        let methods = methods(&pool, &checks)?;
        if methods.is_empty() {
            return Err(ContractError::NoMethod);
        }
        let descriptor_set = Bytes::copy_from_slice(descriptor_set);
        Ok(Self { digest: Digest::of(&descriptor_set), descriptor_set, pool, methods })
    }

    /// The contract's name: SHA-256 of the descriptor set.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The descriptor set as loaded.
    pub fn descriptor_set(&self) -> &Bytes {
        &self.descriptor_set
    }

    /// The descriptors, for reflection and for reading JSON. Never decode a payload with them that has not been
    /// validated.
    pub fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    /// A method; `None` when the contract has no such method.
    pub fn method(&self, id: &MethodId) -> Option<&Method> {
        self.methods.get(id)
    }

    /// All methods, by service and name.
    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        self.methods.values()
    }

    /// All services that have a method, by name.
    pub fn services(&self) -> BTreeSet<&ServiceName> {
        self.methods.keys().map(MethodId::service).collect()
    }
}

impl fmt::Debug for Contract {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Contract").field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl ContractError {
    fn excess(excess: Excess, of: impl Into<String>) -> Self {
        Self::Excess { excess, of: of.into() }
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::DescriptorSetSize => "the size of descriptor sets, 1 MiB",
            Self::MessageTypes => "message types, 1,000",
            Self::TypeNesting => "nesting of message types, 64 levels",
            Self::Fields => "singular fields, 256",
            Self::CelSize => "the size of CEL expressions, 1 KiB",
            Self::CelDepth => "the depth of CEL expressions, 24 levels",
            Self::CelComprehension => "CEL comprehensions, none within another",
            Self::PatternSize => "the size of patterns, 512 bytes",
        })
    }
}

/// Runs on a thread of [`LOADING_STACK_BYTES`] and waits for it.
fn on_deep_stack<T: Send>(run: impl FnOnce() -> T + Send) -> io::Result<thread::Result<T>> {
    thread::scope(|scope| {
        let thread =
            thread::Builder::new().name("kopuro-contract".to_owned()).stack_size(LOADING_STACK_BYTES);
        Ok(thread.spawn_scoped(scope, run)?.join())
    })
}

/// The messages of all methods.
fn payloads(pool: &DescriptorPool) -> Vec<MessageDescriptor> {
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    methods.flat_map(|method| [method.input(), method.output()]).collect()
}

fn methods(pool: &DescriptorPool, checks: &Arc<Checks>) -> Result<BTreeMap<MethodId, Method>, ContractError> {
    let mut methods = BTreeMap::new();
    for service in pool.services() {
        let name = ServiceName::parse(service.full_name())?;
        for descriptor in service.methods() {
            let id = MethodId::new(name.clone(), descriptor.name())?;
            methods.insert(id.clone(), Method::new(id, &descriptor, checks));
        }
    }
    Ok(methods)
}

#[cfg(test)]
mod tests;
