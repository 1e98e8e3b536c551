//! The roles that a process runs of those that its configuration has.

use super::Config;

/// Which roles of a configuration a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roles {
    /// Every role that it has.
    Every,
    /// The gateways.
    Gateways,
    /// The registry service.
    Registry,
}

impl Roles {
    /// What is missing from a configuration whose process would do nothing: the keys, and what is wrong.
    pub(super) fn missing(self, registry: bool, gateways: bool) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Every if !registry && !gateways => {
                Some(("registry, gateway", "neither is there: the process would do nothing"))
            }
            Self::Gateways if !gateways => {
                Some(("gateway", "none is there: a process that runs gateways would do nothing"))
            }
            Self::Registry if !registry => {
                Some(("registry", "it is not there: a process that runs the registry would do nothing"))
            }
            Self::Every | Self::Gateways | Self::Registry => None,
        }
    }

    /// The configuration without the roles that the process does not run.
    pub(super) fn only(self, config: Config) -> Config {
        match self {
            Self::Every => config,
            Self::Gateways => Config { registry: None, ..config },
            Self::Registry => Config { gateways: Vec::new(), ..config },
        }
    }
}
