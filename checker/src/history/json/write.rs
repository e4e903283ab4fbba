//! Records to lines of JSON.

use super::{AclLine, HeaderLine, Line, StartLine, StartNodeLine, Text};
use crate::history::{
    Acl, Answer, Body, ErrorCode, FORMAT_VERSION, Header, History, Lapse, Op, Path, Piece, Record,
    SessionEvent, Start, SyncPromise, Txn, WatchMode, World,
};
use std::borrow::Cow;
use std::io::{self, Write};

/// Writes a history line by line, as it is observed.
pub struct Writer<W: Write> {
    output: W,
}

impl<W: Write> Writer<W> {
    /// Writes the header line.
    ///
    /// # Errors
    /// When writing fails.
    pub fn new(mut output: W, header: &Header) -> io::Result<Self> {
        serde_json::to_writer(&mut output, &header_line(header))?;
        output.write_all(b"\n")?;
        Ok(Writer { output })
    }

    /// Writes one record.
    ///
    /// # Errors
    /// When writing fails.
    pub fn record(&mut self, record: &Record) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, &line_of(record))?;
        self.output.write_all(b"\n")
    }

    /// Writes one transaction of the servers' log; anywhere after the header.
    ///
    /// # Errors
    /// When writing fails.
    pub fn txn(&mut self, txn: &Txn) -> io::Result<()> {
        let line = Line {
            r#type: text("txn"),
            zxid: Some(txn.zxid),
            session: session_text(txn.session),
            xid: Some(txn.xid),
            f: text(txn.kind.name()),
            ..Line::default()
        };
        serde_json::to_writer(&mut self.output, &line)?;
        self.output.write_all(b"\n")
    }

    /// The output, for flushing.
    pub fn into_inner(self) -> W {
        self.output
    }
}

/// Writes a whole history.
///
/// # Errors
/// When writing fails.
pub fn write(output: impl Write, history: &History) -> io::Result<()> {
    let mut writer = Writer::new(output, &history.header)?;
    history.interleaved().try_for_each(|line| match line {
        Piece::Record(record) => writer.record(record),
        Piece::Txn(txn) => writer.txn(txn),
    })?;
    writer.into_inner().flush()
}

/// The header as its line.
pub fn header_line(header: &Header) -> HeaderLine {
    HeaderLine {
        r#type: "header".into(),
        version: Some(FORMAT_VERSION),
        clock_error_ns: header.clock_error_ns,
        world: Some(match header.world {
            World::Closed => "closed".into(),
            World::Open => "open".into(),
        }),
        sync: Some(match header.sync {
            SyncPromise::Quorum => "quorum".into(),
            SyncPromise::Leader => "leader".into(),
            SyncPromise::None => "none".into(),
        }),
        tick_ms: Some(header.tick_ms),
        sync_limit: Some(header.sync_limit),
        timeout_ms_min: Some(header.timeout_ms_min),
        timeout_ms_max: Some(header.timeout_ms_max),
        clock_drift_ppm: header.clock_drift_ppm,
        container_unused_ms: header.container_unused_ms,
        start: Some(start_line(&header.start)),
        txns: header.txns,
    }
}

fn start_line(start: &Start) -> StartLine {
    match start {
        Start::Fresh => StartLine::Word("fresh".into()),
        Start::Nodes { zxid, nodes } => StartLine::Nodes {
            zxid: *zxid,
            nodes: nodes
                .iter()
                .map(|node| StartNodeLine {
                    path: node.path.clone(),
                    value: node.data.clone(),
                    stat: node.stat,
                    acl: node.acl.iter().map(AclLine::from).collect(),
                    container: lapse_fields(node.lapse).0,
                    ttl_ms: lapse_fields(node.lapse).1,
                })
                .collect(),
        },
    }
}

fn lapse_fields(lapse: Option<Lapse>) -> (Option<bool>, Option<u64>) {
    let container = lapse == Some(Lapse::Container);
    (container.then_some(true), lapse.and_then(Lapse::ttl_ms))
}

fn text(text: &str) -> Option<Text<'_>> {
    Some(Text(Cow::Borrowed(text)))
}

fn texts(paths: &[Path]) -> Option<Vec<Text<'_>>> {
    Some(texts_of(paths))
}

fn texts_of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Vec<Text<'a>> {
    let texts = paths.into_iter().map(|path| Text(Cow::Borrowed(&**path)));
    texts.collect()
}

fn session_text<'a>(session: i64) -> Option<Text<'a>> {
    Some(Text(Cow::Owned(format!("{session:#x}"))))
}

fn error_text<'a>(code: ErrorCode) -> Option<Text<'a>> {
    Some(Text(match code.name() {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(code.0.to_string()),
    }))
}

