//! Checkpoints: what a log says of itself at one moment, as a signed note (C2SP tlog-checkpoint, signed-note).
//!
//! ```text
//! kopuro.KG/registry
//! 42
//! <base64 of the root>
//! time 1795000000000
//!
//! — kopuro.KG/registry <base64 of key id and signature>
//! ```
//!
//! The first extension line is the time at which the log signed, in Unix milliseconds; by it a reader knows how old
//! its view may be. The time of a witness's cosignature would not do: it is the witness's, in seconds, and a log may
//! have no witness. Further extension lines are signed, kept and otherwise ignored, so that a log can say more to
//! those who know how to read it.

use aws_lc_rs::signature::{ED25519, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kopuro_core::digest::Digest;
use kopuro_core::time::UnixMillis;
use signed_note::{Note, Signature, StandardVerifier, Verifier, VerifierList};
use thiserror::Error;
use tlog_tiles::checkpoint;
use tlog_tiles::tlog::Hash;

#[cfg(test)]
mod tests;

/// The longest signed checkpoint that is read: the text and some forty cosignatures. **Units:** bytes.
pub const SIGNED_CHECKPOINT_LEN_MAX: usize = 16 * 1024;
/// The longest origin or key name. **Units:** bytes.
const NAME_LEN_MAX: usize = 128;
/// The most extension lines besides the time.
const EXTENSIONS_MAX: usize = 8;
/// The longest extension line. **Units:** bytes.
const EXTENSION_LEN_MAX: usize = 256;

/// What begins the extension line of the time.
const TIME_WORD: &str = "time ";
/// The signature type of Ed25519 (C2SP signed-note).
const TYPE_ED25519: u8 = 0x01;
/// The length of an Ed25519 public key. **Units:** bytes.
const ED25519_KEY_LEN: usize = 32;

/// Why a checkpoint or its key was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// The name or the key's bytes cannot be a log's key.
    #[error("the log's name or key is malformed")]
    Key,
    /// An extension line is empty, too long, has control characters, or there are too many.
    #[error("an extension line of the checkpoint is malformed")]
    Extension,
    /// The bytes are no signed note, or are too long.
    #[error("the signed note is malformed or too long")]
    Note,
    /// The log's key has not signed the note, or its signature is wrong.
    #[error("the note is not signed by the log's key")]
    Unsigned,
    /// The signed text is no checkpoint, or not in its one encoding.
    #[error("the checkpoint is malformed")]
    Text,
    /// The checkpoint is another log's.
    #[error("the checkpoint is of another origin")]
    Origin,
}

/// The public key of a log: a name and an Ed25519 key.
///
/// The origin of a log's checkpoints is its key's name, as signed-note advises.
#[derive(Clone)]
pub struct LogKey {
    name: String,
    public_key: [u8; ED25519_KEY_LEN],
    parsed: ParsedPublicKey,
}

impl LogKey {
    /// Takes a name, without spaces and plus signs, and an Ed25519 public key.
    ///
    /// # Errors
    /// [`CheckpointError::Key`].
    pub fn new(name: &str, public_key: [u8; ED25519_KEY_LEN]) -> Result<Self, CheckpointError> {
        if name.len() > NAME_LEN_MAX
            || !signed_note::is_key_name_valid(name)
            || name.chars().any(char::is_control)
        {
            return Err(CheckpointError::Key);
        }
        // That the key is a point of the curve, aws-lc finds out only by never verifying anything.
        StandardVerifier::new(&vkey(name, &public_key)).map_err(|_| CheckpointError::Key)?;
        let parsed = ParsedPublicKey::new(&ED25519, public_key).map_err(|_| CheckpointError::Key)?;
        Ok(Self { name: name.to_owned(), public_key, parsed })
    }

    /// Reads a verifier key: `name+hex(key id)+base64(01 ‖ key)`.
    ///
    /// # Errors
    /// [`CheckpointError::Key`] for any other text, another algorithm, or a key id that is not the key's.
    pub fn parse_vkey(text: &str) -> Result<Self, CheckpointError> {
        let (name, rest) = text.split_once('+').ok_or(CheckpointError::Key)?;
        let (_, key) = rest.split_once('+').ok_or(CheckpointError::Key)?;
        let key = STANDARD.decode(key).map_err(|_| CheckpointError::Key)?;
        let key = key.strip_prefix(&[TYPE_ED25519]).and_then(|key| key.try_into().ok());
        let parsed = Self::new(name, key.ok_or(CheckpointError::Key)?)?;
        if parsed.to_vkey() == text { Ok(parsed) } else { Err(CheckpointError::Key) }
    }

    /// Writes the verifier key.
    pub fn to_vkey(&self) -> String {
        vkey(&self.name, &self.public_key)
    }

    /// The name of the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of `SHA-256(name ‖ 0A ‖ 01 ‖ key)`, by which signatures name the key.
    pub fn key_id(&self) -> u32 {
        key_id(&self.name, &self.public_key)
    }
}

