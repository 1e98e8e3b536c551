//! Commands to try on a development instance whose example systems answer.

use std::borrow::Cow;
use std::path::Path;

use crate::development::Development;
use crate::process::Process;

use super::PERSON;

/// A method of the examples that everybody may try: it only reads.
const METHOD: &str = "kg.socialfund.v1.PensionService/GetPensionInfo";

/// Commands for a person to copy into a shell in any folder, with the paths and ports of `process`; `program` is this one.
/// Empty when the portal's gateway does not run.
///
/// # Errors
/// When the working folder is not known.
pub fn commands(development: &Development, process: &Process, program: &Path) -> std::io::Result<String> {
    let Some(address) = process.gateway("gw-portal") else { return Ok(String::new()) };
    let portal = development.system("portal");
    let (chain, key) = (word(&portal.chain)?, word(&portal.key)?);
    let (authority, program) = (word(&development.tls_authority())?, word(program)?);
    let pin = PERSON.pin;
    let request = format!(
        r#"{{"pin":"{pin}","requesting_organisation":"Ministry of Digital Development","requesting_person_pin":"{pin}"}}"#
    );
    let grpcurl = format!("grpcurl -cacert {authority} -cert {chain} -key {key}");
    let mut text = format!(
        "  {program} call {METHOD} '{request}' \\\n    --connect https://{address} --certificate {chain} \\\n    \
         --key {key} --authority {authority}\n\n  \
         {grpcurl} \\\n    -d '{request}' \\\n    {address} {METHOD}\n\n  \
         {grpcurl} {address} list\n"
    );
    if let Some(operations) = process.operations("gw-portal") {
        text += &format!("\n  curl http://{operations}/readyz\n  curl http://{operations}/metrics\n");
    }
    Ok(text)
}

/// A path as a word of a shell, wherever that shell works.
fn word(path: &Path) -> std::io::Result<String> {
    let path = std::path::absolute(path)?;
    Ok(quoted(&path.to_string_lossy()).into_owned())
}

fn quoted(text: &str) -> Cow<'_, str> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+,:@".contains(letter);
    if text.chars().all(plain) { text.into() } else { format!("'{}'", text.replace('\'', r"'\''")).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted("/srv/kopuro/up-1.pem"), "/srv/kopuro/up-1.pem");
        assert_eq!(quoted("/home/Ainura B/it's"), r"'/home/Ainura B/it'\''s'");
    }
}
