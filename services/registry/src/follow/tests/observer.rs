//! Checkpoints held against the view, on a clock of the test's own.

use std::time::Duration;

use bytes::Bytes;
use kopuro_core::digest::Digest;
use kopuro_core::statement::ViewStamp;
use kopuro_core::time::UnixMillis;

use crate::compose;
use crate::follow::observer::{Finding, Observer};
use crate::record::{KeyPurpose, KeyState};
use crate::testing::{NOW, World, ed25519, notes_of, validity};

const SECOND: Duration = Duration::from_secs(1);

/// A follower that has read `entries` of the world's log.
fn observer(world: &World, entries: usize) -> Observer {
    let mut observer = Observer::new(world.anchor());
    for entry in &world.log[..entries] {
        observer.handle_entry(entry).unwrap();
    }
    observer
}

/// The honest checkpoint at a size.
fn note(world: &World, size: usize, time: UnixMillis) -> Bytes {
    let ViewStamp { size, root } = observer(world, size).view().stamp();
    world.note(size, root, time)
}

#[test]
fn an_agreeing_checkpoint_confirms_the_time_it_was_made() {
    let world = World::new();
    let mut observer = observer(&world, world.log.len());
    let before = NOW.minus(SECOND);
    let latest = note(&world, world.log.len(), before);
    assert_eq!(observer.handle_note(latest.clone(), NOW), Some(Finding::Confirmed(before)));
    // Told again, it confirms nothing newer.
    assert_eq!(observer.handle_note(latest, NOW.plus(SECOND)), Some(Finding::Confirmed(before)));
}

#[test]
fn another_root_at_the_same_size_contradicts() {
    let world = World::new();
    let size = world.log.len();
    for at in [size, size - 1, 3] {
        let mut observer = observer(&world, size);
        let forked = world.note(at as u64, Digest::of(b"another log"), NOW);
        assert_eq!(observer.handle_note(forked, NOW), Some(Finding::Contradicted { size: at as u64 }));
        // From here on nothing confirms any more, and it is told once.
        assert_eq!(observer.handle_note(note(&world, size, NOW), NOW), None);
    }
}

#[test]
fn a_smaller_log_than_confirmed_is_a_rollback() {
    let world = World::new();
    let size = world.log.len();
    let mut observer = observer(&world, size);
    assert_eq!(observer.handle_note(note(&world, size, NOW), NOW), Some(Finding::Confirmed(NOW)));
    let smaller = note(&world, size - 1, NOW.plus(SECOND));
    let finding = observer.handle_note(smaller, NOW.plus(SECOND));
    assert_eq!(finding, Some(Finding::RolledBack { size: size as u64 - 1 }));
    let next = note(&world, size, NOW.plus(2 * SECOND));
    assert_eq!(
        observer.handle_note(next, NOW.plus(2 * SECOND)),
        Some(Finding::Confirmed(NOW.plus(2 * SECOND)))
    );
}

#[test]
fn a_checkpoint_ahead_waits_for_its_entries() {
    let world = World::new();
    let size = world.log.len();
    let mut observer = observer(&world, size - 1);
    assert_eq!(observer.handle_note(note(&world, size, NOW), NOW), None);
    assert_eq!(observer.handle_growth(NOW), []);
    observer.handle_entry(&world.log[size - 1]).unwrap();
    assert_eq!(observer.handle_growth(NOW), [Finding::Confirmed(NOW)]);
    assert_eq!(observer.handle_growth(NOW), []);
}

#[test]
fn entries_that_do_not_come_are_withheld() {
    let world = World::new();
    let size = world.log.len();
    let mut observer = observer(&world, size - 1);
    assert_eq!(observer.handle_note(note(&world, size, NOW), NOW), None);
    assert_eq!(observer.handle_time(NOW.plus(10 * SECOND)), []);
    let late = NOW.plus(11 * SECOND);
    assert_eq!(observer.handle_time(late), [Finding::Withheld { size: size as u64 }]);
    assert_eq!(observer.handle_time(late), []);
}

#[test]
fn an_entry_exchanged_for_another_is_found_when_the_size_is_reached() {
    let mut world = World::new();
    let before = world.fork();
    world.by_authority(compose::member(&world.fund.member, "a title", 3)).unwrap();
    let told = world.note(world.view.stamp().size, world.view.stamp().root, NOW);
    let mut observer = observer(&before, before.log.len());
    assert_eq!(observer.handle_note(told, NOW), None);
    let other = before.sign(compose::member(&before.police.member, "a title", 3), &[&before.authority]);
    let size = observer.handle_entry(&other).unwrap() + 1;
    assert_eq!(observer.handle_growth(NOW), [Finding::Contradicted { size }]);
}

