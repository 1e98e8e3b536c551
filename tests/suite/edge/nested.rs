//! A message that may hold itself: registered at run time, called as deep as the bus allows, and far deeper.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{HeaderMap, Request};
use kopuro_core::error::Reason;
use kopuro_rpc::unary;
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::method_options::IdempotencyLevel;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    MethodOptions, ServiceDescriptorProto,
};
use tonic::Code;

use super::cases::nested;
use crate::node::Node;
use crate::registry::set;
use crate::wire::{Seen, Wire, framed};

/// The depth that the bus takes, by its documentation.
const DEPTH_MAX: usize = 32;
/// How soon a contract and a right act.
const REGISTERED_LIMIT: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_message_within_itself_is_taken_to_a_depth_and_no_further() {
    let node = Node::start([("violations", Router::new().fallback(echo))]).await;
    register(&node).await;
    let portal = node.wire("portal", "gw-portal").await;
    let known = until_known(&portal).await;
    assert_eq!(known.status.code(), Code::Ok, "{:?}", known.status);

    let allowed = framed(0, &nested(1, DEPTH_MAX - 1));
    let seen = grow(&portal, allowed.clone()).await;
    assert_eq!(seen.status.code(), Code::Ok, "{:?}", seen.status);
    assert_eq!(seen.message, allowed, "the bytes carried are the bytes received");
    for depth in [DEPTH_MAX + 1, 10_000] {
        let seen = grow(&portal, framed(0, &nested(1, depth))).await;
        let told = (seen.reason(), seen.status.code());
        assert_eq!(told, (Some(Reason::PayloadMalformed), Code::InvalidArgument), "{depth} deep");
        assert_eq!(seen.exchange().len(), 36);
        assert_eq!(grow(&portal, allowed.clone()).await.status.code(), Code::Ok, "after {depth} deep");
    }
    node.stop().await;
}

/// The traffic police registers the contract, and lets the portal in.
async fn register(node: &Node) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), contract().encode_to_vec()).unwrap();
    let provider = "KG/GOV/70000023/violations";
    let path = file.path().display().to_string();
    let contract = ["contract", PACKAGE, "--subsystem", provider, "--descriptor-set", &path];
    let consumer = ["--consumer", "KG/GOV/70000001/portal"];
    let right = ["right", "--provider", provider, "--service", "kg.traffic.tree.v1.TreeService"];
    for resource in [&contract[..], &[&right[..], &consumer].concat()] {
        let output = set(node, "70000023", resource).await;
        assert!(output.status.success(), "{output:?}");
    }
}

async fn until_known(portal: &Wire) -> Seen {
    let since = Instant::now();
    loop {
        let seen = grow(portal, framed(0, b"")).await;
        if seen.status.code() == Code::Ok || since.elapsed() > REGISTERED_LIMIT {
            return seen;
        }
    }
}

async fn grow(portal: &Wire, body: Vec<u8>) -> Seen {
    portal.post("/kg.traffic.tree.v1.TreeService/Grow", &[], body).await.unwrap()
}

/// A system that answers with what it is asked.
async fn echo(request: Request<Body>) -> http::Response<Body> {
    let body = to_bytes(request.into_body(), 1 << 20).await.unwrap();
    unary::message(body.slice(5..), HeaderMap::new())
}

const PACKAGE: &str = "kg.traffic.tree.v1";

fn contract() -> FileDescriptorSet {
    let tree = format!(".{PACKAGE}.Tree");
    let child = FieldDescriptorProto {
        name: Some("child".into()),
        number: Some(1),
        label: Some(Label::Optional.into()),
        r#type: Some(Type::Message.into()),
        type_name: Some(tree.clone()),
        ..FieldDescriptorProto::default()
    };
    let grow = MethodDescriptorProto {
        name: Some("Grow".into()),
        input_type: Some(tree.clone()),
        output_type: Some(tree),
        options: Some(MethodOptions {
            idempotency_level: Some(IdempotencyLevel::NoSideEffects.into()),
            ..MethodOptions::default()
        }),
        ..MethodDescriptorProto::default()
    };
    let message =
        DescriptorProto { name: Some("Tree".into()), field: vec![child], ..DescriptorProto::default() };
    let service =
        ServiceDescriptorProto { name: Some("TreeService".into()), method: vec![grow], options: None };
    let file = FileDescriptorProto {
        name: Some("kg/traffic/tree/v1/tree.proto".into()),
        package: Some(PACKAGE.into()),
        message_type: vec![message],
        service: vec![service],
        syntax: Some("proto3".into()),
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }
}
