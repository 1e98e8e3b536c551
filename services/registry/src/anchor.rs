//! The anchor: the one file that a gateway is given out of band, from which it verifies everything else.

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
        let authority_keys = keys.ok_or(AnchorError::Entry("authority_keys"))?;
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

const fn one() -> usize {
    1
}
