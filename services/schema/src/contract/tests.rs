use kopuro_core::digest::Digest;
use kopuro_core::id::MethodId;
use kopuro_proto::examples::kg::{civilregistry, socialfund, traffic};
use prost::Message as _;
use prost_reflect::prost_types::{FileDescriptorProto, FileDescriptorSet};
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage as _, Value};

use super::{Contract, ContractError, Excess};
use crate::testing::{NOW, call, descriptor_set, faults, load, method, source};
use crate::{Direction, Idempotency};

#[test]
fn the_examples_are_contracts() {
    for set in [
        socialfund::v1::FILE_DESCRIPTOR_SET,
        traffic::v1::FILE_DESCRIPTOR_SET,
        civilregistry::v1::FILE_DESCRIPTOR_SET,
        kopuro_proto::FILE_DESCRIPTOR_SET,
    ] {
        let contract = Contract::load(set).unwrap();
        assert_eq!(contract.digest(), Digest::of(set));
        assert_eq!(contract.descriptor_set(), set);
        assert!(contract.methods().all(|method| !method.is_streaming() && !method.is_deprecated()));
    }
}

#[test]
fn methods_are_found_with_what_they_declare() {
    let contract = Contract::load(traffic::v1::FILE_DESCRIPTOR_SET).unwrap();
    let services: Vec<_> = contract.services().into_iter().map(|name| name.as_str().to_owned()).collect();
    assert_eq!(services, ["kg.traffic.v1.ViolationService"]);
    let idempotency = |path| method(&contract, path).idempotency();
    assert_eq!(idempotency("/kg.traffic.v1.ViolationService/ListViolations"), Idempotency::NoSideEffects);
    assert_eq!(idempotency("/kg.traffic.v1.ViolationService/ConfirmNotice"), Idempotency::Idempotent);
    assert_eq!(idempotency("/kg.traffic.v1.ViolationService/RegisterPayment"), Idempotency::NonIdempotent);
    for absent in
        ["/kg.traffic.v1.ViolationService/listViolations", "/kg.traffic.v1.Violation/ListViolations"]
    {
        assert!(contract.method(&MethodId::parse_path(absent).unwrap()).is_none());
    }
}

#[test]
fn streams_and_deprecation_are_told() {
    let set = descriptor_set(
        "syntax = 'proto3'; package test.v1; message CallRequest {}
         service TestService {
           rpc Watch(CallRequest) returns (stream CallRequest);
           rpc Upload(stream CallRequest) returns (CallRequest);
           rpc Call(CallRequest) returns (CallRequest) { option deprecated = true; }
         }",
    );
    let contract = Contract::load(&set).unwrap();
    let told: Vec<_> =
        contract.methods().map(|method| (method.is_streaming(), method.is_deprecated())).collect();
    assert_eq!(told, [(false, true), (true, false), (true, false)]);
}

/// FORMATS.md, "Rules silently lost".
#[test]
fn a_rule_survives_loading() {
    let contract = Contract::load(socialfund::v1::FILE_DESCRIPTOR_SET).unwrap();
    let pension = method(&contract, "/kg.socialfund.v1.PensionService/GetPensionInfo");
    let faults = faults(pension, &malformed_pin());
    assert_eq!(faults, ["pin string.pattern"]);
}

#[test]
fn the_options_of_the_bus_survive_loading() {
    use kopuro_proto::options::v1::{DATA_SUBJECT, SENSITIVE};
    let contract = Contract::load(traffic::v1::FILE_DESCRIPTOR_SET).unwrap();
    let list = method(&contract, "/kg.traffic.v1.ViolationService/ListViolations");
    let set_on = |field: &str, option: &str| {
        let option = contract.pool().get_extension_by_name(option).unwrap();
        let field = list.input().get_field_by_name(field).unwrap();
        field.options().get_extension(&option).as_bool().unwrap()
    };
    assert!(set_on("pin", DATA_SUBJECT) && set_on("pin", SENSITIVE));
    assert!(!set_on("plate", DATA_SUBJECT) && set_on("plate", SENSITIVE));
    assert!(!set_on("with_image", SENSITIVE));
}

