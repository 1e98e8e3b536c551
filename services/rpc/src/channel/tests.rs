//! Against real servers on ports of the system's choice.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use kopuro_core::content::MESSAGE_LEN_MAX;
use kopuro_core::error::Reason;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _, pb};

use super::*;
use crate::listener::{Listener, ListenerParts, ListenerSettings};
use crate::testing::{Node, Registry, Scene};
use crate::unary;

const LONG: Duration = Duration::from_secs(10);

/// A server under the scene's gateway certificate, called by its system.
struct Pair {
    scene: Scene,
    node: Node,
    servers: Arc<Registry>,
}

impl Pair {
    async fn new(router: Router) -> Self {
        let scene = Scene::new();
        let node = scene.listen(router, ListenerSettings::default()).await;
        let servers = Registry::with(&[&scene.gateway]);
        Self { scene, node, servers }
    }

    fn channel(&self) -> Channel {
        let port = self.node.listener.local_addr().port();
        let config = Arc::new(self.scene.client(&self.scene.system.identity()));
        let security = Security::Mutual { config, servers: Arc::clone(&self.servers) as _ };
        let endpoint = Endpoint::parse(&format!("https://localhost:{port}")).unwrap();
        Channel::new(endpoint, security, ChannelSettings::default()).unwrap()
    }
}

async fn call(channel: &Channel, message: &'static [u8]) -> Outcome {
    channel.unary("/a.B/C", HeaderMap::new(), Bytes::from_static(message), LONG).await
}

fn always(answer: impl Fn() -> http::Response<Body> + Clone + Send + Sync + 'static) -> Router {
    Router::new().fallback(move |_: Request<Body>| {
        let answer = answer();
        async move { answer }
    })
}

fn echo() -> Router {
    Router::new().fallback(|request: Request<Body>| async move {
        let headers = request.headers().clone();
        let mut slot = unary::Intake::new(unary::IntakeSettings::default()).admit().unwrap();
        unary::message(unary::receive(request, &mut slot).await.unwrap(), headers)
    })
}

