//! Checkpoints: the published example of signed-note, and everything near a good checkpoint that must not pass.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use proptest::prelude::*;

use super::*;

const ORIGIN: &str = "kopuro.KG/registry";

struct Log {
    pair: Ed25519KeyPair,
    key: LogKey,
}

impl Log {
    fn new(name: &str, seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let key = LogKey::new(name, pair.public_key().as_ref().try_into().unwrap()).unwrap();
        Self { pair, key }
    }

    fn sign(&self, checkpoint: &Checkpoint) -> Result<Vec<u8>, CheckpointError> {
        checkpoint.sign(&self.key, |text| self.pair.sign(text).as_ref().to_vec())
    }

    /// Signs any text as a note, as a faulty log might.
    fn sign_text(&self, text: &str) -> Vec<u8> {
        let signature = self.pair.sign(text.as_bytes()).as_ref().to_vec();
        let signature = Signature::new(self.key.name.clone(), self.key.key_id(), signature).unwrap();
        Note::new(text.as_bytes(), &[signature]).unwrap().to_bytes()
    }
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        origin: ORIGIN.to_owned(),
        size: 42,
        root: Digest::of(b"root"),
        time: UnixMillis::new(1_795_000_000_000),
        extensions: Vec::new(),
    }
}

#[test]
fn a_checkpoint_is_written_as_c2sp_says() {
    let root = "SBNJTRN+FjG7owHVrKtue7eqdM4RhdRWVl71HXN2d7I=";
    let expected = format!("{ORIGIN}\n42\n{root}\ntime 1795000000000\n");
    assert_eq!(String::from_utf8(checkpoint().to_text().unwrap()).unwrap(), expected);
    let log = Log::new(ORIGIN, 1);
    let note = String::from_utf8(log.sign(&checkpoint()).unwrap()).unwrap();
    assert!(note.starts_with(&format!("{expected}\n\u{2014} {ORIGIN} ")) && note.ends_with('\n'), "{note}");
    assert_eq!(note.lines().count(), 6);
}

#[test]
fn a_checkpoint_survives_its_note() {
    let log = Log::new(ORIGIN, 1);
    for extensions in [vec![], vec!["state 1 AA==".to_owned(), "x".to_owned()]] {
        let checkpoint = Checkpoint { extensions, ..checkpoint() };
        assert_eq!(Checkpoint::verify(&log.sign(&checkpoint).unwrap(), &log.key), Ok(checkpoint));
    }
}

/// **Source:** the example in the specification of signed-note, and in Go's golang.org/x/mod/sumdb/note.
#[test]
fn the_published_verifier_key_is_ours_to_read_and_write() {
    let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let key = LogKey::parse_vkey(text).unwrap();
    assert_eq!((key.name(), key.key_id(), key.to_vkey().as_str()), ("PeterNeumann", 0xc74f_20a3, text));
    let note = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\u{2014} PeterNeumann \
        x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    assert_eq!(
        Checkpoint::verify(note.as_bytes(), &key),
        Err(CheckpointError::Text),
        "signed, but no checkpoint"
    );
    let changed = note.replace("think", "thank");
    assert_eq!(Checkpoint::verify(changed.as_bytes(), &key), Err(CheckpointError::Unsigned));
}

#[test]
fn another_verifier_key_is_refused() {
    for text in [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+BBpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T",
        "PaulNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ] {
        assert!(LogKey::parse_vkey(text).is_err(), "{text:?} was accepted");
    }
    for name in ["", "with space", "with+plus", "with\ncontrol", &"x".repeat(129)] {
        assert!(LogKey::new(name, [1; 32]).is_err(), "{name:?} was accepted");
    }
}

#[test]
fn only_the_logs_own_key_counts() {
    let (log, other_key, other_log) =
        (Log::new(ORIGIN, 1), Log::new(ORIGIN, 2), Log::new("kopuro.KG/ledger", 1));
    let note = log.sign(&checkpoint()).unwrap();
    assert_eq!(Checkpoint::verify(&note, &other_key.key), Err(CheckpointError::Unsigned));
    assert_eq!(Checkpoint::verify(&note, &other_log.key), Err(CheckpointError::Unsigned));
    let never = |_: &[u8]| -> Vec<u8> { panic!("another log's checkpoint must not even be signed") };
    assert_eq!(checkpoint().sign(&other_log.key, never), Err(CheckpointError::Origin));
    let foreign = other_log.sign_text(&String::from_utf8(checkpoint().to_text().unwrap()).unwrap());
    assert_eq!(Checkpoint::verify(&foreign, &other_log.key), Err(CheckpointError::Origin));
    let mistaken = checkpoint().sign(&log.key, |text| other_key.pair.sign(text).as_ref().to_vec());
    assert_eq!(mistaken, Err(CheckpointError::Unsigned));
}

