//! The two reflection services. They differ in their packages only, and so one macro writes both.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use kopuro_core::error::{Reason, Refusal};
use tonic::{Request, Response, Status, Streaming};
use tonic_reflection::pb;

use super::{Disclosure, Files, files_for};
use crate::callers::Caller;
use crate::status;

/// The most questions answered on one stream.
const QUESTIONS_MAX: usize = 1024;

/// The two services, ready to be routed.
pub fn servers(
    disclosure: &Arc<dyn Disclosure>,
) -> (
    pb::v1::server_reflection_server::ServerReflectionServer<ReflectionV1>,
    pb::v1alpha::server_reflection_server::ServerReflectionServer<ReflectionV1Alpha>,
) {
    let (v1, v1alpha) = (ReflectionV1(Arc::clone(disclosure)), ReflectionV1Alpha(Arc::clone(disclosure)));
    (
        pb::v1::server_reflection_server::ServerReflectionServer::new(v1),
        pb::v1alpha::server_reflection_server::ServerReflectionServer::new(v1alpha),
    )
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn caller_of<T>(request: &Request<T>) -> Result<Arc<Caller>, Status> {
    let caller = request.extensions().get::<Arc<Caller>>().cloned();
    caller.ok_or_else(|| refused(Reason::CertificateRequired))
}

fn refused(reason: Reason) -> Status {
    status::to_status(&Refusal::new(reason), None)
}

macro_rules! reflection {
    ($service:ident, $package:ident, $doc:literal) => {
        #[doc = $doc]
        pub struct $service(Arc<dyn Disclosure>);

        const _: () = {
            use pb::$package::server_reflection_request::MessageRequest;
            use pb::$package::server_reflection_response::MessageResponse;
            use pb::$package::server_reflection_server::ServerReflection;
            use pb::$package::{
                ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
                ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
            };

            #[tonic::async_trait]
            impl ServerReflection for $service {
                type ServerReflectionInfoStream = Answers<ServerReflectionResponse>;

                async fn server_reflection_info(
                    &self,
                    request: Request<Streaming<ServerReflectionRequest>>,
                ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
                    let caller = caller_of(&request)?;
                    let files = files_for(&self.0, &caller).await.map_err(refused)?;
                    let questions = request.into_inner().take(QUESTIONS_MAX);
                    let answers =
                        questions.map(move |question| question.map(|question| answer(&files, question)));
                    Ok(Response::new(Box::pin(answers)))
                }
            }

            fn answer(files: &Files, question: ServerReflectionRequest) -> ServerReflectionResponse {
                let response = match &question.message_request {
                    Some(MessageRequest::ListServices(_)) => {
                        let service = files.services().map(|name| ServiceResponse { name: name.to_owned() });
                        MessageResponse::ListServicesResponse(ListServiceResponse {
                            service: service.collect(),
                        })
                    }
                    Some(MessageRequest::FileByFilename(name)) => file(files.by_name(name)),
                    Some(MessageRequest::FileContainingSymbol(symbol)) => file(files.by_symbol(symbol)),
                    Some(MessageRequest::AllExtensionNumbersOfType(name)) => {
                        let response = ExtensionNumberResponse {
                            base_type_name: name.clone(),
                            extension_number: Vec::new(),
                        };
                        MessageResponse::AllExtensionNumbersResponse(response)
                    }
                    Some(MessageRequest::FileContainingExtension(_)) => file(None),
                    None => error(tonic::Code::InvalidArgument, "the question is empty"),
                };
                ServerReflectionResponse {
                    valid_host: question.host.clone(),
                    original_request: Some(question),
                    message_response: Some(response),
                }
            }

            fn file(found: Option<&bytes::Bytes>) -> MessageResponse {
                match found {
                    Some(file) => MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
                        file_descriptor_proto: vec![file.to_vec()],
                    }),
                    None => error(tonic::Code::NotFound, "nothing of that name is shown to the caller"),
                }
            }

            fn error(code: tonic::Code, message: &str) -> MessageResponse {
                let error_message = message.to_owned();
                MessageResponse::ErrorResponse(ErrorResponse { error_code: code as i32, error_message })
            }
        };
    };
}

reflection!(ReflectionV1, v1, "`grpc.reflection.v1`.");
reflection!(ReflectionV1Alpha, v1alpha, "`grpc.reflection.v1alpha`.");
