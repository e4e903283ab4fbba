//! Our own histories in the formats of others, for a second opinion.
//!
//! | format | holds |
//! |---|---|
//! | EDN registers | per znode, as `[path value]`: creates, deletes and sets as writes (of nil, for a delete), and reads right after a sync |
//! | list-append | per parent of sequential children: each create an append, each getChildren a read, a multi of creates one transaction |
//!
//! What is left out, and why: a read that no sync precedes may lag, and would look like a
//! violation; a znode that was ever ephemeral or part of a multi changes without a request of
//! its own; a parent whose children were deleted is no list. A conditional set that succeeded
//! is written as a plain one: what is exported is weaker than what was seen, so whoever finds
//! fault with it is right, and whoever does not has checked less than the judge.
//!
//! A session may have several requests under way, a process of Jepsen's only one: processes
//! are numbered anew. Elle should be asked for `strong-session-serializable`, since
//! getChildren may lag.
//!
//! Answers to: `consistency.md` 4.

use super::edn::Form;
use crate::history::{
    Answer, Body, ErrorCode, History, Op, Path, Start, SyncPromise, Value, World,
};
use rustc_hash::{FxHashMap, FxHashSet};
use std::io::{self, Write};

/// A request and what became of it.
struct Request<'a> {
    process: u32,
    op: &'a Op,
    call: usize,
    /// Record and outcome of the answer; `None`: lost.
    answer: Option<(usize, &'a Result<Answer, ErrorCode>)>,
    /// For a read right after a sync: the sync's record.
    synced: Option<usize>,
}

/// One operation of the exported history.
struct Exported {
    process: u32,
    call: usize,
    /// Record of the completion, and its type; `None`: nobody knows.
    done: Option<(usize, &'static str)>,
    f: &'static str,
    asked: String,
    answered: String,
}

/// Writes `history` as EDN registers, a map a line.
///
/// # Errors
/// Those of `output`; [`io::ErrorKind::InvalidInput`] if others wrote too and were not
/// recorded, since then nothing follows from what was.
pub fn edn(history: &History, output: impl Write) -> io::Result<()> {
    closed(history)?;
    let requests = requests(history);
    let left_out = unfit_nodes(&requests);
    let mut exported = Vec::new();
    for request in &requests {
        exported.extend(register(request, &left_out));
    }
    let mut start = Vec::new();
    if let Start::Nodes { nodes, .. } = &history.header.start {
        for node in nodes.iter().filter(|node| !left_out.contains(&*node.path)) {
            start.push(pair(&node.path, &shown(node.data.as_ref())));
        }
    }
    something(
        &exported,
        "no znode is changed one by one that was never ephemeral",
    )?;
    emit(&exported, &start, output)
}

/// Writes `history` as Elle's list-append, a map a line.
///
/// # Errors
/// As [`edn`].
pub fn list_append(history: &History, output: impl Write) -> io::Result<()> {
    closed(history)?;
    let requests = requests(history);
    let lists = lists(history, &requests);
    let exported: Vec<Exported> = requests
        .iter()
        .filter_map(|request| transaction(request, &lists))
        .collect();
    something(
        &exported,
        "no parent has sequential children of which none was deleted",
    )?;
    emit(&exported, &[], output)
}

fn closed(history: &History) -> io::Result<()> {
    match history.header.world {
        World::Closed => Ok(()),
        World::Open => Err(refused(
            "others wrote too and were not recorded: nothing would follow from an export".into(),
        )),
    }
}

/// An empty file would look like a success.
fn something(exported: &[Exported], why_not: &str) -> io::Result<()> {
    match exported.is_empty() {
        false => Ok(()),
        true => Err(refused(format!(
            "nothing of it can be exported so: {why_not}"
        ))),
    }
}

fn refused(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

/// Pairs requests with their answers.
fn requests(history: &History) -> Vec<Request<'_>> {
    let mut requests: Vec<Request> = Vec::new();
    let mut open: FxHashMap<(u32, i32), usize> = FxHashMap::default();
    // Per process: the record of a sync that nothing has followed yet.
    let mut syncs: FxHashMap<u32, usize> = FxHashMap::default();
    for (at, record) in history.records.iter().enumerate() {
        match &record.body {
            Body::Invoke { xid, op, .. } => {
                let synced = syncs.remove(&record.process);
                // Without a quorum's word a sync proves nothing that a register needs.
                if matches!(op, Op::Sync { .. }) && history.header.sync == SyncPromise::Quorum {
                    syncs.insert(record.process, at);
                }
                open.insert((record.process, *xid), requests.len());
                requests.push(Request {
                    process: record.process,
                    op,
                    call: at,
                    answer: None,
                    synced,
                });
            }
            Body::Return { xid, result, .. } => {
                if let Some(request) = open.remove(&(record.process, *xid)) {
                    requests[request].answer = Some((at, result));
                }
            }
            Body::Lost { xid } => drop(open.remove(&(record.process, *xid))),
            // A sync counts for the connection it was sent on.
            Body::Session(_) => drop(syncs.remove(&record.process)),
            Body::Notify { .. } | Body::Ping { .. } | Body::Final => {}
        }
    }
    requests
}

/// Nodes that every new tree has, whatever a server keeps in them.
const BUILT_IN: [&str; 4] = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];

