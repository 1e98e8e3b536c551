//! Over real TLS on a port of the system's choice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use kopuro_core::error::Reason;
use kopuro_core::time::UnixMillis;
use kopuro_trust::pki::{CertificatePurpose, Issued, Validity};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, Semaphore};

use super::*;
use crate::callers::Caller;
use crate::refusals::{EXCHANGE_ID, SIDE};
use crate::testing::{Client, Node, Scene, finish, framed, reason, subsystem, validity};
use crate::unary;

/// How long a test waits for what must happen.
const SOON: Duration = Duration::from_secs(10);

/// Answers with the caller's first subsystem, and counts.
fn greeting(calls: &Arc<AtomicUsize>) -> Router {
    let calls = Arc::clone(calls);
    Router::new().fallback(move |Extension(caller): Extension<Arc<Caller>>| {
        calls.fetch_add(1, Ordering::AcqRel);
        let name = caller.subsystems[0].to_string();
        async move { unary::message(Bytes::from(name), HeaderMap::new()) }
    })
}

/// Answers once it is let go.
fn waiting(arrived: &Arc<Notify>, go: &Arc<Semaphore>) -> Router {
    let (arrived, go) = (Arc::clone(arrived), Arc::clone(go));
    Router::new().fallback(move || {
        let (arrived, go) = (Arc::clone(&arrived), Arc::clone(&go));
        async move {
            arrived.notify_one();
            go.acquire().await.unwrap().forget();
            unary::message(Bytes::new(), HeaderMap::new())
        }
    })
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it happens soon")
}

async fn scene() -> (Scene, Node, Arc<AtomicUsize>) {
    let (scene, calls) = (Scene::new(), Arc::default());
    let node = scene.listen(greeting(&calls), ListenerSettings::default()).await;
    (scene, node, calls)
}

#[tokio::test]
async fn a_registered_caller_is_served() {
    let (scene, node, _) = scene().await;
    let client =
        Client::connect(node.listener.local_addr(), scene.client(&scene.system.identity())).await.unwrap();
    let (status, body, _) = finish(client.send(framed(0, b"")).await.unwrap()).await;
    assert_eq!(status.code(), tonic::Code::Ok);
    assert_eq!(body, framed(0, subsystem().as_str().as_bytes()));
    assert!(node.metrics.encode().contains("kopuro_rpc_connections{} 1"));
}

