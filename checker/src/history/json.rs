//! The JSON-lines form of a history: reader and writer.
//!
//! One object a line; the first is the header. Keys that are not known are ignored, so
//! that a recorder may add its own. The reader never panics and holds one line at a time;
//! what it refuses it names by line number and field.
//!
//! Answers to: `docs/FORMATS.md`, `consistency.md` section 4.

use super::op::{Acl, Answer, ErrorCode, Identity, Op, Stat};
use super::value::Value;
use super::{
    Body, EventType, FORMAT_VERSION, Header, History, Path, Record, SessionEvent, Start, StartNode,
    SyncPromise, Txn, TxnKind, World,
};
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;

/// Longest line that is read, bytes: a multi of a full frame in base64, with room.
pub const LINE_BYTES_MAX: usize = 16 << 20;

/// Why a history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes could not be had at all.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A line is not what the format says.
    #[error("line {line}{}: {reason}", field.as_ref().map(|f| format!(", field `{f}`")).unwrap_or_default())]
    Line {
        /// Number of the line, from 1.
        line: u64,
        /// The field, where one is to blame.
        field: Option<String>,
        /// What is wrong with it.
        reason: String,
    },
}

/// A text that borrows from the line where it can.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The first line.
#[derive(Serialize, Deserialize)]
struct HeaderLine {
    r#type: String,
    version: u32,
    #[serde(default)]
    clock_error_ns: u64,
    world: Option<String>,
    sync: Option<String>,
    tick_ms: Option<u64>,
    sync_limit: Option<u64>,
    timeout_ms_min: Option<u64>,
    timeout_ms_max: Option<u64>,
    #[serde(default)]
    clock_drift_ppm: u64,
    start: Option<StartLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    txns: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StartLine {
    Word(String),
    Nodes {
        zxid: i64,
        nodes: Vec<StartNodeLine>,
    },
}

#[derive(Serialize, Deserialize)]
struct StartNodeLine {
    path: Path,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    stat: Stat,
    #[serde(default)]
    acl: Vec<AclLine>,
}

#[derive(Serialize, Deserialize)]
struct AclLine {
    perms: i32,
    scheme: Arc<str>,
    id: Arc<str>,
}

/// Every later line, and the parts of a multi: all keys of all kinds, each optional.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Line<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    r#type: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<u32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    session: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    xid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zxid: Option<i64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    f: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    answer: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    error: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    event: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    path: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watch: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ephemeral: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequential: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acl: Option<Vec<AclLine>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stat: Option<Stat>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    names: Option<Vec<Text<'a>>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    ops: Option<Vec<Line<'a>>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    results: Option<Vec<Line<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_zxid: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reattached: Option<bool>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    address: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    data: Option<Vec<Text<'a>>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    exist: Option<Vec<Text<'a>>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    child: Option<Vec<Text<'a>>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    scheme: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    id: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<u64>,
}

