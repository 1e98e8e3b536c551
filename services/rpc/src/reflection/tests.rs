//! With generated clients, over the services as they are routed.

use axum::Router;
use futures::StreamExt as _;
use kopuro_proto::examples::kg;
use prost::Message as _;
use prost_types::FileDescriptorProto;
use tonic::service::Routes;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use super::*;

const PENSIONS: &str = "kg.socialfund.v1.PensionService";

/// Shows one method of one service, to everybody.
struct OneMethod;

#[async_trait]
impl Disclosure for OneMethod {
    async fn shown_to(&self, caller: &Caller) -> Result<Vec<Shown>, Reason> {
        let methods = BTreeMap::from([(PENSIONS.to_owned(), BTreeSet::from(["GetPensionInfo".to_owned()]))]);
        let descriptor_set = Bytes::from_static(kg::socialfund::v1::FILE_DESCRIPTOR_SET);
        let shown = Shown { descriptor_set, methods };
        Ok(if caller.subsystems.is_empty() { Vec::new() } else { vec![shown] })
    }
}

fn router(subsystems: &[kopuro_core::id::SubsystemId]) -> Router {
    let disclosure: Arc<dyn Disclosure> = Arc::new(OneMethod);
    let (v1, v1alpha) = servers(&disclosure);
    let caller = Caller {
        key_id: kopuro_core::digest::KeyId::of_spki(b"key"),
        subsystems: subsystems.to_vec(),
        gateway: None,
        member: None,
    };
    let routes = Routes::new(v1).add_service(v1alpha);
    routes.into_axum_router().layer(axum::Extension(Arc::new(caller)))
}

async fn ask(router: Router, question: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: "gateway".into(), message_request: Some(question) };
    let questions = futures::stream::iter([request.clone()]);
    let mut client = ServerReflectionClient::new(Routes::from(router));
    let mut answers = client.server_reflection_info(questions).await.unwrap().into_inner();
    let ServerReflectionResponse { valid_host, original_request, message_response } =
        answers.next().await.unwrap().unwrap();
    assert_eq!((valid_host.as_str(), original_request), ("gateway", Some(request)));
    message_response.unwrap()
}

async fn services(router: Router) -> Vec<String> {
    match ask(router, MessageRequest::ListServices(String::new())).await {
        MessageResponse::ListServicesResponse(list) => {
            list.service.into_iter().map(|each| each.name).collect()
        }
        other => panic!("{other:?}"),
    }
}

