//! Schemas of the bus, their generated types and services, and example agency contracts.
//!
//! Modules mirror packages: `kopuro.exchange.v1` is [`exchange::v1`], and an agency's package
//! `kg.socialfund.v1` is [`examples::kg::socialfund::v1`].

/// Every schema of this crate with all imports, an encoded `google.protobuf.FileDescriptorSet`.
///
/// Custom options are in the bytes. Decoding them as `prost_types::FileDescriptorSet` loses the options, and with
/// them every validation rule; `prost_reflect::DescriptorPool::decode` keeps them.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.binpb"));

macro_rules! generated {
    ($package:literal) => {
        mod generated {
            #![allow(
                clippy::all,
                missing_docs,
                unreachable_pub,
                reason = "generated from schemas, whose comments are checked by buf"
            )]
            include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
        }
        pub use generated::*;
    };
}

macro_rules! contract {
    ($package:literal) => {
        /// The agency's contract as it is registered: its schemas with all imports, an encoded
        /// `google.protobuf.FileDescriptorSet`.
        pub const FILE_DESCRIPTOR_SET: &[u8] =
            include_bytes!(concat!(env!("OUT_DIR"), "/", $package, ".binpb"));
        generated!($package);
    };
}

/// What crosses the broker.
pub mod exchange {
    /// Package `kopuro.exchange.v1`.
    pub mod v1 {
        generated!("kopuro.exchange.v1");
    }
}

/// Signed records that say who may do what, and the service that takes them.
pub mod registry {
    /// Package `kopuro.registry.v1`.
    pub mod v1 {
        generated!("kopuro.registry.v1");
    }
}

/// Options that agencies set in their contracts.
pub mod options {
    /// Package `kopuro.options.v1`. It defines extensions only, which are read by reflection.
    pub mod v1 {
        /// The full name of the option that says: this field names the citizen whom the data is about.
        pub const DATA_SUBJECT: &str = "kopuro.options.v1.data_subject";
        /// The full name of the option that says: never show this field's value.
        pub const SENSITIVE: &str = "kopuro.options.v1.sensitive";
    }
}

/// Example agency contracts, modelled on services that Kyrgyzstan's agencies exchange.
pub mod examples {
    /// Agencies of Kyrgyzstan.
    pub mod kg {
        /// The Social Fund.
        pub mod socialfund {
            /// Package `kg.socialfund.v1`: pensions and personal accounts.
            pub mod v1 {
                contract!("kg.socialfund.v1");
            }
        }

        /// The traffic police.
        pub mod traffic {
            /// Package `kg.traffic.v1`: violations and fines.
            pub mod v1 {
                contract!("kg.traffic.v1");
            }
        }

        /// The civil registry.
        pub mod civilregistry {
            /// Package `kg.civilregistry.v1`: persons and addresses.
            pub mod v1 {
                contract!("kg.civilregistry.v1");
            }
        }
    }
}
