//! Commands to try while the demonstration is held.

use crate::development::Development;
use crate::examples::PERSON;
use crate::process::Process;

#[allow(clippy::print_stdout, reason = "the commands are for a person to copy")]
pub(super) fn show(development: &Development, process: &Process) {
    let Some(address) = process.gateway("gw-portal") else { return };
    let (portal, authority) = (development.system("portal"), development.tls_authority());
    let (chain, key, authority) = (portal.chain.display(), portal.key.display(), authority.display());
    let request = format!(
        r#"{{"pin":"{}","requesting_organisation":"Ministry of Digital Development","requesting_person_pin":"{}"}}"#,
        PERSON.pin, PERSON.pin
    );
    let method = "kg.socialfund.v1.PensionService/GetPensionInfo";
    println!("\nheld; end it with Ctrl-C. Try, in another terminal:\n");
    println!(
        "  grpcurl -cacert {authority} -cert {chain} -key {key} \\\n    -d '{request}' \\\n    {address} {method}\n"
    );
    println!("  grpcurl -cacert {authority} -cert {chain} -key {key} {address} list\n");
    println!(
        "  kopuro call {method} '{request}' \\\n    --connect https://{address} --certificate {chain} --key {key} --authority {authority}\n"
    );
    if let Some(operations) = process.operations("gw-portal") {
        println!("  curl http://{operations}/readyz\n  curl http://{operations}/metrics\n");
    }
}
