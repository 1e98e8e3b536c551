//! What may be wrong with a call, and what is told of it.

use std::io::Write as _;
use std::time::Duration;

use flate2::write::GzEncoder;
use flate2::{Compress, Compression, FlushCompress};
use kopuro_core::error::Reason;
use kopuro_core::time::{Clock as _, UnixMillis};
use kopuro_proto::examples::kg::traffic::v1 as traffic;
use kopuro_telemetry::clock::SystemClock;
use kopuro_trust::pki::{Authority, CertificatePurpose, Validity};
use kopuro_trust::tls::Identity;
use prost::Message as _;
use tonic::Code;

use super::{PAYMENT, PENSION};
use crate::node::Node;
use crate::probe::{GOOD_PIN, pension_request};
use crate::wire::{Seen, Wire, anonymous, framed, presenting, showing};

/// The largest message that the bus takes, by its documentation. **Units:** bytes.
const MESSAGE_LEN_MAX: usize = 4 << 20;
/// How deep a hostile message is nested.
const DEPTH: usize = 10_000;

/// A call with one thing wrong.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) reason: Reason,
    pub(super) code: Code,
    peer: Peer,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

/// Who calls.
#[derive(Clone, Copy)]
enum Peer {
    Portal,
    Statistics,
    /// Without a certificate.
    Nobody,
    /// With a certificate of another authority.
    Foreigner,
    /// With a certificate of this authority whose key nobody registered.
    Unregistered,
}

/// The certificates that are not the instance's own.
pub(super) struct Peers {
    foreigner: Identity,
    unregistered: Identity,
}

impl Peers {
    pub(super) fn new(node: &Node) -> Self {
        let now = SystemClock.now();
        let foreign = Authority::create_root("another authority", validity(now)).unwrap();
        let chain = std::fs::read_to_string(node.authority()).unwrap();
        let key = std::fs::read_to_string(node.authority().with_file_name("tls.key.pem")).unwrap();
        let own = Authority::from_pem(&chain, &key).unwrap();
        let issue = |authority: &Authority| {
            authority.issue(CertificatePurpose::System, "portal", &[], validity(now)).unwrap().identity()
        };
        Self { foreigner: issue(&foreign), unregistered: issue(&own) }
    }
}

fn validity(now: UnixMillis) -> Validity {
    let hour = Duration::from_secs(3600);
    Validity { not_before: now.minus(hour), not_after: now.plus(hour) }
}

impl Case {
    /// A call that would be good, were it not for what is changed in it.
    fn new(name: &'static str, reason: Reason, code: Code) -> Self {
        let body = framed(0, &pension_request(GOOD_PIN).encode_to_vec());
        Self { name, reason, code, peer: Peer::Portal, path: PENSION, headers: Vec::new(), body }
    }

    fn by(self, peer: Peer) -> Self {
        Self { peer, ..self }
    }

