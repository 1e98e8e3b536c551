use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Everything that can be recorded, once.
fn recorded() -> Arc<Metrics> {
    let process = Metrics::new();
    let gateway = process.of_gateway("gw-portal");
    for role in Role::ALL {
        drop(gateway.in_flight(*role));
        Ending::ALL.iter().for_each(|ending| gateway.exchange_ended(*role, *ending));
        Reason::ALL.iter().for_each(|reason| gateway.refused(*role, *reason));
    }
    Stage::ALL.iter().for_each(|stage| gateway.stage(*stage, Duration::from_micros(60)));
    Alarm::ALL.iter().for_each(|alarm| gateway.alarm(*alarm));
    Direction::ALL.iter().for_each(|direction| gateway.broker_record(*direction, 700));
    gateway.dead_letter(Reason::RecordMalformed);
    gateway.set_broker_lag(&SubsystemId::parse("KG/GOV/70000001/portal").unwrap(), 3);
    process.set_registry(9, Duration::from_secs(2));
    process
}

/// The families by the names of their samples, counters with `_total`, with the values that each label takes.
fn families(text: &str) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let mut found: BTreeMap<String, BTreeMap<_, BTreeSet<_>>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let name =
            ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        let family = found.entry(name.to_owned()).or_default();
        for (label, value) in
            labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='))
        {
            family.entry(label.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
        }
    }
    found
}

#[test]
fn what_is_recorded_is_shown() {
    let metrics = Metrics::new();
    metrics.refused(Role::Provider, Reason::AccessDenied);
    metrics.stage(Stage::Verify, Duration::from_micros(60));
    let guard = metrics.in_flight(Role::Consumer);
    let text = metrics.encode();
    assert!(
        text.contains(r#"kopuro_exchange_refusals_total{role="provider",reason="ACCESS_DENIED"} 1"#),
        "{text}"
    );
    assert!(text.contains(r#"kopuro_exchange_in_flight{role="consumer"} 1"#), "{text}");
    assert!(text.contains(r#"kopuro_exchange_stage_seconds_count{stage="verify"} 1"#), "{text}");
    drop(guard);
    assert!(metrics.encode().contains(r#"kopuro_exchange_in_flight{role="consumer"} 0"#));
}

#[test]
fn gateways_of_one_process_are_told_apart() {
    let process = Metrics::new();
    let [portal, pensions] = ["gw-portal", "gw-pensions"].map(|id| process.of_gateway(id));
    portal.exchange_ended(Role::Consumer, Ending::Message);
    pensions.exchange_ended(Role::Provider, Ending::Message);
    let connected = portal.connection();
    for shown in [&process, &portal, &pensions].map(|metrics| metrics.encode()) {
        for line in [
            r#"kopuro_exchanges_total{gateway="gw-portal",role="consumer",ending="message"} 1"#,
            r#"kopuro_exchanges_total{gateway="gw-pensions",role="provider",ending="message"} 1"#,
            r#"kopuro_rpc_connections{gateway="gw-portal"} 1"#,
            r#"kopuro_rpc_connections{gateway="gw-pensions"} 0"#,
            "kopuro_rpc_connections{} 0",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line} in {shown}");
        }
    }
    drop(connected);
}

#[test]
fn an_alarm_stands_at_zero_until_it_is_raised() {
    let process = Metrics::new();
    let _gateway = process.of_gateway("gw-portal");
    let text = process.encode();
    for alarm in Alarm::ALL {
        let gateway = if alarm.is_of_process() { "" } else { r#"gateway="gw-portal","# };
        let line = format!(r#"kopuro_exchange_alarms_total{{{gateway}alarm="{}"}} 0"#, alarm.name());
        assert!(text.lines().any(|shown| shown == line), "{line} in {text}");
    }
}

/// **Source:** Prometheus, "Metric and label naming"; the grammar of this project for names.
#[test]
fn names_and_labels_keep_to_the_rules() {
    let text = recorded().encode();
    let snake = |text: &str| {
        text.chars().all(|each| each == '_' || each.is_ascii_lowercase() || each.is_ascii_digit())
    };
    for (name, labels) in families(&text) {
        assert!(name.starts_with("kopuro_") && snake(&name), "{name}");
        let words: Vec<_> =
            name.trim_end_matches("_total").split('_').map(|word| word.trim_end_matches('s')).collect();
        assert!(words.iter().collect::<BTreeSet<_>>().len() == words.len(), "{name} stutters");
        let counter = text.contains(&format!("# TYPE {} counter\n", name.trim_end_matches("_total")));
        assert_eq!(counter, name.ends_with("_total"), "{name}");
        for (label, values) in labels {
            assert!(snake(&label), "{name}: {label}");
            for value in values {
                let fits = match label.as_str() {
                    "reason" => Reason::parse(&value).is_some(),
                    "gateway" => value == "gw-portal",
                    "subsystem" => SubsystemId::parse(&value).is_ok(),
                    "le" => value == "+Inf" || value.parse::<f64>().is_ok(),
                    _ => !value.is_empty() && snake(&value),
                };
                assert!(fits, "{name}: {label}={value}");
            }
        }
    }
}

#[test]
fn every_metric_is_documented_and_none_is_made_up() {
    let page = include_str!("../../../../docs/metrics.md");
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `kopuro_")).collect();
    let documented: BTreeSet<_> = rows.iter().map(|row| row.split('`').nth(1).unwrap().to_owned()).collect();
    let families = families(&recorded().encode());
    assert_eq!(documented, families.keys().cloned().collect());
    for (name, labels) in families {
        let row = rows.iter().find(|row| row.contains(&format!("`{name}`"))).unwrap();
        for (label, values) in labels.into_iter().filter(|(label, _)| label != "le") {
            assert!(row.contains(&format!("`{label}`")), "{name} has the label {label}");
            let closed = !["gateway", "subsystem", "reason"].contains(&label.as_str());
            for value in values.into_iter().filter(|_| closed) {
                assert!(page.contains(&format!("`{value}`")), "{name}: {label}={value}");
            }
        }
    }
}
