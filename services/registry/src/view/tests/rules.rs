//! What a record may say, whoever signed it.

use kopuro_core::id::{Instance, MemberId, PackageName};

use crate::compose;
use crate::record::{
    Change, Entry, KeyPurpose, KeyState, PackageOwnership, Resource, ResourceState, to_wire,
};
use crate::testing::{NOW, World, ecdsa, validity};
use crate::view::ApplyError;

#[test]
fn a_record_replaces_the_latest_revision_and_no_other() {
    let mut world = World::new();
    let instance = world.anchor().instance;
    let name = format!("member/{}", world.fund.member);
    let latest = world.view.revision(&name);
    let member = || compose::member(&world.fund.member, "another title", 3);
    for replaces in [None, Some(0), latest.map(|latest| latest + 1)] {
        let envelope = compose::sign_record(&instance, replaces, NOW, member(), &[&world.authority]);
        assert_eq!(world.view.clone().apply(&envelope), Err(ApplyError::Conflict { latest }));
    }
    let envelope = compose::sign_record(&instance, latest, NOW, member(), &[&world.authority]);
    let revision = world.view.apply(&envelope).unwrap();
    assert_eq!(world.view.revision(&name), Some(revision));
}

#[test]
fn an_old_envelope_is_no_change() {
    let mut world = World::new();
    let before = world.view.clone();
    world.by_authority(compose::member(&world.fund.member, "another title", 3)).unwrap();
    let stamp = world.view.stamp();
    for envelope in &world.log {
        assert!(matches!(world.view.apply(envelope), Err(ApplyError::Conflict { .. })));
    }
    assert_eq!(world.view.stamp(), stamp);
    assert_ne!(before.stamp(), stamp);
}

#[test]
fn a_record_of_another_instance_is_refused() {
    let mut world = World::new();
    let foreign = Instance::parse("KZ").unwrap();
    let member = compose::member(&world.fund.member, "another title", 3);
    let latest = world.view.revision(&format!("member/{}", world.fund.member));
    let envelope = compose::sign_record(&foreign, latest, NOW, member, &[&world.authority]);
    assert_eq!(world.view.apply(&envelope), Err(ApplyError::Instance));
    let stranger = compose::member(&MemberId::parse("KZ/GOV/1").unwrap(), "a stranger", 3);
    assert_eq!(world.by_authority(stranger), Err(ApplyError::Instance));
    let digest = kopuro_core::digest::Digest::of(b"");
    let attestation = compose::sign_attestation(&foreign, &digest, NOW, &world.attestation);
    assert_eq!(world.view.apply(&attestation), Err(ApplyError::Instance));
}

#[test]
fn what_is_not_registered_cannot_be_spoken_of() {
    let mut world = World::new();
    let nobody = MemberId::parse("KG/GOV/1").unwrap();
    let system = nobody.subsystem("system").unwrap();
    let key = || compose::key(ecdsa().public_spki_der(), KeyPurpose::Administration, validity());
    let unknown = [
        compose::subsystem(&system, ""),
        compose::gateway("nobody-1", std::slice::from_ref(&nobody)),
        compose::package_ownership(&PackageName::parse("kg.nobody").unwrap(), &nobody),
        key().of_member(&nobody).build(),
    ];
    for resource in unknown {
        assert_eq!(world.by_authority(resource), Err(ApplyError::Rule("the member is not registered")));
    }
}

#[test]
fn a_key_speaks_within_its_member_and_gateway() {
    let mut world = World::new();
    let fund = world.fund.member.clone();
    let signing = || compose::key(ecdsa().public_spki_der(), KeyPurpose::Signing, validity());
    let (own, foreign) = ([world.fund.system.clone()], [world.police.system.clone()]);
    let beyond = [
        signing().of_member(&fund).for_subsystems(&foreign).build(),
        signing().of_member(&fund).for_subsystems(&own).held_by("police-1").build(),
        signing().for_subsystems(&foreign).held_by("fund-1").build(),
        signing().for_subsystems(&own).build(),
    ];
    for resource in beyond {
        let rule = "the key speaks for a subsystem of another member or gateway";
        assert_eq!(world.by_authority(resource), Err(ApplyError::Rule(rule)));
    }
    let nowhere = signing().for_subsystems(&own).held_by("fund-9").build();
    assert_eq!(world.by_authority(nowhere), Err(ApplyError::Rule("the gateway is not registered")));
    world.by_authority(signing().for_subsystems(&own).held_by("fund-1").build()).unwrap();
}

