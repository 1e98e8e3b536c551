//! The one table of reasons.

use std::fmt;
use std::fmt::Write as _;

use kopuro_proto::exchange::v1 as wire;

/// A canonical gRPC status code (gRPC core, "Status codes and their use in gRPC").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[allow(missing_docs, reason = "the names are gRPC's own")]
pub enum Code {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Code {
    /// The code's name as the gRPC specification writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

/// The side at fault, which must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The consumer's system or its member.
    Consumer,
    /// The provider's system or its member.
    Provider,
    /// The bus itself: a gateway, the broker, the registry.
    Bus,
}

impl Side {
    /// The side's name for machines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Consumer => "consumer",
            Self::Provider => "provider",
            Self::Bus => "bus",
        }
    }

    /// The side as it is written to the wire.
    pub const fn to_wire(self) -> wire::Side {
        match self {
            Self::Consumer => wire::Side::Consumer,
            Self::Provider => wire::Side::Provider,
            Self::Bus => wire::Side::Bus,
        }
    }

    /// Reads a side from the wire; `None` for one that is unspecified or unknown.
    pub fn from_wire(side: i32) -> Option<Self> {
        match wire::Side::try_from(side).ok()? {
            wire::Side::Unspecified => None,
            wire::Side::Consumer => Some(Self::Consumer),
            wire::Side::Provider => Some(Self::Provider),
            wire::Side::Bus => Some(Self::Bus),
        }
    }
}

/// A line of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The reason.
    pub reason: Reason,
    /// Its name in `google.rpc.ErrorInfo.reason`.
    pub name: &'static str,
    /// The status code it is answered with.
    pub code: Code,
    /// Who must act.
    pub side: Side,
    /// What happened.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

macro_rules! catalogue {
    ($($variant:ident $name:literal $code:ident $side:ident $cause:literal $remedy:literal)*) => {
        /// Why the bus refused. The name in the catalogue is also the metric label.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $cause] $variant,)*
        }

        impl Reason {
            /// Every reason, in the order of the catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The reason's line in the catalogue.
            pub const fn entry(self) -> Entry {
                match self {
                    $(Self::$variant => Entry {
                        reason: self,
                        name: $name,
                        code: Code::$code,
                        side: Side::$side,
                        cause: $cause,
                        remedy: $remedy,
                    },)*
                }
            }
        }
    };
}