#[tokio::test]
async fn a_call_carries_its_message_metadata_and_deadline() {
    let pair = Pair::new(echo()).await;
    let metadata = HeaderMap::from_iter([("kopuro-client".parse().unwrap(), HeaderValue::from_static("x"))]);
    for message in [vec![], vec![7; 1000], vec![7; MESSAGE_LEN_MAX]] {
        let message = Bytes::from(message);
        let outcome = pair.channel().unary("/a.B/C", metadata.clone(), message.clone(), LONG).await;
        let Outcome::Answered(Answer::Message(answer, seen)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(answer, message);
        assert_eq!(seen["kopuro-client"], "x");
        let told = deadline::read(&seen).unwrap().unwrap();
        assert!(told <= LONG && told > LONG / 2, "{told:?}");
    }
}

async fn status_of(status: Status) -> pb::Status {
    // A foreign server, which cuts nothing.
    let pair = Pair::new(always(move || status.clone().into_http::<Body>())).await;
    match call(&pair.channel(), b"").await {
        Outcome::Answered(Answer::Status(encoded, _)) => pb::Status::decode(encoded).unwrap(),
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test]
async fn a_status_comes_with_its_details() {
    let details = ErrorDetails::with_error_info("NO_SUCH_PERSON", "kg.fund", [("a".into(), "б".into())]);
    let status = Status::with_error_details(tonic::Code::NotFound, "никого", details);
    let seen = status_of(status).await;
    assert_eq!((seen.code, seen.message.as_str(), seen.details.len()), (5, "никого", 1));
}

#[tokio::test]
async fn details_that_are_too_long_or_contradict_are_left_out() {
    let contradicts = pb::Status { code: 7, message: "other".into(), details: Vec::new() }.encode_to_vec();
    let seen = status_of(Status::with_details(tonic::Code::NotFound, "said", contradicts.into())).await;
    assert_eq!((seen.code, seen.message.as_str()), (5, "said"));
    let value = vec![7; 18 * 1024];
    let detail = prost_types::Any { type_url: "type.googleapis.com/a.B".into(), value };
    let long = pb::Status { code: 5, message: "said".into(), details: vec![detail] }.encode_to_vec();
    let seen = status_of(Status::with_details(tonic::Code::NotFound, "said", long.into())).await;
    assert_eq!((seen.code, seen.message.as_str(), seen.details.len()), (5, "said", 0));
    let seen = status_of(Status::new(tonic::Code::NotFound, "ю".repeat(2000))).await;
    assert_eq!(seen.message, "ю".repeat(512));
}

#[tokio::test]
async fn answers_that_are_no_answers_are_broken() {
    let ok_without_message = || {
        let mut response = unary::failure(Status::ok(""));
        response.headers_mut().insert("grpc-status", HeaderValue::from_static("0"));
        response
    };
    let plain = || http::Response::new(Body::from("it works"));
    let not_found = || {
        let mut response = unary::message(Bytes::new(), HeaderMap::new());
        *response.status_mut() = http::StatusCode::NOT_FOUND;
        response
    };
    let cut_off = || {
        let mut response = http::Response::new(Body::from(&[0, 0, 0, 0, 9, 1][..]));
        response.headers_mut().insert("content-type", GRPC);
        response
    };
    for (what, router) in [
        ("ok without message", always(ok_without_message)),
        ("no gRPC", always(plain)),
        ("404", always(not_found)),
        ("a message cut off", always(cut_off)),
    ] {
        let pair = Pair::new(router).await;
        let outcome = call(&pair.channel(), b"").await;
        assert!(matches!(outcome, Outcome::Broken), "{what}: {outcome:?}");
    }
}

#[tokio::test]
async fn an_answer_over_the_limit_is_not_read() {
    let pair = Pair::new(always(|| {
        // `unary::message` cannot be held to the limit here: the server is another's.
        unary::message(Bytes::from(vec![7; MESSAGE_LEN_MAX + 1]), HeaderMap::new())
    }))
    .await;
    let outcome = call(&pair.channel(), b"").await;
    assert!(matches!(outcome, Outcome::TooLarge), "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_dawdles_is_given_up() {
    let router = Router::new().fallback(std::future::pending::<http::Response<Body>>);
    let pair = Pair::new(router).await;
    let outcome =
        pair.channel().unary("/a.B/C", HeaderMap::new(), Bytes::new(), Duration::from_millis(300)).await;
    assert!(matches!(outcome, Outcome::TimedOut), "{outcome:?}");
}

#[tokio::test]
async fn nothing_is_sent_where_nobody_listens() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let endpoint = Endpoint::parse(&format!("http://{free}")).unwrap();
    let channel = Channel::new(endpoint, Security::Plain, ChannelSettings::default()).unwrap();
    let outcome = call(&channel, b"").await;
    assert!(matches!(outcome, Outcome::NotSent), "{outcome:?}");
}

#[tokio::test]
async fn calls_that_wait_for_the_same_attempt_to_connect_fail_with_it() {
    let pair = Pair::new(echo()).await;
    let black_hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://localhost:{}", black_hole.local_addr().unwrap().port());
    let config = Arc::new(pair.scene.client(&pair.scene.system.identity()));
    let security = Security::Mutual { config, servers: Arc::clone(&pair.servers) as _ };
    let settings = ChannelSettings { connect_limit: Duration::from_millis(200), ..Default::default() };
    let channel = Channel::new(Endpoint::parse(&endpoint).unwrap(), security, settings).unwrap();
    let mut taken = Vec::new();
    let outcomes = tokio::select! {
        outcomes = futures::future::join_all((0..20).map(|_| call(&channel, b"x"))) => outcomes,
        () = async { loop { taken.push(black_hole.accept().await.unwrap()) } } => unreachable!(),
    };
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::NotSent)), "{outcomes:?}");
    assert_eq!(taken.len(), 1, "each call made an attempt of its own");
}

#[tokio::test]
async fn a_server_that_hangs_up_may_have_acted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let channel = Channel::new(endpoint, Security::Plain, ChannelSettings::default()).unwrap();
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        let service =
            hyper::service::service_fn(|_| std::future::pending::<Result<http::Response<Body>, String>>());
        let builder = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
        let connection = builder.serve_connection(hyper_util::rt::TokioIo::new(stream), service);
        // Long enough to read the request, and then the connection is dropped.
        let _ = tokio::time::timeout(Duration::from_millis(200), connection).await;
    };
    let (outcome, ()) = tokio::join!(call(&channel, b""), server);
    assert!(matches!(outcome, Outcome::Broken), "{outcome:?}");
}