/// What loading must not do: decoding through prost's descriptor types loses options without a word.
#[test]
fn through_prost_types_every_rule_would_be_lost() {
    let set = FileDescriptorSet::decode(socialfund::v1::FILE_DESCRIPTOR_SET).unwrap();
    let stripped = DescriptorPool::from_file_descriptor_set(set).unwrap().encode_to_vec();
    let contract = Contract::load(&stripped).unwrap();
    let pension = method(&contract, "/kg.socialfund.v1.PensionService/GetPensionInfo");
    assert!(pension.validate(Direction::Request, &malformed_pin(), NOW).is_ok());
}

#[test]
fn a_rule_whose_definition_is_missing_is_refused() {
    let set = descriptor_set(&source(
        "message CallRequest { string a = 1 [(buf.validate.field).required = true]; }",
    ));
    let pool = prost_types_pool();
    let mut set = DynamicMessage::decode(pool, set.as_slice()).unwrap();
    let files = set.get_field_by_name_mut("file").unwrap().as_list_mut().unwrap();
    files.retain(|file| file_name(file) == "test.proto");
    for file in files {
        let Value::Message(file) = file else { panic!("files are messages") };
        file.clear_field_by_name("dependency");
    }
    let error = Contract::load(&set.encode_to_vec()).unwrap_err();
    assert!(matches!(error, ContractError::RulesUnreadable(of) if of == "test.v1.CallRequest"));
}

#[test]
fn what_is_no_descriptor_set_is_refused() {
    for bytes in [&b"\x0a"[..], b"\x0a\x05abc", b"\x08\x01", b"\xff", b"\x12\x00", b"\x0a\x02\x60\x01"] {
        assert!(matches!(Contract::load(bytes), Err(ContractError::Unreadable)), "{bytes:02x?}");
    }
    assert!(matches!(Contract::load(b""), Err(ContractError::NoMethod)));
    let set = traffic::v1::FILE_DESCRIPTOR_SET;
    for end in (0..set.len()).step_by(97) {
        assert!(Contract::load(&set[..end]).is_err(), "cut at {end}");
    }
    let large = vec![0; (1 << 20) + 1];
    let error = Contract::load(&large).unwrap_err();
    assert!(matches!(error, ContractError::Excess { excess: Excess::DescriptorSetSize, .. }));
}

#[test]
fn a_flipped_byte_is_refused_or_loads_but_never_panics() {
    let set = descriptor_set(
        "syntax = 'proto3'; package a.v1; message M { map<string, M> m = 1; oneof o { int32 i = 2; } }
         service S { rpc C(M) returns (M); }",
    );
    let mut flipped = set.clone();
    for place in 0..set.len() {
        for bit in 0..8 {
            flipped[place] ^= 1 << bit;
            let (Ok(_) | Err(_)) = Contract::load(&flipped);
            flipped[place] ^= 1 << bit;
        }
    }
}

/// FORMATS.md: edition 2023 panics prost-reflect.
#[test]
fn editions_are_refused() {
    let file =
        |syntax: &str| FileDescriptorProto { syntax: Some(syntax.into()), ..FileDescriptorProto::default() };
    let load = |file: &[u8]| Contract::load(&[&[0x0a, u8::try_from(file.len()).unwrap()], file].concat());
    let edition_2023 = [&file("editions").encode_to_vec()[..], &[0x70, 0xe8, 0x07]].concat();
    assert!(matches!(load(&edition_2023), Err(ContractError::Syntax)));
    assert!(matches!(load(&file("editions").encode_to_vec()), Err(ContractError::Syntax)));
    assert!(matches!(load(&[0x70, 0xe8, 0x07]), Err(ContractError::Syntax)));
    assert!(matches!(load(&file("proto4").encode_to_vec()), Err(ContractError::Syntax)));
}

#[test]
fn messages_of_methods_are_proto3() {
    let direct = "syntax = 'proto2'; package a.v1; message M { required int32 i = 1; } service S { rpc C(M) returns (M); }";
    assert!(
        matches!(Contract::load(&descriptor_set(direct)), Err(ContractError::NotProto3(of)) if of == "a.v1.M")
    );
    let nested = "syntax = 'proto3'; package a.v1; import 'google/protobuf/descriptor.proto';
         message M { google.protobuf.FieldOptions o = 1; } service S { rpc C(M) returns (M); }";
    let error = Contract::load(&descriptor_set(nested)).unwrap_err();
    assert!(matches!(error, ContractError::NotProto3(of) if of == "google.protobuf.FieldOptions"));
}