#[test]
fn a_witness_may_sign_too() {
    let (log, witness) = (Log::new(ORIGIN, 1), Log::new("witness.example", 2));
    let text = String::from_utf8(checkpoint().to_text().unwrap()).unwrap();
    let cosigned = String::from_utf8(witness.sign_text(&text)).unwrap();
    let signed = String::from_utf8(log.sign(&checkpoint()).unwrap()).unwrap();
    let both = format!("{signed}{}\n", cosigned.lines().last().unwrap());
    assert_eq!(Checkpoint::verify(both.as_bytes(), &log.key), Ok(checkpoint()));
}

#[test]
fn a_signed_text_in_another_encoding_is_refused() {
    let log = Log::new(ORIGIN, 1);
    let root = STANDARD.encode(Digest::of(b"root").as_bytes());
    let verify = |text: &str| Checkpoint::verify(&log.sign_text(text), &log.key);
    assert!(verify(&format!("{ORIGIN}\n42\n{root}\ntime 7\n")).is_ok());
    for text in [
        format!("{ORIGIN}\n42\n{root}\n"),
        format!("{ORIGIN}\n042\n{root}\ntime 7\n"),
        format!("{ORIGIN}\n+42\n{root}\ntime 7\n"),
        format!("{ORIGIN}\n42\n{root}\ntime 07\n"),
        format!("{ORIGIN}\n42\n{root}\ntime +7\n"),
        format!("{ORIGIN}\n42\n{root}\ntime 7 \n"),
        format!("{ORIGIN}\n42\n{root}\nTime 7\n"),
        format!("{ORIGIN}\n42\n{root}\nother\ntime 7\n"),
        format!("{ORIGIN}\n42\n{root}\ntime 7\n\nx\n"),
        format!("{ORIGIN}\n42\n{}\ntime 7\n", &root[4..]),
        format!("{ORIGIN}\n18446744073709551616\n{root}\ntime 7\n"),
        format!("{ORIGIN}\n-1\n{root}\ntime 7\n"),
    ] {
        assert_eq!(verify(&text), Err(CheckpointError::Text), "{text:?} was accepted");
    }
    let many = "x\n".repeat(EXTENSIONS_MAX + 1);
    assert_eq!(verify(&format!("{ORIGIN}\n42\n{root}\ntime 7\n{many}")), Err(CheckpointError::Extension));
}

#[test]
fn extensions_are_short_lines() {
    let log = Log::new(ORIGIN, 1);
    for extension in ["", "two\nlines", "tab\t", &"x".repeat(257)] {
        let checkpoint = Checkpoint { extensions: vec![extension.to_owned()], ..checkpoint() };
        assert_eq!(log.sign(&checkpoint), Err(CheckpointError::Extension), "{extension:?} was accepted");
    }
}

#[test]
fn what_is_no_note_is_refused() {
    let log = Log::new(ORIGIN, 1);
    let note = log.sign(&checkpoint()).unwrap();
    let cosigned = |count| {
        let line = format!("\u{2014} {} AAAAAAA=\n", "w".repeat(240));
        [note.clone(), line.repeat(count).into_bytes()].concat()
    };
    assert!(Checkpoint::verify(&cosigned(40), &log.key).is_ok());
    let long = cosigned(80);
    for bytes in
        [&[][..], b"\n\n", &note[..note.len() - 1], &checkpoint().to_text().unwrap(), &long, &[0xff; 100]]
    {
        assert_eq!(Checkpoint::verify(bytes, &log.key), Err(CheckpointError::Note));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    #[test]
    fn every_flipped_bit_is_refused(size in any::<u64>(), time in any::<u64>(), root in any::<[u8; 32]>()) {
        let log = Log::new(ORIGIN, 1);
        let time = UnixMillis::new(time);
        let checkpoint = Checkpoint { size, time, root: Digest::from_bytes(root), ..checkpoint() };
        let note = log.sign(&checkpoint).unwrap();
        prop_assert_eq!(Checkpoint::verify(&note, &log.key), Ok(checkpoint));
        for bit in 0..note.len() * 8 {
            let mut flipped = note.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Checkpoint::verify(&flipped, &log.key).is_err(), "bit {} was not covered", bit);
        }
    }
}