async fn file(router: Router, question: MessageRequest) -> Option<FileDescriptorProto> {
    match ask(router, question).await {
        MessageResponse::FileDescriptorResponse(found) => {
            Some(FileDescriptorProto::decode(found.file_descriptor_proto[0].as_slice()).unwrap())
        }
        MessageResponse::ErrorResponse(error) => {
            assert_eq!(error.error_code, tonic::Code::NotFound as i32);
            None
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_caller_sees_what_it_may_call() {
    let own = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ];
    assert_eq!(services(router(&[])).await, own);
    let seen = services(router(&[crate::testing::subsystem()])).await;
    assert_eq!(seen, [own.as_slice(), &[PENSIONS]].concat());

    let symbol = |symbol: &str| MessageRequest::FileContainingSymbol(symbol.to_owned());
    let allowed = || router(&[crate::testing::subsystem()]);
    let pensions = file(allowed(), symbol(PENSIONS)).await.unwrap();
    let methods = |service: &prost_types::ServiceDescriptorProto| {
        service.method.iter().map(|method| method.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(pensions.service.iter().map(methods).collect::<Vec<_>>(), [["GetPensionInfo"]]);
    assert!(file(router(&[]), symbol(PENSIONS)).await.is_none());
    let hidden = hidden_method();
    assert!(file(allowed(), symbol(&hidden)).await.is_none(), "{hidden} is shown");
    assert!(file(allowed(), symbol(&format!("{PENSIONS}.GetPensionInfo"))).await.is_some());
}

/// A method that the contract has and that is not shown.
fn hidden_method() -> String {
    let set = prost_types::FileDescriptorSet::decode(kg::socialfund::v1::FILE_DESCRIPTOR_SET).unwrap();
    let services = set.file.iter().flat_map(|file| file.service.iter().map(move |service| (file, service)));
    let mut names = services.flat_map(|(file, service)| {
        service
            .method
            .iter()
            .map(move |method| format!("{}.{}.{}", file.package(), service.name(), method.name()))
    });
    names.find(|name| *name != format!("{PENSIONS}.GetPensionInfo")).expect("the contract has other methods")
}

#[tokio::test]
async fn imports_and_messages_are_found() {
    let allowed = || router(&[crate::testing::subsystem()]);
    let pensions = file(allowed(), MessageRequest::FileContainingSymbol(PENSIONS.to_owned())).await.unwrap();
    for import in &pensions.dependency {
        let found = file(allowed(), MessageRequest::FileByFilename(import.clone())).await;
        assert_eq!(found.unwrap().name(), import);
    }
    let message = format!("{}.{}", pensions.package(), pensions.message_type[0].name());
    assert!(file(allowed(), MessageRequest::FileContainingSymbol(message)).await.is_some());
}

#[tokio::test]
async fn the_details_of_a_status_are_found_by_anybody() {
    let symbol = |symbol: &str| MessageRequest::FileContainingSymbol(symbol.to_owned());
    for (message, name) in [
        ("google.rpc.ErrorInfo", "google/rpc/error_details.proto"),
        ("google.rpc.BadRequest.FieldViolation", "google/rpc/error_details.proto"),
        ("google.rpc.RetryInfo", "google/rpc/error_details.proto"),
        ("google.rpc.Status", "google/rpc/status.proto"),
    ] {
        let found = file(router(&[]), symbol(message)).await.unwrap();
        assert_eq!(found.name(), name);
        for import in &found.dependency {
            assert!(file(router(&[]), MessageRequest::FileByFilename(import.clone())).await.is_some());
        }
    }
}

#[tokio::test]
async fn the_older_reflection_answers_the_same() {
    use older::server_reflection_request::MessageRequest;
    use older::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1alpha as older;
    let asked = MessageRequest::FileContainingSymbol("google.rpc.ErrorInfo".to_owned());
    let request = older::ServerReflectionRequest { host: String::new(), message_request: Some(asked) };
    let routes = Routes::from(router(&[]));
    let mut client = older::server_reflection_client::ServerReflectionClient::new(routes);
    let answers = client.server_reflection_info(futures::stream::iter([request])).await;
    let answer = answers.unwrap().into_inner().next().await.unwrap().unwrap();
    let Some(MessageResponse::FileDescriptorResponse(found)) = answer.message_response else {
        panic!("{answer:?}");
    };
    let found = FileDescriptorProto::decode(found.file_descriptor_proto[0].as_slice()).unwrap();
    assert_eq!(found.name(), "google/rpc/error_details.proto");
}

#[test]
fn rules_survive_the_cut() {
    let methods = BTreeMap::from([(PENSIONS.to_owned(), BTreeSet::from(["GetPensionInfo".to_owned()]))]);
    let descriptor_set = Bytes::from_static(kg::socialfund::v1::FILE_DESCRIPTOR_SET);
    let files = Files::of(&[Shown { descriptor_set: descriptor_set.clone(), methods }]).unwrap();
    let cut = files.by_symbol(PENSIONS).unwrap();
    // The PIN's pattern stands in a custom option, which prost's own types would have dropped.
    let pattern = b"[012][0-3][0-9]";
    let holds = |bytes: &[u8]| bytes.windows(pattern.len()).any(|window| window == pattern);
    assert!(holds(&descriptor_set) && holds(cut));
}

#[test]
fn a_file_shown_whole_is_left_as_it_is() {
    let set = prost_types::FileDescriptorSet::decode(tonic_health::pb::FILE_DESCRIPTOR_SET).unwrap();
    let files = Files::of(&own_services()).unwrap();
    let health = files.by_symbol("grpc.health.v1.Health").unwrap();
    assert!(set.file.iter().any(|file| file.encode_to_vec() == health.as_ref()));
}

#[test]
fn malformed_descriptors_are_refused() {
    let shown =
        |bytes: &'static [u8]| Shown { descriptor_set: Bytes::from_static(bytes), methods: BTreeMap::new() };
    for bytes in [
        &b"\x0a"[..],
        b"\x0a\x05ab",
        b"\x0b",
        b"\x0a\x01\xff",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert_eq!(Files::of(&[shown(bytes)]).unwrap_err(), FilesError::Malformed, "{bytes:?}");
    }
}

#[test]
fn every_method_stands_in_the_table() {
    let none = [Vec::<String>::new(), Vec::new()];
    let v1 = table().differences(pb::v1::FILE_DESCRIPTOR_SET, &["grpc.reflection.v1.ServerReflection"]);
    let v1alpha =
        table().differences(pb::v1alpha::FILE_DESCRIPTOR_SET, &["grpc.reflection.v1alpha.ServerReflection"]);
    assert_eq!((v1, v1alpha), (none.clone(), none));
}