/// A field and what is wrong with it.
type Fault = (&'static str, String);

/// Shares equal texts.
#[derive(Default)]
struct Interner(FxHashSet<Arc<str>>);

impl Interner {
    fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let fresh: Arc<str> = text.into();
        self.0.insert(fresh.clone());
        fresh
    }

    fn share_all(&mut self, texts: &[Text<'_>]) -> Vec<Arc<str>> {
        texts.iter().map(|text| self.share(&text.0)).collect()
    }
}

/// Reads a whole history.
///
/// # Errors
/// [`ReadError`] at the first line that is not of the format, or when reading fails.
pub fn read(input: impl BufRead) -> Result<History, ReadError> {
    let (mut records, mut txns) = (Vec::new(), Vec::new());
    let header = read_lines(input, |entry| match entry {
        Entry::Record(record) => records.push(record),
        Entry::Txn(txn) => txns.push(txn),
    })?;
    Ok(History {
        header,
        records,
        txns,
    })
}

/// Reads a history and hands out record after record, so that one larger than memory can
/// be looked through. What the servers' log says is passed over. Returns the header.
///
/// # Errors
/// As [`read`]; records before the bad line have been handed out by then.
pub fn read_each(input: impl BufRead, mut take: impl FnMut(Record)) -> Result<Header, ReadError> {
    read_lines(input, |entry| match entry {
        Entry::Record(record) => take(record),
        Entry::Txn(_) => {}
    })
}

/// What a line says.
enum Entry {
    Record(Record),
    Txn(Txn),
}

fn read_lines(mut input: impl BufRead, mut take: impl FnMut(Entry)) -> Result<Header, ReadError> {
    let (mut buffer, mut number, mut header) = (Vec::new(), 0u64, None);
    let mut interner = Interner::default();
    loop {
        buffer.clear();
        number += 1;
        let refuse = |field: Option<String>, reason: String| ReadError::Line {
            line: number,
            field,
            reason,
        };
        let bytes = (&mut input)
            .take(LINE_BYTES_MAX as u64 + 1)
            .read_until(b'\n', &mut buffer)?;
        if bytes == 0 {
            return header
                .ok_or_else(|| refuse(None, "the file is empty, a header was expected".into()));
        }
        if bytes > LINE_BYTES_MAX {
            return Err(refuse(None, format!("longer than {LINE_BYTES_MAX} bytes")));
        }
        let text = std::str::from_utf8(&buffer).map_err(|error| {
            refuse(
                None,
                format!("invalid UTF-8 at byte {}", error.valid_up_to()),
            )
        })?;
        let text = text.trim_end();
        if text.is_empty() {
            continue;
        }
        let json_fault =
            |error: serde_json::Error| refuse(field_before(text, error.column()), plain(&error));
        let fault = |(field, reason): Fault| refuse(Some(field.into()), reason);
        if header.is_none() {
            let line: HeaderLine = serde_json::from_str(text).map_err(json_fault)?;
            header = Some(header_of(line).map_err(fault)?);
        } else {
            let line: Line<'_> = serde_json::from_str(text).map_err(json_fault)?;
            take(entry_of(&line, &mut interner).map_err(fault)?);
        }
    }
}

/// The error without its "at line 1 column n", which would be misread as the file's line.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_string()
}

/// The last key that starts before the given column: the field a JSON error is about.
fn field_before(text: &str, column: usize) -> Option<String> {
    let end = (0..=column.min(text.len()))
        .rev()
        .find(|&i| text.is_char_boundary(i))?;
    let head = &text[..end];
    let colon = head.rfind("\":")?;
    let start = head[..colon].rfind('"')?;
    Some(head[start + 1..colon].to_string())
}

fn header_of(line: HeaderLine) -> Result<Header, Fault> {
    if line.r#type != "header" {
        return Err((
            "type",
            format!(
                "the first line must be of type \"header\", not {:?}",
                line.r#type
            ),
        ));
    }
    if line.version != FORMAT_VERSION {
        return Err((
            "version",
            format!(
                "version {} is not known, only {FORMAT_VERSION} is",
                line.version
            ),
        ));
    }
    let otherwise = Header::default();
    let world = match line.world.as_deref() {
        None | Some("closed") => World::Closed,
        Some("open") => World::Open,
        Some(other) => {
            return Err((
                "world",
                format!("expected \"closed\" or \"open\", not {other:?}"),
            ));
        }
    };
    let sync = match line.sync.as_deref() {
        None | Some("quorum") => SyncPromise::Quorum,
        Some("leader") => SyncPromise::Leader,
        Some(other) => {
            return Err((
                "sync",
                format!("expected \"quorum\" or \"leader\", not {other:?}"),
            ));
        }
    };
    let start = match line.start {
        None => Start::Fresh,
        Some(StartLine::Word(word)) if word == "fresh" => Start::Fresh,
        Some(StartLine::Word(word)) => {
            return Err((
                "start",
                format!("expected \"fresh\" or nodes, not {word:?}"),
            ));
        }
        Some(StartLine::Nodes { zxid, nodes }) => Start::Nodes {
            zxid,
            nodes: nodes.into_iter().map(StartNode::from).collect(),
        },
    };
    Ok(Header {
        clock_error_ns: line.clock_error_ns,
        world,
        sync,
        tick_ms: line.tick_ms.unwrap_or(otherwise.tick_ms),
        sync_limit: line.sync_limit.unwrap_or(otherwise.sync_limit),
        timeout_ms_min: line.timeout_ms_min.unwrap_or(otherwise.timeout_ms_min),
        timeout_ms_max: line.timeout_ms_max.unwrap_or(otherwise.timeout_ms_max),
        clock_drift_ppm: line.clock_drift_ppm,
        start,
        txns: line.txns,
    })
}

