//! One line of JSON to one record.

use super::{Fault, Line, Text};
use crate::history::reader::{Batch, Interner};
use crate::history::{
    Acl, Answer, Body, ErrorCode, EventType, Identity, Lapse, Op, Record, SessionEvent, Txn,
    TxnKind, WatchKind, WatchMode,
};
use std::sync::Arc;

fn share_all(interner: &mut Interner, texts: &[Text<'_>]) -> Vec<Arc<str>> {
    texts.iter().map(|text| interner.share(&text.0)).collect()
}

fn need<T: Copy>(value: Option<T>, field: &'static str) -> Result<T, Fault> {
    value.ok_or_else(|| (field, "is missing".to_string()))
}

fn need_text<'l>(value: &'l Option<Text<'_>>, field: &'static str) -> Result<&'l str, Fault> {
    value
        .as_ref()
        .map(|text| &*text.0)
        .ok_or_else(|| (field, "is missing".to_string()))
}

fn session_of(line: &Line<'_>) -> Result<i64, Fault> {
    let text = need_text(&line.session, "session")?;
    text.strip_prefix("0x")
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .map(|bits| bits as i64)
        .ok_or_else(|| {
            (
                "session",
                format!("expected a text like \"0x1f\", not {text:?}"),
            )
        })
}

fn error_of(text: &str) -> Result<ErrorCode, Fault> {
    ErrorCode::of_name(text)
        .or_else(|| text.parse().ok().map(ErrorCode))
        .ok_or_else(|| {
            (
                "error",
                format!("neither a ZooKeeper error's name nor a number: {text:?}"),
            )
        })
}

/// What a line says, into a batch.
pub fn entry_into(
    line: &Line<'_>,
    interner: &mut Interner,
    batch: &mut Batch,
) -> Result<(), Fault> {
    match need_text(&line.r#type, "type")? {
        "txn" => batch.txns.push(txn_of(line)?),
        _ => batch.records.push(record_of(line, interner)?),
    }
    Ok(())
}

fn txn_of(line: &Line<'_>) -> Result<Txn, Fault> {
    let kind = need_text(&line.f, "f")?;
    Ok(Txn {
        zxid: need(line.zxid, "zxid")?,
        session: session_of(line)?,
        xid: need(line.xid, "xid")?,
        kind: TxnKind::of_name(kind)
            .ok_or_else(|| ("f", format!("no kind of transaction: {kind:?}")))?,
    })
}

fn record_of(line: &Line<'_>, interner: &mut Interner) -> Result<Record, Fault> {
    let body = match need_text(&line.r#type, "type")? {
        "invoke" => Body::Invoke {
            session: session_of(line)?,
            xid: need(line.xid, "xid")?,
            op: op_of(line, interner, false)?,
        },
        "ok" => Body::Return {
            xid: need(line.xid, "xid")?,
            zxid: need(line.zxid, "zxid")?,
            result: Ok(answer_of(line, interner)?),
        },
        "fail" => Body::Return {
            xid: need(line.xid, "xid")?,
            zxid: need(line.zxid, "zxid")?,
            result: Err(error_of(need_text(&line.error, "error")?)?),
        },
        "info" => Body::Lost {
            xid: need(line.xid, "xid")?,
        },
        "notify" => {
            let name = need_text(&line.event, "event")?;
            Body::Notify {
                zxid: line.zxid.unwrap_or(-1),
                event: EventType::of_name(name)
                    .ok_or_else(|| ("event", format!("no watch event: {name:?}")))?,
                path: interner.share(need_text(&line.path, "path")?),
            }
        }
        "session" => Body::Session(session_event_of(line, interner)?),
        "ping" => Body::Ping {
            sent: need(line.sent, "sent")?,
        },
        "final" => Body::Final,
        other => return Err(("type", format!("no kind of record: {other:?}"))),
    };
    Ok(Record {
        process: need(line.process, "process")?,
        time: need(line.time, "time")?,
        server: line.server,
        body,
    })
}

fn acl_of(line: &Line<'_>, interner: &mut Interner) -> Vec<Acl> {
    line.acl
        .iter()
        .flatten()
        .map(|entry| Acl {
            perms: entry.perms,
            identity: Identity {
                scheme: interner.share(&entry.scheme),
                id: interner.share(&entry.id),
            },
        })
        .collect()
}

