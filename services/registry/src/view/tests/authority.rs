//! Every path by which a record is signed.

use std::time::Duration;

use kopuro_core::id::PackageName;
use kopuro_proto::registry::v1::registry_record::Resource as WireResource;
use kopuro_trust::signing::Signer;

use crate::compose;
use crate::record::{Grantee, GroupId, KeyPurpose, KeyState, Member, Resource, ResourceState, to_wire};
use crate::testing::{Agency, NOW, World, anchor_of, ecdsa, ed25519, pension_service, validity};
use crate::view::{ApplyError, View};

fn key(signer: &Signer, purpose: KeyPurpose) -> compose::KeyDraft {
    compose::key(signer.public_spki_der(), purpose, validity())
}

fn refused(outcome: &Result<u64, ApplyError>) -> bool {
    matches!(outcome, Err(ApplyError::NotAuthorized(_)))
}

/// What only the authority may set.
fn of_the_authority(world: &World) -> Vec<WireResource> {
    let Agency { member, system, .. } = &world.fund;
    let everybody = GroupId { member: None, name: "everybody".into() };
    vec![
        compose::member(member, "another title", 3),
        compose::subsystem(&member.subsystem("archive").unwrap(), "an archive"),
        compose::gateway("fund-2", std::slice::from_ref(member)),
        compose::package_ownership(&PackageName::parse("kg.health").unwrap(), member),
        compose::group(everybody, std::slice::from_ref(system)),
        key(&ecdsa(), KeyPurpose::Administration).of_member(member).build(),
        key(&ed25519(), KeyPurpose::Checkpoint).build(),
        key(&ecdsa(), KeyPurpose::Attestation).build(),
        key(&ecdsa(), KeyPurpose::Authority).build(),
        key(&ecdsa(), KeyPurpose::Transport).held_by("fund-1").build(),
    ]
}

/// What the fund may set.
fn of_the_fund(world: &World) -> Vec<WireResource> {
    let Agency { member, system, gateway, .. } = &world.fund;
    let systems = std::slice::from_ref(system);
    let friends = GroupId { member: Some(member.clone()), name: "friends".into() };
    let grantee = Grantee::Subsystem(world.police.system.clone());
    vec![
        world.contract(1),
        compose::access_right(system, grantee, &pension_service(), None),
        compose::group(friends, std::slice::from_ref(&world.police.system)),
        key(&ecdsa(), KeyPurpose::Transport).of_member(member).for_subsystems(systems).build(),
        key(&ecdsa(), KeyPurpose::Sealing).of_member(member).for_subsystems(systems).build(),
        key(&ecdsa(), KeyPurpose::Signing).of_member(member).for_subsystems(systems).held_by(gateway).build(),
    ]
}

#[test]
fn the_authority_alone_sets_membership_and_trust() {
    let mut world = World::new();
    for resource in of_the_authority(&world) {
        for stranger in [&world.fund.administration, &world.checkpoint, &ecdsa()] {
            let envelope = world.sign(resource.clone(), &[stranger]);
            assert!(refused(&world.view.clone().apply(&envelope)), "{resource:?}");
        }
        world.by_authority(resource).unwrap();
    }
}

#[test]
fn a_member_sets_what_is_its_own() {
    let world = World::new();
    let signing = ecdsa();
    let Agency { member, system, gateway, .. } = &world.fund;
    let own =
        key(&signing, KeyPurpose::Signing).of_member(member).for_subsystems(std::slice::from_ref(system));
    let mut view = world.view.clone();
    view.apply(&world.sign(own.held_by(gateway).build(), &[&world.fund.administration])).unwrap();
    for resource in of_the_fund(&world) {
        for stranger in [&world.police.administration, &signing, &world.attestation, &ecdsa()] {
            let envelope = world.sign(resource.clone(), &[stranger]);
            assert!(refused(&view.clone().apply(&envelope)), "{resource:?}");
        }
        view.clone().apply(&world.sign(resource.clone(), &[&world.fund.administration])).unwrap();
        // The authority speaks for no member, and lets nobody in to its data.
        let by_authority = view.clone().apply(&world.sign(resource.clone(), &[&world.authority]));
        assert!(refused(&by_authority), "{resource:?}");
    }
}

#[test]
fn the_authority_ends_a_key_that_its_member_has_lost() {
    for state in [KeyState::Retired, KeyState::Revoked] {
        let mut world = World::new();
        let lost = ecdsa();
        let systems = std::slice::from_ref(&world.fund.system).to_vec();
        let record = |world: &World| {
            key(&lost, KeyPurpose::Transport).of_member(&world.fund.member).for_subsystems(&systems)
        };
        world.by_fund(record(&world).build()).unwrap();
        world.by_authority(record(&world).in_state(state).build()).unwrap();
        assert!(refused(&world.by_authority(record(&world).build())), "{state:?}");
    }
}

