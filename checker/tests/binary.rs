//! Memory, JSON lines and the binary twin hold the same history; hostile bytes are refused
//! in one line and never bring the reader down.

use gamekeeper_checker::history::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::io::BufReader;
use std::sync::Arc;

/// What a byte of a line is replaced by: whatever means something there.
const DAMAGE: &[u8] = b"\"\\{}[]:, -+.019eEftnx\n\r\t\0\xff";

fn text() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![
        Just("/a".to_string()),
        Just("/a/ü \"q\"\\".to_string()),
        Just(String::new()),
        "[/a-c]{0,6}",
    ]
    .prop_map(Arc::from)
}

fn value() -> impl Strategy<Value = Option<Value>> {
    option::of(vec(any::<u8>(), 0..12).prop_map(Value::from))
}

fn stat() -> impl Strategy<Value = Stat> {
    let longs = (any::<i64>(), any::<i64>(), 0..9i64, 0..9i64, any::<i64>());
    let ints = (any::<i32>(), 0..3i32, 0..3i32, 0..3i32, any::<i32>());
    (longs, ints, any::<bool>()).prop_map(|(longs, ints, zero)| match zero {
        true => Stat::default(),
        false => Stat {
            czxid: longs.0,
            mzxid: longs.1,
            ctime: longs.2,
            mtime: longs.3,
            version: ints.0,
            cversion: ints.1,
            aversion: ints.2,
            ephemeral_owner: longs.4,
            data_length: ints.3,
            num_children: ints.4,
            pzxid: longs.0,
        },
    })
}

fn acl() -> impl Strategy<Value = Vec<Acl>> {
    let entry = (any::<i32>(), text(), text()).prop_map(|(perms, scheme, id)| Acl {
        perms,
        identity: Identity { scheme, id },
    });
    vec(entry, 0..3)
}

fn part() -> impl Strategy<Value = Op> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let lapse = prop_oneof![
        Just(None),
        Just(Some(Lapse::Container)),
        (1..=Lapse::TTL_MS_MAX).prop_map(|ttl_ms| Some(Lapse::Ttl(ttl_ms))),
    ];
    prop_oneof![
        (text(), value(), acl(), flags, lapse).prop_map(|(path, data, acl, flags, lapse)| {
            Op::Create {
                path,
                data,
                acl: acl.into(),
                ephemeral: flags.0 && lapse.is_none(),
                lapse,
                sequential: flags.1,
                stat: flags.2,
            }
        }),
        (text(), any::<i32>()).prop_map(|(path, version)| Op::Delete { path, version }),
        (text(), value(), any::<i32>()).prop_map(|(path, data, version)| Op::Set {
            path,
            data,
            version
        }),
        (text(), any::<i32>()).prop_map(|(path, version)| Op::Check { path, version }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        part(),
        vec(part(), 0..4).prop_map(|ops| Op::Multi { ops }),
        (text(), any::<bool>()).prop_map(|(path, watch)| Op::Exists { path, watch }),
        (text(), any::<bool>()).prop_map(|(path, watch)| Op::Get { path, watch }),
        (text(), any::<bool>(), any::<bool>()).prop_map(|(path, watch, stat)| Op::Children {
            path,
            watch,
            stat
        }),
        text().prop_map(|path| Op::GetAcl { path }),
        (text(), acl(), any::<i32>()).prop_map(|(path, acl, version)| Op::SetAcl {
            path,
            acl: acl.into(),
            version
        }),
        text().prop_map(|path| Op::Sync { path }),
        (text(), any::<bool>()).prop_map(|(path, below)| Op::AddWatch {
            path,
            mode: match below {
                true => WatchMode::Recursive,
                false => WatchMode::Persistent,
            },
        }),
        (text(), 1..=5).prop_map(|(path, kind)| Op::RemoveWatches {
            path,
            watches: WatchKind::of_number(kind).unwrap(),
        }),
        Just(Op::Close),
    ]
}

fn plain_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        Just(Answer::Done),
        text().prop_map(Answer::Path),
        (text(), stat()).prop_map(|(path, stat)| Answer::Created { path, stat }),
        stat().prop_map(Answer::Stat),
        (value(), stat()).prop_map(|(data, stat)| Answer::Data { data, stat }),
        vec(text(), 0..4).prop_map(Answer::Names),
        (vec(text(), 0..4), stat()).prop_map(|(names, stat)| Answer::NamesStat { names, stat }),
        (acl(), stat()).prop_map(|(acl, stat)| Answer::Acl { acl, stat }),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let code = any::<i32>().prop_map(ErrorCode);
    let result = prop_oneof![plain_answer().prop_map(Ok), code.prop_map(Err)];
    prop_oneof![
        4 => plain_answer(),
        1 => vec(result, 0..4).prop_map(Answer::Multi),
    ]
}

