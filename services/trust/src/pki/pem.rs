//! PEM as RFC 7468 writes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// The length of a line. **Units:** characters.
const LINE_LEN: usize = 64;

pub(super) fn certificate(der: &[u8]) -> String {
    encode("CERTIFICATE", der)
}

pub(super) fn public_key(spki_der: &[u8]) -> String {
    encode("PUBLIC KEY", spki_der)
}

pub(super) fn private_key(pkcs8_der: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(encode("PRIVATE KEY", pkcs8_der))
}

fn encode(label: &str, der: &[u8]) -> String {
    let body = Zeroizing::new(STANDARD.encode(der));
    // Room for all of it: a text that grows would leave copies of a key behind.
    let mut text = String::with_capacity(body.len() + body.len() / LINE_LEN + 2 * label.len() + 40);
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE_LEN));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