#[test]
fn every_signature_must_be_of_somebody_entitled() {
    let world = World::new();
    let member = compose::member(&world.fund.member, "another title", 3);
    for other in [&world.fund.administration, &ecdsa()] {
        let envelope = world.sign(member.clone(), &[&world.authority, other]);
        assert!(refused(&world.view.clone().apply(&envelope)));
    }
}

#[test]
fn an_administration_key_ends() {
    let administration = |world: &World| {
        key(&world.fund.administration, KeyPurpose::Administration).of_member(&world.fund.member)
    };
    for state in [KeyState::Retired, KeyState::Revoked] {
        let mut world = World::new();
        world.by_authority(administration(&world).in_state(state).build()).unwrap();
        assert!(refused(&world.by_fund(world.contract(1))), "{state:?}");
    }
    let mut world = World::new();
    let expired = NOW.minus(Duration::from_secs(9))..=NOW.minus(Duration::from_secs(1));
    let spki = world.fund.administration.public_spki_der().to_vec();
    let expired = compose::key(&spki, KeyPurpose::Administration, expired).of_member(&world.fund.member);
    world.by_authority(expired.build()).unwrap();
    assert!(refused(&world.by_fund(world.contract(1))));
}

#[test]
fn a_suspended_member_changes_nothing() {
    let mut world = World::new();
    let id = world.fund.member.clone();
    let member = Member { id, title: String::new(), state: ResourceState::Suspended, partitions: 3 };
    world.by_authority(to_wire(&Resource::Member(member))).unwrap();
    assert!(refused(&world.by_fund(world.contract(1))));
    assert!(refused(&world.by_authority(world.contract(1))));
}

#[test]
fn the_anchor_says_how_many_of_the_authority_must_sign() {
    let keys = [ecdsa(), ed25519(), ecdsa()];
    let anchor = anchor_of(&keys.each_ref().map(AsRef::as_ref), 2);
    let member = World::empty().fund.member;
    let sign = |signers: &[&Signer]| {
        let resource = compose::member(&member, "the fund", 3);
        compose::sign_record(&anchor.instance, None, NOW, resource, signers)
    };
    for one in &keys {
        assert!(refused(&View::new(anchor.clone()).apply(&sign(&[one]))));
        assert!(refused(&View::new(anchor.clone()).apply(&sign(&[one, &ecdsa()]))));
    }
    assert!(matches!(
        View::new(anchor.clone()).apply(&sign(&[&keys[0], &keys[0]])),
        Err(ApplyError::Record(_))
    ));
    assert_eq!(View::new(anchor.clone()).apply(&sign(&[&keys[0], &keys[1]])), Ok(0));
    assert_eq!(View::new(anchor.clone()).apply(&sign(&[&keys[2], &keys[1], &keys[0]])), Ok(0));
}

#[test]
fn the_authority_may_change_its_keys() {
    let mut world = World::new();
    let next = ecdsa();
    world.by_authority(key(&next, KeyPurpose::Authority).build()).unwrap();
    let old = key(&world.authority, KeyPurpose::Authority).in_state(KeyState::Revoked).build();
    world.set(old, &[&next]).unwrap();
    let member = compose::member(&world.fund.member, "another title", 3);
    assert!(refused(&world.by_authority(member.clone())));
    world.set(member, &[&next]).unwrap();
}

#[test]
fn nobody_else_registers_a_key_of_the_authority() {
    let mut world = World::new();
    let systems = [world.fund.system.clone()];
    for purpose in [KeyPurpose::Transport, KeyPurpose::Signing, KeyPurpose::Sealing] {
        let stolen = key(&world.authority, purpose).of_member(&world.fund.member).for_subsystems(&systems);
        let outcome = world.by_fund(stolen.build());
        assert_eq!(outcome, Err(ApplyError::Rule("the key is the authority's")));
    }
}

#[test]
fn an_attestation_counts_once_and_from_its_key_only() {
    let mut world = World::new();
    let digest = kopuro_core::digest::Digest::of(b"a descriptor set");
    let instance = world.anchor().instance;
    for stranger in [&world.authority, &world.checkpoint, &ecdsa()] {
        let forged = compose::sign_attestation(&instance, &digest, NOW, stranger);
        assert!(refused(&world.view.clone().apply(&forged)));
    }
    let late = NOW.plus(Duration::from_secs(3_601));
    let late = compose::sign_attestation(&instance, &digest, late, &world.attestation);
    assert!(refused(&world.view.clone().apply(&late)));
    world.attest(&digest).unwrap();
    assert_eq!(world.attest(&digest), Err(ApplyError::Rule("the contract is attested")));
}