catalogue! {
    CertificateRequired "CERTIFICATE_REQUIRED" Unauthenticated Consumer
        "the connection carries no client certificate"
        "connect with the certificate that the member issued to the system"
    CertificateInvalid "CERTIFICATE_INVALID" Unauthenticated Consumer
        "the client certificate does not chain to the instance's authority or breaks its profile"
        "have a certificate issued under the instance's authority; the detail names the rule broken"
    CertificateUnknown "CERTIFICATE_UNKNOWN" Unauthenticated Consumer
        "the certificate's key is not registered for any subsystem"
        "register the key with purpose transport for the subsystem"
    CertificateRevoked "CERTIFICATE_REVOKED" Unauthenticated Consumer
        "the certificate's key is retired, revoked or out of its validity"
        "rotate to a registered, active key"
    ClientMismatch "CLIENT_MISMATCH" PermissionDenied Consumer
        "the certificate does not speak for the subsystem named in kopuro-client"
        "name a subsystem that the certificate speaks for, or connect with that subsystem's certificate"
    ClientAmbiguous "CLIENT_AMBIGUOUS" InvalidArgument Consumer
        "the certificate speaks for several subsystems and kopuro-client names none"
        "set the metadata kopuro-client to the calling subsystem"
    MetadataInvalid "METADATA_INVALID" InvalidArgument Consumer
        "a kopuro metadata entry is malformed or too long, or all headers together are"
        "correct what the detail names"
    MethodUnknown "METHOD_UNKNOWN" Unimplemented Consumer
        "no registered contract has the method"
        "check the path against the provider's contract"
    MethodStreaming "METHOD_STREAMING" Unimplemented Consumer
        "the method is streaming, which the bus does not carry"
        "call a unary method"
    ServiceUnknown "SERVICE_UNKNOWN" NotFound Consumer
        "no subsystem offers the service"
        "check the service's name, or ask its owner to register the contract"
    ProviderUnknown "PROVIDER_UNKNOWN" NotFound Consumer
        "the subsystem named in kopuro-provider does not offer the service"
        "name a subsystem that offers it, or leave kopuro-provider out"
    AccessDenied "ACCESS_DENIED" PermissionDenied Consumer
        "the provider has granted the calling subsystem no access right to the method"
        "ask the provider for an access right"
    MemberSuspended "MEMBER_SUSPENDED" FailedPrecondition Consumer
        "a member or subsystem of the exchange is suspended or removed"
        "ask the authority"
    PayloadMalformed "PAYLOAD_MALFORMED" InvalidArgument Consumer
        "the payload is not a well-formed message of the contract"
        "generate the client from the registered contract; the violations name the fields"
    PayloadInvalid "PAYLOAD_INVALID" InvalidArgument Consumer
        "the payload breaks a validation rule of the contract"
        "correct the fields that the violations name"
    PayloadTooLarge "PAYLOAD_TOO_LARGE" ResourceExhausted Consumer
        "the payload is larger than the limit of 4 MiB"
        "send less in one message"
    CompressionUnsupported "COMPRESSION_UNSUPPORTED" Unimplemented Consumer
        "the message is compressed in a way that the gateway does not take"
        "send the message uncompressed or with gzip"
    FramingInvalid "FRAMING_INVALID" InvalidArgument Consumer
        "the request is not one well-framed gRPC message"
        "call with an ordinary gRPC client"
    RequestIdRequired "REQUEST_ID_REQUIRED" InvalidArgument Consumer
        "the method may have an effect and the call carries no kopuro-request-id"
        "set kopuro-request-id to a UUID that names the intended effect, and repeat it when calling again"
    RequestIdReused "REQUEST_ID_REUSED" AlreadyExists Consumer
        "the request id was used for another request"
        "use a new request id for a new effect"
    Expired "EXPIRED" DeadlineExceeded Consumer
        "the request expired before it was dispatched; it has had no effect"
        "call again with the same request id and a longer deadline"
    NotAnsweredInTime "NOT_ANSWERED_IN_TIME" DeadlineExceeded Bus
        "no outcome arrived before the deadline; the effect may still happen"
        "call again with the same request id to fetch the one outcome"
    Overloaded "OVERLOADED" ResourceExhausted Bus
        "the gateway has as many calls in flight as it takes"
        "call again after the delay in RetryInfo"
    BrokerUnavailable "BROKER_UNAVAILABLE" Unavailable Bus
        "the broker did not take the request; it has certainly not been accepted"
        "call again; operators: check the broker"
    ProviderAbsent "PROVIDER_ABSENT" Unavailable Provider
        "the provider's gateway has never been there to take requests; the request has certainly not been accepted"
        "the provider starts its gateway with the subsystem's endpoint; call again"
    Draining "DRAINING" Unavailable Bus
        "the gateway is shutting down and takes no new calls"
        "call again; another replica answers"
    RegistryUnavailable "REGISTRY_UNAVAILABLE" Unavailable Bus
        "the gateway's view of the registry is too old, incomplete or in doubt"
        "operators: check the registry service and the broker"
    ContractUnavailable "CONTRACT_UNAVAILABLE" Unavailable Bus
        "the contract's descriptor set could not be loaded"
        "operators: check that the contract is attested and the contract topic readable"
    RecipientKeyMissing "RECIPIENT_KEY_MISSING" FailedPrecondition Provider
        "the recipient has no active sealing key"
        "the recipient registers a sealing key"
    RecordMalformed "RECORD_MALFORMED" InvalidArgument Bus
        "a record of the broker is not in its one valid encoding"
        "operators: find who can write to the topic"
    SignatureInvalid "SIGNATURE_INVALID" Unauthenticated Bus
        "a record's signature does not verify"
        "operators: find who can write to the topic"
    SignerUnknown "SIGNER_UNKNOWN" Unauthenticated Bus
        "a record is signed with a key that may not speak for its sender"
        "register the gateway's signing key for the subsystem"
    StatementInvalid "STATEMENT_INVALID" InvalidArgument Bus
        "a statement is malformed, or is not meant for where it was found"
        "operators: find who can write to the topic"
    SealBroken "SEAL_BROKEN" InvalidArgument Bus
        "the content cannot be opened or is not what was stated"
        "the sender's gateway refreshes the recipient's sealing key; operators: find who can write to the topic"
    ClockSkew "CLOCK_SKEW" FailedPrecondition Bus
        "a statement's times are further from the receiver's clock than the skew allowed"
        "operators: synchronize the clocks"
    DuplicateRecord "DUPLICATE_RECORD" AlreadyExists Bus
        "a record was delivered again; it had no second effect and no second outcome"
        "operators: find who can write to the topic, if this persists"
    OutcomeUnexpected "OUTCOME_UNEXPECTED" FailedPrecondition Bus
        "an outcome does not answer the request that waits for it"
        "operators: examine the provider's gateway"
    ProviderUnreachable "PROVIDER_UNREACHABLE" Aborted Provider
        "the provider's system could not be reached; the request had no effect"
        "the provider brings its system up; call again with a new request id"
    ProviderTimeout "PROVIDER_TIMEOUT" DeadlineExceeded Provider
        "the provider's system did not answer before the request expired; its effect is unknown"
        "the provider examines its system"
    ProviderFailed "PROVIDER_FAILED" Internal Provider
        "the provider's system broke off the call; its effect is unknown"
        "the provider examines its system"
    ProviderStatus "PROVIDER_STATUS" Internal Provider
        "the provider's system answered with this status itself"
        "see the provider's documentation"
    ResponseInvalid "RESPONSE_INVALID" Internal Provider
        "the provider's response breaks its own contract; the effect is unknown"
        "the provider corrects its system; the violations name the fields"
    DispatchInterrupted "DISPATCH_INTERRUPTED" Aborted Bus
        "the gateway stopped while the request was being dispatched; its effect is unknown"
        "ask the provider whether the effect happened before using a new request id"
    NotDispatched "NOT_DISPATCHED" Aborted Bus
        "the request could not be dispatched in time; it had no effect"
        "call again with a new request id"
    DispatchDeferred "DISPATCH_DEFERRED" Aborted Bus
        "the provider's gateway could not take the request; it has not been dispatched so far"
        "call again with the same request id"
    RegistryRecordInvalid "REGISTRY_RECORD_INVALID" InvalidArgument Consumer
        "the registry record is malformed or breaks a rule of the registry"
        "correct the record; the detail names the rule"
    RegistryNotAuthorized "REGISTRY_NOT_AUTHORIZED" PermissionDenied Consumer
        "the registry record is not signed by a key that may make this change"
        "sign with the authority's key or the member's administration key, as the resource requires"
    RegistryConflict "REGISTRY_CONFLICT" Aborted Consumer
        "the resource has changed since the revision that the record replaces"
        "read the resource again and sign a record that replaces its latest revision"
    ContractInvalid "CONTRACT_INVALID" InvalidArgument Consumer
        "the descriptor set is malformed, too large, or not the one that the record names"
        "compile the contract again; the detail names the fault"
    ContractFault "CONTRACT_FAULT" Internal Provider
        "a validation rule of the contract cannot be evaluated"
        "the contract's owner corrects the rule"
    Internal "INTERNAL" Internal Bus
        "the gateway met a fault of its own"
        "operators: find the exchange id in the gateway's log"
}

