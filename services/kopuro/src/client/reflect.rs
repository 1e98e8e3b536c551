//! Schemas by server reflection, and JSON by schemas.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kopuro_core::id::MethodId;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions};
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use tonic_reflection::pb::v1 as wire;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::{Client, ClientError};

/// The most files that a server may make this client read.
const FILES_MAX: usize = 1_000;

const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// The method as the server shows it.
pub(super) async fn method(
    client: &Client,
    id: &MethodId,
    limit: Duration,
) -> Result<MethodDescriptor, ClientError> {
    let pool = describe(client, id.service().as_str(), limit).await?;
    let shown = pool.get_service_by_name(id.service().as_str());
    let method = shown.and_then(|service| service.methods().find(|method| method.name() == id.method()));
    method.ok_or_else(|| ClientError::NotShown(id.to_string()))
}

/// The schemas of a service and all that they import, as the server shows them.
///
/// # Errors
/// [`ClientError`].
pub async fn describe(
    client: &Client,
    service: &str,
    limit: Duration,
) -> Result<DescriptorPool, ClientError> {
    let mut files = BTreeMap::new();
    let mut asked = vec![MessageRequest::FileContainingSymbol(service.to_owned())];
    while let Some(request) = asked.pop() {
        for file in ask(client, service, request, limit).await? {
            let imported = file.dependency.iter().filter(|name| !files.contains_key(*name));
            asked.extend(imported.map(|name| MessageRequest::FileByFilename(name.clone())));
            files.insert(file.name().to_owned(), file);
        }
        asked.retain(
            |request| !matches!(request, MessageRequest::FileByFilename(name) if files.contains_key(name)),
        );
        if files.len() > FILES_MAX {
            return Err(ClientError::Broken);
        }
    }
    let file = files.into_values().collect();
    DescriptorPool::from_file_descriptor_set(FileDescriptorSet { file }).map_err(|_| ClientError::Broken)
}

async fn ask(
    client: &Client,
    service: &str,
    request: MessageRequest,
    limit: Duration,
) -> Result<Vec<FileDescriptorProto>, ClientError> {
    let request = wire::ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let answered = client.unary(REFLECTION, &[], &request, limit).await?;
    let not_shown = || ClientError::NotShown(service.to_owned());
    let response: wire::ServerReflectionResponse = answered.map_err(|_| not_shown())?;
    let Some(MessageResponse::FileDescriptorResponse(files)) = response.message_response else {
        return Err(not_shown());
    };
    let files = files.file_descriptor_proto.iter().map(|file| FileDescriptorProto::decode(file.as_slice()));
    files.collect::<Result<_, _>>().map_err(|_| ClientError::Broken)
}

pub(super) fn from_json(message: MessageDescriptor, json: &str) -> Result<Bytes, ClientError> {
    let name = message.full_name().to_owned();
    let fault = |error: serde_json::Error| ClientError::Json(name.clone(), error.to_string());
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let read = DynamicMessage::deserialize(message, &mut deserializer).map_err(fault)?;
    deserializer.end().map_err(fault)?;
    Ok(read.encode_to_vec().into())
}

pub(super) fn to_json(message: MessageDescriptor, bytes: &Bytes) -> Result<Bytes, ClientError> {
    let read = DynamicMessage::decode(message, bytes.clone()).map_err(|_| ClientError::Broken)?;
    let mut json = serde_json::Serializer::pretty(Vec::new());
    let options = SerializeOptions::new().use_proto_field_name(true);
    read.serialize_with_options(&mut json, &options).map_err(|_| ClientError::Broken)?;
    Ok(json.into_inner().into())
}
