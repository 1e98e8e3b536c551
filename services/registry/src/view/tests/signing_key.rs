//! Which key verifies which statement.

use std::sync::Arc;
use std::time::Duration;

use kopuro_core::chain::Link;
use kopuro_core::digest::Digest;
use kopuro_core::error::Reason;
use kopuro_core::id::{ExchangeId, MethodId, RequestId, SubsystemId};
use kopuro_core::statement::{Kind, Mode, Statement, ViewStamp};
use kopuro_core::time::UnixMillis;
use kopuro_core::topic::ReplicaToken;
use kopuro_trust::signing::Signer;

use super::lookup::{LATER, key};
use crate::compose;
use crate::record::{Gateway, KeyPurpose, KeyState, Resource, ResourceState, to_wire};
use crate::testing::{NOW, World, ecdsa, pension_service};
use crate::view::View;

const MILLISECOND: Duration = Duration::from_millis(1);
const UNHEARD: Duration = Duration::from_secs(15 * 60 + 5);
const LIFE: Duration = Duration::from_secs(600 + 30);

/// A statement of `sender`, made at `create_time` by a view of `size` records.
fn statement(sender: &SubsystemId, size: u64, create_time: UnixMillis) -> Statement {
    let digest = Digest::of(b"");
    Statement {
        kind: Kind::Request { reply_token: Some(ReplicaToken::new([7; 8])) },
        mode: Mode::Call,
        exchange: ExchangeId::new(create_time, [1; 10]),
        request: RequestId::new([2; 16]),
        ordering_key: None,
        sender: sender.clone(),
        recipient: sender.clone(),
        method: MethodId::new(pension_service(), "GetPensionInfo").unwrap(),
        contract: digest,
        create_time,
        expire_time: create_time.plus(Duration::from_secs(600)),
        content_digest: digest,
        sealed_digest: digest,
        view: ViewStamp { size, root: digest },
        link: Link { epoch: [3; 16], sequence: 0, previous: None },
    }
}

/// The fund's world with a signing key of its gateway.
struct Signing {
    world: World,
    signer: Arc<Signer>,
}

impl Signing {
    fn with(state: KeyState) -> Self {
        let mut signing = Self { world: World::new(), signer: ecdsa() };
        signing.set(state, NOW);
        signing
    }

    /// Sets the key's state by a record signed at `create_time`, and gives its revision.
    fn set(&mut self, state: KeyState, create_time: UnixMillis) -> u64 {
        let draft = key(&self.signer, KeyPurpose::Signing, &self.world).held_by("fund-1").in_state(state);
        let (instance, name) = (self.world.anchor().instance, format!("key/{}", self.signer.key_id()));
        let replaces = self.world.view.revision(&name);
        let signers: [&Signer; 1] = [&self.world.fund.administration];
        let envelope = compose::sign_record(&instance, replaces, create_time, draft.build(), &signers);
        self.world.apply(envelope.into()).unwrap()
    }

    fn verifies(&self, statement: &Statement, now: UnixMillis) -> bool {
        verifies(&self.world.view, &self.signer, statement, now)
    }

    /// A statement of the fund.
    fn stated(&self, size: u64, create_time: UnixMillis) -> Statement {
        statement(&self.world.fund.system, size, create_time)
    }
}

fn verifies(view: &View, signer: &Signer, statement: &Statement, now: UnixMillis) -> bool {
    match view.signing_key(&signer.key_id(), statement, now) {
        Ok(key) => key.key_id() == signer.key_id(),
        Err(reason) => {
            assert_eq!(reason, Reason::SignerUnknown);
            false
        }
    }
}

#[test]
fn a_signing_key_verifies_what_its_holder_may_say() {
    let signing = Signing::with(KeyState::Active);
    let size = signing.world.view.stamp().size;
    assert!(signing.verifies(&signing.stated(size, NOW), NOW));
    assert!(!signing.verifies(&signing.stated(size, NOW), LATER));
    assert!(!signing.verifies(&statement(&signing.world.police.system, size, NOW), NOW));
    let (stranger, view) = (ecdsa(), &signing.world.view);
    assert!(!verifies(view, &stranger, &signing.stated(size, NOW), NOW));
}