#[test]
fn a_checkpoint_of_nobody_is_forged() {
    let world = World::new();
    let size = world.log.len();
    let mut observer = observer(&world, size);
    let ViewStamp { size, root } = observer.view().stamp();
    let instance = world.anchor().instance;
    let forged = notes_of(&instance, &ed25519(), size, root, NOW);
    let mut flipped = world.note(size, root, NOW).to_vec();
    flipped[40] ^= 1;
    let garbage = [forged, flipped.into(), Bytes::from_static(b"nonsense"), vec![b'x'; 1 << 20].into()];
    for note in garbage {
        assert_eq!(observer.handle_note(note, NOW), Some(Finding::Forged));
    }
    // One that claims entries yet to come is looked at again when they should have come.
    let ahead = notes_of(&instance, &ed25519(), size + 9, root, NOW);
    assert_eq!(observer.handle_note(ahead, NOW), None);
    assert_eq!(observer.handle_time(NOW.plus(11 * SECOND)), [Finding::Forged]);
}

#[test]
fn a_withdrawn_checkpoint_key_confirms_nothing() {
    for state in [KeyState::Retired, KeyState::Revoked] {
        let mut world = World::new();
        let spki = world.checkpoint.public_spki_der().to_vec();
        let key = compose::key(&spki, KeyPurpose::Checkpoint, validity());
        let next = compose::key(ed25519().public_spki_der(), KeyPurpose::Checkpoint, validity());
        world.by_authority(next.build()).unwrap();
        world.by_authority(key.in_state(state).build()).unwrap();
        let mut observer = observer(&world, world.log.len());
        let told = observer.handle_note(note(&world, world.log.len(), NOW), NOW);
        assert_eq!(told, Some(Finding::Forged), "{state:?}");
    }
    let world = World::new();
    let mut observer = observer(&world, world.log.len());
    let after = NOW.plus(Duration::from_secs(3_601));
    assert_eq!(observer.handle_note(note(&world, world.log.len(), after), after), Some(Finding::Forged));
}

#[test]
fn before_the_log_names_a_key_checkpoints_are_moot() {
    let world = World::new();
    let mut observer = observer(&world, 0);
    assert_eq!(observer.handle_note(note(&world, 0, NOW), NOW), None);
    // The key itself is the first entry, and the checkpoint may be read before it.
    assert_eq!(observer.handle_note(note(&world, 1, NOW), NOW), None);
    observer.handle_entry(&world.log[0]).unwrap();
    assert_eq!(observer.handle_growth(NOW), [Finding::Confirmed(NOW)]);
}

#[test]
fn a_checkpoint_of_the_future_confirms_nothing() {
    let world = World::new();
    let size = world.log.len();
    let mut observer = observer(&world, size);
    let early = note(&world, size, NOW.plus(6 * SECOND));
    assert_eq!(observer.handle_note(early.clone(), NOW), Some(Finding::Early { by: 6 * SECOND }));
    let confirmed = Finding::Confirmed(NOW.plus(6 * SECOND));
    assert_eq!(observer.handle_note(early, NOW.plus(SECOND)), Some(confirmed));
}

#[test]
fn what_waits_is_bounded() {
    let world = World::new();
    let size = world.log.len();
    let mut observer = observer(&world, size);
    let root = Digest::of(b"");
    let ahead = |by: u64| world.note(size as u64 + by, root, NOW);
    for by in 1..=16 {
        assert_eq!(observer.handle_note(ahead(by), NOW), None);
    }
    let crowded_out = Finding::Withheld { size: size as u64 + 1 };
    assert_eq!(observer.handle_note(ahead(17), NOW), Some(crowded_out));
    assert_eq!(observer.handle_time(NOW.plus(11 * SECOND)).len(), 16);
}

#[test]
fn an_entry_that_does_not_apply_is_passed_over() {
    let world = World::new();
    let size = world.log.len();
    let mut observer = observer(&world, size);
    let stamp = observer.view().stamp();
    let stranger = world.sign(compose::member(&world.fund.member, "", 3), &[&world.police.administration]);
    for entry in [stranger, world.log[0].clone(), Bytes::new(), Bytes::from_static(b"nonsense")] {
        assert!(observer.handle_entry(&entry).is_err());
    }
    assert_eq!(observer.view().stamp(), stamp);
    assert_eq!(observer.handle_note(note(&world, size, NOW), NOW), Some(Finding::Confirmed(NOW)));
}