#[test]
fn a_key_names_whom_its_purpose_speaks_for() {
    let mut world = World::new();
    let (fund, own) = (world.fund.member.clone(), [world.fund.system.clone()]);
    let key = |purpose| compose::key(ecdsa().public_spki_der(), purpose, validity());
    let misplaced = [
        key(KeyPurpose::Signing).of_member(&fund).build(),
        key(KeyPurpose::Sealing).of_member(&fund).build(),
        key(KeyPurpose::Administration).build(),
        key(KeyPurpose::Administration).of_member(&fund).for_subsystems(&own).build(),
        key(KeyPurpose::Attestation).of_member(&fund).build(),
        key(KeyPurpose::Authority).of_member(&fund).build(),
        key(KeyPurpose::Checkpoint).held_by("fund-1").build(),
    ];
    for resource in misplaced {
        let envelope =
            compose::sign_record(&world.anchor().instance, None, NOW, resource, &[&world.authority]);
        let expected = ApplyError::Record(crate::record::RecordError::Field("purpose"));
        assert_eq!(world.view.apply(&envelope), Err(expected));
    }
}

#[test]
fn a_key_keeps_what_it_is() {
    let mut world = World::new();
    let key = ecdsa();
    let draft = |purpose| compose::key(key.public_spki_der(), purpose, validity());
    let (fund, own) = (world.fund.member.clone(), [world.fund.system.clone()]);
    let (police, portal) = (world.police.member.clone(), [world.police.system.clone()]);
    let signing = || draft(KeyPurpose::Signing).of_member(&fund).for_subsystems(&own);
    world.by_fund(signing().build()).unwrap();
    let sealing = draft(KeyPurpose::Sealing).of_member(&fund).for_subsystems(&own).build();
    let kept = Err(ApplyError::Rule("a key keeps its purpose and its member"));
    assert_eq!(world.by_fund(sealing), kept);
    let taken = draft(KeyPurpose::Signing).of_member(&police).for_subsystems(&portal).build();
    let taken = world.sign(taken, &[&world.police.administration]);
    assert_eq!(world.apply(taken), kept);
    world.by_fund(signing().in_state(KeyState::Revoked).build()).unwrap();
    assert_eq!(world.by_fund(signing().build()), Err(ApplyError::Rule("a revoked key stays revoked")));
}

#[test]
fn a_checkpoint_key_is_ed25519() {
    let mut world = World::new();
    let key = compose::key(ecdsa().public_spki_der(), KeyPurpose::Checkpoint, validity()).build();
    let rule = "the public key is of no kind that its purpose uses";
    assert_eq!(world.by_authority(key), Err(ApplyError::Rule(rule)));
}

#[test]
fn a_member_keeps_its_partitions() {
    let mut world = World::new();
    let outcome = world.by_authority(compose::member(&world.fund.member, "", 4));
    assert_eq!(outcome, Err(ApplyError::Rule("a member's number of partitions is fixed")));
}

#[test]
fn a_contract_version_keeps_its_descriptor_set() {
    let mut world = World::new();
    world.by_fund(world.contract(1)).unwrap();
    let (_, entry) = Entry::decode(world.log.last().unwrap()).unwrap();
    let Entry::Change(Change { resource: Resource::Contract(mut contract), .. }) = entry else { panic!() };
    contract.digest = kopuro_core::digest::Digest::of(b"another");
    let rule = "a contract version keeps its descriptor set and its services";
    let changed = to_wire(&Resource::Contract(contract.clone()));
    assert_eq!(world.by_fund(changed), Err(ApplyError::Rule(rule)));
    contract.version = 2;
    world.by_fund(to_wire(&Resource::Contract(contract))).unwrap();
}

#[test]
fn a_contract_is_its_package_owners() {
    let mut world = World::new();
    let package = PackageName::parse("kg.socialfund.v1").unwrap();
    let set = crate::testing::pension_descriptors();
    let foreign = compose::contract(&world.police.system, &package, 1, &set).unwrap();
    for signer in [&world.police.administration, &world.fund.administration, &world.authority] {
        let envelope = world.sign(foreign.clone(), &[signer]);
        assert!(matches!(world.view.clone().apply(&envelope), Err(ApplyError::NotAuthorized(_))));
    }
    // A narrower grant takes the package away; suspended, it leaves the package to nobody.
    let narrower = |state| {
        let (package, member) = (package.clone(), world.police.member.clone());
        to_wire(&Resource::PackageOwnership(PackageOwnership { package, member, state }))
    };
    let grants = [ResourceState::Active, ResourceState::Suspended, ResourceState::Removed].map(narrower);
    for (grant, owned) in grants.into_iter().zip([false, false, true]) {
        world.by_authority(grant).unwrap();
        assert_eq!(
            world.view.check(&world.sign(world.contract(1), &[&world.fund.administration])).is_ok(),
            owned
        );
    }
}
