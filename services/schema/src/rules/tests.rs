use prost::Message as _;

use kopuro_proto::examples::kg::socialfund::v1 as fund;
use kopuro_proto::examples::kg::traffic::v1 as traffic;

use super::{Panicked, RuleFault, contained, shortened};
use crate::testing::{NOW, call, fault_of, faults, load, method};
use crate::{Contract, Direction, InvalidKind, ValidateError};

const PIN: &str = "21503195800123";

#[test]
fn standard_rules_are_enforced() {
    let contract = Contract::load(fund::FILE_DESCRIPTOR_SET).unwrap();
    let pension = method(&contract, "/kg.socialfund.v1.PensionService/GetPensionInfo");
    let request = |pin: &str, organisation: &str| fund::GetPensionInfoRequest {
        pin: pin.into(),
        requesting_organisation: organisation.into(),
        requesting_person_pin: PIN.into(),
    };
    let check = |pin: &str, organisation: &str| faults(pension, &request(pin, organisation).encode_to_vec());
    assert_eq!(check(PIN, "Social Fund"), Vec::<String>::new());
    for pin in
        ["", "2150319580012", "215031958001234", "31503195800123", "2150319580012x", "21503195800123\n"]
    {
        assert_eq!(check(pin, "Social Fund"), ["pin string.pattern"], "{pin:?}");
    }
    assert_eq!(check(PIN, ""), ["requesting_organisation string.min_len"]);
    assert_eq!(check(PIN, &"я".repeat(201)), ["requesting_organisation string.max_len"]);
}

#[test]
fn a_response_is_held_to_its_own_message() {
    let contract = Contract::load(fund::FILE_DESCRIPTOR_SET).unwrap();
    let pension = method(&contract, "/kg.socialfund.v1.PensionService/GetPensionInfo");
    let mut dossiers = vec![fund::Dossier {
        dossier_number: "17/204".into(),
        pensioner_pin: PIN.into(),
        recipient_pin: PIN.into(),
        from_date: "2015-02-01".into(),
        kind: fund::PensionKind::OldAge.into(),
        ..fund::Dossier::default()
    }];
    dossiers.push(fund::Dossier { recipient_pin: "1".into(), kind: 9, ..dossiers[0].clone() });
    let response = fund::GetPensionInfoResponse { result_code: 0, pin_infos: Vec::new(), dossiers };
    let error = pension.validate(Direction::Response, &response.encode_to_vec(), NOW).unwrap_err();
    let ValidateError::Invalid(invalid) = error else { panic!("the response breaks rules") };
    let told: Vec<_> = invalid.violations.iter().map(|v| format!("{} {}", v.field_path, v.rule_id)).collect();
    assert_eq!(invalid.kind, InvalidKind::Rules);
    assert_eq!(
        told,
        [
            "result_code enum.not_in",
            "dossiers[1].recipient_pin string.pattern",
            "dossiers[1].kind enum.defined_only"
        ]
    );
}

#[test]
fn a_rule_over_fields_is_enforced_and_told_in_the_contracts_words() {
    let contract = Contract::load(fund::FILE_DESCRIPTOR_SET).unwrap();
    let account = method(&contract, "/kg.socialfund.v1.PersonalAccountService/GetAccountData");
    let request = |begin: &str, end: &str| {
        fund::GetAccountDataRequest { pin: PIN.into(), begin_date: begin.into(), end_date: end.into() }
            .encode_to_vec()
    };
    assert_eq!(fault_of(account, &request("2024-01-01", "2024-01-01")), None);
    let invalid = fault_of(account, &request("2024-01-02", "2024-01-01")).unwrap();
    let [violation] = invalid.violations.as_slice() else { panic!("one violation expected") };
    assert_eq!(violation.rule_id, "account_data.begin_not_after_end");
    assert_eq!(violation.description, "begin_date must not be after end_date");
}

#[test]
fn payments_are_held_to_their_ranges() {
    let contract = Contract::load(traffic::FILE_DESCRIPTOR_SET).unwrap();
    let payment = method(&contract, "/kg.traffic.v1.ViolationService/RegisterPayment");
    let valid = traffic::RegisterPaymentRequest {
        payment_number: "1000000000123".into(),
        payer_pin: PIN.into(),
        amount_tyiyn: 300_000,
        paid_time: Some(NOW.to_proto()),
        bank_reference: "RSK-20260317-77".into(),
    };
    assert_eq!(faults(payment, &valid.encode_to_vec()), Vec::<String>::new());
    let unpaid = traffic::RegisterPaymentRequest { amount_tyiyn: 0, paid_time: None, ..valid };
    assert_eq!(
        faults(payment, &unpaid.encode_to_vec()),
        ["amount_tyiyn int64.gte_lte", "paid_time required"]
    );
}