fn op_of(line: &Line<'_>, interner: &mut Interner, inside_multi: bool) -> Result<Op, Fault> {
    let f = need_text(&line.f, "f")?;
    if inside_multi && !matches!(f, "create" | "create2" | "delete" | "set" | "check") {
        return Err(("f", format!("{f:?} cannot be part of a multi")));
    }
    match f {
        "multi" => {
            let parts = line
                .ops
                .as_deref()
                .ok_or_else(|| ("ops", "is missing".to_string()))?;
            let ops = parts
                .iter()
                .map(|part| op_of(part, interner, true))
                .collect::<Result<_, _>>()?;
            return Ok(Op::Multi { ops });
        }
        "close" => return Ok(Op::Close),
        _ => {}
    }
    let path = interner.share(need_text(&line.path, "path")?);
    let watch = line.watch.unwrap_or(false);
    let version = line.version.unwrap_or(-1);
    Ok(match f {
        "create" | "create2" => Op::Create {
            path,
            data: line.value.clone(),
            acl: match &line.acl {
                Some(_) => acl_of(line, interner).into(),
                None => Acl::open(),
            },
            ephemeral: line.ephemeral.unwrap_or(false),
            lapse: lapse_of(line)?,
            sequential: line.sequential.unwrap_or(false),
            stat: f == "create2",
        },
        "delete" => Op::Delete { path, version },
        "exists" => Op::Exists { path, watch },
        "get" => Op::Get { path, watch },
        "set" => Op::Set {
            path,
            data: line.value.clone(),
            version,
        },
        "children" | "children2" => Op::Children {
            path,
            watch,
            stat: f == "children2",
        },
        "get_acl" => Op::GetAcl { path },
        "set_acl" => Op::SetAcl {
            path,
            acl: acl_of(line, interner).into(),
            version,
        },
        "check" => Op::Check { path, version },
        "sync" => Op::Sync { path },
        "add_watch" => {
            let name = need_text(&line.mode, "mode")?;
            Op::AddWatch {
                path,
                mode: WatchMode::of_name(name)
                    .ok_or_else(|| ("mode", format!("no mode of a watch: {name:?}")))?,
            }
        }
        "remove_watches" => {
            let name = need_text(&line.watches, "watches")?;
            Op::RemoveWatches {
                path,
                watches: WatchKind::of_name(name)
                    .ok_or_else(|| ("watches", format!("no kind of watches: {name:?}")))?,
            }
        }
        other => return Err(("f", format!("no operation: {other:?}"))),
    })
}

fn lapse_of(line: &Line<'_>) -> Result<Option<Lapse>, Fault> {
    let container = line.container == Some(true);
    let lapse = Lapse::of_fields(line.ephemeral == Some(true), container, line.ttl_ms);
    lapse.map_err(|(field, reason)| (field, reason.to_string()))
}

fn answer_of(line: &Line<'_>, interner: &mut Interner) -> Result<Answer, Fault> {
    let names = |interner: &mut Interner| match &line.names {
        Some(names) => Ok(share_all(interner, names)),
        None => Err(("names", "is missing".to_string())),
    };
    Ok(match need_text(&line.answer, "answer")? {
        "done" => Answer::Done,
        "path" => Answer::Path(interner.share(need_text(&line.path, "path")?)),
        "created" => Answer::Created {
            path: interner.share(need_text(&line.path, "path")?),
            stat: need(line.stat, "stat")?,
        },
        "stat" => Answer::Stat(need(line.stat, "stat")?),
        "data" => Answer::Data {
            data: line.value.clone(),
            stat: need(line.stat, "stat")?,
        },
        "names" => Answer::Names(names(interner)?),
        "names_stat" => Answer::NamesStat {
            names: names(interner)?,
            stat: need(line.stat, "stat")?,
        },
        "acl" => Answer::Acl {
            acl: acl_of(line, interner),
            stat: need(line.stat, "stat")?,
        },
        "multi" => {
            let parts = line
                .results
                .as_deref()
                .ok_or_else(|| ("results", "is missing".to_string()))?;
            let result_of = |part: &Line<'_>| match &part.error {
                Some(error) => Ok(Err(error_of(&error.0)?)),
                None => answer_of(part, interner).map(Ok),
            };
            Answer::Multi(parts.iter().map(result_of).collect::<Result<_, Fault>>()?)
        }
        other => return Err(("answer", format!("no kind of answer: {other:?}"))),
    })
}

fn session_event_of(line: &Line<'_>, interner: &mut Interner) -> Result<SessionEvent, Fault> {
    let paths = |interner: &mut Interner, list: &Option<Vec<Text<'_>>>| match list {
        Some(list) => share_all(interner, list),
        None => Vec::new(),
    };
    Ok(match need_text(&line.event, "event")? {
        "connecting" => SessionEvent::Connecting {
            session: session_of(line)?,
            last_zxid_seen: need(line.last_zxid, "last_zxid")?,
        },
        "connected" => SessionEvent::Connected {
            session: session_of(line)?,
            timeout_ms: need(line.timeout_ms, "timeout_ms")?,
            reattached: line.reattached.unwrap_or(false),
            address: line.address.as_ref().map(|text| interner.share(&text.0)),
        },
        "disconnected" => SessionEvent::Disconnected,
        "expired" => SessionEvent::Expired {
            session: session_of(line)?,
        },
        "abandoned" => SessionEvent::Abandoned {
            session: session_of(line)?,
        },
        "set_watches" => SessionEvent::SetWatches {
            relative_zxid: need(line.last_zxid, "last_zxid")?,
            data: paths(interner, &line.data),
            exist: paths(interner, &line.exist),
            child: paths(interner, &line.child),
            stays: {
                let persistent = paths(interner, &line.persistent);
                let recursive = paths(interner, &line.recursive);
                WatchMode::join(persistent, recursive)
            },
        },
        "set_watches_done" => SessionEvent::SetWatchesDone {
            zxid: need(line.zxid, "zxid")?,
        },
        "watches_left_out" => SessionEvent::WatchesLeftOut,
        "auth" => SessionEvent::Auth {
            identity: Identity {
                scheme: interner.share(need_text(&line.scheme, "scheme")?),
                id: interner.share(need_text(&line.id, "id")?),
            },
        },
        "auth_done" => SessionEvent::AuthDone {
            ok: need(line.ok, "ok")?,
        },
        other => return Err(("event", format!("no session event: {other:?}"))),
    })
}