#[test]
fn types_nest_up_to_the_limit() {
    // 63 types beneath CallRequest.
    let chain = |types: usize| {
        let link =
            |n| format!("message T{n} {{ T{} next = 1 [(buf.validate.field).required = true]; }}\n", n + 1);
        let links: String = (1..types).map(link).collect();
        format!(
            "message CallRequest {{ T1 first = 1; }} {links} message T{types} {{ CallRequest again = 1; }}"
        )
    };
    assert!(on_small_stack(move || load(&chain(63)).is_ok()));
    let chain = |types: usize| {
        let links: String =
            (1..types).map(|n| format!("message T{n} {{ T{} next = 1; }}\n", n + 1)).collect();
        format!("message CallRequest {{ T1 first = 1; }} {links} message T{types} {{}}")
    };
    assert_eq!(excess(&chain(64)), Some(Excess::TypeNesting));
}

#[test]
fn types_and_fields_are_bounded() {
    let wide = |types: usize| {
        let fields: String = (1..=types).map(|n| format!("T{n} f{n} = {n};")).collect();
        let messages: String = (1..=types).map(|n| format!("message T{n} {{}}")).collect();
        format!("message CallRequest {{ repeated {} }} {messages}", fields.replace(";T", "; repeated T"))
    };
    assert_eq!(excess(&wide(998)), None);
    assert_eq!(excess(&wide(999)), Some(Excess::MessageTypes));
    let fields = |count: usize| {
        let fields: String = (1..=count).map(|n| format!("int32 f{n} = {n};")).collect();
        format!("message CallRequest {{ {fields} oneof o {{ int32 a = 5000; int32 b = 5001; }} }}")
    };
    assert_eq!(excess(&fields(255)), None);
    assert_eq!(excess(&fields(256)), Some(Excess::Fields));
}

#[test]
fn costly_rules_are_refused() {
    let cel = |expression: &str| {
        excess(&format!(
            "message CallRequest {{ repeated int32 a = 1; repeated int32 b = 2;
               option (buf.validate.message).cel = {{ id: 'x' message: 'x' expression: '{expression}' }}; }}"
        ))
    };
    assert_eq!(cel("this.a.all(x, x > 0)"), None);
    assert_eq!(cel("this.a.all(x, this.b.all(y, x != y))"), Some(Excess::CelComprehension));
    assert_eq!(cel(&format!("true{}", " ".repeat(1_100))), Some(Excess::CelSize));
    assert_eq!(cel(&format!("{}true", "!".repeat(129))), Some(Excess::CelDepth));
    let field = |rule: &str| {
        load(&format!("message CallRequest {{ repeated string a = 1 [(buf.validate.field).{rule}]; }}"))
    };
    let pattern = |pattern: &str| field(&format!("repeated.items.string.pattern = '{pattern}'"));
    assert!(pattern("^[0-9]{14}$").is_ok());
    assert!(matches!(
        pattern(&"a".repeat(513)),
        Err(ContractError::Excess { excess: Excess::PatternSize, .. })
    ));
    assert!(matches!(pattern("[0-9"), Err(ContractError::Pattern(_))));
    assert!(matches!(pattern(r"\\pL{900}"), Err(ContractError::Pattern(_))));
    assert!(matches!(
        field("cel = { id: 'x' expression: 'this.all(x, this.all(y, x != y))' }"),
        Err(ContractError::Excess { excess: Excess::CelComprehension, .. })
    ));
    assert!(matches!(
        field("repeated.items.cel_expression = 'this.all(x, this.all(y, x != y))'"),
        Err(ContractError::Excess { excess: Excess::CelComprehension, .. })
    ));
}

#[test]
fn predefined_rules_work_and_are_bounded() {
    let contract = |expression: &str| {
        load(&format!(
            "extend buf.validate.Int32Rules {{
               optional bool even = 1161 [(buf.validate.predefined).cel = {{
                 id: 'int32.even' message: 'must be even' expression: '{expression}' }}];
             }}
             message CallRequest {{ int32 a = 1 [(buf.validate.field).int32.(test.v1.even) = true]; }}"
        ))
    };
    let even = contract("this % 2 == 0").unwrap();
    assert_eq!(faults(call(&even), &[0x08, 0x02]), Vec::<String>::new());
    assert_eq!(faults(call(&even), &[0x08, 0x03]), ["a int32.even"]);
    assert!(matches!(
        contract("[1].all(x, [1].all(y, x == y))"),
        Err(ContractError::Excess { excess: Excess::CelComprehension, .. })
    ));
}

