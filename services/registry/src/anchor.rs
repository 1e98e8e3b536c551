//! The anchor: the one file that a gateway is given out of band, from which it verifies everything else.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kopuro_core::id::Instance;
use kopuro_trust::signing::VerifyingKey;
use serde::{Deserialize, Serialize};

/// The anchor as it is written, in TOML.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct AnchorFile {
    instance: String,
    authority_keys: Vec<String>,
    #[serde(default = "one")]
    authority_signatures: usize,
    tls_authorities: Vec<String>,
}

/// What a gateway trusts from the start.
#[derive(Clone, Debug)]
pub struct Anchor {
    /// The instance.
    pub instance: Instance,
    /// The authority's keys.
    pub authority_keys: Vec<VerifyingKey>,
    /// How many distinct authority keys must sign the authority's records.
    pub authority_signatures: usize,
    /// The certificate authorities under which systems and gateways connect, in PEM.
    pub tls_authorities: Vec<String>,
}

/// Why a file is no anchor.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The file is not TOML, or has missing or unknown entries.
    #[error("the anchor is not a valid file")]
    Syntax(#[from] toml::de::Error),
    /// An entry is malformed.
    #[error("entry {0} of the anchor is malformed")]
    Entry(&'static str),
}

impl Anchor {
    /// Reads an anchor.
    ///
    /// # Errors
    /// [`AnchorError`]; the authority that gave out the file must act.
    pub fn parse(text: &str) -> Result<Self, AnchorError> {
        let AnchorFile { instance, authority_keys, authority_signatures, tls_authorities } =
            toml::from_str(text)?;
        let keys = authority_keys.iter().map(|key| read_key(key)).collect::<Option<Vec<_>>>();
        let authority_keys =
            keys.filter(|keys| distinct(keys)).ok_or(AnchorError::Entry("authority_keys"))?;
        if authority_signatures == 0 || authority_signatures > authority_keys.len() {
            return Err(AnchorError::Entry("authority_signatures"));
        }
        if tls_authorities.is_empty() {
            return Err(AnchorError::Entry("tls_authorities"));
        }
        let instance = Instance::parse(&instance).map_err(|_| AnchorError::Entry("instance"))?;
        Ok(Self { instance, authority_keys, authority_signatures, tls_authorities })
    }

    /// Writes the anchor.
    pub fn to_toml(&self) -> String {
        let Self { instance, authority_keys, authority_signatures, tls_authorities } = self;
        let authority_keys = authority_keys.iter().map(|key| STANDARD.encode(key.spki_der())).collect();
        let file = AnchorFile {
            instance: instance.to_string(),
            authority_keys,
            authority_signatures: *authority_signatures,
            tls_authorities: tls_authorities.clone(),
        };
        toml::to_string(&file).expect("strings and numbers always serialize")
    }
}

fn read_key(text: &str) -> Option<VerifyingKey> {
    VerifyingKey::from_spki_der(&STANDARD.decode(text).ok()?).ok()
}

/// A key counts once among those who sign, so one written twice would promise more signers than there are.
fn distinct(keys: &[VerifyingKey]) -> bool {
    let ids: HashSet<_> = keys.iter().map(VerifyingKey::key_id).collect();
    ids.len() == keys.len()
}

const fn one() -> usize {
    1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{anchor_of, ecdsa, ed25519};

    #[test]
    fn an_anchor_survives_its_file() {
        let anchor = anchor_of(&[&ecdsa(), &ed25519()], 2);
        let read = Anchor::parse(&anchor.to_toml()).unwrap();
        let ids =
            |anchor: &Anchor| anchor.authority_keys.iter().map(VerifyingKey::key_id).collect::<Vec<_>>();
        assert_eq!((read.instance.clone(), ids(&read)), (anchor.instance.clone(), ids(&anchor)));
        assert_eq!((read.authority_signatures, &read.tls_authorities), (2, &anchor.tls_authorities));
    }

    #[test]
    fn what_is_no_anchor_is_refused() {
        let text = anchor_of(&[&ecdsa()], 1).to_toml();
        let key = STANDARD.encode(ecdsa().public_spki_der());
        let with = |from: &str, to: &str| {
            assert!(text.contains(from), "{text}");
            Anchor::parse(&text.replace(from, to))
        };
        let keys = text.lines().find(|line| line.starts_with("authority_keys")).unwrap();
        assert!(matches!(with("instance", "name"), Err(AnchorError::Syntax(_))));
        assert!(matches!(with("\"KG\"", "\"a.b\""), Err(AnchorError::Entry("instance"))));
        let signatures = [("= 1", "= 0"), ("= 1", "= 2"), (keys, "authority_keys = []")];
        for (from, to) in signatures {
            assert!(matches!(with(from, to), Err(AnchorError::Entry("authority_signatures"))));
        }
        for to in ["authority_keys = [\"AAAA\"]", &format!("authority_keys = [\"{key}\", \"{key}\"]")] {
            assert!(matches!(with(keys, to), Err(AnchorError::Entry("authority_keys"))));
        }
        let authorities = text.lines().find(|line| line.starts_with("tls_authorities")).unwrap();
        assert!(matches!(
            with(authorities, "tls_authorities = []"),
            Err(AnchorError::Entry("tls_authorities"))
        ));
        assert!(matches!(Anchor::parse(&format!("{text}\nmore = 1")), Err(AnchorError::Syntax(_))));
    }
}
