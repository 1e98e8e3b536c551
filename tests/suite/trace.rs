//! One trace for an exchange, from the consumer's gateway to the provider's, as an OTLP collector receives it.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use kopuro::examples::{PERSON, server};
use kopuro_proto::examples::kg::socialfund::v1::GetPensionInfoRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::command::Up;
use crate::node;

/// How long an exchange may take to show in a trace.
const LIMIT: Duration = Duration::from_secs(30);

/// Takes spans as a collector does.
struct Collector(mpsc::UnboundedSender<Span>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let spans = resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
        for span in spans {
            let _ = self.0.send(span);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_gateways_tell_of_an_exchange_in_one_trace() {
    let (sender, mut spans) = mpsc::unbounded_channel();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", socket.local_addr().unwrap());
    let serving = Server::builder().add_service(TraceServiceServer::new(Collector(sender)));
    tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(socket)));

    let mut up = Up::create([("pensions", server::pensions())], None).await;
    let mut config = std::fs::OpenOptions::new().append(true).open(up.development.config()).unwrap();
    writeln!(config, "\n[telemetry]\notlp_endpoint = \"{endpoint}\"").unwrap();
    up.start().await;
    let request = GetPensionInfoRequest {
        pin: PERSON.pin.into(),
        requesting_organisation: "Ministry of Digital Development".into(),
        requesting_person_pin: PERSON.pin.into(),
    };
    let client = node::client(&up.development, "portal", up.gateway("gw-portal"));
    let path = "/kg.socialfund.v1.PensionService/GetPensionInfo";
    let called = client.call(path, &[], Bytes::from(request.encode_to_vec()), LIMIT).await.unwrap();
    assert!(called.result.is_ok());

    let received = async {
        let (mut consumer, mut provider) = (None, None);
        while consumer.is_none() || provider.is_none() {
            let span = spans.recv().await.unwrap();
            let shown = format!("{span:?}");
            assert!(!shown.contains(PERSON.pin), "a span shows personal data: {shown}");
            match span.name.as_str() {
                "exchange" => consumer = Some(span),
                "provide" => provider = Some(span),
                other => panic!("{other} is no span of an exchange"),
            }
        }
        (consumer.unwrap(), provider.unwrap())
    };
    let (consumer, provider) = tokio::time::timeout(LIMIT, received).await.expect("both spans come in time");
    assert_eq!(consumer.trace_id, provider.trace_id);
    assert_eq!(provider.parent_span_id, consumer.span_id);
    assert_eq!(exchange_of(&consumer), exchange_of(&provider));
}

fn exchange_of(span: &Span) -> String {
    let named = span.attributes.iter().find(|attribute| attribute.key == "exchange");
    format!("{:?}", named.expect("the span names its exchange").value)
}