/// No violation may repeat what the payload says: it goes into logs and into answers to third parties.
#[test]
fn violations_repeat_no_value() {
    let contract = load(
        "message CallRequest {
           string a = 1 [(buf.validate.field).cel = { id: 'echo' expression: \"'bad value: ' + this\" }];
           map<string, string> b = 2 [(buf.validate.field).map.values.string.max_len = 2];
           string c = 3 [(buf.validate.field).string.email = true];
           option (buf.validate.message).cel_expression = \"'bad: ' + this.a\";
         }",
    )
    .unwrap();
    let secret = b"S3CR3T";
    let entry = [&[0x0a, 6][..], secret, &[0x12, 6], secret].concat();
    let payload =
        [&[0x0a, 6][..], secret, &[0x12, u8::try_from(entry.len()).unwrap()], &entry, &[0x1a, 6], secret]
            .concat();
    let invalid = fault_of(call(&contract), &payload).unwrap();
    let paths: Vec<_> = invalid.violations.iter().map(|violation| violation.field_path.as_str()).collect();
    assert_eq!(paths, ["", "a", "b[*]", "c"]);
    assert!(invalid.violations.iter().all(|violation| !violation.description.is_empty()));
    assert!(!format!("{invalid:?} {:?}", invalid.to_bad_request()).contains("S3CR3T"));
}

#[test]
fn a_rule_that_fails_is_a_fault_of_the_contract() {
    let contract = load(
        "message CallRequest {
           int32 a = 1 [(buf.validate.field).cel = { id: 'ratio' expression: '10 / this > 1' }];
         }",
    )
    .unwrap();
    let error = call(&contract).validate(Direction::Request, &[], NOW).unwrap_err();
    let ValidateError::Fault(fault) = error else { panic!("the rule cannot be evaluated") };
    assert_eq!(fault, RuleFault::Failed { rule_id: Some("ratio".into()) });
}

#[test]
fn now_is_when_the_caller_says() {
    let contract = load(
        "import 'google/protobuf/timestamp.proto';
         message CallRequest { google.protobuf.Timestamp at = 1 [(buf.validate.field).timestamp.lt_now = true]; }",
    )
    .unwrap();
    let at = NOW.minus(std::time::Duration::from_secs(60)).to_proto().encode_to_vec();
    let payload = [&[0x0a, u8::try_from(at.len()).unwrap()], at.as_slice()].concat();
    assert_eq!(fault_of(call(&contract), &payload), None);
    let earlier = NOW.minus(std::time::Duration::from_secs(120));
    assert!(call(&contract).validate(Direction::Request, &payload, earlier).is_err());
}

#[test]
fn contracts_do_not_share_rules_of_types_with_one_name() {
    let limited = |max: usize| {
        load(&format!(
            "message CallRequest {{ string a = 1 [(buf.validate.field).string.max_len = {max}]; }}"
        ))
        .unwrap()
    };
    let (strict, lax) = (limited(1), limited(2));
    assert_eq!(faults(call(&strict), b"\x0a\x02ab"), ["a string.max_len"]);
    assert_eq!(fault_of(call(&lax), b"\x0a\x02ab"), None);
    assert_eq!(faults(call(&strict), b"\x0a\x02ab"), ["a string.max_len"]);
}

#[test]
fn rules_are_found_beneath_messages_without_any() {
    let contract = load(
        "message CallRequest { repeated Middle middles = 1; map<string, Middle> named = 2; }
         message Middle { CallRequest again = 1; Leaf leaf = 2; }
         message Leaf { int32 a = 1 [(buf.validate.field).int32.gt = 0]; }",
    )
    .unwrap();
    assert_eq!(faults(call(&contract), b"\x0a\x02\x12\x00"), ["middles[0].leaf.a int32.gt"]);
}

/// The deepest payload that the scan lets through, on half the stack of a thread of the runtime.
#[test]
fn the_deepest_payload_does_not_exhaust_a_stack() {
    let told = std::thread::Builder::new().stack_size(1 << 20).spawn(|| {
        let contract = load(
            "message CallRequest {
               repeated CallRequest children = 1; string name = 2 [(buf.validate.field).string.max_len = 1];
               option (buf.validate.message).cel = { id: 'x' expression: 'size(this.children) < 2' };
             }",
        )
        .unwrap();
        let nest = |inner: Vec<u8>, _level| {
            let mut outer = vec![0x0a];
            prost::encode_length_delimiter(inner.len(), &mut outer).unwrap();
            [outer, inner].concat()
        };
        faults(call(&contract), &(1..32).fold(b"\x12\x02ab".to_vec(), nest))
    });
    let told = told.unwrap().join().unwrap();
    assert_eq!(told, [format!("{}name string.max_len", "children[0].".repeat(31))]);
}

#[test]
fn a_panic_is_contained() {
    assert!(matches!(contained(|| [0_u8; 0].first().copied().unwrap()), Err(Panicked)));
}

#[test]
fn texts_are_cut_between_characters() {
    assert_eq!(shortened(&"я".repeat(200)).chars().count(), 128);
    assert_eq!(shortened(&format!("a{}", "я".repeat(200))).len(), 255);
    assert_eq!(shortened("short"), "short");
}
