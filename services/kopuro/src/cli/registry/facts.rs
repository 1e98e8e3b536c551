//! What a record says, for people: its kind, its state, and the facts that matter.

use kopuro_registry::record::{
    AccessRight, Contract, Gateway, Group, Key, KeyPurpose, KeyState, Member, PackageOwnership, Resource,
    ResourceState, Subsystem,
};

use crate::cli::columns::{NONE, optional, time};

/// The facts of a resource. Two resources of one kind have the same names of facts, in the same order.
#[derive(Debug)]
pub(super) struct Facts(Vec<(&'static str, String)>);

impl Facts {
    pub(super) fn of(resource: &Resource) -> Self {
        Self(match resource {
            Resource::Member(member) => of_member(member),
            Resource::Subsystem(Subsystem { id: _, title, state }) => {
                vec![("state", resource_state(*state)), ("title", title.clone())]
            }
            Resource::Gateway(Gateway { id: _, members, state }) => {
                vec![("state", resource_state(*state)), ("members", list(members))]
            }
            Resource::Key(key) => of_key(key),
            Resource::PackageOwnership(PackageOwnership { package: _, member, state }) => {
                vec![("state", resource_state(*state)), ("member", member.to_string())]
            }
            Resource::Contract(contract) => of_contract(contract),
            Resource::AccessRight(right) => of_right(right),
            Resource::Group(Group { id: _, subsystems, state }) => {
                vec![("state", resource_state(*state)), ("subsystems", list(subsystems))]
            }
        })
    }

    /// The state, which every resource has.
    pub(super) fn state(&self) -> &str {
        &self.0[0].1
    }

    /// The facts besides the state that the record has.
    pub(super) fn others(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let others = self.0[1..].iter().map(|(name, value)| (*name, value.as_str()));
        others.filter(|(_, value)| *value != NONE)
    }

    /// Each fact that is another in `after`, as `name before → after`.
    pub(super) fn changes(&self, after: &Self) -> Vec<String> {
        let pairs = self.0.iter().zip(&after.0).filter(|(before, after)| before != after);
        pairs.map(|((name, before), (_, after))| format!("{name} {before} → {after}")).collect()
    }
}

fn of_member(member: &Member) -> Vec<(&'static str, String)> {
    let Member { id: _, title, state, partitions } = member;
    vec![("state", resource_state(*state)), ("partitions", partitions.to_string()), ("title", title.clone())]
}

fn of_key(key: &Key) -> Vec<(&'static str, String)> {
    let Key { id: _, spki: _, purpose, state, member, subsystems, gateway, not_before, not_after } = key;
    vec![
        ("state", key_state(*state).to_owned()),
        ("purpose", key_purpose(*purpose).to_owned()),
        ("member", optional(member.as_ref())),
        ("subsystems", list(subsystems)),
        ("gateway", optional(gateway.as_ref())),
        ("from", time(*not_before)),
        ("until", time(*not_after)),
    ]
}

fn of_contract(contract: &Contract) -> Vec<(&'static str, String)> {
    let Contract {
        package: _,
        subsystem: _,
        digest,
        size_bytes,
        services,
        version: _,
        state,
        deprecated_after,
    } = contract;
    vec![
        ("state", resource_state(*state)),
        ("until", optional(deprecated_after.map(time))),
        ("services", list(services)),
        ("bytes", size_bytes.to_string()),
        ("digest", digest.to_string()),
    ]
}

fn of_right(right: &AccessRight) -> Vec<(&'static str, String)> {
    let AccessRight {
        provider: _,
        grantee: _,
        service: _,
        method: _,
        state,
        not_before,
        not_after,
        contract_version_min,
    } = right;
    let version = (*contract_version_min > 0).then_some(contract_version_min);
    vec![
        ("state", resource_state(*state)),
        ("from", optional(not_before.map(time))),
        ("until", optional(not_after.map(time))),
        ("version_min", optional(version)),
    ]
}

fn resource_state(state: ResourceState) -> String {
    match state {
        ResourceState::Active => "active",
        ResourceState::Suspended => "suspended",
        ResourceState::Removed => "removed",
    }
    .to_owned()
}

fn key_state(state: KeyState) -> &'static str {
    match state {
        KeyState::Active => "active",
        KeyState::Retired => "retired",
        KeyState::Revoked => "revoked",
    }
}

fn key_purpose(purpose: KeyPurpose) -> &'static str {
    match purpose {
        KeyPurpose::Transport => "transport",
        KeyPurpose::Signing => "signing",
        KeyPurpose::Sealing => "sealing",
        KeyPurpose::Administration => "administration",
        KeyPurpose::Checkpoint => "checkpoint",
        KeyPurpose::Attestation => "attestation",
        KeyPurpose::Authority => "authority",
    }
}

fn list(values: &[impl ToString]) -> String {
    if values.is_empty() {
        return NONE.to_owned();
    }
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
