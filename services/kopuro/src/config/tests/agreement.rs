//! What does not agree would start, and never work.

use super::*;

/// The small configuration with more at its end, and the faults told of it.
fn faults_beside(more: &str) -> Vec<String> {
    Config::parse(&format!("{SMALL}\n{more}")).unwrap_err().0
}

fn system(subsystem: &str) -> String {
    format!("[[gateway.system]]\nsubsystem = \"{subsystem}\"\nendpoint = \"http://127.0.0.1:50051\"\n")
}

#[test]
fn two_gateways_are_told_apart() {
    let (head, gateway) = SMALL.split_at(SMALL.find("[[gateway]]").unwrap());
    let told = Config::parse(&format!("{head}{gateway}{gateway}{gateway}")).unwrap_err().0;
    assert_eq!(told, ["gateway[1].id: it is that of gateway[0]", "gateway[2].id: it is that of gateway[0]"]);
}

#[test]
fn a_member_and_a_system_are_named_once() {
    let member = &SMALL[SMALL.find("[[gateway.member]]").unwrap()..];
    assert_eq!(faults_beside(member), ["gateway[0].member[1].id: it is that of member[0]"]);
    let twice = system("KG/GOV/70000005/civil-registry").repeat(2);
    assert_eq!(faults_beside(&twice), ["gateway[0].system[1].subsystem: it is that of system[0]"]);
}

#[test]
fn a_system_belongs_to_a_member_of_its_gateway() {
    let systems = [system("KG/GOV/70000005/civil-registry"), system("KG/GOV/70000011/pensions")].concat();
    assert_eq!(
        faults_beside(&systems),
        [
            "gateway[0].system[1].subsystem: the gateway does not speak for its member: no [[gateway.member]] is \
          KG/GOV/70000011"
        ]
    );
    assert!(Config::parse(&format!("{SMALL}\n{}", system("KG/GOV/70000005/civil-registry"))).is_ok());
    // Whom the gateway speaks for is not known while a member is malformed, and this is a fault of its own.
    let text = format!("{SMALL}\n{}", system("KG/GOV/70000011/pensions"));
    let told = Config::parse(&text.replace("KG/GOV/70000005", "KG/GOV")).unwrap_err().0;
    assert!(told.len() == 1 && told[0].starts_with("gateway[0].member[0].id: "), "{told:?}");
}

#[test]
fn two_listeners_have_addresses_of_their_own() {
    let registry = "[registry]\nlisten = \"0.0.0.0:8443\"\ncertificate = \"r.crt.pem\"\nkey = \"r.key.pem\"\n\
                    checkpoint_key = \"c.key.pem\"\nattestation_key = \"a.key.pem\"\n";
    let text = SMALL
        .replace("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:8443\"\noperations = \"127.0.0.1:8443\"");
    let told = Config::parse(&format!("{text}{registry}")).unwrap_err().0;
    assert_eq!(
        told,
        [
            "gateway[0].listen: 0.0.0.0:8443 takes it already, for registry.listen",
            "gateway[0].operations: 0.0.0.0:8443 takes it already, for registry.listen",
        ]
    );
    let told = Config::parse(&text).unwrap_err().0;
    assert_eq!(told, ["gateway[0].operations: 127.0.0.1:8443 takes it already, for gateway[0].listen"]);
}

#[test]
fn a_process_without_its_role_would_do_nothing() {
    let read = |text: &str, roles| {
        let (config, notes) = Config::read(text, Path::new(""), roles).unwrap();
        sound(config, notes.into_faults())
    };
    let (head, _) = SMALL.split_at(SMALL.find("[[gateway]]").unwrap());
    let told = |text: &str, roles| read(text, roles).unwrap_err().0;
    assert_eq!(
        told(SMALL, Roles::Registry),
        ["registry: it is not there: a process that runs the registry would do nothing"]
    );
    assert_eq!(
        told(head, Roles::Gateways),
        ["gateway: none is there: a process that runs gateways would do nothing"]
    );
    assert_eq!(read(SMALL, Roles::Gateways).unwrap().gateways.len(), 1);
}
