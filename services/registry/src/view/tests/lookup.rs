//! What a gateway asks.

use std::time::Duration;

use kopuro_core::error::Reason;
use kopuro_core::id::{MethodId, PackageName, ServiceName};
use kopuro_core::time::UnixMillis;
use kopuro_trust::signing::Signer;

use crate::compose;
use crate::record::{
    AccessRight, Change, Contract, Entry, Grantee, GroupId, KeyPurpose, KeyState, Member, PackageOwnership,
    Resource, ResourceState, Subsystem, to_wire,
};
use crate::testing::{NOW, World, ecdsa, pension_descriptors, pension_service, validity};

pub(super) const LATER: UnixMillis = UnixMillis::new(NOW.as_u64() + 3_600_001);

fn digest() -> kopuro_core::digest::Digest {
    kopuro_core::digest::Digest::of(&pension_descriptors())
}

fn method(name: &str) -> MethodId {
    MethodId::new(pension_service(), name).unwrap()
}

fn last_contract(world: &World) -> Contract {
    match Entry::decode(world.log.last().unwrap()).unwrap().1 {
        Entry::Change(Change { resource: Resource::Contract(contract), .. }) => contract,
        other => panic!("{other:?}"),
    }
}

fn right(world: &World, grantee: Grantee) -> AccessRight {
    AccessRight {
        provider: world.fund.system.clone(),
        grantee,
        service: pension_service(),
        method: None,
        state: ResourceState::Active,
        not_before: None,
        not_after: None,
        contract_version_min: 0,
    }
}

fn portal_may_call(world: &World, name: &str, version: u32) -> Result<(), Reason> {
    let (portal, pensions) = (&world.police.system, &world.fund.system);
    world.view.allows(portal, pensions, &method(name), version, NOW)
}

#[test]
fn a_contract_is_offered_once_it_is_attested() {
    let mut world = World::new();
    let offer =
        |world: &World| world.view.offer(&pension_service(), None, NOW).map(|offer| offer.contract.version);
    assert_eq!(offer(&world), Err(Reason::ServiceUnknown));
    world.by_fund(world.contract(1)).unwrap();
    let mut contract = last_contract(&world);
    assert_eq!(offer(&world), Err(Reason::ServiceUnknown));
    world.attest(&digest()).unwrap();
    assert_eq!(offer(&world), Ok(1));
    world.by_fund(world.contract(2)).unwrap();
    assert_eq!(offer(&world), Ok(2));
    for (version, state, left) in
        [(2, ResourceState::Suspended, Ok(1)), (1, ResourceState::Removed, Err(Reason::ServiceUnknown))]
    {
        (contract.version, contract.state) = (version, state);
        world.by_fund(to_wire(&Resource::Contract(contract.clone()))).unwrap();
        assert_eq!(offer(&world), left);
    }
}

#[test]
fn a_deprecated_version_is_served_until_its_end() {
    let mut world = World::new();
    world.by_fund(world.contract(1)).unwrap();
    world.attest(&digest()).unwrap();
    let mut contract = {
        world.log.pop();
        last_contract(&world)
    };
    contract.deprecated_after = Some(NOW);
    world.by_fund(to_wire(&Resource::Contract(contract))).unwrap();
    let pensions = &world.fund.system;
    let under = |now| world.view.contract_under(pensions, &pension_service(), &digest(), now).is_some();
    assert!(under(NOW) && !under(NOW.plus(Duration::from_millis(1))));
    assert!(!world.view.contracts_of(pensions).next().unwrap().services.is_empty());
}

#[test]
fn a_named_provider_must_offer_the_service() {
    let mut world = World::new();
    world.by_fund(world.contract(1)).unwrap();
    world.attest(&digest()).unwrap();
    let provider = |named| world.view.offer(&pension_service(), named, NOW).map(|offer| offer.provider);
    assert_eq!(provider(Some(&world.fund.system)), Ok(world.fund.system.clone()));
    assert_eq!(provider(Some(&world.police.system)), Err(Reason::ProviderUnknown));
    let other = ServiceName::parse("kg.socialfund.v1.Other").unwrap();
    assert_eq!(world.view.offer(&other, None, NOW).map(drop), Err(Reason::ServiceUnknown));
}

