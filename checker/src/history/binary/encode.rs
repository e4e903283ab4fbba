//! Records to bytes; see `docs/FORMATS.md` for the layout.

use super::{CODE_MAX, NULL, Tag};
use crate::history::{
    Acl, Answer, Body, ErrorCode, EventType, Identity, Lapse, Op, Path, Record, SessionEvent, Stat,
    Txn, TxnKind, Value, WatchMode,
};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The payload of one block, while it is filled.
#[derive(Default)]
pub struct Payload {
    pub bytes: Vec<u8>,
    pub count: u32,
    texts: FxHashMap<Arc<str>, u32>,
}

impl Payload {
    /// Forgets everything, for the next block.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.texts.clear();
        self.count = 0;
    }

    /// Adds a record.
    pub fn record(&mut self, record: &Record) {
        self.introduce(&record.body);
        let tag = match &record.body {
            Body::Invoke { .. } => Tag::Invoke,
            Body::Return { result: Ok(_), .. } => Tag::Ok,
            Body::Return { result: Err(_), .. } => Tag::Fail,
            Body::Lost { .. } => Tag::Info,
            Body::Notify { .. } => Tag::Notify,
            Body::Session(_) => Tag::Session,
            Body::Ping { .. } => Tag::Ping,
            Body::Final => Tag::Final,
        };
        self.bytes.push(tag as u8);
        self.bytes.push(u8::from(record.server.is_some()));
        self.u32(record.process);
        self.u64(record.time);
        if let Some(server) = record.server {
            self.u32(server);
        }
        match &record.body {
            Body::Invoke { session, xid, op } => {
                self.i64(*session);
                self.i32(*xid);
                self.op(op);
            }
            Body::Return { xid, zxid, result } => {
                self.i32(*xid);
                self.i64(*zxid);
                match result {
                    Ok(answer) => self.answer(answer),
                    Err(code) => self.i32(code.0),
                }
            }
            Body::Lost { xid } => self.i32(*xid),
            Body::Notify { zxid, event, path } => {
                self.i64(*zxid);
                self.bytes.push(event_code(*event));
                self.text(path);
            }
            Body::Session(event) => self.session_event(event),
            Body::Ping { sent } => self.u64(*sent),
            Body::Final => {}
        }
        self.count += 1;
    }

    /// Adds a transaction of the servers' log.
    pub fn txn(&mut self, txn: &Txn) {
        self.bytes.push(Tag::Txn as u8);
        self.i64(txn.zxid);
        self.i64(txn.session);
        self.i32(txn.xid);
        self.bytes.push(match txn.kind {
            TxnKind::Open => 0,
            TxnKind::Close => 1,
            TxnKind::Write => 2,
            TxnKind::Refused => 3,
        });
        self.count += 1;
    }

    fn u32(&mut self, number: u32) {
        self.bytes.extend(number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.bytes.extend(number.to_le_bytes());
    }

    fn i32(&mut self, number: i32) {
        self.bytes.extend(number.to_le_bytes());
    }

    fn i64(&mut self, number: i64) {
        self.bytes.extend(number.to_le_bytes());
    }

    /// The number of a text that was introduced.
    fn text(&mut self, text: &Arc<str>) {
        let number = self.texts[text];
        self.u32(number);
    }

    fn texts(&mut self, texts: &[Path]) {
        self.u32(texts.len() as u32);
        texts.iter().for_each(|text| self.text(text));
    }

    /// Writes down the texts of a record that this block has not met, before the record.
    fn introduce(&mut self, body: &Body) {
        match body {
            Body::Invoke { op, .. } => self.introduce_op(op),
            Body::Return {
                result: Ok(answer), ..
            } => self.introduce_answer(answer),
            Body::Notify { path, .. } => self.learn(path),
            Body::Session(event) => self.introduce_event(event),
            Body::Return { .. } | Body::Lost { .. } | Body::Ping { .. } | Body::Final => {}
        }
    }

    fn introduce_op(&mut self, op: &Op) {
        if let Some(path) = op.path() {
            self.learn(path);
        }
        match op {
            Op::Create { acl, .. } | Op::SetAcl { acl, .. } => self.introduce_acl(acl),
            Op::Multi { ops } => ops.iter().for_each(|op| self.introduce_op(op)),
            Op::Delete { .. }
            | Op::Exists { .. }
            | Op::Get { .. }
            | Op::Set { .. }
            | Op::Children { .. }
            | Op::GetAcl { .. }
            | Op::Check { .. }
            | Op::Sync { .. }
            | Op::AddWatch { .. }
            | Op::RemoveWatches { .. }
            | Op::Close => {}
        }
    }

    fn introduce_answer(&mut self, answer: &Answer) {
        match answer {
            Answer::Path(path) | Answer::Created { path, .. } => self.learn(path),
            Answer::Names(names) | Answer::NamesStat { names, .. } => {
                names.iter().for_each(|name| self.learn(name));
            }
            Answer::Acl { acl, .. } => self.introduce_acl(acl),
            Answer::Multi(results) => {
                let answers = results.iter().filter_map(|result| result.as_ref().ok());
                answers.for_each(|answer| self.introduce_answer(answer));
            }
            Answer::Done | Answer::Stat(_) | Answer::Data { .. } => {}
        }
    }

    fn introduce_event(&mut self, event: &SessionEvent) {
        match event {
            SessionEvent::Connected {
                address: Some(address),
                ..
            } => self.learn(address),
            SessionEvent::SetWatches {
                data,
                exist,
                child,
                stays,
                ..
            } => {
                let once = [data, exist, child].into_iter().flatten();
                let paths = once.chain(stays.iter().map(|(path, _)| path));
                paths.for_each(|path| self.learn(path));
            }
            SessionEvent::Auth { identity } => self.introduce_identity(identity),
            SessionEvent::Connecting { .. }
            | SessionEvent::Connected { address: None, .. }
            | SessionEvent::Disconnected
            | SessionEvent::Expired { .. }
            | SessionEvent::Abandoned { .. }
            | SessionEvent::SetWatchesDone { .. }
            | SessionEvent::WatchesLeftOut
            | SessionEvent::AuthDone { .. } => {}
        }
    }

    fn introduce_acl(&mut self, acl: &[Acl]) {
        acl.iter()
            .for_each(|entry| self.introduce_identity(&entry.identity));
    }

    fn introduce_identity(&mut self, identity: &Identity) {
        self.learn(&identity.scheme);
        self.learn(&identity.id);
    }

    fn learn(&mut self, text: &Arc<str>) {
        if self.texts.contains_key(text) {
            return;
        }
        self.bytes.push(Tag::Text as u8);
        self.u32(text.len() as u32);
        self.bytes.extend(text.as_bytes());
        self.texts.insert(text.clone(), self.texts.len() as u32);
    }

    fn value(&mut self, value: Option<&Value>) {
        match value {
            Some(value) => {
                self.u32(value.bytes().len() as u32);
                self.bytes.extend(value.bytes());
            }
            None => self.u32(NULL),
        }
    }

    fn acl(&mut self, acl: &[Acl]) {
        self.u32(acl.len() as u32);
        for entry in acl {
            self.i32(entry.perms);
            self.text(&entry.identity.scheme);
            self.text(&entry.identity.id);
        }
    }

    /// Which fields are not zero, and those.
    fn stat(&mut self, stat: &Stat) {
        let at = self.bytes.len();
        self.bytes.extend([0; 2]);
        let mut mask = 0u16;
        let mut field = |bytes: &[u8], into: &mut Vec<u8>, bit: u32| {
            if bytes.iter().any(|&byte| byte != 0) {
                mask |= 1 << bit;
                into.extend(bytes);
            }
        };
        let longs = [stat.czxid, stat.mzxid, stat.ctime, stat.mtime];
        for (bit, long) in longs.into_iter().enumerate() {
            field(&long.to_le_bytes(), &mut self.bytes, bit as u32);
        }
        let ints = [stat.version, stat.cversion, stat.aversion];
        for (bit, int) in ints.into_iter().enumerate() {
            field(&int.to_le_bytes(), &mut self.bytes, 4 + bit as u32);
        }
        field(&stat.ephemeral_owner.to_le_bytes(), &mut self.bytes, 7);
        field(&stat.data_length.to_le_bytes(), &mut self.bytes, 8);
        field(&stat.num_children.to_le_bytes(), &mut self.bytes, 9);
        field(&stat.pzxid.to_le_bytes(), &mut self.bytes, 10);
        self.bytes[at..at + 2].copy_from_slice(&mask.to_le_bytes());
    }

    fn op(&mut self, op: &Op) {
        let code = op_code(op);
        debug_assert!(code <= CODE_MAX);
        self.bytes.push(code);
        if let Some(path) = op.path() {
            self.text(path);
        }
        match op {
            Op::Create {
                data,
                acl,
                ephemeral,
                lapse,
                sequential,
                ..
            } => {
                let (container, ttl) = match lapse {
                    None => (false, None),
                    Some(Lapse::Container) => (true, None),
                    Some(Lapse::Ttl(ttl_ms)) => (false, Some(*ttl_ms)),
                };
                let flags = [*ephemeral, *sequential, container, ttl.is_some()];
                let flags = (0..).zip(flags).map(|(bit, flag)| u8::from(flag) << bit);
                self.bytes.push(flags.sum());
                ttl.into_iter().for_each(|ttl_ms| self.u64(ttl_ms));
                self.acl(acl);
                self.value(data.as_ref());
            }
            Op::Delete { version, .. } | Op::Check { version, .. } => self.i32(*version),
            Op::Exists { watch, .. } | Op::Get { watch, .. } | Op::Children { watch, .. } => {
                self.bytes.push(u8::from(*watch));
            }
            Op::Set { data, version, .. } => {
                self.i32(*version);
                self.value(data.as_ref());
            }
            Op::SetAcl { acl, version, .. } => {
                self.i32(*version);
                self.acl(acl);
            }
            Op::Multi { ops } => {
                self.u32(ops.len() as u32);
                ops.iter().for_each(|op| self.op(op));
            }
            Op::AddWatch { mode, .. } => self.bytes.push(*mode as u8),
            Op::RemoveWatches { watches, .. } => self.bytes.push(watches.number() as u8),
            Op::GetAcl { .. } | Op::Sync { .. } | Op::Close => {}
        }
    }

    fn answer(&mut self, answer: &Answer) {
        match answer {
            Answer::Done => self.bytes.push(0),
            Answer::Path(path) => {
                self.bytes.push(1);
                self.text(path);
            }
            Answer::Created { path, stat } => {
                self.bytes.push(2);
                self.text(path);
                self.stat(stat);
            }
            Answer::Stat(stat) => {
                self.bytes.push(3);
                self.stat(stat);
            }
            Answer::Data { data, stat } => {
                self.bytes.push(4);
                self.value(data.as_ref());
                self.stat(stat);
            }
            Answer::Names(names) => {
                self.bytes.push(5);
                self.texts(names);
            }
            Answer::NamesStat { names, stat } => {
                self.bytes.push(6);
                self.texts(names);
                self.stat(stat);
            }
            Answer::Acl { acl, stat } => {
                self.bytes.push(7);
                self.acl(acl);
                self.stat(stat);
            }
            Answer::Multi(results) => {
                self.bytes.push(8);
                self.u32(results.len() as u32);
                for result in results {
                    match result {
                        Ok(answer) => {
                            self.bytes.push(1);
                            self.answer(answer);
                        }
                        Err(ErrorCode(code)) => {
                            self.bytes.push(0);
                            self.i32(*code);
                        }
                    }
                }
            }
        }
    }

    fn session_event(&mut self, event: &SessionEvent) {
        match event {
            SessionEvent::Connecting {
                session,
                last_zxid_seen,
            } => {
                self.bytes.push(0);
                self.i64(*session);
                self.i64(*last_zxid_seen);
            }
            SessionEvent::Connected {
                session,
                timeout_ms,
                reattached,
                address,
            } => {
                self.bytes.push(1);
                self.i64(*session);
                self.u64(*timeout_ms);
                self.bytes.push(u8::from(*reattached));
                match address {
                    Some(address) => self.text(address),
                    None => self.u32(NULL),
                }
            }
            SessionEvent::Disconnected => self.bytes.push(2),
            SessionEvent::Expired { session } => {
                self.bytes.push(3);
                self.i64(*session);
            }
            SessionEvent::Abandoned { session } => {
                self.bytes.push(4);
                self.i64(*session);
            }
            SessionEvent::SetWatches {
                relative_zxid,
                data,
                exist,
                child,
                stays,
            } => {
                self.bytes.push(if stays.is_empty() { 5 } else { 10 });
                self.i64(*relative_zxid);
                let lists = [data, exist, child];
                lists.into_iter().for_each(|list| self.texts(list));
                if !stays.is_empty() {
                    for mode in [WatchMode::Persistent, WatchMode::Recursive] {
                        self.u32(mode.among(stays).count() as u32);
                        mode.among(stays).for_each(|path| self.text(path));
                    }
                }
            }
            SessionEvent::SetWatchesDone { zxid } => {
                self.bytes.push(6);
                self.i64(*zxid);
            }
            SessionEvent::Auth { identity } => {
                self.bytes.push(7);
                self.text(&identity.scheme);
                self.text(&identity.id);
            }
            SessionEvent::AuthDone { ok } => {
                self.bytes.push(8);
                self.bytes.push(u8::from(*ok));
            }
            SessionEvent::WatchesLeftOut => self.bytes.push(9),
        }
    }
}

fn event_code(event: EventType) -> u8 {
    match event {
        EventType::NodeCreated => 1,
        EventType::NodeDeleted => 2,
        EventType::NodeDataChanged => 3,
        EventType::NodeChildrenChanged => 4,
    }
}

fn op_code(op: &Op) -> u8 {
    match op {
        Op::Create { stat: false, .. } => 0,
        Op::Create { stat: true, .. } => 1,
        Op::Delete { .. } => 2,
        Op::Exists { .. } => 3,
        Op::Get { .. } => 4,
        Op::Set { .. } => 5,
        Op::Children { stat: false, .. } => 6,
        Op::Children { stat: true, .. } => 7,
        Op::GetAcl { .. } => 8,
        Op::SetAcl { .. } => 9,
        Op::Check { .. } => 10,
        Op::Sync { .. } => 11,
        Op::Multi { .. } => 12,
        Op::Close => 13,
        Op::AddWatch { .. } => 14,
        Op::RemoveWatches { .. } => 15,
    }
}
