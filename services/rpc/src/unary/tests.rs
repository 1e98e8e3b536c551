use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::StreamBody;
use kopuro_core::content::MESSAGE_LEN_MAX;

use super::*;
use crate::testing::framed;

fn roomy() -> Intake {
    Intake::new(IntakeSettings::default())
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

fn request(encoding: &[&'static str], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::post("/a.B/C").header("content-type", "application/grpc");
    for encoding in encoding {
        request = request.header(GRPC_ENCODING, *encoding);
    }
    request.body(body.into()).unwrap()
}

async fn read(encoding: &[&'static str], body: impl Into<Body>) -> Result<Bytes, Reason> {
    let mut slot = roomy().admit().unwrap();
    receive(request(encoding, body), &mut slot).await.map_err(|refusal| refusal.reason)
}

#[tokio::test]
async fn one_message_is_read() {
    for message in [&b""[..], b"message", &vec![7; MESSAGE_LEN_MAX]] {
        assert_eq!(read(&[], framed(0, message)).await.unwrap(), message);
        assert_eq!(read(&["identity"], framed(0, message)).await.unwrap(), message);
        assert_eq!(read(&["gzip"], framed(1, &gzip(message))).await.unwrap(), message);
        assert_eq!(read(&["gzip"], framed(0, message)).await.unwrap(), message);
    }
}

#[tokio::test]
async fn a_message_may_come_in_any_pieces() {
    let bytes = framed(0, b"message");
    for size in 1..=bytes.len() {
        let pieces: Vec<_> = bytes
            .chunks(size)
            .map(|piece| Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let body = Body::new(StreamBody::new(futures::stream::iter(pieces)));
        assert_eq!(read(&[], body).await.unwrap(), &b"message"[..], "in pieces of {size}");
    }
}

#[tokio::test]
async fn what_is_not_one_message_is_refused() {
    let message = framed(0, b"message");
    let two = [framed(0, b"one"), framed(0, b"two")].concat();
    let table: [(&[&'static str], Vec<u8>, &str); 12] = [
        (&[], vec![], "no message"),
        (&[], message[..3].to_vec(), "half a prefix"),
        (&[], message[..message.len() - 1].to_vec(), "a message cut off"),
        (&[], [message.clone(), vec![0]].concat(), "a byte more"),
        (&[], two, "two messages"),
        (&[], framed(2, b"message"), "an unknown flag"),
        (&[], framed(1, &gzip(b"message")), "compressed, and nothing says how"),
        (&["identity"], framed(1, &gzip(b"message")), "compressed with identity"),
        (&["gzip"], framed(1, b"message"), "no gzip"),
        (&["gzip"], framed(1, &gzip(b"message")[..12]), "gzip cut off"),
        (&["gzip"], framed(1, &[gzip(b"a"), gzip(b"b")].concat()), "two gzip members"),
        (&["gzip", "gzip"], framed(1, &gzip(b"message")), "two encodings"),
    ];
    for (encoding, body, what) in table {
        assert_eq!(read(encoding, body).await, Err(Reason::FramingInvalid), "{what}");
    }
    for encoding in ["deflate", "zstd", "GZIP", "gzip, identity", ""] {
        assert_eq!(
            read(&[encoding], message.clone()).await,
            Err(Reason::CompressionUnsupported),
            "{encoding}"
        );
    }
}

#[tokio::test]
async fn only_a_post_of_grpc_is_read() {
    let head = |method: &str, content_type: &'static str| {
        let request = Request::builder().method(method).header("content-type", content_type);
        check_head(&request.body(Body::empty()).unwrap()).map_err(|refusal| refusal.reason)
    };
    for content_type in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
        assert_eq!(head("POST", content_type), Ok(()), "{content_type}");
    }
    for content_type in
        ["", "application/json", "application/grpc+json", "application/grpc-web", "application/grpcx"]
    {
        assert_eq!(head("POST", content_type), Err(Reason::FramingInvalid), "{content_type}");
    }
    assert_eq!(head("GET", "application/grpc"), Err(Reason::FramingInvalid));
}

#[tokio::test]
async fn an_announced_length_is_judged_before_the_message_is_read() {
    // The body never ends: only the prefix can decide.
    let mut prefix = vec![0];
    prefix.extend(u32::try_from(MESSAGE_LEN_MAX + 1).unwrap().to_be_bytes());
    let first = futures::stream::iter([Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from(prefix)))]);
    let body = Body::new(StreamBody::new(futures::StreamExt::chain(first, futures::stream::pending())));
    assert_eq!(read(&[], body).await, Err(Reason::PayloadTooLarge));
}

#[tokio::test]
async fn a_bomb_is_inflated_no_further_than_the_limit() {
    // The stream breaks off long after the limit: whoever inflates all of it meets the fault.
    let mut bomb = gzip(&vec![0; 16 * MESSAGE_LEN_MAX]);
    bomb.truncate(bomb.len() / 2);
    assert!(bomb.len() < 64 * 1024, "{} bytes are no bomb", bomb.len());
    assert_eq!(read(&["gzip"], framed(1, &bomb)).await, Err(Reason::PayloadTooLarge));
    assert_eq!(
        read(&["gzip"], framed(1, &gzip(&vec![0; MESSAGE_LEN_MAX + 1]))).await,
        Err(Reason::PayloadTooLarge)
    );
}

#[tokio::test]
async fn a_node_takes_what_it_has_room_for() {
    let intake = Intake::new(IntakeSettings { requests_max: 2, bytes_max: 8 * 1024 });
    let message = framed(0, &[7; 5 * 1024]);
    let mut first = intake.admit().unwrap();
    assert!(receive(request(&[], message.clone()), &mut first).await.is_ok());
    let mut second = intake.admit().unwrap();
    let refusal = receive(request(&[], message.clone()), &mut second).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.retry_after.is_some()), (Reason::Overloaded, true));
    assert_eq!(intake.admit().unwrap_err().reason, Reason::Overloaded);
    drop(first);
    assert!(receive(request(&[], message.clone()), &mut second).await.is_ok());
    drop(second);
    // A compressed message needs room for what it may become.
    let mut third = intake.admit().unwrap();
    let compressed = request(&["gzip"], framed(1, &gzip(b"message")));
    assert_eq!(receive(compressed, &mut third).await.unwrap_err().reason, Reason::Overloaded);
}

#[tokio::test]
async fn an_answer_is_one_message_and_ok() {
    use http_body_util::BodyExt as _;

    for length in [0, 7, 16 * 1024, 16 * 1024 + 1, MESSAGE_LEN_MAX] {
        let message = Bytes::from(vec![7; length]);
        let answer = super::message(message.clone(), HeaderMap::new());
        assert_eq!(answer.headers()["content-type"], "application/grpc");
        let body = answer.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(body.to_bytes(), framed(0, &message));
    }
}

#[tokio::test]
async fn a_panic_is_an_internal_error() {
    let panicking = async {
        if true {
            panic!("with a secret")
        }
    };
    assert_eq!(contained(panicking).await, Err(Reason::Internal));
    assert_eq!(contained(async { 7 }).await, Ok(7));
}