#[test]
fn a_retired_key_verifies_what_was_made_before_its_signer_could_know() {
    let mut signing = Signing::with(KeyState::Active);
    let retired = signing.set(KeyState::Retired, NOW);
    let before = NOW.minus(Duration::from_secs(60));
    for (size, expected) in [(0, true), (retired - 1, true), (retired, true), (retired + 1, false)] {
        for create_time in [before, NOW] {
            assert_eq!(signing.verifies(&signing.stated(size, create_time), NOW), expected, "{size}");
        }
    }
}

#[test]
fn a_retired_key_verifies_nothing_once_its_last_statement_must_have_arrived() {
    let mut signing = Signing::with(KeyState::Active);
    let retired = signing.set(KeyState::Retired, NOW);
    // The signer may have decided by a view as old as a view may become.
    let last = signing.stated(retired, NOW.plus(UNHEARD));
    let arrived = NOW.plus(UNHEARD).plus(LIFE);
    assert!(signing.verifies(&last, arrived));
    assert!(!signing.verifies(&last, arrived.plus(MILLISECOND)));
    assert!(!signing.verifies(&signing.stated(retired, NOW.plus(UNHEARD).plus(MILLISECOND)), arrived));
    // Whoever finds the key later may claim any view and any time.
    let forged = signing.stated(0, NOW.minus(Duration::from_secs(60)));
    assert!(!signing.verifies(&forged, arrived.plus(MILLISECOND)));
}

#[test]
fn a_key_retired_again_gets_no_more_time() {
    let mut signing = Signing::with(KeyState::Retired);
    let first = signing.world.view.stamp().size - 1;
    let again = signing.set(KeyState::Retired, NOW.plus(UNHEARD));
    assert!(signing.verifies(&signing.stated(first, NOW), NOW));
    assert!(!signing.verifies(&signing.stated(again, NOW), NOW));
    assert!(!signing.verifies(&signing.stated(first, NOW), NOW.plus(UNHEARD).plus(LIFE).plus(MILLISECOND)));
    // A key taken back into use verifies anew, and its next retirement counts.
    let active = signing.set(KeyState::Active, NOW);
    assert!(signing.verifies(&signing.stated(active + 1, NOW), NOW));
    let next = signing.set(KeyState::Retired, NOW);
    assert!(signing.verifies(&signing.stated(next, NOW), NOW));
    assert!(!signing.verifies(&signing.stated(next + 1, NOW), NOW));
}

#[test]
fn a_revoked_key_verifies_nothing() {
    for before in [KeyState::Active, KeyState::Retired] {
        let mut signing = Signing::with(before);
        assert!(signing.verifies(&signing.stated(0, NOW), NOW));
        signing.set(KeyState::Revoked, NOW);
        assert!(!signing.verifies(&signing.stated(0, NOW), NOW));
    }
}

#[test]
fn every_reader_of_the_log_has_the_same_answer() {
    let mut signing = Signing::with(KeyState::Active);
    let retired = signing.set(KeyState::Retired, NOW);
    let mut replayed = View::new(signing.world.anchor());
    for entry in &signing.world.log {
        replayed.apply(entry).unwrap();
    }
    let arrived = NOW.plus(UNHEARD).plus(LIFE);
    for size in [retired, retired + 1] {
        for now in [NOW, arrived, arrived.plus(MILLISECOND)] {
            let stated = signing.stated(size, NOW);
            let expected = size == retired && now <= arrived;
            assert_eq!(signing.verifies(&stated, now), expected);
            assert_eq!(verifies(&replayed, &signing.signer, &stated, now), expected);
        }
    }
}

#[test]
fn a_gateway_speaks_while_it_serves_the_member() {
    let base = Signing::with(KeyState::Active);
    let (fund, police) = (base.world.fund.member.clone(), base.world.police.member.clone());
    let gateway = |members, state| Resource::Gateway(Gateway { id: "fund-1".into(), members, state });
    for changed in
        [gateway(vec![police], ResourceState::Active), gateway(vec![fund], ResourceState::Suspended)]
    {
        let mut signing = Signing { world: base.world.fork(), signer: Arc::clone(&base.signer) };
        let serves = |world: &World| world.view.gateway_serves("fund-1", &world.fund.system);
        let stated = signing.stated(0, NOW);
        assert!(signing.verifies(&stated, NOW) && serves(&signing.world));
        signing.world.by_authority(to_wire(&changed)).unwrap();
        assert!(!signing.verifies(&stated, NOW) && !serves(&signing.world));
        let World { view, fund, .. } = &signing.world;
        assert_eq!(view.subsystems_of_gateway("fund-1").filter(|id| **id == fund.system).count(), 0);
    }
}