impl Reason {
    /// The reason's name, as in `google.rpc.ErrorInfo.reason`.
    pub const fn name(self) -> &'static str {
        self.entry().name
    }

    /// Reads a reason's name; `None` for one that is not in the catalogue.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.name() == name)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Writes the documentation page of the catalogue, in Markdown.
pub fn documentation() -> String {
    let mut page = String::from(
        "# Reasons\n\nEvery refusal carries one of these reasons in `google.rpc.ErrorInfo` (domain `kopuro`), with the side\n\
         at fault and the exchange id. Reasons are never renamed or removed.\n\n\
         | Reason | Code | Side at fault | What happened | What to do |\n|---|---|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let Entry { reason: _, name, code, side, cause, remedy } = reason.entry();
        let side = side.name();
        writeln!(page, "| `{name}` | `{}` | {side} | {cause} | {remedy} |", code.name())
            .expect("writing to a string does not fail");
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_valid_and_distinct() {
        // google/rpc/error_details.proto: ErrorInfo.reason matches [A-Z][A-Z0-9_]+[A-Z0-9], at most 63 characters.
        let mut names = HashSet::new();
        for reason in Reason::ALL {
            let name = reason.name();
            assert!(name.len() <= 63 && name.starts_with(|c: char| c.is_ascii_uppercase()), "{name}");
            assert!(
                name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'),
                "{name}"
            );
            assert!(!name.ends_with('_') && names.insert(name), "{name}");
            assert_eq!(Reason::parse(name), Some(*reason));
        }
    }

    #[test]
    fn only_what_was_certainly_not_accepted_is_unavailable() {
        let unavailable: Vec<_> =
            Reason::ALL.iter().filter(|r| r.entry().code == Code::Unavailable).collect();
        let before_append = [
            Reason::BrokerUnavailable,
            Reason::ProviderAbsent,
            Reason::Draining,
            Reason::RegistryUnavailable,
            Reason::ContractUnavailable,
        ];
        assert_eq!(unavailable, before_append.iter().collect::<Vec<_>>());
    }

    #[test]
    fn the_documentation_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reasons.md");
        let page = documentation();
        if std::env::var_os("KOPURO_WRITE_DOCS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), page, "run `make docs`");
    }
}
