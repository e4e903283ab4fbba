//! The JSON-lines form of a history: reader and writer.
//!
//! One object a line; the first is the header. Keys that are not known are ignored, so
//! that a recorder may add its own. The reader never panics and holds one line at a time;
//! what it refuses it names by line number and field.
//!
//! | room | holds |
//! |---|---|
//! | `quick` | the line as `write` writes it, straight to a record |
//! | `scan` | the usual line of others, taken apart by hand |
//! | `read` | a line to a record |
//! | `write` | records to lines |
//!
//! Answers to: `docs/FORMATS.md`, `consistency.md` section 4.

mod bound;
mod quick;
mod read;
mod scan;
mod write;

use super::op::{Acl, Identity, Lapse, Stat};
use super::reader::{Batch, Interner, ReadError};
use super::value::Value;
use super::{FORMAT_VERSION, Header, Path, Start, StartNode, SyncPromise, World};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::io::{self, BufRead, Read};
use std::sync::Arc;

pub use write::{Writer, write};

/// Longest line that is read, bytes: a multi of a full frame in base64, with room.
pub const LINE_BYTES_MAX: usize = 16 << 20;

/// What is said of a file that is something else.
const NO_HISTORY: &str = "this begins no history: ours begin with {\"type\":\"header\",\"version\":1}, and those of others are recognised or named by --format";

/// A text that borrows from the line where it can.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(expecting = "an object")]
struct HeaderLine {
    r#type: String,
    version: Option<u32>,
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
    #[serde(default, skip_serializing_if = "is_zero")]
    container_unused_ms: u64,
    start: Option<StartLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    txns: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected \"fresh\", or an object of `zxid` and `nodes`, each with `path` and a whole `stat`"
)]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    container: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Serialize, Deserialize)]
#[serde(expecting = "an object of `perms`, `scheme` and `id`")]
struct AclLine {
    perms: i32,
    scheme: Arc<str>,
    id: Arc<str>,
}

/// Every later line, and the parts of a multi: all keys of all kinds, each optional.
#[derive(Serialize, Deserialize, Default)]
#[serde(default, expecting = "an object")]
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
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    mode: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    watches: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ephemeral: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequential: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
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
    persistent: Option<Vec<Text<'a>>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    recursive: Option<Vec<Text<'a>>>,
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

/// A history as lines, one at a time.
pub struct Lines<B> {
    input: B,
    buffer: Vec<u8>,
    number: u64,
    interner: Interner,
}

impl<B: BufRead> Lines<B> {
    /// Reads the header.
    ///
    /// # Errors
    /// There is none, or it is not of the format.
    pub fn open(input: B) -> Result<(Self, Header), ReadError> {
        let mut lines = Lines {
            input,
            buffer: Vec::new(),
            number: 0,
            interner: Interner::default(),
        };
        if !lines.advance()? {
            let reason = "the file is empty, a header was expected".into();
            return Err(refuse(lines.number, None, reason));
        }
        let text = text_of(&lines.buffer, lines.number)?;
        if !text.trim_start().starts_with('{') {
            return Err(refuse(lines.number, None, NO_HISTORY.into()));
        }
        let line: HeaderLine =
            serde_json::from_str(text).map_err(|error| json_fault(lines.number, text, &error))?;
        let header = header_of(line).map_err(|fault| blame(lines.number, fault))?;
        Ok((lines, header))
    }

    /// Number of the line that was read last, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Appends the next records and transactions to a batch, at most so many; false if there
    /// are no more.
    ///
    /// # Errors
    /// A line that is not of the format.
    pub fn batch(&mut self, batch: &mut Batch, entries_max: usize) -> Result<bool, ReadError> {
        let mut room = entries_max;
        while room > 0 {
            if !has_come(&mut self.input)? {
                return Ok(false);
            }
            let come = self.input.fill_buf()?;
            let Some(end) = memchr::memchr(b'\n', come) else {
                // It is the last line, or longer than what has come so far.
                if !self.advance()? {
                    return Ok(false);
                }
                let taken = entry(&self.buffer, self.number, &mut self.interner, batch);
                taken.map_err(|error| self.cut_short(error))?;
                room -= 1;
                continue;
            };
            let line = &come[..end];
            self.number += 1;
            let bytes = line.len() + 1;
            if bytes > LINE_BYTES_MAX {
                return Err(too_long(self.number));
            }
            if !line.trim_ascii_end().is_empty() {
                entry(line, self.number, &mut self.interner, batch)?;
                room -= 1;
            }
            self.input.consume(bytes);
        }
        Ok(true)
    }

    /// What is wrong with a last line that ends too early, and what to do about it.
    fn cut_short(&self, error: ReadError) -> ReadError {
        let read = serde_json::from_slice::<IgnoredAny>(&self.buffer);
        if self.buffer.ends_with(b"\n") || !read.is_err_and(|error| error.is_eof()) {
            return error;
        }
        let reason = "the file ends in the middle of this line, its recording was cut short: without it (head -n -1 FILE) the rest can be judged";
        refuse(self.number, None, reason.into())
    }

