//! One encoding, and not one bit of it free.

use kopuro_core::envelope::{Envelope, PayloadType, Signature, pre_authentication_encoding};
use kopuro_core::id::PackageName;
use kopuro_trust::signing::Signer;
use proptest::prelude::*;

use crate::compose;
use crate::record::{
    AccessRight, Change, Entry, Gateway, Grantee, Group, GroupId, KeyPurpose, KeyState, RecordError,
    Resource, ResourceState, to_wire,
};
use crate::testing::{NOW, World, ed25519, pension_service, validity};
use crate::view::{ApplyError, View};

/// Signs a payload as it stands, whatever it is.
fn sign_payload(payload: Vec<u8>, signer: &Signer) -> Vec<u8> {
    let payload_type = PayloadType::RegistryRecord;
    let bytes = signer.sign(&pre_authentication_encoding(payload_type, &payload));
    let signatures = vec![Signature { key_id: signer.key_id(), bytes }];
    Envelope { payload_type, payload, signatures }.encode()
}

/// The first record that an empty log takes, with the payload that is signed.
fn first_record(world: &World) -> (View, Vec<u8>) {
    let resource = compose::member(&world.fund.member, "the fund", 3);
    let instance = world.anchor().instance;
    let envelope = compose::sign_record(&instance, None, NOW, resource, &[&world.authority]);
    (View::new(world.anchor()), Envelope::decode(&envelope).unwrap().payload)
}

#[test]
fn a_signed_payload_in_another_encoding_is_refused() {
    let world = World::empty();
    let (view, payload) = first_record(&world);
    assert!(view.check(&sign_payload(payload.clone(), &world.authority)).is_ok());
    let instance_field = &payload[..4];
    assert_eq!(instance_field, b"\x0a\x02KG");
    let unknown_field = [&payload[..], &[0xf8, 0x01, 0x01]].concat();
    let long_varint = [b"\x0a\x82\x00KG", &payload[4..]].concat();
    let twice = [instance_field, &payload[..]].concat();
    let moved = [&payload[4..], instance_field].concat();
    let truncated = payload[..payload.len() - 1].to_vec();
    for other in [unknown_field, long_varint, twice, moved, truncated] {
        let outcome = view.check(&sign_payload(other, &world.authority));
        assert_eq!(outcome, Err(ApplyError::Record(RecordError::NotCanonical)));
    }
}

#[test]
fn what_is_no_record_is_refused() {
    let world = World::empty();
    let (view, _) = first_record(&world);
    let empty = sign_payload(Vec::new(), &world.authority);
    assert!(matches!(view.check(&empty), Err(ApplyError::Record(RecordError::Field(_)))));
    let long = vec![0; crate::record::RECORD_LEN_MAX + 1];
    assert_eq!(view.check(&long), Err(ApplyError::Record(RecordError::Size)));
    let policy = kopuro_proto::registry::v1::registry_record::Resource::Policy(Default::default());
    let policy = compose::sign_record(&world.anchor().instance, None, NOW, policy, &[&world.authority]);
    assert_eq!(view.check(&policy), Err(ApplyError::Record(RecordError::Field("policy"))));
}

#[test]
fn a_statements_payload_type_is_refused() {
    let world = World::empty();
    let (view, payload) = first_record(&world);
    let payload_type = PayloadType::Statement;
    let bytes = world.authority.sign(&pre_authentication_encoding(payload_type, &payload));
    let signatures = vec![Signature { key_id: world.authority.key_id(), bytes }];
    let envelope = Envelope { payload_type, payload, signatures }.encode();
    assert_eq!(view.check(&envelope), Err(ApplyError::Record(RecordError::Field("payload_type"))));
}

#[test]
fn a_refused_record_changes_nothing() {
    let mut world = World::new();
    let (stamp, before) = (world.view.stamp(), format!("{:?}", world.view.keys.len()));
    let police = world.police.administration.key_id();
    assert!(
        world
            .by_authority(compose::gateway("x", &[kopuro_core::id::MemberId::parse("KG/GOV/9").unwrap()]))
            .is_err()
    );
    assert!(world.apply(world.sign(world.contract(1), &[&world.police.administration])).is_err());
    assert_eq!((world.view.stamp(), format!("{:?}", world.view.keys.len())), (stamp, before));
    assert!(world.view.contracts.is_empty() && world.view.offers.is_empty());
    assert!(world.view.keys.contains_key(&police));
}

/// One resource of every kind, with every optional field and state in use somewhere.
fn every_kind(world: &World) -> Vec<Resource> {
    let mut resources: Vec<Resource> = world
        .foundations()
        .into_iter()
        .chain([world.contract(7)])
        .map(|resource| read(world, resource))
        .collect();
    let (fund, own) = (world.fund.member.clone(), vec![world.fund.system.clone()]);
    let sealing = compose::key(ed25519().public_spki_der(), KeyPurpose::Sealing, validity());
    let sealing = sealing.of_member(&fund).for_subsystems(&own).held_by("fund-1");
    resources.push(read(world, sealing.in_state(KeyState::Retired).build()));
    let state = ResourceState::Suspended;
    resources.push(Resource::Gateway(Gateway { id: "g".into(), members: vec![fund.clone()], state }));
    for member in [None, Some(fund)] {
        let id = GroupId { member, name: "friends".into() };
        resources.push(Resource::AccessRight(AccessRight {
            provider: world.fund.system.clone(),
            grantee: Grantee::Group(id.clone()),
            service: pension_service(),
            method: Some("GetPensionInfo".into()),
            state: ResourceState::Removed,
            not_before: Some(NOW),
            not_after: Some(NOW),
            contract_version_min: 2,
        }));
        resources.push(Resource::Group(Group { id, subsystems: own.clone(), state }));
    }
    resources
}

fn read(world: &World, resource: kopuro_proto::registry::v1::registry_record::Resource) -> Resource {
    let envelope =
        compose::sign_record(&world.anchor().instance, Some(5), NOW, resource, &[&world.authority]);
    match Entry::decode(&envelope) {
        Ok((_, Entry::Change(Change { resource, replaces: Some(5), create_time: NOW, .. }))) => resource,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_resource_survives_the_wire() {
    let world = World::empty();
    for resource in every_kind(&world) {
        assert_eq!(read(&world, to_wire(&resource)), resource);
    }
}

#[test]
fn names_tell_resources_apart() {
    let world = World::empty();
    let names: std::collections::HashSet<_> = every_kind(&world).iter().map(Resource::name).collect();
    assert_eq!(names.len(), every_kind(&world).len());
    let grant = compose::package_ownership(&PackageName::parse("kg.health").unwrap(), &world.fund.member);
    assert_eq!(read(&world, grant).name(), "package/kg.health");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_flipped_bit_never_applies(pick in any::<prop::sample::Index>(), bit in any::<prop::sample::Index>()) {
        thread_local! {
            static LOG: (View, Vec<bytes::Bytes>) = {
                let world = World::new();
                (View::new(world.anchor()), world.log)
            };
        }
        LOG.with(|(empty, log)| {
            let pick = pick.index(log.len());
            let mut view = empty.clone();
            for entry in &log[..pick] {
                view.apply(entry).unwrap();
            }
            let mut flipped = log[pick].to_vec();
            let bit = bit.index(flipped.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(view.apply(&flipped).is_err(), "bit {bit} of entry {pick}");
            prop_assert_eq!(view.apply(&log[pick]), Ok(pick as u64));
            Ok(())
        })?;
    }
}