/// Signatures are verified by aws-lc, as everywhere on the bus, and not by the library that comes with signed_note.
impl Verifier for LogKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        key_id(&self.name, &self.public_key)
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }
}

impl std::fmt::Debug for LogKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "LogKey({})", self.to_vkey())
    }
}

/// What a log says of itself at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log.
    pub origin: String,
    /// How many entries it has.
    pub size: u64,
    /// The root of its tree at that size.
    pub root: Digest,
    /// When it signed.
    pub time: UnixMillis,
    /// Further extension lines, without their line ends.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// Writes the text that is signed.
    ///
    /// # Errors
    /// [`CheckpointError::Extension`], or [`CheckpointError::Key`] when the origin is no name.
    pub fn to_text(&self) -> Result<Vec<u8>, CheckpointError> {
        let Self { origin, size, root, time, extensions } = self;
        check_extensions(extensions)?;
        let mut lines = format!("{TIME_WORD}{time}\n");
        for extension in extensions {
            lines.push_str(extension);
            lines.push('\n');
        }
        let text = checkpoint::Checkpoint::new(origin, *size, Hash(*root.as_bytes()), &lines);
        Ok(text.map_err(|_| CheckpointError::Key)?.to_bytes())
    }

    /// Reads a text, accepting one encoding only. It says nothing until a signature over it was verified.
    ///
    /// # Errors
    /// [`CheckpointError::Text`] or [`CheckpointError::Extension`].
    pub fn from_text(text: &[u8]) -> Result<Self, CheckpointError> {
        let parsed = checkpoint::Checkpoint::from_bytes(text).map_err(|_| CheckpointError::Text)?;
        let mut lines = parsed.extension().lines();
        let time = lines.next().and_then(|line| line.strip_prefix(TIME_WORD));
        let time = time.and_then(|digits| digits.parse().ok()).ok_or(CheckpointError::Text)?;
        let extensions: Vec<_> = lines.take(EXTENSIONS_MAX + 1).map(str::to_owned).collect();
        let checkpoint = Self {
            origin: parsed.origin().to_owned(),
            size: parsed.size(),
            root: Digest::from_bytes(parsed.hash().0),
            time: UnixMillis::new(time),
            extensions,
        };
        if checkpoint.to_text()? == text { Ok(checkpoint) } else { Err(CheckpointError::Text) }
    }

    /// Signs the checkpoint with the key of its log: `sign` makes the Ed25519 signature of the bytes that it is given,
    /// with the private half of `key`.
    ///
    /// # Errors
    /// [`CheckpointError::Origin`] when the key is another log's, [`CheckpointError::Extension`], or
    /// [`CheckpointError::Unsigned`] when what `sign` made does not verify under `key`.
    pub fn sign(
        &self,
        key: &LogKey,
        sign: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Result<Vec<u8>, CheckpointError> {
        if self.origin != key.name {
            return Err(CheckpointError::Origin);
        }
        let text = self.to_text()?;
        let signature = Signature::new(key.name.clone(), key.key_id(), sign(&text));
        let signature = signature.map_err(|_| CheckpointError::Key)?;
        let note = Note::new(&text, &[signature]).map_err(|_| CheckpointError::Note)?.to_bytes();
        // A signature that the log's readers would refuse must not leave it.
        Self::verify(&note, key)?;
        Ok(note)
    }

    /// Reads a signed checkpoint, verifying the log's signature over the bytes received. Signatures by other keys,
    /// such as witnesses', are passed over.
    ///
    /// # Errors
    /// [`CheckpointError`]; the checkpoint must be treated as forged.
    pub fn verify(note: &[u8], key: &LogKey) -> Result<Self, CheckpointError> {
        if note.len() > SIGNED_CHECKPOINT_LEN_MAX {
            return Err(CheckpointError::Note);
        }
        let note = Note::from_bytes(note).map_err(|_| CheckpointError::Note)?;
        let verifiers = VerifierList::new(vec![Box::new(key.clone())]);
        note.verify(&verifiers).map_err(|_| CheckpointError::Unsigned)?;
        let checkpoint = Self::from_text(note.text())?;
        if checkpoint.origin == key.name { Ok(checkpoint) } else { Err(CheckpointError::Origin) }
    }
}

fn check_extensions(extensions: &[String]) -> Result<(), CheckpointError> {
    let is_line = |line: &String| {
        !line.is_empty() && line.len() <= EXTENSION_LEN_MAX && !line.chars().any(char::is_control)
    };
    let sound = extensions.len() <= EXTENSIONS_MAX && extensions.iter().all(is_line);
    if sound { Ok(()) } else { Err(CheckpointError::Extension) }
}

fn vkey(name: &str, public_key: &[u8; ED25519_KEY_LEN]) -> String {
    let typed = STANDARD.encode([&[TYPE_ED25519], public_key.as_slice()].concat());
    format!("{name}+{:08x}+{typed}", key_id(name, public_key))
}

fn key_id(name: &str, public_key: &[u8; ED25519_KEY_LEN]) -> u32 {
    signed_note::key_id(name, &[&[TYPE_ED25519], public_key.as_slice()].concat())
}