    fn to(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn body(self, body: Vec<u8>) -> Self {
        Self { body, ..self }
    }

    fn message(self, message: &[u8]) -> Self {
        self.body(framed(0, message))
    }

    /// Sends it over a connection of its own.
    pub(super) async fn send(&self, node: &Node, peers: &Peers) -> Seen {
        let authority = node.authority();
        let config = match self.peer {
            Peer::Portal => showing(&node.development.system("portal"), &authority),
            Peer::Statistics => showing(&node.development.system("statistics"), &authority),
            Peer::Nobody => anonymous(&authority),
            Peer::Foreigner => presenting(&peers.foreigner, &authority),
            Peer::Unregistered => presenting(&peers.unregistered, &authority),
        };
        let wire = Wire::connect(node.gateway("gw-portal"), config).await;
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answered = wire.post(self.path, &headers, self.body.clone()).await;
        answered.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

pub(super) fn cases() -> Vec<Case> {
    [frames(), payloads(), paths(), certificates(), metadata()].into_iter().flatten().collect()
}

fn frames() -> Vec<Case> {
    let good = framed(0, &pension_request(GOOD_PIN).encode_to_vec());
    let framing = |name| Case::new(name, Reason::FramingInvalid, Code::InvalidArgument);
    let too_large = |name| Case::new(name, Reason::PayloadTooLarge, Code::ResourceExhausted);
    let compressed = Case::new("unknown compression", Reason::CompressionUnsupported, Code::Unimplemented);
    vec![
        too_large("oversize").body(framed(0, &vec![0; MESSAGE_LEN_MAX + 1])),
        too_large("oversize announced").body([&[0, 0xff, 0xff, 0xff, 0xff][..], &good].concat()),
        too_large("gzip bomb").with("grpc-encoding", "gzip").body(framed(1, &inflating_past_the_limit())),
        too_large("gzip bomb of 1 GiB").with("grpc-encoding", "gzip").body(framed(1, &inflating_to_a_gib())),
        framing("no message").body(Vec::new()),
        framing("truncated prefix").body(good[..3].to_vec()),
        framing("truncated message").body(good[..good.len() - 1].to_vec()),
        framing("two messages").body([good.clone(), good.clone()].concat()),
        framing("unknown flag").body(framed(2, b"")),
        framing("no gzip").with("grpc-encoding", "gzip").body(framed(1, b"plain")),
        framing("compressed without saying how").body(framed(1, b"plain")),
        compressed.with("grpc-encoding", "zstd").body(framed(1, b"plain")),
        framing("malformed timeout").with("grpc-timeout", "soon"),
        framing("timeout without unit").with("grpc-timeout", "5"),
        framing("negative timeout").with("grpc-timeout", "-1S"),
        framing("two timeouts").with("grpc-timeout", "5S").with("grpc-timeout", "6S"),
        Case::new("deadline passed", Reason::Expired, Code::DeadlineExceeded).with("grpc-timeout", "0S"),
    ]
}

fn payloads() -> Vec<Case> {
    let malformed = |name| Case::new(name, Reason::PayloadMalformed, Code::InvalidArgument);
    let invalid = |name| Case::new(name, Reason::PayloadInvalid, Code::InvalidArgument);
    let good = pension_request(GOOD_PIN).encode_to_vec();
    let payment = |name| malformed(name).to(PAYMENT).with("kopuro-request-id", REQUEST_ID);
    vec![
        invalid("malformed pin").message(&pension_request("123").encode_to_vec()),
        invalid("empty message").message(b""),
        malformed("unknown field").message(&[&good[..], &[0xfa, 0x3f, 0x01, b'x']].concat()),
        malformed("wrong wire type").message(&[&good[..], &[0x08, 0x01]].concat()),
        malformed("field twice").message(&[&good[..], &good[..]].concat()),
        malformed("field number 0").message(&[&good[..], &[0x02, 0x00]].concat()),
        malformed("no utf-8").message(&[0x0a, 0x02, 0xff, 0xfe]),
        malformed("length past the end").message(&[0x0a, 0x7f, b'1']),
        malformed("endless varint").message(&[0xff; 16]),
        malformed("groups 10,000 deep").message(&groups()),
        payment("messages 10,000 deep").message(&nested(4, DEPTH)),
        payment("unknown messages 10,000 deep").message(&nested(900, DEPTH)),
    ]
}

fn paths() -> Vec<Case> {
    let unknown = |name| Case::new(name, Reason::MethodUnknown, Code::Unimplemented);
    vec![
        unknown("unknown method").to("/kg.socialfund.v1.PensionService/GetPensionInf"),
        unknown("other case").to("/kg.socialfund.v1.PensionService/getPensionInfo"),
        unknown("percent-encoded").to("/kg.socialfund.v1.PensionService/GetPension%49nfo"),
        unknown("percent-encoded slash").to("/kg.socialfund.v1.PensionService%2FGetPensionInfo"),
        unknown("dots")
            .to("/kg.traffic.v1.ViolationService/../kg.socialfund.v1.PensionService/GetPensionInfo"),
        unknown("a query").to("/kg.socialfund.v1.PensionService/GetPensionInfo?method=GetPensionInfo"),
        unknown("no method").to("/"),
        Case::new("unknown service", Reason::ServiceUnknown, Code::NotFound)
            .to("/kg.tax.v1.TaxService/GetDebts"),
    ]
}

fn certificates() -> Vec<Case> {
    let refused = |name, reason| Case::new(name, reason, Code::Unauthenticated);
    vec![
        refused("no certificate", Reason::CertificateRequired).by(Peer::Nobody),
        refused("another authority's certificate", Reason::CertificateInvalid).by(Peer::Foreigner),
        refused("an unregistered key", Reason::CertificateUnknown).by(Peer::Unregistered),
        Case::new("no access right", Reason::AccessDenied, Code::PermissionDenied).by(Peer::Statistics),
        Case::new("another system's name", Reason::ClientMismatch, Code::PermissionDenied)
            .by(Peer::Statistics)
            .with("kopuro-client", "KG/GOV/70000001/portal"),
    ]
}

const REQUEST_ID: &str = "0190f5f2-6f3a-7c1e-9a55-2f8d7a4c1b10";

fn metadata() -> Vec<Case> {
    let invalid = |name| Case::new(name, Reason::MetadataInvalid, Code::InvalidArgument);
    let payment = traffic::RegisterPaymentRequest {
        payment_number: "204118204417".into(),
        payer_pin: GOOD_PIN.into(),
        amount_tyiyn: 100_000,
        paid_time: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 0 }),
        bank_reference: "KICB-118204".into(),
    };
    vec![
        Case::new("wrong client", Reason::ClientMismatch, Code::PermissionDenied)
            .with("kopuro-client", "KG/GOV/70000011/pensions"),
        Case::new("wrong provider", Reason::ProviderUnknown, Code::NotFound)
            .with("kopuro-provider", "KG/GOV/70000023/violations"),
        Case::new("no request id", Reason::RequestIdRequired, Code::InvalidArgument)
            .to(PAYMENT)
            .message(&payment.encode_to_vec()),
        invalid("malformed client").with("kopuro-client", "portal"),
        invalid("malformed provider").with("kopuro-provider", "KG/GOV/70000011/../pensions"),
        invalid("malformed request id").with("kopuro-request-id", "17"),
        invalid("repeated client")
            .with("kopuro-client", "KG/GOV/70000001/portal")
            .with("kopuro-client", "KG/GOV/70000001/portal"),
        invalid("repeated request id")
            .with("kopuro-request-id", REQUEST_ID)
            .with("kopuro-request-id", REQUEST_ID),
        invalid("text in two forms").with("kopuro-user-id", "1").with("kopuro-user-id-bin", "MQ"),
        invalid("unknown entry").with("kopuro-userid", GOOD_PIN),
        invalid("too long user id").with("kopuro-user-id", "1".repeat(257)),
        invalid("headers of 20 KB").with("x-forwarded-for", "1".repeat(20_000)),
        invalid("headers of 60 KB").with("x-forwarded-for", "1".repeat(60_000)),
        invalid("a control character").with("kopuro-purpose-bin", "Cg=="),
    ]
}

/// Zeros, beyond what an inflated message may be, in a few kilobytes.
fn inflating_past_the_limit() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; 2 * MESSAGE_LEN_MAX]).unwrap();
    encoder.finish().unwrap()
}

