//! The JSON-lines format: what is written is read back, what is not of the format is
//! refused in one line that names the place.

use gamekeeper_checker::history::*;
use std::sync::Arc;

/// One record of every kind.
fn sample() -> History {
    let stat = Stat {
        czxid: 1 << 32 | 5,
        mzxid: 1 << 32 | 6,
        version: 1,
        data_length: 3,
        ..Stat::default()
    };
    let mut history = History::new(Header {
        world: World::Open,
        sync: SyncPromise::Leader,
        container_unused_ms: 300_000,
        ..Header::default()
    });
    let session = 0x8100_0000_0000_0001u64 as i64;
    let invoke = |xid, op| Body::Invoke { session, xid, op };
    let ok = |xid, answer| Body::Return {
        xid,
        zxid: 77,
        result: Ok(answer),
    };
    let path: Path = "/a \"quoted\"/ü".into();
    let create = Op::Create {
        path: path.clone(),
        data: Some(Value::from(&b"\x00\xff"[..])),
        acl: Arc::from([
            Acl::new(1, "digest", "u:x="),
            Acl::new(31, "ip", "10.0.0.0/8"),
        ]),
        ephemeral: true,
        lapse: None,
        sequential: true,
        stat: true,
    };
    let set = Op::Set {
        path: path.clone(),
        data: None,
        version: 3,
    };
    let check = Op::Check {
        path: path.clone(),
        version: 3,
    };
    let delete = Op::Delete {
        path: path.clone(),
        version: -1,
    };
    let made_by_itself = |lapse| Op::Create {
        path: "/c".into(),
        data: None,
        acl: Acl::open(),
        ephemeral: false,
        lapse: Some(lapse),
        sequential: true,
        stat: true,
    };
    let container = made_by_itself(Lapse::Container);
    let ttl = made_by_itself(Lapse::Ttl(Lapse::TTL_MS_MAX));
    let ops = vec![create.clone(), set.clone(), check, delete.clone(), ttl];
    let results = vec![
        Ok(Answer::Path(path.clone())),
        Ok(Answer::Stat(stat)),
        Ok(Answer::Done),
        Err(ErrorCode::RUNTIME_INCONSISTENCY),
    ];
    let set_watches = SessionEvent::SetWatches {
        relative_zxid: 9,
        data: vec![path.clone()],
        exist: vec![],
        child: vec!["/".into(), path.clone()],
        stays: vec![],
    };
    let set_watches2 = SessionEvent::SetWatches {
        relative_zxid: 9,
        data: vec![],
        exist: vec![path.clone()],
        child: vec![],
        stays: WatchMode::join(vec![path.clone()], vec!["/".into(), "/new".into()]),
    };
    let bodies = vec![
        Body::Session(SessionEvent::Connecting {
            session: 0,
            last_zxid_seen: 0,
        }),
        Body::Session(SessionEvent::Connected {
            session,
            timeout_ms: 4000,
            reattached: false,
            address: Some("10.0.0.1".into()),
        }),
        invoke(1, create),
        ok(
            1,
            Answer::Created {
                path: path.clone(),
                stat,
            },
        ),
        invoke(2, set),
        Body::Return {
            xid: 2,
            zxid: 78,
            result: Err(ErrorCode::BAD_VERSION),
        },
        invoke(3, delete),
        Body::Lost { xid: 3 },
        invoke(4, Op::Multi { ops }),
        ok(4, Answer::Multi(results)),
        invoke(
            5,
            Op::Get {
                path: path.clone(),
                watch: true,
            },
        ),
        ok(
            5,
            Answer::Data {
                data: Some("x".into()),
                stat,
            },
        ),
        invoke(
            6,
            Op::Children {
                path: path.clone(),
                watch: false,
                stat: true,
            },
        ),
        ok(
            6,
            Answer::NamesStat {
                names: vec!["b".into()],
                stat,
            },
        ),
        invoke(
            7,
            Op::Children {
                path: path.clone(),
                watch: false,
                stat: false,
            },
        ),
        ok(7, Answer::Names(vec![])),
        invoke(
            8,
            Op::Exists {
                path: path.clone(),
                watch: true,
            },
        ),
        ok(8, Answer::Stat(stat)),
        invoke(9, Op::GetAcl { path: path.clone() }),
        ok(
            9,
            Answer::Acl {
                acl: vec![Acl::new(31, "world", "anyone")],
                stat,
            },
        ),
        invoke(
            10,
            Op::SetAcl {
                path: path.clone(),
                acl: Acl::open(),
                version: 0,
            },
        ),
        Body::Return {
            xid: 10,
            zxid: 79,
            result: Err(ErrorCode(-999)),
        },
        invoke(11, Op::Sync { path: path.clone() }),
        ok(11, Answer::Done),
        invoke(
            13,
            Op::AddWatch {
                path: path.clone(),
                mode: WatchMode::Recursive,
            },
        ),
        ok(13, Answer::Done),
        invoke(
            14,
            Op::RemoveWatches {
                path: path.clone(),
                watches: WatchKind::Any,
            },
        ),
        Body::Return {
            xid: 14,
            zxid: 79,
            result: Err(ErrorCode::NO_WATCHER),
        },
        Body::Notify {
            zxid: -1,
            event: EventType::NodeChildrenChanged,
            path: path.clone(),
        },
        Body::Ping { sent: 17 },
        Body::Session(SessionEvent::Disconnected),
        Body::Session(set_watches),
        Body::Session(set_watches2),
        Body::Session(SessionEvent::SetWatchesDone { zxid: 5 }),
        Body::Session(SessionEvent::Auth {
            identity: digest_identity("u:p"),
        }),
        Body::Session(SessionEvent::AuthDone { ok: true }),
        Body::Session(SessionEvent::WatchesLeftOut),
        Body::Session(SessionEvent::Expired { session }),
        Body::Session(SessionEvent::Abandoned { session }),
        Body::Final,
        invoke(13, container),
        Body::Lost { xid: 13 },
        invoke(12, Op::Close),
        ok(12, Answer::Done),
    ];
    for (time, body) in bodies.into_iter().enumerate() {
        history.push_at(7, time as u64, 2, body);
    }
    history.header.start = Start::Nodes {
        zxid: 4,
        nodes: vec![StartNode {
            path: "/s".into(),
            data: None,
            stat,
            acl: vec![Acl::new(1, "world", "anyone")],
            lapse: Some(Lapse::Ttl(1)),
        }],
    };
    let kinds = [
        TxnKind::Open,
        TxnKind::Write,
        TxnKind::Refused,
        TxnKind::Close,
    ];
    history.txns = (1..)
        .zip(kinds)
        .map(|(xid, kind)| Txn {
            zxid: 1 << 32 | i64::from(xid),
            session,
            xid,
            kind,
        })
        .collect();
    history.header.txns = Some(history.txns.len() as u64);
    history
}

