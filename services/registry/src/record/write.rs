//! From types to wire records: the inverse of reading.

use kopuro_core::time::UnixMillis;
use kopuro_proto::registry::v1 as wire;
use kopuro_proto::registry::v1::registry_record::Resource as WireResource;

use super::resource::{
    AccessRight, Contract, Gateway, Grantee, Group, GroupId, Key, KeyPurpose, KeyState, Member,
    PackageOwnership, Resource, ResourceState, Subsystem,
};

/// Writes a resource as it stands in a record. A key's title is for people and is not kept.
pub fn to_wire(resource: &Resource) -> WireResource {
    match resource {
        Resource::Member(member) => WireResource::Member(write_member(member)),
        Resource::Subsystem(subsystem) => WireResource::Subsystem(write_subsystem(subsystem)),
        Resource::Gateway(gateway) => WireResource::Gateway(write_gateway(gateway)),
        Resource::Key(key) => WireResource::Key(write_key(key)),
        Resource::PackageOwnership(ownership) => WireResource::PackageOwnership(write_ownership(ownership)),
        Resource::Contract(contract) => WireResource::Contract(write_contract(contract)),
        Resource::AccessRight(right) => WireResource::AccessRight(write_right(right)),
        Resource::Group(group) => WireResource::Group(write_group(group)),
    }
}

fn write_member(member: &Member) -> wire::Member {
    let Member { id, title, state, partitions } = member;
    let (id, state) = (id.to_string(), write_state(*state));
    wire::Member { id, title: title.clone(), state, partitions: *partitions }
}

fn write_subsystem(subsystem: &Subsystem) -> wire::Subsystem {
    let Subsystem { id, title, state } = subsystem;
    wire::Subsystem { id: id.to_string(), title: title.clone(), state: write_state(*state) }
}

fn write_gateway(gateway: &Gateway) -> wire::Gateway {
    let Gateway { id, members, state } = gateway;
    wire::Gateway { id: id.clone(), members: write_all(members), state: write_state(*state) }
}

fn write_key(key: &Key) -> wire::Key {
    let Key { id: _, spki, purpose, state, member, subsystems, gateway, not_before, not_after } = key;
    wire::Key {
        spki: spki.clone(),
        purpose: write_purpose(*purpose),
        state: write_key_state(*state),
        member: member.as_ref().map(ToString::to_string).unwrap_or_default(),
        subsystems: write_all(subsystems),
        gateway: gateway.clone().unwrap_or_default(),
        not_before: Some(not_before.to_proto()),
        not_after: Some(not_after.to_proto()),
        title: String::new(),
    }
}

fn write_ownership(ownership: &PackageOwnership) -> wire::PackageOwnership {
    let PackageOwnership { package, member, state } = ownership;
    let (package, member) = (package.to_string(), member.to_string());
    wire::PackageOwnership { package, member, state: write_state(*state) }
}

fn write_contract(contract: &Contract) -> wire::Contract {
    let Contract { package, subsystem, digest, size_bytes, services, version, state, deprecated_after } =
        contract;
    wire::Contract {
        package: package.to_string(),
        subsystem: subsystem.to_string(),
        digest: digest.as_bytes().to_vec(),
        size_bytes: *size_bytes,
        services: write_all(services),
        version: *version,
        state: write_state(*state),
        deprecated_after: deprecated_after.map(UnixMillis::to_proto),
    }
}

fn write_right(right: &AccessRight) -> wire::AccessRight {
    let AccessRight {
        provider,
        grantee,
        service,
        method,
        state,
        not_before,
        not_after,
        contract_version_min,
    } = right;
    wire::AccessRight {
        provider: provider.to_string(),
        grantee: Some(wire::Grantee { grantee: Some(write_grantee(grantee)) }),
        service: service.to_string(),
        method: method.clone().unwrap_or_default(),
        state: write_state(*state),
        not_before: not_before.map(UnixMillis::to_proto),
        not_after: not_after.map(UnixMillis::to_proto),
        contract_version_min: *contract_version_min,
    }
}

fn write_grantee(grantee: &Grantee) -> wire::grantee::Grantee {
    match grantee {
        Grantee::Subsystem(subsystem) => wire::grantee::Grantee::Subsystem(subsystem.to_string()),
        Grantee::Group(group) => wire::grantee::Grantee::Group(group.to_string()),
    }
}

fn write_group(group: &Group) -> wire::Group {
    let Group { id: GroupId { member, name }, subsystems, state } = group;
    wire::Group {
        id: name.clone(),
        member: member.as_ref().map(ToString::to_string).unwrap_or_default(),
        subsystems: write_all(subsystems),
        state: write_state(*state),
    }
}

fn write_all<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn write_state(state: ResourceState) -> i32 {
    let state = match state {
        ResourceState::Active => wire::ResourceState::Active,
        ResourceState::Suspended => wire::ResourceState::Suspended,
        ResourceState::Removed => wire::ResourceState::Removed,
    };
    state.into()
}

fn write_key_state(state: KeyState) -> i32 {
    let state = match state {
        KeyState::Active => wire::KeyState::Active,
        KeyState::Retired => wire::KeyState::Retired,
        KeyState::Revoked => wire::KeyState::Revoked,
    };
    state.into()
}

fn write_purpose(purpose: KeyPurpose) -> i32 {
    let purpose = match purpose {
        KeyPurpose::Transport => wire::KeyPurpose::Transport,
        KeyPurpose::Signing => wire::KeyPurpose::Signing,
        KeyPurpose::Sealing => wire::KeyPurpose::Sealing,
        KeyPurpose::Administration => wire::KeyPurpose::Administration,
        KeyPurpose::Checkpoint => wire::KeyPurpose::Checkpoint,
        KeyPurpose::Attestation => wire::KeyPurpose::Attestation,
        KeyPurpose::Authority => wire::KeyPurpose::Authority,
    };
    purpose.into()
}