#[tokio::test]
async fn a_server_with_another_key_is_not_called() {
    let pair = Pair::new(echo()).await;
    pair.servers.set(&pair.scene.gateway, Err(Reason::CertificateUnknown));
    let outcome = call(&pair.channel(), b"").await;
    assert!(matches!(outcome, Outcome::NotSent), "{outcome:?}");

    let stranger = Pair::new(echo()).await;
    let port = stranger.node.listener.local_addr().port();
    let config = Arc::new(pair.scene.client(&pair.scene.system.identity()));
    let security = Security::Mutual { config, servers: Registry::with(&[&stranger.scene.gateway]) };
    let endpoint = Endpoint::parse(&format!("https://localhost:{port}")).unwrap();
    let channel = Channel::new(endpoint, security, ChannelSettings::default()).unwrap();
    assert!(matches!(call(&channel, b"").await, Outcome::NotSent), "a foreign authority was trusted");
}

#[tokio::test]
async fn a_server_whose_key_is_revoked_is_called_no_more() {
    let pair = Pair::new(echo()).await;
    let channel = pair.channel();
    assert!(matches!(call(&channel, b"").await, Outcome::Answered(_)));
    pair.servers.set(&pair.scene.gateway, Err(Reason::CertificateRevoked));
    assert!(matches!(call(&channel, b"").await, Outcome::NotSent));
    assert_eq!(channel.connections(), 0);
}

#[tokio::test]
async fn a_channel_outlives_its_servers() {
    let pair = Pair::new(echo()).await;
    let channel = pair.channel();
    assert!(matches!(call(&channel, b"").await, Outcome::Answered(_)));
    let Pair { scene, node, servers: _ } = pair;
    let address = node.listener.local_addr();
    node.listener.stop();
    node.listener.stopped().await;
    assert!(matches!(call(&channel, b"").await, Outcome::NotSent));
    let refusals = crate::refusals::Refusals::new(
        Arc::clone(&node.metrics),
        Arc::clone(&node.audit) as _,
        Arc::new(kopuro_telemetry::clock::SystemClock),
    );
    let parts = ListenerParts {
        router: echo(),
        callers: Arc::clone(&node.registry) as _,
        changes: node.registry.changes.subscribe(),
        refusals,
        metrics: Arc::clone(&node.metrics),
    };
    let identity = scene.gateway.identity();
    let _again = Listener::start(address, (&identity, scene.trust()), ListenerSettings::default(), parts)
        .await
        .unwrap();
    assert!(matches!(call(&channel, b"").await, Outcome::Answered(_)));
}

#[tokio::test]
async fn many_calls_spread_over_some_connections() {
    let go = Arc::new(Semaphore::new(0));
    let waiting = {
        let go = Arc::clone(&go);
        Router::new().fallback(move || {
            let go = Arc::clone(&go);
            async move {
                go.acquire().await.unwrap().forget();
                unary::message(Bytes::new(), HeaderMap::new())
            }
        })
    };
    let pair = Pair::new(waiting).await;
    let channel = Arc::new(pair.channel());
    let answered = Arc::new(AtomicU64::new(0));
    let mut calls = tokio::task::JoinSet::new();
    let start = |calls: &mut tokio::task::JoinSet<()>| {
        let (channel, answered) = (Arc::clone(&channel), Arc::clone(&answered));
        calls.spawn(async move {
            assert!(matches!(call(&channel, b"").await, Outcome::Answered(_)));
            answered.fetch_add(1, Ordering::AcqRel);
        });
    };
    for _ in 0..120 {
        start(&mut calls);
        tokio::task::yield_now().await;
    }
    // Connections are made beside the calls; further calls go over them.
    tokio::time::timeout(LONG, async {
        while channel.connections() < 4 {
            start(&mut calls);
            go.add_permits(1);
            calls.join_next().await.unwrap().unwrap();
        }
    })
    .await
    .expect("connections grow with the calls");
    go.add_permits(1000);
    while let Some(ended) = calls.join_next().await {
        ended.unwrap();
    }
    assert!(channel.connections() <= ChannelSettings::default().connections_max);
    assert!(answered.load(Ordering::Acquire) >= 120);
}