impl From<StartNodeLine> for StartNode {
    fn from(line: StartNodeLine) -> Self {
        let acl = line.acl.into_iter().map(Acl::from).collect();
        StartNode {
            path: line.path,
            data: line.value,
            stat: line.stat,
            acl,
        }
    }
}

impl From<AclLine> for Acl {
    fn from(line: AclLine) -> Self {
        Acl {
            perms: line.perms,
            identity: Identity {
                scheme: line.scheme,
                id: line.id,
            },
        }
    }
}

impl From<&Acl> for AclLine {
    fn from(acl: &Acl) -> Self {
        AclLine {
            perms: acl.perms,
            scheme: acl.identity.scheme.clone(),
            id: acl.identity.id.clone(),
        }
    }
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

fn entry_of(line: &Line<'_>, interner: &mut Interner) -> Result<Entry, Fault> {
    match need_text(&line.r#type, "type")? {
        "txn" => txn_of(line).map(Entry::Txn),
        _ => record_of(line, interner).map(Entry::Record),
    }
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
        other => return Err(("f", format!("no operation: {other:?}"))),
    })
}

fn answer_of(line: &Line<'_>, interner: &mut Interner) -> Result<Answer, Fault> {
    let names = |interner: &mut Interner| match &line.names {
        Some(names) => Ok(interner.share_all(names)),
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
        Some(list) => interner.share_all(list),
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
        },
        "set_watches_done" => SessionEvent::SetWatchesDone {
            zxid: need(line.zxid, "zxid")?,
        },
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
        let line = HeaderLine {
            r#type: "header".into(),
            version: FORMAT_VERSION,
            clock_error_ns: header.clock_error_ns,
            world: Some(match header.world {
                World::Closed => "closed".into(),
                World::Open => "open".into(),
            }),
            sync: Some(match header.sync {
                SyncPromise::Quorum => "quorum".into(),
                SyncPromise::Leader => "leader".into(),
            }),
            tick_ms: Some(header.tick_ms),
            sync_limit: Some(header.sync_limit),
            timeout_ms_min: Some(header.timeout_ms_min),
            timeout_ms_max: Some(header.timeout_ms_max),
            clock_drift_ppm: header.clock_drift_ppm,
            start: Some(start_line(&header.start)),
            txns: header.txns,
        };
        serde_json::to_writer(&mut output, &line)?;
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
    history
        .records
        .iter()
        .try_for_each(|record| writer.record(record))?;
    history.txns.iter().try_for_each(|txn| writer.txn(txn))?;
    writer.into_inner().flush()
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
                })
                .collect(),
        },
    }
}

fn text(text: &str) -> Option<Text<'_>> {
    Some(Text(Cow::Borrowed(text)))
}

fn texts(paths: &[Path]) -> Option<Vec<Text<'_>>> {
    Some(
        paths
            .iter()
            .map(|path| Text(Cow::Borrowed(&**path)))
            .collect(),
    )
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
            sequential,
            ..
        } => {
            line.value = data.clone();
            line.acl = (*acl != Acl::open()).then(|| acl.iter().map(AclLine::from).collect());
            (line.ephemeral, line.sequential) =
                (ephemeral.then_some(true), sequential.then_some(true));
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
        } => {
            line.last_zxid = Some(*relative_zxid);
            (line.data, line.exist, line.child) = (texts(data), texts(exist), texts(child));
            "set_watches"
        }
        SessionEvent::SetWatchesDone { zxid } => {
            line.zxid = Some(*zxid);
            "set_watches_done"
        }
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