#[test]
fn a_package_granted_to_another_is_no_longer_offered() {
    let mut world = World::new();
    world.by_fund(world.contract(1)).unwrap();
    world.attest(&digest()).unwrap();
    let (package, member) = (PackageName::parse("kg.socialfund").unwrap(), world.police.member.clone());
    let state = ResourceState::Active;
    let grant = Resource::PackageOwnership(PackageOwnership { package, member, state });
    world.by_authority(to_wire(&grant)).unwrap();
    assert_eq!(world.view.offer(&pension_service(), None, NOW).map(drop), Err(Reason::ServiceUnknown));
}

#[test]
fn a_right_lets_in_whom_it_names() {
    let mut world = World::new();
    assert_eq!(portal_may_call(&world, "GetPensionInfo", 1), Err(Reason::AccessDenied));
    let grantee = Grantee::Subsystem(world.police.system.clone());
    let one = AccessRight { method: Some("GetPensionInfo".into()), ..right(&world, grantee.clone()) };
    world.by_fund(to_wire(&Resource::AccessRight(one.clone()))).unwrap();
    assert_eq!(portal_may_call(&world, "GetPensionInfo", 1), Ok(()));
    assert_eq!(portal_may_call(&world, "Other", 1), Err(Reason::AccessDenied));
    let away = AccessRight { state: ResourceState::Removed, ..one };
    world.by_fund(to_wire(&Resource::AccessRight(away))).unwrap();
    assert_eq!(portal_may_call(&world, "GetPensionInfo", 1), Err(Reason::AccessDenied));
    world.by_fund(to_wire(&Resource::AccessRight(right(&world, grantee)))).unwrap();
    assert_eq!(portal_may_call(&world, "Other", 1), Ok(()));
    // It is no right in the other direction, nor to another provider's service of the same name.
    let (portal, pensions) = (&world.police.system, &world.fund.system);
    assert!(world.view.allows(pensions, portal, &method("Other"), 1, NOW).is_err());
}

#[test]
fn a_right_holds_for_its_time_and_versions() {
    let mut world = World::new();
    let grantee = Grantee::Subsystem(world.police.system.clone());
    let day = Duration::from_secs(86_400);
    let base = right(&world, grantee);
    let denied = [
        AccessRight { not_before: Some(NOW.plus(day)), ..base.clone() },
        AccessRight { not_after: Some(NOW.minus(day)), ..base.clone() },
        AccessRight { contract_version_min: 2, ..base.clone() },
        AccessRight { state: ResourceState::Suspended, ..base.clone() },
    ];
    for right in denied {
        world.by_fund(to_wire(&Resource::AccessRight(right))).unwrap();
        assert_eq!(portal_may_call(&world, "GetPensionInfo", 1), Err(Reason::AccessDenied));
    }
    let exact = AccessRight { not_before: Some(NOW), not_after: Some(NOW), contract_version_min: 1, ..base };
    world.by_fund(to_wire(&Resource::AccessRight(exact))).unwrap();
    assert_eq!(portal_may_call(&world, "GetPensionInfo", 1), Ok(()));
}

#[test]
fn a_group_lets_in_its_subsystems() {
    for member in [true, false] {
        let mut world = World::new();
        let member = member.then(|| world.fund.member.clone());
        let id = GroupId { member, name: "friends".into() };
        world.by_fund(to_wire(&Resource::AccessRight(right(&world, Grantee::Group(id.clone()))))).unwrap();
        assert_eq!(portal_may_call(&world, "GetPensionInfo", 1), Err(Reason::AccessDenied));
        let portal = [world.police.system.clone()];
        let set = |world: &mut World, group| match id.member {
            Some(_) => world.by_fund(group),
            None => world.by_authority(group),
        };
        set(&mut world, compose::group(id.clone(), &portal)).unwrap();
        assert_eq!(portal_may_call(&world, "GetPensionInfo", 1), Ok(()));
        set(&mut world, compose::group(id.clone(), &[])).unwrap();
        assert_eq!(portal_may_call(&world, "GetPensionInfo", 1), Err(Reason::AccessDenied));
    }
}