fn session_event() -> impl Strategy<Value = SessionEvent> {
    let (session, zxid) = (any::<i64>(), any::<i64>());
    let lists = (
        vec(text(), 0..3),
        vec(text(), 0..3),
        vec(text(), 0..3),
        vec(text(), 0..2),
        vec(text(), 0..2),
    );
    prop_oneof![
        (session, zxid).prop_map(|(session, last_zxid_seen)| SessionEvent::Connecting {
            session,
            last_zxid_seen
        }),
        (
            any::<i64>(),
            any::<u64>(),
            any::<bool>(),
            option::of(text())
        )
            .prop_map(|(session, timeout_ms, reattached, address)| {
                SessionEvent::Connected {
                    session,
                    timeout_ms,
                    reattached,
                    address,
                }
            }),
        Just(SessionEvent::Disconnected),
        any::<i64>().prop_map(|session| SessionEvent::Expired { session }),
        any::<i64>().prop_map(|session| SessionEvent::Abandoned { session }),
        (any::<i64>(), lists).prop_map(|(relative_zxid, lists)| SessionEvent::SetWatches {
            relative_zxid,
            data: lists.0,
            exist: lists.1,
            child: lists.2,
            stays: WatchMode::join(lists.3, lists.4),
        }),
        any::<i64>().prop_map(|zxid| SessionEvent::SetWatchesDone { zxid }),
        (text(), text()).prop_map(|(scheme, id)| SessionEvent::Auth {
            identity: Identity { scheme, id }
        }),
        any::<bool>().prop_map(|ok| SessionEvent::AuthDone { ok }),
        Just(SessionEvent::WatchesLeftOut),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    let code = any::<i32>().prop_map(ErrorCode);
    let result = prop_oneof![3 => answer().prop_map(Ok), 1 => code.prop_map(Err)];
    prop_oneof![
        4 => (any::<i64>(), any::<i32>(), op())
            .prop_map(|(session, xid, op)| Body::Invoke { session, xid, op }),
        4 => (any::<i32>(), any::<i64>(), result)
            .prop_map(|(xid, zxid, result)| Body::Return { xid, zxid, result }),
        1 => any::<i32>().prop_map(|xid| Body::Lost { xid }),
        1 => (any::<i64>(), 1..5i32, text()).prop_map(|(zxid, number, path)| Body::Notify {
            zxid,
            event: EventType::of_number(number).unwrap(),
            path
        }),
        2 => session_event().prop_map(Body::Session),
        1 => any::<u64>().prop_map(|sent| Body::Ping { sent }),
        1 => Just(Body::Final),
    ]
}

fn history() -> impl Strategy<Value = History> {
    let record = (any::<u32>(), any::<u64>(), option::of(any::<u32>()), body()).prop_map(
        |(process, time, server, body)| Record {
            process,
            time,
            server,
            body,
        },
    );
    let txn = (any::<i64>(), any::<i64>(), any::<i32>()).prop_map(|(zxid, session, xid)| Txn {
        zxid,
        session,
        xid,
        kind: TxnKind::Refused,
    });
    (vec(record, 0..12), vec(txn, 0..3), any::<u64>()).prop_map(|(records, txns, error)| History {
        header: Header {
            clock_error_ns: error,
            world: World::Open,
            ..Header::default()
        },
        records,
        txns,
    })
}

fn binary_of(history: &History) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_binary(&mut bytes, history).unwrap();
    bytes
}