    /// Reads the next line that is not empty; false at the end.
    fn advance(&mut self) -> Result<bool, ReadError> {
        loop {
            self.buffer.clear();
            self.number += 1;
            let bytes = (&mut self.input)
                .take(LINE_BYTES_MAX as u64 + 1)
                .read_until(b'\n', &mut self.buffer)?;
            if bytes > LINE_BYTES_MAX {
                return Err(too_long(self.number));
            }
            if bytes == 0 || !self.buffer.trim_ascii_end().is_empty() {
                return Ok(bytes > 0);
            }
        }
    }
}

/// Waits for more bytes; false at the end.
fn has_come(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        match input.fill_buf() {
            Ok(come) => return Ok(!come.is_empty()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn too_long(number: u64) -> ReadError {
    let reason = format!("longer than {LINE_BYTES_MAX} bytes");
    refuse(number, None, reason)
}

/// What a line says, into a batch.
fn entry(
    line: &[u8],
    number: u64,
    interner: &mut Interner,
    batch: &mut Batch,
) -> Result<(), ReadError> {
    let text = text_of(line, number)?;
    if let Some(record) = quick::record(text, interner) {
        batch.records.push(record);
        return Ok(());
    }
    let line = match scan::line(text) {
        Some(line) => line,
        None => serde_json::from_str(text).map_err(|error| json_fault(number, text, &error))?,
    };
    read::entry_into(&line, interner, batch).map_err(|fault| blame(number, fault))
}

fn text_of(buffer: &[u8], number: u64) -> Result<&str, ReadError> {
    let text = std::str::from_utf8(buffer).map_err(|error| {
        let reason = format!("invalid UTF-8 at byte {}", error.valid_up_to());
        refuse(number, None, reason)
    })?;
    if bound::holds_too_many(text) {
        let reason = format!("more than {} objects", bound::OBJECTS_MAX);
        return Err(refuse(number, None, reason));
    }
    Ok(text.trim_end())
}

/// Most of a reason that is told: it may repeat what a hostile line holds.
const REASON_CHARS_MAX: usize = 300;

fn cut(reason: String) -> String {
    match reason.char_indices().nth(REASON_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &reason[..end]),
        None => reason,
    }
}

fn refuse(line: u64, field: Option<String>, reason: String) -> ReadError {
    ReadError::Line {
        line,
        field: field.map(cut),
        reason: cut(reason),
    }
}

fn blame(line: u64, (field, reason): Fault) -> ReadError {
    refuse(line, Some(field.into()), reason)
}

fn json_fault(line: u64, text: &str, error: &serde_json::Error) -> ReadError {
    refuse(line, field_before(text, error.column()), plain(error))
}

/// The header as one line, for the binary form.
pub fn header_text(header: &Header) -> io::Result<String> {
    Ok(serde_json::to_string(&write::header_line(header))?)
}

/// The header out of one line.
///
/// # Errors
/// What is wrong with it.
pub fn header_from(text: &str) -> Result<Header, String> {
    let line: HeaderLine = serde_json::from_str(text).map_err(|error| plain(&error))?;
    header_of(line).map_err(|(field, reason)| format!("field `{field}`: {}", cut(reason)))
}

/// The error without its "at line 1 column n", which would be misread as the file's line.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    cut(text.split(" at line ").next().unwrap_or(&text).to_string())
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
                "the first line must be of type \"header\", not {:?} (--format reads what others wrote)",
                line.r#type
            ),
        ));
    }
    match line.version {
        Some(FORMAT_VERSION) => {}
        Some(other) => {
            let reason = format!("version {other} is not known, only {FORMAT_VERSION} is");
            return Err(("version", reason));
        }
        None => return Err(("version", "is missing".into())),
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
        Some("none") => SyncPromise::None,
        Some(other) => {
            return Err((
                "sync",
                format!("expected \"quorum\", \"leader\" or \"none\", not {other:?}"),
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
            nodes: nodes
                .into_iter()
                .map(start_node)
                .collect::<Result<_, _>>()?,
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
        container_unused_ms: line.container_unused_ms,
        start,
        txns: line.txns,
    })
}

fn start_node(line: StartNodeLine) -> Result<StartNode, Fault> {
    let owned = line.stat.ephemeral_owner != 0;
    let lapse = match line.ttl_ms {
        // The recorder could not tell.
        Some(0) if !owned && line.container != Some(true) => Ok(Some(Lapse::Ttl(0))),
        ttl_ms => Lapse::of_fields(owned, line.container == Some(true), ttl_ms),
    };
    Ok(StartNode {
        path: line.path,
        data: line.value,
        stat: line.stat,
        acl: line.acl.into_iter().map(Acl::from).collect(),
        lapse: lapse.map_err(|(field, reason)| (field, reason.to_string()))?,
    })
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