/// Nodes that change without a request of their own.
fn unfit_nodes<'a>(requests: &[Request<'a>]) -> FxHashSet<&'a str> {
    let mut unfit: FxHashSet<&str> = BUILT_IN.into_iter().collect();
    for request in requests {
        match request.op {
            Op::Multi { ops } => {
                unfit.extend(ops.iter().filter_map(|op| op.path()).map(|path| &**path))
            }
            Op::Create {
                path,
                ephemeral: true,
                sequential: false,
                ..
            } => drop(unfit.insert(path)),
            Op::Create {
                ephemeral: true,
                sequential: true,
                ..
            } => {
                if let Some((_, Ok(Answer::Path(path) | Answer::Created { path, .. }))) =
                    request.answer
                {
                    unfit.insert(path);
                }
            }
            _ => {}
        }
    }
    unfit
}

/// A request as an operation on a register, if it is one.
fn register(request: &Request, left_out: &FxHashSet<&str>) -> Option<Exported> {
    let ok = request
        .answer
        .as_ref()
        .and_then(|(_, result)| result.as_ref().ok());
    let (path, f, value) = match (request.op, ok) {
        (
            Op::Create {
                data,
                sequential: true,
                ..
            },
            Some(Answer::Path(path) | Answer::Created { path, .. }),
        ) => (path, "write", shown(data.as_ref())),
        // Nobody knows its name.
        (
            Op::Create {
                sequential: true, ..
            },
            _,
        ) => return None,
        (Op::Create { path, data, .. } | Op::Set { path, data, .. }, _) => {
            (path, "write", shown(data.as_ref()))
        }
        (Op::Delete { path, .. }, _) => (path, "write", "nil".to_owned()),
        (Op::Get { path, .. }, _) => (path, "read", "nil".to_owned()),
        _ => return None,
    };
    if left_out.contains(&**path) {
        return None;
    }
    let call = match f {
        "read" => request.synced?,
        _ => request.call,
    };
    let done = request.answer.as_ref().map(|(at, result)| match result {
        Ok(_) => (*at, "ok"),
        // That there is no node is what the read saw.
        Err(code) if *code == ErrorCode::NO_NODE && f == "read" => (*at, "ok"),
        Err(_) => (*at, "fail"),
    });
    let answered = match ok {
        Some(Answer::Data { data, .. }) => shown(data.as_ref()),
        _ => value.clone(),
    };
    Some(Exported {
        process: request.process,
        call,
        done,
        f,
        asked: pair(path, &value),
        answered: pair(path, &answered),
    })
}

/// Parents whose children were all made by sequential, lasting creates and stay.
fn lists<'a>(history: &'a History, requests: &[Request<'a>]) -> FxHashSet<&'a str> {
    let mut lists: FxHashSet<&str> = FxHashSet::default();
    let mut unfit: FxHashSet<&str> = FxHashSet::default();
    fn look<'a>(
        op: &'a Op,
        lost: bool,
        lists: &mut FxHashSet<&'a str>,
        unfit: &mut FxHashSet<&'a str>,
    ) {
        match op {
            // A lost one has no name to be known by.
            Op::Create {
                path,
                ephemeral: false,
                sequential: true,
                ..
            } if !lost => drop(lists.insert(parent(path))),
            Op::Create { path, .. } => drop(unfit.insert(parent(path))),
            Op::Delete { path, .. } => unfit.extend([parent(path), &**path]),
            Op::Multi { ops } => ops.iter().for_each(|op| look(op, lost, lists, unfit)),
            _ => {}
        }
    }
    for request in requests {
        look(request.op, request.answer.is_none(), &mut lists, &mut unfit);
    }
    if let Start::Nodes { nodes, .. } = &history.header.start {
        unfit.extend(nodes.iter().map(|node| parent(&node.path)));
    }
    lists.retain(|list| !unfit.contains(list));
    lists
}

fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}

/// A request as a transaction on lists, if it is one.
fn transaction(request: &Request, lists: &FxHashSet<&str>) -> Option<Exported> {
    let (at, result) = request.answer.as_ref()?;
    let append = |path: &Path| {
        let list = parent(path);
        lists.contains(list).then(|| {
            format!(
                "[:append {} {}]",
                text(list),
                text(&path[path.rfind('/').map_or(0, |at| at + 1)..])
            )
        })
    };
    let (asked, answered) = match (request.op, result) {
        (Op::Create { .. }, Ok(Answer::Path(path) | Answer::Created { path, .. })) => {
            let part = append(path)?;
            (part.clone(), part)
        }
        (Op::Children { path, .. }, Ok(Answer::Names(names) | Answer::NamesStat { names, .. }))
            if lists.contains(&**path) =>
        {
            let mut names: Vec<&str> = names.iter().map(|name| &**name).collect();
            names.sort_by_key(|name| suffix(name));
            let seen: Vec<String> = names.iter().map(|name| text(name)).collect();
            let path = text(path);
            (
                format!("[:r {path} nil]"),
                format!("[:r {path} [{}]]", seen.join(" ")),
            )
        }
        (Op::Multi { .. }, Ok(Answer::Multi(parts))) => {
            let made = parts.iter().filter_map(|part| match part {
                Ok(Answer::Path(path) | Answer::Created { path, .. }) => append(path),
                Ok(_) | Err(_) => None,
            });
            let made = made.collect::<Vec<_>>().join(" ");
            if made.is_empty() {
                return None;
            }
            (made.clone(), made)
        }
        _ => return None,
    };
    Some(Exported {
        process: request.process,
        call: request.call,
        done: Some((*at, "ok")),
        f: "txn",
        asked: format!("[{asked}]"),
        answered: format!("[{answered}]"),
    })
}

/// The number at the end of a sequential name.
fn suffix(name: &str) -> i64 {
    let digits = name.len() - name.bytes().rev().take_while(u8::is_ascii_digit).count();
    name[digits..].parse().unwrap_or(-1)
}

fn pair(path: &str, value: &str) -> String {
    format!("[{} {value}]", text(path))
}

/// A text as EDN has it.
fn text(text: &str) -> String {
    Form::Text(text.to_owned()).written()
}

/// A node's bytes as an EDN text: as they are if they are plain, else in hexadecimal.
fn shown(data: Option<&Value>) -> String {
    let bytes = data.map_or(&[][..], |data| data.bytes());
    let plain = |byte: &u8| (b' '..=b'~').contains(byte) && !matches!(byte, b'"' | b'\\');
    match bytes.iter().all(plain) && !bytes.starts_with(b"0x") {
        true => format!("\"{}\"", String::from_utf8_lossy(bytes)),
        false => {
            let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
            format!("\"0x{}\"", digits.collect::<String>())
        }
    }
}

/// Writes events in the order of the history, first of what was there at its `start`.
fn emit(exported: &[Exported], start: &[String], mut output: impl Write) -> io::Result<()> {
    let mut line = |process: u32, kind: &str, f: &str, value: &str| {
        writeln!(
            output,
            "{{:process {process}, :type :{kind}, :f :{f}, :value {value}}}"
        )
    };
    for value in start {
        line(0, "invoke", "write", value)?;
        line(0, "ok", "write", value)?;
    }
    // At one record completions come last: what ends there was under way until then.
    let mut events: Vec<(usize, bool, usize)> = Vec::with_capacity(exported.len() * 2);
    for (at, operation) in exported.iter().enumerate() {
        events.push((operation.call, false, at));
        events.extend(operation.done.map(|(done, _)| (done, true, at)));
    }
    events.sort_unstable();
    let mut free: FxHashMap<u32, Vec<u32>> = FxHashMap::default();
    let mut lane = vec![0; exported.len()];
    let mut lanes = 1;
    for (_, ends, at) in events {
        let operation = &exported[at];
        if !ends {
            lane[at] = free
                .get_mut(&operation.process)
                .and_then(Vec::pop)
                .unwrap_or_else(|| {
                    lanes += 1;
                    lanes - 1
                });
            line(lane[at], "invoke", operation.f, &operation.asked)?;
        } else if let Some((_, kind)) = operation.done {
            line(lane[at], kind, operation.f, &operation.answered)?;
            free.entry(operation.process).or_default().push(lane[at]);
        }
    }
    Ok(())
}
