//! The `openssl` program as an independent oracle for tests.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// The DSSE pre-authentication encoding, written here once more so that the oracle shares no code with the
/// product: `DSSEv1 SP LEN(type) SP type SP LEN(body) SP body`.
pub(crate) fn pae(payload_type: &str, body: &[u8]) -> Vec<u8> {
    let header = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), body.len());
    [header.as_bytes(), body].concat()
}

/// The program, and a folder for its files.
pub(crate) struct Openssl {
    folder: tempfile::TempDir,
}

impl Openssl {
    /// Finds the program; `None`, named as skipped, where it is not installed. In CI it must be.
    pub(crate) fn find(test: &str) -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success()) {
            return Some(Self { folder: tempfile::tempdir().unwrap() });
        }
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{test} needs openssl, and may not be skipped in CI"
        );
        eprintln!("SKIPPED {test}: openssl is not installed");
        None
    }

    /// Asserts that the program verifies an ECDSA signature over SHA-256 of `message`, and no other message.
    pub(crate) fn accepts_p256(&self, message: &[u8], signature: &[u8], spki_der: &[u8]) {
        let (key, sig) = (self.file("pub.der", spki_der), self.file("sig.der", signature));
        let verify = |body: &[u8]| {
            let mut dgst = Command::new("openssl");
            dgst.args(["dgst", "-sha256", "-keyform", "DER", "-verify"])
                .arg(&key)
                .arg("-signature")
                .arg(&sig);
            dgst.arg(self.file("body", body)).output().unwrap()
        };
        assert_verdicts(&verify(message), &verify(&[message, b"x"].concat()));
    }

    /// Asserts that the program verifies an Ed25519 signature over `message`, and no other message.
    pub(crate) fn accepts_ed25519(&self, message: &[u8], signature: &[u8], spki_der: &[u8]) {
        let (key, sig) = (self.file("pub.der", spki_der), self.file("sig.der", signature));
        let verify = |body: &[u8]| {
            let mut pkeyutl = Command::new("openssl");
            pkeyutl.args(["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-rawin", "-inkey"]).arg(&key);
            pkeyutl.arg("-sigfile").arg(&sig).arg("-in").arg(self.file("body", body)).output().unwrap()
        };
        assert_verdicts(&verify(message), &verify(&[message, b"x"].concat()));
    }

    /// Makes a private key and returns its file, which the program writes for its owner only.
    pub(crate) fn genpkey(&self, arguments: &[&str]) -> PathBuf {
        let path = self.folder.path().join("key.pem");
        let output =
            Command::new("openssl").arg("genpkey").args(arguments).arg("-out").arg(&path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        path
    }

    /// Asserts that the program finds a path from the first certificate of `chain` to `root`, by its strict rules.
    pub(crate) fn verifies_chain(&self, root: &str, chain: &str, purpose: &str, at_unix_s: u64) {
        let (root, chain) =
            (self.file("root.pem", root.as_bytes()), self.file("chain.pem", chain.as_bytes()));
        let mut verify = Command::new("openssl");
        verify.args([
            "verify",
            "-x509_strict",
            "-purpose",
            purpose,
            "-attime",
            &at_unix_s.to_string(),
            "-CAfile",
        ]);
        let output = verify.arg(root).arg("-untrusted").arg(&chain).arg(&chain).output().unwrap();
        assert!(output.status.success(), "openssl refused a good chain: {output:?}");
    }

    /// The public key in PEM that the program derives from a private one.
    pub(crate) fn public_of(&self, private_pem: &str) -> String {
        let key = self.file("private.pem", private_pem.as_bytes());
        let output = Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(key).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn assert_verdicts(right: &Output, wrong: &Output) {
    assert!(right.status.success(), "openssl refused a good signature: {right:?}");
    assert!(!wrong.status.success(), "openssl accepted a wrong message: {wrong:?}");
}
