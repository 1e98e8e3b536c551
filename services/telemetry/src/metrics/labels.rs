//! The values that labels take: closed sets, in `snake_case`, and the gateways of this process.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{
    EncodeLabel as _, EncodeLabelSet, EncodeLabelValue, LabelSetEncoder, LabelValueEncoder,
};

/// Declares a closed set of label values, each with its name in the exposition.
macro_rules! label_values {
    ($(#[$about:meta])* $set:ident { $($(#[$meaning:meta])* $value:ident $name:literal)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $set {
            $($(#[$meaning])* $value,)*
        }

        impl $set {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$value),*];

            /// The value as it stands in the exposition.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)*
                }
            }
        }

        impl EncodeLabelValue for $set {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                self.name().encode(encoder)
            }
        }
    };
}

label_values! {
    /// The part that a node plays in an exchange.
    Role {
        /// It makes the request.
        Consumer "consumer"
        /// It has the request served.
        Provider "provider"
    }
}

label_values! {
    /// How an exchange ended.
    Ending {
        /// With a message.
        Message "message"
        /// With a status that the provider's system gave itself.
        ProviderStatus "provider_status"
        /// With a refusal of the bus at the provider's side, whoever is at fault.
        RefusedAtProvider "refused_at_provider"
        /// With a refusal of the bus at the consumer's side, its waiting in vain included.
        RefusedAtConsumer "refused_at_consumer"
    }
}

label_values! {
    /// A stage of an exchange, for the latency histograms.
    Stage {
        /// The wire scan and the rules, on a request or a response.
        Validate "validate"
        /// Encrypting content, signing, wrapping.
        Seal "seal"
        /// From giving a record to the broker until it is durable.
        Append "append"
        /// From the broker's append time until the record is read.
        Fetch "fetch"
        /// Decoding a record and verifying its signature.
        Verify "verify"
        /// Unwrapping the key and decrypting content.
        Open "open"
        /// From asking for a marker until it may be acted on.
        Marker "marker"
        /// The provider's system.
        Dispatch "dispatch"
        /// From giving an outcome to the outcome topic until it is read back.
        Outcome "outcome"
        /// All of it, as the consumer's system sees it.
        Total "total"
    }
}

label_values! {
    /// What a signer's chain or a view showed of the broker's delivery.
    Alarm {
        /// Statements are missing.
        ChainGap "chain_gap"
        /// A statement came late or again.
        ChainLate "chain_late"
        /// A statement names another predecessor.
        ChainForked "chain_forked"
        /// A registry record does not verify.
        RegistryRecord "registry_record"
        /// The registry view and a checkpoint disagree.
        RegistryFork "registry_fork"
        /// The registry view is old.
        RegistryStale "registry_stale"
        /// An audit event could not be kept.
        AuditLost "audit_lost"
        /// A record that cannot be processed could not be put aside.
        DeadLetterUnkept "dead_letter_unkept"
    }
}

impl Alarm {
    /// Whether it is raised by what the gateways of a process share: its view of the registry, its audit trail.
    pub(super) const fn is_of_process(self) -> bool {
        match self {
            Self::RegistryRecord | Self::RegistryFork | Self::RegistryStale | Self::AuditLost => true,
            Self::ChainGap | Self::ChainLate | Self::ChainForked | Self::DeadLetterUnkept => false,
        }
    }
}

label_values! {
    /// Which way a record goes.
    Direction {
        /// To the broker.
        Appended "appended"
        /// From the broker.
        Fetched "fetched"
    }
}

/// Labels beside the gateway that a series is of; without one, it is of the process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Of<L> {
    pub(super) gateway: Option<Arc<str>>,
    pub(super) labels: L,
}

impl<L: EncodeLabelSet> EncodeLabelSet for Of<L> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let Self { gateway, labels } = self;
        if let Some(id) = gateway {
            ("gateway", id.as_ref()).encode(encoder.encode_label())?;
        }
        labels.encode(encoder)
    }
}
