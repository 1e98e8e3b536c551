//! The agencies of the development instance, modelled on services that Kyrgyzstan's agencies exchange.

use kopuro_core::id::{Instance, MemberId, SubsystemId};
use kopuro_proto::examples::kg::{civilregistry, socialfund, traffic};

/// An agency with one gateway.
#[derive(Clone, Copy, Debug)]
pub struct Agency {
    /// The member code; the class is `GOV`.
    pub code: &'static str,
    /// Its name.
    pub title: &'static str,
    /// Its gateway's name.
    pub gateway: &'static str,
    /// The protobuf package granted to it, if it offers services.
    pub package: Option<&'static str>,
    /// Its systems.
    pub systems: &'static [System],
}

/// An information system.
#[derive(Clone, Copy, Debug)]
pub struct System {
    /// The subsystem code.
    pub code: &'static str,
    /// Its name.
    pub title: &'static str,
    /// The contracts it offers.
    pub contracts: &'static [ContractSource],
}

/// A contract that is registered for a system.
#[derive(Clone, Copy, Debug)]
pub struct ContractSource {
    /// The package.
    pub package: &'static str,
    /// The services.
    pub services: &'static [&'static str],
    /// The encoded descriptor set.
    pub descriptor_set: &'static [u8],
}

/// An access right.
#[derive(Clone, Debug)]
pub struct Right {
    /// Who lets in.
    pub provider: SubsystemId,
    /// Who is let in.
    pub consumer: SubsystemId,
    /// The service.
    pub service: &'static str,
}

impl Agency {
    /// The agency that has a system with this code.
    pub fn of_system(code: &str) -> Option<&'static Self> {
        AGENCIES.iter().find(|agency| agency.systems.iter().any(|system| system.code == code))
    }

    /// The member's identifier.
    pub fn member(&self, instance: &Instance) -> MemberId {
        MemberId::parse(&format!("{instance}/GOV/{}", self.code)).expect("the agency's code is valid")
    }

    /// The identifier of one of its systems.
    pub fn subsystem(&self, instance: &Instance, system: &System) -> SubsystemId {
        self.member(instance).subsystem(system.code).expect("the system's code is valid")
    }
}

/// The ministry whose portal calls, and three agencies that answer.
pub const AGENCIES: &[Agency] = &[
    Agency {
        code: "70000001",
        title: "Ministry of Digital Development",
        gateway: "gw-portal",
        package: None,
        systems: &[
            System { code: "portal", title: "Citizen portal", contracts: &[] },
            System { code: "statistics", title: "Statistics, without any right", contracts: &[] },
        ],
    },
    Agency {
        code: "70000005",
        title: "State Registration Service",
        gateway: "gw-civil-registry",
        package: Some("kg.civilregistry"),
        systems: &[System {
            code: "civil-registry",
            title: "Civil registry",
            contracts: &[ContractSource {
                package: "kg.civilregistry.v1",
                services: &["kg.civilregistry.v1.CivilRegistryService"],
                descriptor_set: civilregistry::v1::FILE_DESCRIPTOR_SET,
            }],
        }],
    },
    Agency {
        code: "70000011",
        title: "Social Fund",
        gateway: "gw-social-fund",
        package: Some("kg.socialfund"),
        systems: &[System {
            code: "pensions",
            title: "Pensions and personal accounts",
            contracts: &[ContractSource {
                package: "kg.socialfund.v1",
                services: &["kg.socialfund.v1.PensionService", "kg.socialfund.v1.PersonalAccountService"],
                descriptor_set: socialfund::v1::FILE_DESCRIPTOR_SET,
            }],
        }],
    },
    Agency {
        code: "70000023",
        title: "Traffic police",
        gateway: "gw-traffic-police",
        package: Some("kg.traffic"),
        systems: &[System {
            code: "violations",
            title: "Traffic violations",
            contracts: &[ContractSource {
                package: "kg.traffic.v1",
                services: &["kg.traffic.v1.ViolationService"],
                descriptor_set: traffic::v1::FILE_DESCRIPTOR_SET,
            }],
        }],
    },
];

/// The portal may call everything that the agencies offer; nobody else may call anything.
pub fn rights(instance: &Instance) -> Vec<Right> {
    let portal = AGENCIES[0].subsystem(instance, &AGENCIES[0].systems[0]);
    let offers = AGENCIES.iter().flat_map(|agency| agency.systems.iter().map(move |system| (agency, system)));
    let services = offers.flat_map(|(agency, system)| {
        let services = system.contracts.iter().flat_map(|contract| contract.services);
        services.map(move |service| (agency.subsystem(instance, system), *service))
    });
    services.map(|(provider, service)| Right { provider, consumer: portal.clone(), service }).collect()
}
