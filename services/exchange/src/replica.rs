//! What one gateway replica holds: its keys, its members' secrets, and the tokens it drew at its start.

use std::collections::HashMap;
use std::sync::Arc;

use kopuro_core::id::MemberId;
use kopuro_core::topic::ReplicaToken;
use kopuro_trust::member_secret::MemberSecret;
use kopuro_trust::random;
use kopuro_trust::sealing::{EpochOpener, EpochSealer, EpochSealerLimits, SealingKey};
use kopuro_trust::signing::Signer;

/// The most epoch keys of senders kept open.
const OPEN_EPOCHS_MAX: usize = 4096;

/// One running gateway replica.
pub struct Replica {
    /// The gateway's name in the registry.
    pub gateway: String,
    /// Signs the replica's statements.
    pub signer: Signer,
    /// Wraps content keys for recipients.
    pub sealer: EpochSealer,
    /// Unwraps content keys for the subsystems that the gateway speaks for.
    pub opener: EpochOpener,
    /// Names the replica on reply topics.
    pub token: ReplicaToken,
    secrets: HashMap<MemberId, Arc<MemberSecret>>,
}

impl Replica {
    /// A replica of `gateway` with its keys. Token and epochs are drawn afresh.
    pub fn new(
        gateway: String,
        signer: Signer,
        sealing_keys: impl IntoIterator<Item = SealingKey>,
        secrets: impl IntoIterator<Item = (MemberId, MemberSecret)>,
    ) -> Self {
        Self {
            gateway,
            signer,
            sealer: EpochSealer::new(EpochSealerLimits::default()),
            opener: EpochOpener::new(sealing_keys, OPEN_EPOCHS_MAX),
            token: ReplicaToken::new(random::bytes()),
            secrets: secrets.into_iter().map(|(member, secret)| (member, Arc::new(secret))).collect(),
        }
    }

    /// The secret that the replicas of a member's gateway share.
    pub fn secret(&self, member: &MemberId) -> Option<&Arc<MemberSecret>> {
        self.secrets.get(member)
    }

    /// The members that the replica speaks for.
    pub fn members(&self) -> impl Iterator<Item = &MemberId> {
        self.secrets.keys()
    }
}
