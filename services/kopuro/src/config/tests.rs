use super::*;

const SMALL: &str = r#"
anchor = "anchor.toml"

[broker.embedded]
folder = "log"

[[gateway]]
id = "gw"
listen = "127.0.0.1:0"
certificate = "gw.crt.pem"
key = "gw.key.pem"
signing_key = "gw-signing.key.pem"

[[gateway.member]]
id = "KG/GOV/70000005"
secret = "secret"
sealing_keys = []
"#;

fn faults(text: &str) -> Vec<String> {
    Config::parse(text).unwrap_err().0
}

#[test]
fn a_small_configuration_is_taken() {
    let config = Config::parse(SMALL).unwrap();
    assert_eq!(config.gateways[0].members[0].id, "KG/GOV/70000005");
}

#[test]
fn all_unknown_keys_and_wrong_values_are_told_at_once() {
    let text = SMALL.replace("id = \"gw\"", "id = \"gw\"\ntypo = 1\nother_typo = 2\ncalls_max = 0");
    let text = text.replace("KG/GOV/70000005", "KG/GOV");
    let told = faults(&text);
    assert_eq!(told.len(), 4, "{told:?}");
    for expected in ["`gateway.0.typo`", "`gateway.0.other_typo`", "calls_max", "member[0].id"] {
        assert!(told.iter().any(|fault| fault.contains(expected)), "{expected}: {told:?}");
    }
}

#[test]
fn the_sample_configurations_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/config");
    let samples: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let samples: Vec<_> =
        samples.iter().filter(|path| path.extension().is_some_and(|kind| kind == "toml")).collect();
    assert!(samples.len() >= 3, "{samples:?}");
    for sample in samples {
        let text = std::fs::read_to_string(sample).unwrap();
        if let Err(faults) = Config::parse(&text) {
            panic!("{}: {faults}", sample.display());
        }
    }
}