#[test]
fn every_kind_of_record_survives_writing_and_reading() {
    let history = sample();
    let mut bytes = Vec::new();
    write(&mut bytes, &history).unwrap();
    assert_eq!(read(&bytes[..]).unwrap(), history);
}

#[test]
fn log_with_a_line_missing_is_not_whole() {
    let history = sample();
    assert!(history.log_is_whole());
    let mut bytes = Vec::new();
    write(&mut bytes, &history).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let lines = text.lines().filter(|line| !line.contains("refused"));
    let cut = lines.collect::<Vec<_>>().join("\n");
    assert!(!read(cut.as_bytes()).unwrap().log_is_whole());
    assert!(!History::default().log_is_whole(), "none was imported");
}

#[test]
fn a_history_cut_at_any_byte_is_read_or_refused_in_one_line() {
    let mut bytes = Vec::new();
    write(&mut bytes, &sample()).unwrap();
    for end in 0..bytes.len() {
        if let Err(error) = read(&bytes[..end]) {
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}

/// A recorder that was killed, or its disk full, in the middle of a line.
#[test]
fn a_recording_that_was_cut_short_says_so_and_what_to_do() {
    let mut bytes = Vec::new();
    write(&mut bytes, &sample()).unwrap();
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').unwrap();
    let last = bytes[..whole].iter().rposition(|byte| *byte == b'\n');
    for end in last.unwrap() + 2..whole {
        let error = read(&bytes[..end]).unwrap_err().to_string();
        assert!(error.contains("head -n -1"), "{error}");
    }
    assert!(read(&bytes[..whole]).is_ok(), "only its end is missing");
    assert!(read(&bytes[..last.unwrap()]).is_ok());
}

#[test]
fn what_is_not_of_the_format_is_named_by_line_and_field() {
    let header = r#"{"type":"header","version":1}"#;
    let create = |fields| {
        let question = r#"{"type":"invoke","process":1,"time":1,"session":"0x1","xid":1,"f":"create2","path":"/a""#;
        format!("{header}\n{question},{fields}}}")
    };
    for (text, place) in [
        ("".to_string(), "line 1"),
        ("{}".to_string(), "line 1"),
        (
            r#"{"type":"invoke","version":1}"#.to_string(),
            "line 1, field `type`",
        ),
        (
            r#"{"type":"header","version":99}"#.to_string(),
            "line 1, field `version`",
        ),
        (
            r#"{"type":"header","version":1,"world":"flat"}"#.to_string(),
            "line 1, field `world`",
        ),
        (format!("{header}\n[1,2]"), "line 2"),
        (
            format!("{header}\n{{\"type\":\"ok\",\"xid\":\"five\"}}"),
            "line 2, field `xid`",
        ),
        (
            format!("{header}\n\n{{\"type\":\"ok\",\"xid\":5}}"),
            "line 3, field `zxid`",
        ),
        (
            format!("{header}\n{{\"type\":\"invoke\",\"session\":\"12\"}}"),
            "line 2, field `session`",
        ),
        (
            format!("{header}\n{{\"type\":\"dance\"}}"),
            "line 2, field `type`",
        ),
        (
            format!(
                "{header}\n{{\"type\":\"txn\",\"f\":\"guess\",\"zxid\":1,\"session\":\"0x1\",\"xid\":1}}"
            ),
            "line 2, field `f`",
        ),
        (create(r#""ttl_ms":0"#), "line 2, field `ttl_ms`"),
        (
            create(r#""ttl_ms":1099511627776"#),
            "line 2, field `ttl_ms`",
        ),
        (
            create(r#""container":true,"ttl_ms":1"#),
            "line 2, field `ttl_ms`",
        ),
        (
            create(r#""ephemeral":true,"ttl_ms":1"#),
            "line 2, field `ephemeral`",
        ),
        (
            format!("{header}\n{{\"type\":\"final\",\"time\":1}}"),
            "line 2, field `process`",
        ),
        (
            format!("{header}\n{{\"type\":\"final\",\"process\":-1,\"time\":1}}"),
            "line 2, field `process`",
        ),
    ] {
        let error = read(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(place), "{text}\n -> {error}");
    }
    let error = read(&b"{\"type\":\"header\",\"version\":1}\n\xff\xfe\n"[..])
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("line 2: invalid UTF-8"), "{error}");
}

/// The examples of the section on our own histories in `docs/FORMATS.md`, block by block.
fn documented() -> Vec<Vec<&'static str>> {
    let text = include_str!("../../docs/FORMATS.md");
    let section = text.split("\n## Checker histories\n").nth(1);
    let section = section.and_then(|rest| rest.split("\n## ").next());
    let mut blocks = section.expect("the section is there").split("```jsonl\n");
    blocks.next();
    let lines = |block: &'static str| {
        let block = block.split("```").next().unwrap_or_default();
        block.lines().collect()
    };
    blocks.map(lines).collect()
}

#[test]
fn the_documented_examples_are_read_and_written_as_documented() {
    let mut kinds = std::collections::BTreeSet::new();
    for block in documented() {
        let alone = block[0].contains("\"type\":\"header\"");
        let header = match alone {
            true => String::new(),
            false => "{\"type\":\"header\",\"version\":1}\n".to_string(),
        };
        let text = header + &block.join("\n");
        let history = read(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let mut binary = Vec::new();
        write_binary(&mut binary, &history).unwrap();
        assert_eq!(read(&binary[..]).unwrap(), history);
        let mut again = Vec::new();
        write(&mut again, &history).unwrap();
        assert_eq!(read(&again[..]).unwrap(), history);
        for line in &block {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            for key in ["container", "ttl_ms"] {
                kinds.extend(line.get(key).map(|_| format!("f {key}")));
            }
            for key in ["type", "f", "answer", "event"] {
                kinds.extend(line[key].as_str().map(|name| format!("{key} {name}")));
            }
        }
    }
    // Everything that the reader knows has an example.
    for (key, names) in [
        (
            "type",
            "header invoke ok fail info notify ping final session txn",
        ),
        (
            "f",
            "create create2 container ttl_ms delete exists get set children children2 get_acl set_acl sync add_watch remove_watches multi close",
        ),
        (
            "answer",
            "done path created stat data names names_stat acl multi",
        ),
        (
            "event",
            "connecting connected disconnected expired abandoned set_watches set_watches_done auth auth_done watches_left_out",
        ),
    ] {
        for name in names.split(' ') {
            let kind = format!("{key} {name}");
            assert!(kinds.contains(&kind), "no example of {kind}");
        }
    }
}