/// A client with this configuration is told why on its first request; nothing else is reachable, and the connection ends.
async fn turned_away(config: rustls::ClientConfig, node: &Node, calls: &AtomicUsize, why: Reason) {
    let client = Client::connect(node.listener.local_addr(), config).await.unwrap();
    let (status, _, headers) = finish(client.send(framed(0, b"")).await.unwrap()).await;
    assert_eq!((reason(&status), status.code()), (why, tonic::Code::Unauthenticated));
    assert_eq!(headers[SIDE], "consumer");
    let audited = node.audit.0.lock().unwrap().pop().unwrap();
    assert_eq!(audited.reason, why);
    assert_eq!(headers[EXCHANGE_ID], audited.exchange.unwrap().to_string());
    assert!(node.metrics.encode().contains(&format!(r#"reason="{}""#, why.name())));
    soon(client.ended).await.unwrap().unwrap();
    assert_eq!(calls.load(Ordering::Acquire), 0, "a handler was reached");
}

#[tokio::test]
async fn a_peer_without_a_good_certificate_learns_why() {
    let (scene, node, calls) = scene().await;
    turned_away(scene.anonymous(), &node, &calls, Reason::CertificateRequired).await;

    let shows = |issued: &Issued| scene.client(&issued.identity());
    let stranger = Scene::new().system;
    let past = Validity { not_before: UnixMillis::new(1_000), not_after: UnixMillis::new(2_000) };
    let issue = |purpose, validity| scene.root.issue(purpose, "system", &[], validity).unwrap();
    let expired = issue(CertificatePurpose::System, past);
    let for_serving_only = issue(CertificatePurpose::Service, validity());
    for (what, issued) in [("foreign", stranger), ("expired", expired), ("eku", for_serving_only)] {
        node.registry.set(&issued, Ok(()));
        println!("{what}");
        turned_away(shows(&issued), &node, &calls, Reason::CertificateInvalid).await;
    }
    let unknown = issue(CertificatePurpose::System, validity());
    turned_away(shows(&unknown), &node, &calls, Reason::CertificateUnknown).await;
    node.registry.set(&unknown, Err(Reason::CertificateRevoked));
    turned_away(shows(&unknown), &node, &calls, Reason::CertificateRevoked).await;
}

#[tokio::test]
async fn a_certificate_whose_key_the_peer_lacks_ends_the_handshake() {
    let (scene, node, calls) = scene().await;
    let other = scene.root.issue(CertificatePurpose::System, "other", &[], validity()).unwrap();
    // The client shows the registered certificate and signs with another key.
    let mut config = scene.client(&other.identity());
    let mixed = rustls::sign::CertifiedKey::new(
        vec![scene.system.certificate().clone()],
        rustls::crypto::aws_lc_rs::sign::any_supported_type(&key_of(&other)).unwrap(),
    );
    config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(mixed));
    let client = Client::connect(node.listener.local_addr(), config).await;
    if let Ok(client) = client {
        assert!(client.send(framed(0, b"")).await.is_err());
    }
    assert_eq!(calls.load(Ordering::Acquire), 0);
}

fn key_of(issued: &Issued) -> rustls_pki_types::PrivateKeyDer<'static> {
    use rustls_pki_types::pem::PemObject as _;

    rustls_pki_types::PrivateKeyDer::from_pem_slice(issued.key_pem().as_bytes()).unwrap()
}

#[tokio::test]
async fn revocation_closes_the_connection_and_lets_work_finish() {
    let (scene, arrived, go) = (Scene::new(), Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let node = scene.listen(waiting(&arrived, &go), ListenerSettings::default()).await;
    let client =
        Client::connect(node.listener.local_addr(), scene.client(&scene.system.identity())).await.unwrap();
    let mut in_work = std::pin::pin!(client.send(framed(0, b"")));
    tokio::select! { () = arrived.notified() => {} _ = in_work.as_mut() => panic!("answered too early") }
    node.registry.set(&scene.system, Err(Reason::CertificateRevoked));
    node.registry.tell();
    go.add_permits(1);
    let (status, _, _) = finish(soon(in_work).await.unwrap()).await;
    assert_eq!(status.code(), tonic::Code::Ok);
    soon(client.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_change_that_leaves_the_caller_known_closes_nothing() {
    let (scene, node, _) = scene().await;
    let client =
        Client::connect(node.listener.local_addr(), scene.client(&scene.system.identity())).await.unwrap();
    for _ in 0..3 {
        node.registry.tell();
        let (status, _, _) = finish(client.send(framed(0, b"")).await.unwrap()).await;
        assert_eq!(status.code(), tonic::Code::Ok);
    }
    assert!(!client.ended.is_finished());
}

#[tokio::test]
async fn a_revoked_caller_is_refused_before_anybody_is_told() {
    let (scene, node, calls) = scene().await;
    let client =
        Client::connect(node.listener.local_addr(), scene.client(&scene.system.identity())).await.unwrap();
    finish(client.send(framed(0, b"")).await.unwrap()).await;
    node.registry.set(&scene.system, Err(Reason::CertificateRevoked));
    let (status, _, _) = finish(client.send(framed(0, b"")).await.unwrap()).await;
    assert_eq!(reason(&status), Reason::CertificateRevoked);
    assert_eq!(calls.load(Ordering::Acquire), 1);
    soon(client.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn other_authorities_close_the_connections_of_the_old_ones() {
    let (scene, node, _) = scene().await;
    let config = scene.client(&scene.system.identity());
    let client = Client::connect(node.listener.local_addr(), config).await.unwrap();
    finish(client.send(framed(0, b"")).await.unwrap()).await;
    node.listener.reload(&scene.gateway.identity(), Scene::new().trust()).unwrap();
    soon(client.ended).await.unwrap().unwrap();
}

/// Requests that are in work until they are let go, and the most that were so at once.
#[derive(Default)]
struct Crowd {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Crowd {
    fn router(self: &Arc<Self>, arrived: &Arc<Semaphore>, go: &Arc<Semaphore>) -> Router {
        let (crowd, arrived, go) = (Arc::clone(self), Arc::clone(arrived), Arc::clone(go));
        Router::new().fallback(move || {
            let (crowd, arrived, go) = (Arc::clone(&crowd), Arc::clone(&arrived), Arc::clone(&go));
            async move {
                crowd.most.fetch_max(crowd.now.fetch_add(1, Ordering::AcqRel) + 1, Ordering::AcqRel);
                arrived.add_permits(1);
                go.acquire().await.unwrap().forget();
                crowd.now.fetch_sub(1, Ordering::AcqRel);
                unary::message(Bytes::new(), HeaderMap::new())
            }
        })
    }
}

#[tokio::test]
async fn a_connection_has_its_streams_and_no_more() {
    let (scene, crowd) = (Scene::new(), Arc::new(Crowd::default()));
    let (arrived, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(1)));
    let settings = ListenerSettings { streams_max: 4, ..ListenerSettings::default() };
    let node = scene.listen(crowd.router(&arrived, &go), settings).await;
    let client =
        Client::connect(node.listener.local_addr(), scene.client(&scene.system.identity())).await.unwrap();
    // The first answer shows that the client has learned the server's settings.
    finish(client.send(framed(0, b"")).await.unwrap()).await;
    let calls = futures::future::join_all((0..9).map(|_| client.send(framed(0, b""))));
    let release = async {
        arrived.acquire_many(5).await.unwrap().forget();
        go.add_permits(9);
    };
    let (answers, ()) = soon(futures::future::join(calls, release)).await;
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(crowd.most.load(Ordering::Acquire), 4);
}

#[tokio::test]
async fn a_handshake_that_dawdles_is_ended() {
    let scene = Scene::new();
    let settings =
        ListenerSettings { handshake_limit: Duration::from_millis(50), ..ListenerSettings::default() };
    let node = scene.listen(Router::new(), settings).await;
    let mut silent = TcpStream::connect(node.listener.local_addr()).await.unwrap();
    assert_eq!(soon(silent.read(&mut [0; 16])).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_flood_of_handshakes_is_bounded() {
    let (scene, calls) = (Scene::new(), Arc::default());
    let settings = ListenerSettings { handshakes_max: 2, ..ListenerSettings::default() };
    let node = scene.listen(greeting(&calls), settings).await;
    let address = node.listener.local_addr();
    let silent = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    let mut third = TcpStream::connect(address).await.unwrap();
    assert_eq!(soon(third.read(&mut [0; 16])).await.unwrap_or(0), 0, "the third handshake was begun");
    for mut stream in silent {
        // Their places are free again once the listener has hung up.
        stream.shutdown().await.unwrap();
        assert_eq!(soon(stream.read(&mut [0; 16])).await.unwrap_or(0), 0);
    }
    let client = Client::connect(address, scene.client(&scene.system.identity())).await.unwrap();
    finish(client.send(framed(0, b"")).await.unwrap()).await;
}

#[tokio::test]
async fn connections_are_bounded() {
    let (scene, calls) = (Scene::new(), Arc::default());
    let settings = ListenerSettings { connections_max: 1, ..ListenerSettings::default() };
    let node = scene.listen(greeting(&calls), settings).await;
    let config = scene.client(&scene.system.identity());
    let first = Client::connect(node.listener.local_addr(), config.clone()).await.unwrap();
    finish(first.send(framed(0, b"")).await.unwrap()).await;
    assert!(Client::connect(node.listener.local_addr(), config).await.is_err());
}

#[tokio::test]
async fn a_connection_ends_with_its_age_and_with_its_certificate() {
    let (scene, calls) = (Scene::new(), Arc::default());
    let settings = ListenerSettings { age_max: Duration::from_millis(50), ..ListenerSettings::default() };
    let node = scene.listen(greeting(&calls), settings).await;
    let config = scene.client(&scene.system.identity());
    let client = Client::connect(node.listener.local_addr(), config).await.unwrap();
    soon(client.ended).await.unwrap().unwrap();

    let node = scene.listen(greeting(&calls), ListenerSettings::default()).await;
    let brief = Validity { not_after: validity().not_before.plus(Duration::from_secs(62)), ..validity() };
    let brief = scene.root.issue(CertificatePurpose::System, "brief", &[], brief).unwrap();
    node.registry.set(&brief, Ok(()));
    let client = Client::connect(node.listener.local_addr(), scene.client(&brief.identity())).await.unwrap();
    soon(client.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn stopping_lets_work_finish_and_takes_nothing_new() {
    let (scene, arrived, go) = (Scene::new(), Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let node = scene.listen(waiting(&arrived, &go), ListenerSettings::default()).await;
    let (address, config) = (node.listener.local_addr(), scene.client(&scene.system.identity()));
    let client = Client::connect(address, config.clone()).await.unwrap();
    let mut in_work = std::pin::pin!(client.send(framed(0, b"")));
    tokio::select! { () = arrived.notified() => {} _ = in_work.as_mut() => panic!("answered too early") }
    node.listener.stop();
    go.add_permits(1);
    let (status, _, _) = finish(soon(in_work).await.unwrap()).await;
    assert_eq!(status.code(), tonic::Code::Ok);
    soon(node.listener.stopped()).await;
    assert!(Client::connect(address, config).await.is_err());
}

#[tokio::test]
async fn a_panic_ends_the_request_and_not_the_connection() {
    let scene = Scene::new();
    let router = Router::new().fallback(|request: Request<Body>| async move {
        assert_eq!(request.uri().path(), "/a.B/Other", "a secret");
        Response::new(Body::empty())
    });
    let node = scene.listen(router, ListenerSettings::default()).await;
    let client =
        Client::connect(node.listener.local_addr(), scene.client(&scene.system.identity())).await.unwrap();
    for _ in 0..2 {
        let (status, _, _) = finish(client.send(framed(0, b"")).await.unwrap()).await;
        assert_eq!(reason(&status), Reason::Internal);
        assert!(!format!("{status:?}").contains("secret"));
    }
}