fn json_of(history: &History) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, history).unwrap();
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn json_binary_and_memory_hold_the_same(history in history()) {
        let from_json = read(&json_of(&history)[..]).unwrap();
        prop_assert_eq!(&from_json, &history);
        let from_binary = read(&binary_of(&from_json)[..]).unwrap();
        prop_assert_eq!(&from_binary, &history);
    }

    #[test]
    fn the_general_parser_reads_what_the_quick_one_reads(history in history()) {
        let text = String::from_utf8(json_of(&history)).unwrap();
        // A key that nobody knows sends every line but the header to the general parser.
        let other = text.replace("\"type\":", "\"mine\":[{}],\"type\":");
        prop_assert_eq!(read(other.as_bytes()).unwrap(), read(text.as_bytes()).unwrap());
    }

    #[test]
    fn a_damaged_line_is_read_or_refused_alike_by_quick_and_general_parsers(
        history in history(),
        changes in vec((any::<prop::sample::Index>(), 0..DAMAGE.len()), 1..3),
    ) {
        let mut bytes = json_of(&history);
        let header = bytes.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        for (at, damage) in changes {
            let at = header + at.index(bytes.len() - header + 1);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = DAMAGE[damage];
            }
        }
        let lines = bytes.split(|&byte| byte == b'\n').enumerate();
        let others = lines.map(|(number, line)| match (number, line) {
            (1.., [b'{', b'"', ..]) => [b"{\"mine\":[{}],", &line[1..]].concat(),
            (_, line) => line.to_vec(),
        });
        let others = others.collect::<Vec<_>>().join(&b'\n');
        match (read(&bytes[..]), read(&others[..])) {
            (Ok(quick), Ok(general)) => prop_assert_eq!(quick, general),
            (Err(quick), Err(general)) => {
                let [quick, general] = [quick, general].map(|error| error.to_string());
                let place = |error: &str| error.split([',', ':']).next().map(str::to_string);
                prop_assert_eq!(place(&quick), place(&general), "{} {}", quick, general);
            }
            (quick, general) => prop_assert!(false, "{:?} {:?}", quick, general),
        }
    }

    #[test]
    fn lines_that_come_in_pieces_are_the_same(history in history(), piece in 1..300usize) {
        let bytes = json_of(&history);
        let pieces = BufReader::with_capacity(piece, &bytes[..]);
        prop_assert_eq!(read(pieces).unwrap(), history);
    }

    #[test]
    fn damage_to_a_binary_history_is_always_noticed(
        history in history(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let mut bytes = binary_of(&history);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let error = read(&bytes[..]).unwrap_err().to_string();
        prop_assert!(!error.contains('\n'), "{}", error);
    }

    #[test]
    fn a_cut_binary_history_is_always_noticed(
        history in history(),
        end in any::<prop::sample::Index>(),
    ) {
        let bytes = binary_of(&history);
        let end = end.index(bytes.len());
        let error = read(&bytes[..end]).unwrap_err().to_string();
        prop_assert!(!error.contains('\n'), "{}", error);
    }

    #[test]
    fn hostile_bytes_under_right_checksums_are_refused_or_read(
        history in history(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        count in 0..40u32,
    ) {
        let whole = binary_of(&history);
        let header = 20 + u32::from_le_bytes(whole[12..16].try_into().unwrap()) as usize;
        let mut payload: Vec<u8> = whole[header + 12..].to_vec();
        for (at, byte) in changes {
            let at = at.index(payload.len().max(1)).min(payload.len().saturating_sub(1));
            if let Some(slot) = payload.get_mut(at) {
                *slot = byte;
            }
        }
        let mut bytes = whole[..header].to_vec();
        let mut sum = crc32fast::Hasher::new();
        sum.update(&0u64.to_le_bytes());
        sum.update(&count.to_le_bytes());
        sum.update(&payload);
        for number in [payload.len() as u32, count, sum.finalize()] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(payload);
        if let Err(error) = read(&bytes[..]) {
            prop_assert!(!error.to_string().contains('\n'), "{}", error);
        }
    }
}

#[test]
fn a_history_of_many_blocks_survives() {
    let mut history = History::new(Header::default());
    for number in 0..40_000 {
        let path: Path = format!("/node/{number}").into();
        history.push(
            1,
            number,
            Body::Notify {
                zxid: 1,
                event: EventType::NodeCreated,
                path,
            },
        );
    }
    let bytes = binary_of(&history);
    assert!(bytes.len() > 2 * (512 << 10), "so that there are several");
    assert_eq!(read(&bytes[..]).unwrap(), history);
}

#[test]
fn lengths_that_no_file_can_have_are_refused_before_anything_is_allocated() {
    let whole = binary_of(&History::new(Header::default()));
    for at in [
        12,
        20 + u32::from_le_bytes(whole[12..16].try_into().unwrap()) as usize,
    ] {
        let mut bytes = whole.clone();
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let error = read(&bytes[..]).unwrap_err().to_string();
        assert!(error.contains("longer than any can be"), "{error}");
    }
}