#[test]
fn a_costly_rule_cannot_hide_in_the_package_of_protovalidate() {
    let set = descriptor_set(
        "syntax = 'proto3'; package buf.validate; import 'buf/validate/validate.proto';
         extend Int32Rules {
           optional bool costly = 1161 [(predefined).cel = {
             id: 'x' expression: '[1].all(x, [1].all(y, x == y))' }];
         }
         message Hiding { int32 a = 1 [(field).int32.(costly) = true]; }
         service HidingService { rpc Hide(Hiding) returns (Hiding); }",
    );
    let error = Contract::load(&set).unwrap_err();
    assert!(matches!(error, ContractError::Excess { excess: Excess::CelComprehension, .. }));
}

#[test]
fn rules_that_do_not_compile_are_refused() {
    for body in [
        "message CallRequest { int32 a = 1 [(buf.validate.field).string.min_len = 1]; }",
        "message CallRequest { int32 a = 1 [(buf.validate.field).cel = { id: 'x' expression: 'this >' }]; }",
        "message CallRequest { option (buf.validate.message).cel = { id: 'x' expression: '((' }; }",
        "message CallRequest { Inner a = 1; } message Inner { int32 a = 1 [(buf.validate.field).cel_expression = ')']; }",
    ] {
        assert!(matches!(load(body), Err(ContractError::RulesUncompilable { .. })), "{body}");
    }
}

/// The deepest CEL within the bounds, loaded and evaluated on half the stack that a service has.
#[test]
fn the_deepest_cel_does_not_exhaust_a_stack() {
    let nested = |open: &str, inner: &str, close: &str, times: usize| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    let mut evaluated = 0;
    for expression in [
        nested("(", "true", ")", 64),
        nested("[", "1", "]", 22) + " == []",
        nested("{1: ", "1", "}", 22) + " == {}",
        nested("!(", "true", ")", 23),
        nested("-(", "1", ")", 22) + " == 1",
        nested("true?(", "true", "):true", 23),
        nested("size([", "1", "])", 10) + " == 1",
        format!("1{} == 1", "+1".repeat(22)),
        format!("this{} == 1", ".a".repeat(21)),
        format!("this{} == 1", "[0]".repeat(21)),
        format!("{}true", "true&&".repeat(63)),
        format!("{}true", "true?true:".repeat(23)),
        format!("[1].all(x, {})", nested("!(", "true", ")", 20)),
        format!("[1].map(x,x){}.all(x,x>0)", ".map(x,x)".repeat(7)),
    ] {
        evaluated += usize::from(on_small_stack(move || {
            let rule =
                format!("option (buf.validate.message).cel = {{ id: 'x' expression: '{expression}' }};");
            match load(&format!("message CallRequest {{ CallRequest a = 1; {rule} }}")) {
                Ok(contract) => {
                    let (Ok(()) | Err(_)) = call(&contract).validate(Direction::Request, &[], NOW);
                    true
                }
                Err(ContractError::Excess { excess: Excess::CelDepth, .. }) => {
                    eprintln!("refused: {expression}");
                    false
                }
                Err(error) => panic!("{error}: {expression}"),
            }
        }));
    }
    assert_eq!(evaluated, 14);
}

/// Runs on half the stack of a thread of the runtime.
fn on_small_stack<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap()
}

fn excess(body: &str) -> Option<Excess> {
    match load(body) {
        Ok(_) => None,
        Err(ContractError::Excess { excess, .. }) => Some(excess),
        Err(error) => panic!("{error}"),
    }
}

/// A GetPensionInfoRequest whose PIN has 13 digits.
fn malformed_pin() -> Vec<u8> {
    socialfund::v1::GetPensionInfoRequest {
        pin: "2150319580012".into(),
        requesting_organisation: "State Agency for Civil Service".into(),
        requesting_person_pin: "11207197500456".into(),
    }
    .encode_to_vec()
}

/// The type FileDescriptorSet in a pool that knows no custom options, so that they stay unknown fields.
fn prost_types_pool() -> prost_reflect::MessageDescriptor {
    FileDescriptorSet::default().descriptor()
}

fn file_name(file: &Value) -> String {
    let file = file.as_message().unwrap();
    file.get_field_by_name("name").unwrap().as_str().unwrap().to_owned()
}
