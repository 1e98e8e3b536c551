use proptest::prelude::*;

use super::*;

fn statement(kind: Kind) -> Statement {
    let digest = Digest::of(b"x");
    Statement {
        kind,
        mode: Mode::Call,
        exchange: ExchangeId::new(UnixMillis::new(1_000), [1; 10]),
        request: RequestId::new([2; 16]),
        ordering_key: None,
        sender: SubsystemId::parse("KG/GOV/1/portal").unwrap(),
        recipient: SubsystemId::parse("KG/GOV/2/pensions").unwrap(),
        method: MethodId::parse_path("/kg.socialfund.v1.PensionService/GetPensionInfo").unwrap(),
        contract: digest,
        create_time: UnixMillis::new(1_000),
        expire_time: UnixMillis::new(2_000),
        content_digest: digest,
        sealed_digest: digest,
        view: ViewStamp { size: 7, root: digest },
        link: Link { epoch: [3; 16], sequence: 1, previous: None },
    }
}

fn request() -> Statement {
    statement(Kind::Request { reply_token: Some(ReplicaToken::new([4; 8])) })
}

fn response() -> Statement {
    let digest = Digest::of(b"request");
    statement(Kind::Response { request_digest: digest, effect_request_digest: digest })
}

#[test]
fn a_statement_survives_the_wire() {
    for statement in [request(), response()] {
        assert_eq!(Statement::decode(&statement.encode()), Ok(statement));
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    type Change = fn(&mut wire::Statement);
    let changes: [(&str, Change); 14] = [
        ("kind", |s| s.kind = 0),
        ("kind", |s| s.kind = wire::Kind::Event as i32),
        ("kind", |s| s.kind = 9),
        ("mode", |s| s.mode = 0),
        ("exchange_id", |s| s.exchange_id = vec![0; 16].into()),
        ("request_id", |s| s.request_id = vec![0; 16].into()),
        ("ordering_key", |s| s.ordering_key = vec![0; 31].into()),
        ("sender", |s| s.sender = "KG/GOV/1".into()),
        ("expire_time", |s| s.expire_time = s.create_time),
        ("sealed_digest_format", |s| s.sealed_digest_format = wire::DigestFormat::ChunkRoot as i32),
        ("request_digest", |s| s.request_digest = vec![0; 32].into()),
        ("reply_token", |s| s.reply_token = vec![0; 7].into()),
        ("sequence", |s| s.sequence = 0),
        ("sequence", |s| s.previous = vec![0; 32].into()),
    ];
    for (field, change) in changes {
        let mut changed = request().to_wire();
        change(&mut changed);
        let refused = Statement::decode(&changed.encode_to_vec());
        assert_eq!(refused, Err(StatementError::Field(field)));
    }
}

#[test]
fn a_task_has_no_reply_token_and_a_call_has_one() {
    let mut task = request();
    task.mode = Mode::Task;
    assert_eq!(Statement::decode(&task.encode()), Err(StatementError::Field("reply_token")));
    let missing = statement(Kind::Request { reply_token: None });
    assert_eq!(Statement::decode(&missing.encode()), Err(StatementError::Field("reply_token")));
}

proptest! {
    #[test]
    fn a_statement_has_one_encoding(at in 0_usize..300, value in any::<u8>()) {
        let mut bytes = request().encode();
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(decoded) = Statement::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }

    #[test]
    fn appended_bytes_are_refused(tail in proptest::collection::vec(any::<u8>(), 1..20)) {
        let mut bytes = request().encode();
        bytes.extend_from_slice(&tail);
        if let Ok(decoded) = Statement::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }
}