/// A gzip member that inflates to 1 GiB and says so. Its blocks repeat, for each was flushed and looks back on nothing.
fn inflating_to_a_gib() -> Vec<u8> {
    const BLOCK: usize = 1 << 20;
    let mut block = Vec::with_capacity(64 * 1024);
    let mut compress = Compress::new(Compression::best(), false);
    compress.compress_vec(&vec![0; BLOCK], &mut block, FlushCompress::Full).unwrap();
    assert_eq!(compress.total_in(), BLOCK as u64);
    let mut member = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    member.extend(block.repeat(1024));
    member.extend([0x03, 0x00]);
    member.extend([0; 4]);
    member.extend((1_u32 << 30).to_le_bytes());
    assert!(member.len() < MESSAGE_LEN_MAX, "{} bytes would be refused as they are", member.len());
    member
}

/// Groups within groups of field 1.
fn groups() -> Vec<u8> {
    [vec![0x0b; DEPTH], vec![0x0c; DEPTH]].concat()
}

/// Messages within messages, each as the given field.
pub(super) fn nested(field: u32, depth: usize) -> Vec<u8> {
    let mut message = Vec::new();
    for _ in 0..depth {
        let mut outer = Vec::new();
        prost::encoding::bytes::encode(field, &message, &mut outer);
        message = outer;
    }
    message
}