#[test]
fn a_suspension_ends_every_right() {
    let grant = |world: &mut World| {
        let grantee = Grantee::Subsystem(world.police.system.clone());
        world.by_fund(to_wire(&Resource::AccessRight(right(world, grantee)))).unwrap();
    };
    for state in [ResourceState::Suspended, ResourceState::Removed] {
        for agency in 0..2 {
            let base = World::new();
            let (member, system) = [&base.fund, &base.police]
                .map(|agency| (agency.member.clone(), agency.system.clone()))[agency]
                .clone();
            let member = Resource::Member(Member { id: member, title: String::new(), state, partitions: 3 });
            let system = Resource::Subsystem(Subsystem { id: system, title: String::new(), state });
            for out_of_force in [member, system] {
                let mut world = base.fork();
                grant(&mut world);
                assert_eq!(portal_may_call(&world, "GetPensionInfo", 1), Ok(()));
                world.by_authority(to_wire(&out_of_force)).unwrap();
                assert_eq!(portal_may_call(&world, "GetPensionInfo", 1), Err(Reason::MemberSuspended));
            }
        }
    }
}

pub(super) fn key(signer: &Signer, purpose: KeyPurpose, world: &World) -> compose::KeyDraft {
    let draft = compose::key(signer.public_spki_der(), purpose, validity());
    draft.of_member(&world.fund.member).for_subsystems(std::slice::from_ref(&world.fund.system))
}

#[test]
fn content_is_sealed_to_the_newest_active_key() {
    let mut world = World::new();
    let (first, second) = (ecdsa(), ecdsa());
    let pensions = world.fund.system.clone();
    let sealing = |world: &World, signer: &Signer| key(signer, KeyPurpose::Sealing, world);
    let newest = |world: &World, now| world.view.sealing_key(&pensions, now).map(|key| key.key_id());
    let missing = Err(Reason::RecipientKeyMissing);
    assert_eq!(newest(&world, NOW), missing);
    world.by_fund(sealing(&world, &first).build()).unwrap();
    world.by_fund(sealing(&world, &second).build()).unwrap();
    assert_eq!(newest(&world, NOW), Ok(second.key_id()));
    // Registering the older one again does not make it the newest.
    world.by_fund(sealing(&world, &first).build()).unwrap();
    assert_eq!(newest(&world, NOW), Ok(second.key_id()));
    world.by_fund(sealing(&world, &second).in_state(KeyState::Retired).build()).unwrap();
    assert_eq!(newest(&world, NOW), Ok(first.key_id()));
    assert_eq!(newest(&world, LATER), missing);
    let elsewhere = world.fund.member.subsystem("archive").unwrap();
    world.by_authority(compose::subsystem(&elsewhere, "")).unwrap();
    let moved = sealing(&world, &first).for_subsystems(std::slice::from_ref(&elsewhere));
    world.by_fund(moved.build()).unwrap();
    assert_eq!(newest(&world, NOW), missing);
    assert_eq!(world.view.sealing_key(&elsewhere, NOW).map(|key| key.key_id()), Ok(first.key_id()));
}

#[test]
fn a_peer_connects_with_an_active_transport_key() {
    let mut world = World::new();
    let signer = ecdsa();
    let draft = |world: &World| key(&signer, KeyPurpose::Transport, world);
    let connects = |world: &World, now| world.view.transport_key(&signer.key_id(), now).map(|key| key.id);
    assert_eq!(connects(&world, NOW), Err(Reason::CertificateUnknown));
    world.by_fund(draft(&world).build()).unwrap();
    assert_eq!(connects(&world, NOW), Ok(signer.key_id()));
    assert_eq!(connects(&world, LATER), Err(Reason::CertificateRevoked));
    for state in [KeyState::Retired, KeyState::Revoked] {
        world.by_fund(draft(&world).in_state(state).build()).unwrap();
        assert_eq!(connects(&world, NOW), Err(Reason::CertificateRevoked));
    }
    let administration = world.fund.administration.key_id();
    assert!(world.view.transport_key(&administration, NOW).is_err());
}