fn line_of(record: &Record) -> Line<'_> {
    let mut line = Line {
        process: Some(record.process),
        time: Some(record.time),
        server: record.server,
        ..Line::default()
    };
    match &record.body {
        Body::Invoke { session, xid, op } => {
            line.r#type = text("invoke");
            line.session = session_text(*session);
            line.xid = Some(*xid);
            op_into(op, &mut line);
        }
        Body::Return { xid, zxid, result } => {
            (line.xid, line.zxid) = (Some(*xid), Some(*zxid));
            line.r#type = text(if result.is_ok() { "ok" } else { "fail" });
            match result {
                Ok(answer) => answer_into(answer, &mut line),
                Err(code) => line.error = error_text(*code),
            }
        }
        Body::Lost { xid } => (line.r#type, line.xid) = (text("info"), Some(*xid)),
        Body::Notify { zxid, event, path } => {
            (line.r#type, line.event) = (text("notify"), text(event.name()));
            (line.zxid, line.path) = (Some(*zxid), text(path));
        }
        Body::Session(event) => {
            line.r#type = text("session");
            session_event_into(event, &mut line);
        }
        Body::Ping { sent } => (line.r#type, line.sent) = (text("ping"), Some(*sent)),
        Body::Final => line.r#type = text("final"),
    }
    line
}

fn op_into<'a>(op: &'a Op, line: &mut Line<'a>) {
    line.f = text(op.name());
    line.path = op.path().and_then(|path| text(path));
    match op {
        Op::Create {
            data,
            acl,
            ephemeral,
            lapse,
            sequential,
            ..
        } => {
            line.value = data.clone();
            line.acl = (*acl != Acl::open()).then(|| acl.iter().map(AclLine::from).collect());
            (line.ephemeral, line.sequential) =
                (ephemeral.then_some(true), sequential.then_some(true));
            (line.container, line.ttl_ms) = lapse_fields(*lapse);
        }
        Op::Delete { version, .. } | Op::Check { version, .. } => line.version = Some(*version),
        Op::Exists { watch, .. } | Op::Get { watch, .. } | Op::Children { watch, .. } => {
            line.watch = watch.then_some(true);
        }
        Op::Set { data, version, .. } => {
            (line.value, line.version) = (data.clone(), Some(*version))
        }
        Op::SetAcl { acl, version, .. } => {
            (line.acl, line.version) = (
                Some(acl.iter().map(AclLine::from).collect()),
                Some(*version),
            );
        }
        Op::Multi { ops } => {
            let part_of = |op: &'a Op| {
                let mut part = Line::default();
                op_into(op, &mut part);
                part
            };
            line.ops = Some(ops.iter().map(part_of).collect());
        }
        Op::AddWatch { mode, .. } => line.mode = text(mode.name()),
        Op::RemoveWatches { watches, .. } => line.watches = text(watches.name()),
        Op::GetAcl { .. } | Op::Sync { .. } | Op::Close => {}
    }
}

fn answer_into<'a>(answer: &'a Answer, line: &mut Line<'a>) {
    let (name, stat) = match answer {
        Answer::Done => ("done", None),
        Answer::Path(path) => {
            line.path = text(path);
            ("path", None)
        }
        Answer::Created { path, stat } => {
            line.path = text(path);
            ("created", Some(*stat))
        }
        Answer::Stat(stat) => ("stat", Some(*stat)),
        Answer::Data { data, stat } => {
            line.value = data.clone();
            ("data", Some(*stat))
        }
        Answer::Names(names) => {
            line.names = texts(names);
            ("names", None)
        }
        Answer::NamesStat { names, stat } => {
            line.names = texts(names);
            ("names_stat", Some(*stat))
        }
        Answer::Acl { acl, stat } => {
            line.acl = Some(acl.iter().map(AclLine::from).collect());
            ("acl", Some(*stat))
        }
        Answer::Multi(parts) => {
            let part_of = |result: &'a Result<Answer, ErrorCode>| {
                let mut part = Line::default();
                match result {
                    Ok(answer) => answer_into(answer, &mut part),
                    Err(code) => part.error = error_text(*code),
                }
                part
            };
            line.results = Some(parts.iter().map(part_of).collect());
            ("multi", None)
        }
    };
    (line.answer, line.stat) = (text(name), stat);
}

fn session_event_into<'a>(event: &'a SessionEvent, line: &mut Line<'a>) {
    line.event = text(match event {
        SessionEvent::Connecting {
            session,
            last_zxid_seen,
        } => {
            (line.session, line.last_zxid) = (session_text(*session), Some(*last_zxid_seen));
            "connecting"
        }
        SessionEvent::Connected {
            session,
            timeout_ms,
            reattached,
            address,
        } => {
            (line.session, line.timeout_ms) = (session_text(*session), Some(*timeout_ms));
            line.reattached = Some(*reattached);
            line.address = address.as_ref().and_then(|address| text(address));
            "connected"
        }
        SessionEvent::Disconnected => "disconnected",
        SessionEvent::Expired { session } => {
            line.session = session_text(*session);
            "expired"
        }
        SessionEvent::Abandoned { session } => {
            line.session = session_text(*session);
            "abandoned"
        }
        SessionEvent::SetWatches {
            relative_zxid,
            data,
            exist,
            child,
            stays,
        } => {
            line.last_zxid = Some(*relative_zxid);
            (line.data, line.exist, line.child) = (texts(data), texts(exist), texts(child));
            let of = |mode: WatchMode| {
                let list = texts_of(mode.among(stays));
                (!list.is_empty()).then_some(list)
            };
            line.persistent = of(WatchMode::Persistent);
            line.recursive = of(WatchMode::Recursive);
            "set_watches"
        }
        SessionEvent::SetWatchesDone { zxid } => {
            line.zxid = Some(*zxid);
            "set_watches_done"
        }
        SessionEvent::WatchesLeftOut => "watches_left_out",
        SessionEvent::Auth { identity } => {
            (line.scheme, line.id) = (text(&identity.scheme), text(&identity.id));
            "auth"
        }
        SessionEvent::AuthDone { ok } => {
            line.ok = Some(*ok);
            "auth_done"
        }
    });
}
