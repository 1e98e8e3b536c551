mod agreement;
mod named_files;

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
sealing_keys = ["sealing.key.pem"]
"#;

/// The small configuration with replacements, and the faults told of it.
fn faults_with(replacements: &[(&str, &str)]) -> Vec<String> {
    let replace = |text: String, (from, to): &(&str, &str)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    };
    let text = replacements.iter().fold(SMALL.to_owned(), replace);
    let mut faults = Config::parse(&text).unwrap_err().0;
    faults.sort();
    faults
}

#[test]
fn a_small_configuration_is_taken() {
    let config = Config::parse(SMALL).unwrap();
    let gateway = &config.gateways[0];
    assert_eq!((gateway.members[0].id.as_str(), gateway.calls_max), ("KG/GOV/70000005", CALLS));
    assert_eq!(gateway.members[0].sealing_keys, [Path::new("sealing.key.pem")]);
    assert_eq!(config.telemetry.log_format, LogFormat::Text);
}

#[test]
fn no_fault_hides_another() {
    let told = faults_with(&[
        ("anchor = \"anchor.toml\"", "anchor = 7"),
        ("id = \"gw\"", "id = \"Gate way\"\ntypo = 1\ncalls_max = 0\noperations = \"nowhere\""),
        ("listen = \"127.0.0.1:0\"", "listen = true"),
        ("key = \"gw.key.pem\"\n", ""),
        ("KG/GOV/70000005", "KG/GOV"),
        ("[\"sealing.key.pem\"]", "[]"),
        ("folder = \"log\"", "folder = \"log\"\nfolders = 2"),
    ]);
    let places: Vec<_> = told.iter().map(|fault| fault.split_once(':').unwrap().0).collect();
    let expected = [
        "anchor",
        "broker.embedded.folders",
        "gateway[0].calls_max",
        "gateway[0].id",
        "gateway[0].key",
        "gateway[0].listen",
        "gateway[0].member[0].id",
        "gateway[0].member[0].sealing_keys",
        "gateway[0].operations",
        "gateway[0].typo",
    ];
    assert_eq!(places, expected, "{told:#?}");
}

#[test]
fn tables_of_another_form_are_told() {
    for (from, to, place) in [
        ("[[gateway]]", "[gateway]", "gateway: it is written [[gateway]]"),
        ("[broker.embedded]", "[broker.elsewhere]", "broker.embedded, kafka: one of them must be there"),
        ("[broker.embedded]", "[log]", "broker: [broker.embedded] or [broker.kafka] must be there"),
        ("anchor = \"anchor.toml\"", "registry = 5", "registry: it is not a table"),
        ("[[gateway.member]]", "[[gateway.members]]", "gateway[0].member: a gateway speaks for at least one"),
    ] {
        let told = faults_with(&[(from, to)]);
        assert!(told.iter().any(|fault| fault == place), "{place}: {told:?}");
    }
    let nothing =
        Config::parse("anchor = \"anchor.toml\"\n[broker.embedded]\nfolder = \"log\"").unwrap_err().0;
    assert_eq!(nothing, ["registry, gateway: neither is there: the process would do nothing"]);
    let told = Config::parse("anchor = ").unwrap_err().0;
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn what_is_no_table_is_told_once() {
    for (from, to, fault) in [
        ("[broker.embedded]", "broker = 5\n[log]", "broker: it is not a table"),
        ("[broker.embedded]", "broker.embedded = 5\n[log]", "broker.embedded: it is not a table"),
        ("[broker.embedded]", "broker.kafka = 5\n[log]", "broker.kafka: it is not a table"),
        ("[broker.embedded]", "telemetry = 5\n[broker.embedded]", "telemetry: it is not a table"),
    ] {
        let mut told = faults_with(&[(from, to)]);
        told.retain(|fault| fault != "log: unknown key");
        assert_eq!(told, [fault]);
    }
    let alone = "anchor = \"anchor.toml\"\nregistry = 5\n[broker.embedded]\nfolder = \"log\"";
    assert_eq!(Config::parse(alone).unwrap_err().0, ["registry: it is not a table"]);
}

#[test]
fn calls_in_flight_are_bounded() {
    let with = |calls_max: &str| [("id = \"gw\"", format!("id = \"gw\"\ncalls_max = {calls_max}"))];
    for calls_max in ["0", "2049", "9223372036854775807"] {
        let [(from, to)] = with(calls_max);
        let told = faults_with(&[(from, &to)]);
        assert_eq!(told, ["gateway[0].calls_max: it must be between 1 and 2048"]);
    }
    let [(from, to)] = with("2048");
    assert_eq!(Config::parse(&SMALL.replace(from, &to)).unwrap().gateways[0].calls_max, 2048);
}

#[test]
fn a_collector_is_told_where_it_is() {
    let with = |endpoint: &str| format!("{SMALL}\n[telemetry]\notlp_endpoint = \"{endpoint}\"\n");
    for good in ["http://127.0.0.1:4317", "http://collector.example:4317/", "http://[::1]:4317"] {
        assert!(Config::parse(&with(good)).is_ok(), "{good}");
    }
    for bad in [
        "ftp://x:1",
        "https://127.0.0.1:4317",
        "http://",
        "http:///v1/traces",
        "http://:4317",
        "http://x",
        "http://x:0",
        "http://x:4317/v1/traces",
        "http://me@x:4317",
        "x:4317",
        "",
    ] {
        let told = Config::parse(&with(bad)).unwrap_err().0;
        assert_eq!(
            told,
            ["telemetry.otlp_endpoint: it is not http://host:port: traces are sent without TLS"],
            "{bad}"
        );
    }
}

#[test]
fn every_fault_of_a_kafka_cluster_is_told() {
    let kafka = "[broker.kafka]\nbootstrap_servers = 1\nin_sync_replicas_min = 0\nrequest_timeout_ms = \"5\"\n\
                 [broker.kafka.tls]\nca = \"ca.pem\"\nserver = \"a\"";
    let told = faults_with(&[("[broker.embedded]\nfolder = \"log\"", kafka)]);
    let expected = [
        "broker.kafka.bootstrap_servers: invalid type: integer `1`, expected a sequence",
        "broker.kafka.request_timeout_ms: invalid type: string \"5\", expected u32",
        "broker.kafka.tls.certificate: it is missing",
        "broker.kafka.tls.key: it is missing",
        "broker.kafka.tls.server: unknown key",
        "broker.kafka: in_sync_replicas_min must be between 1 and replication_factor",
    ];
    assert_eq!(told, expected);
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
