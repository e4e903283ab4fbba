//! Bytes to records: safe against hostile ones, which are refused with a reason.
//!
//! Nothing is allocated before the bytes that it is for are known to be there.

use super::place::{Answering, Asking, Put, Span, blank, fill};
use super::{CODE_MAX, NULL, Tag};
use crate::history::reader::{Batch, Interner};
use crate::history::{
    Acl, Answer, Body, ErrorCode, EventType, Identity, Lapse, Op, Path, Record, SessionEvent, Stat,
    SubAnswer, Txn, TxnKind, WatchKind, WatchMode,
};
use std::sync::Arc;

/// What is wrong with a block.
pub type Fault = &'static str;

/// Most parts of a multi: more than fit into the largest request.
const PARTS_MAX: usize = 1 << 16;

/// No record is shorter.
const RECORD_BYTES_MIN: usize = 14;

/// Bytes of a Stat all of whose fields are there, without the mask.
const STAT_BYTES_MAX: usize = 68;

const ENDS_EARLY: Fault = "ends in the middle of a record";

/// One block on its way into records.
#[derive(Default)]
pub struct Block {
    bytes: Vec<u8>,
    at: usize,
    texts: Vec<Arc<str>>,
    /// Records that are still to come.
    pub left: u32,
}

impl Block {
    /// Takes the bytes of the next block.
    pub fn begin(&mut self, bytes: Vec<u8>, count: u32) {
        (self.at, self.left, self.bytes) = (0, count, bytes);
        self.texts.clear();
    }

    /// Gives the bytes back when nothing is left of them, to be filled again.
    pub fn end(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Reads so many records and transactions, of those that are left.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn entries(
        &mut self,
        count: u32,
        interner: &mut Interner,
        batch: &mut Batch,
    ) -> Result<(), Fault> {
        let mut decoder = Decoder {
            rest: self.bytes.get(self.at..).unwrap_or_default(),
            texts: &mut self.texts,
        };
        let mut filled = batch.records.len();
        let come = decoder.rest.len() / RECORD_BYTES_MIN;
        let room = filled + come.min(count as usize);
        batch.records.resize_with(room, blank);
        let read = (0..count).try_for_each(|_| {
            let blank = batch.records.get_mut(filled);
            filled += usize::from(decoder.entry(interner, blank, &mut batch.txns)?);
            Ok(())
        });
        batch.records.truncate(filled);
        read?;
        self.at = self.bytes.len() - decoder.rest.len();
        self.left -= count;
        match self.left == 0 && self.at != self.bytes.len() {
            true => Err("holds more than it counts"),
            false => Ok(()),
        }
    }
}

/// Bytes that are still to be read. Those of a fixed length are asked for together.
struct Decoder<'b> {
    rest: &'b [u8],
    texts: &'b mut Vec<Arc<str>>,
}

impl<'b> Decoder<'b> {
    /// True if it was a record.
    fn entry(
        &mut self,
        interner: &mut Interner,
        blank: Option<&mut Record>,
        txns: &mut Vec<Txn>,
    ) -> Result<bool, Fault> {
        let mut tag = self.tag()?;
        while tag == Tag::Text {
            self.introduce(interner)?;
            tag = self.tag()?;
        }
        if tag == Tag::Txn {
            txns.push(self.txn()?);
            return Ok(false);
        }
        self.record(tag, blank.ok_or(ENDS_EARLY)?)?;
        Ok(true)
    }

    fn tag(&mut self) -> Result<Tag, Fault> {
        Tag::of(self.u8()?).ok_or("holds an unknown kind of record")
    }

    fn introduce(&mut self, interner: &mut Interner) -> Result<(), Fault> {
        let length = self.u32()? as usize;
        let text = std::str::from_utf8(self.bytes(length)?);
        let text = text.map_err(|_| "holds a text that is not UTF-8")?;
        self.texts.push(interner.share(text));
        Ok(())
    }

    fn record(&mut self, tag: Tag, blank: &mut Record) -> Result<(), Fault> {
        let fixed = self.chunk::<13>()?;
        (blank.process, blank.time) = (u32_at(fixed, 1), u64_at(fixed, 5));
        if flag_of(fixed[0])? {
            blank.server = Some(self.u32()?);
        }
        match tag {
            Tag::Invoke => {
                let fixed = self.chunk::<12>()?;
                let (session, xid) = (i64_at(fixed, 0), i32_at(fixed, 8));
                return self.op(Asking {
                    blank,
                    session,
                    xid,
                });
            }
            Tag::Ok => {
                let fixed = self.chunk::<12>()?;
                let (xid, zxid) = (i32_at(fixed, 0), i64_at(fixed, 4));
                return self.answer(Answering { blank, xid, zxid });
            }
            Tag::Fail => {
                let fixed = self.chunk::<16>()?;
                let (xid, zxid) = (i32_at(fixed, 0), i64_at(fixed, 4));
                let result = Err(ErrorCode(i32_at(fixed, 12)));
                fill(blank, Body::Return { xid, zxid, result });
            }
            Tag::Info => blank.body = Body::Lost { xid: self.i32()? },
            Tag::Notify => {
                blank.body = Body::Notify {
                    zxid: self.i64()?,
                    event: EventType::of_number(self.u8()?.into())
                        .ok_or("holds an unknown watch event")?,
                    path: self.text()?,
                };
            }
            Tag::Session => blank.body = Body::Session(self.session_event()?),
            Tag::Ping => blank.body = Body::Ping { sent: self.u64()? },
            Tag::Final | Tag::Text | Tag::Txn => {}
        }
        Ok(())
    }

    fn txn(&mut self) -> Result<Txn, Fault> {
        Ok(Txn {
            zxid: self.i64()?,
            session: self.i64()?,
            xid: self.i32()?,
            kind: match self.u8()? {
                0 => TxnKind::Open,
                1 => TxnKind::Close,
                2 => TxnKind::Write,
                3 => TxnKind::Refused,
                _ => return Err("holds an unknown kind of transaction"),
            },
        })
    }

    fn chunk<const N: usize>(&mut self) -> Result<&'b [u8; N], Fault> {
        let (found, rest) = self.rest.split_first_chunk::<N>().ok_or(ENDS_EARLY)?;
        self.rest = rest;
        Ok(found)
    }

    fn bytes(&mut self, length: usize) -> Result<&'b [u8], Fault> {
        let (found, rest) = self.rest.split_at_checked(length).ok_or(ENDS_EARLY)?;
        self.rest = rest;
        Ok(found)
    }

    fn u8(&mut self) -> Result<u8, Fault> {
        self.chunk().map(|[byte]| *byte)
    }

    fn flag(&mut self) -> Result<bool, Fault> {
        flag_of(self.u8()?)
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        self.chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        self.chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }

    fn i32(&mut self) -> Result<i32, Fault> {
        self.chunk().map(|bytes| i32::from_le_bytes(*bytes))
    }

    fn i64(&mut self) -> Result<i64, Fault> {
        self.chunk().map(|bytes| i64::from_le_bytes(*bytes))
    }

    fn text_of(&self, number: u32) -> Result<Arc<str>, Fault> {
        let text = self.texts.get(number as usize);
        text.cloned()
            .ok_or("names a text that it did not introduce")
    }

    fn text(&mut self) -> Result<Arc<str>, Fault> {
        let number = self.u32()?;
        self.text_of(number)
    }

    /// A count of things of at least so many bytes each, all of which may be there.
    fn count(&mut self, bytes_each: usize) -> Result<usize, Fault> {
        let count = self.u32()? as usize;
        match count <= self.rest.len() / bytes_each {
            true => Ok(count),
            false => Err("counts more than it holds"),
        }
    }

    /// How many parts a multi has.
    fn parts(&mut self) -> Result<usize, Fault> {
        match self.count(2)? {
            count if count > PARTS_MAX => Err("holds a multi with too many parts"),
            count => Ok(count),
        }
    }

    fn texts(&mut self) -> Result<Vec<Path>, Fault> {
        let count = self.count(4)?;
        let mut texts = Vec::with_capacity(count);
        for _ in 0..count {
            texts.push(self.text()?);
        }
        Ok(texts)
    }

    fn value(&mut self) -> Result<Span<'b>, Fault> {
        let length = self.u32()?;
        let bytes = self.rest;
        if length != NULL {
            self.bytes(length as usize)?;
        }
        Ok(Span { bytes, length })
    }

    fn acl(&mut self) -> Result<Vec<Acl>, Fault> {
        let count = self.count(12)?;
        let mut acl = Vec::with_capacity(count);
        for _ in 0..count {
            acl.push(Acl {
                perms: self.i32()?,
                identity: Identity {
                    scheme: self.text()?,
                    id: self.text()?,
                },
            });
        }
        Ok(acl)
    }

    /// An ACL that many share.
    fn shared_acl(&mut self) -> Result<Arc<[Acl]>, Fault> {
        let begin = self.rest;
        let (count, perms) = (self.u32()?, self.i32());
        if (count, perms) == (1, Ok(31)) {
            let (scheme, id) = (self.u32()?, self.u32()?);
            let is = |number: u32, wanted: &str| {
                let text = self.texts.get(number as usize);
                text.is_some_and(|text| &**text == wanted)
            };
            if is(scheme, "world") && is(id, "anyone") {
                return Ok(Acl::open());
            }
        }
        self.rest = begin;
        Ok(self.acl()?.into())
    }

    #[inline(always)]
    fn stat(&mut self) -> Result<Stat, Fault> {
        let mask = u16::from_le_bytes(*self.chunk()?);
        if mask >> 11 != 0 {
            return Err("holds a Stat with an unknown field");
        }
        let mut short = [0; STAT_BYTES_MAX];
        let window = match self.rest.first_chunk() {
            Some(window) => window,
            None => {
                short[..self.rest.len()].copy_from_slice(self.rest);
                &short
            }
        };
        let mut fields = Fields {
            window,
            mask,
            at: 0,
        };
        let stat = Stat {
            czxid: fields.long(0),
            mzxid: fields.long(1),
            ctime: fields.long(2),
            mtime: fields.long(3),
            version: fields.int(4),
            cversion: fields.int(5),
            aversion: fields.int(6),
            ephemeral_owner: fields.long(7),
            data_length: fields.int(8),
            num_children: fields.int(9),
            pzxid: fields.long(10),
        };
        let length = fields.at;
        self.bytes(length).map(|_| stat)
    }

    #[inline(always)]
    fn op<P: Put<Op>>(&mut self, place: P) -> Result<(), Fault> {
        let code = self.u8()?;
        if code > CODE_MAX {
            return Err("holds an unknown operation");
        }
        if P::INSIDE_MULTI && !matches!(code, 0..3 | 5 | 10) {
            return Err("holds a multi with a part that cannot be one");
        }
        let path = match code {
            12 => {
                place.put(Op::Multi { ops: self.ops()? });
                return Ok(());
            }
            13 => {
                place.put(Op::Close);
                return Ok(());
            }
            _ => self.text()?,
        };
        match code {
            0 | 1 => {
                let flags = self.u8()?;
                let lapse = match flags {
                    0..=3 => None,
                    _ => self.lapse(flags)?,
                };
                let acl = self.shared_acl()?;
                let data = self.value()?.value();
                place.put(Op::Create {
                    path,
                    data,
                    acl,
                    ephemeral: flags & 1 != 0,
                    lapse,
                    sequential: flags & 2 != 0,
                    stat: code == 1,
                });
            }
            2 => {
                let version = self.i32()?;
                place.put(Op::Delete { path, version });
            }
            3 => {
                let watch = self.flag()?;
                place.put(Op::Exists { path, watch });
            }
            4 => {
                let watch = self.flag()?;
                place.put(Op::Get { path, watch });
            }
            5 => {
                let (version, data) = (self.i32()?, self.value()?);
                place.put_with(data, |data| Op::Set {
                    path,
                    data,
                    version,
                });
            }
            6 | 7 => {
                let (watch, stat) = (self.flag()?, code == 7);
                place.put(Op::Children { path, watch, stat });
            }
            8 => place.put(Op::GetAcl { path }),
            9 => {
                let version = self.i32()?;
                let acl = self.shared_acl()?;
                place.put(Op::SetAcl { path, acl, version });
            }
            10 => {
                let version = self.i32()?;
                place.put(Op::Check { path, version });
            }
            14 => {
                let mode = WatchMode::of_number(self.u8()?.into());
                let mode = mode.ok_or("holds an unknown mode of a watch")?;
                place.put(Op::AddWatch { path, mode });
            }
            15 => {
                let watches = WatchKind::of_number(self.u8()?.into());
                let watches = watches.ok_or("holds an unknown kind of watches")?;
                place.put(Op::RemoveWatches { path, watches });
            }
            _ => place.put(Op::Sync { path }),
        }
        Ok(())
    }

    /// Of a create with more flags than ephemeral and sequential.
    #[cold]
    fn lapse(&mut self, flags: u8) -> Result<Option<Lapse>, Fault> {
        let [ephemeral, container, ttl] = [1, 4, 8].map(|bit| flags & bit != 0);
        let ttl_ms = match ttl {
            true => Some(self.u64()?),
            false => None,
        };
        let lapse = Lapse::of_fields(ephemeral, container, ttl_ms);
        match lapse {
            Ok(lapse) if flags < 16 => Ok(lapse),
            Ok(_) | Err(_) => Err("holds a create with unknown flags"),
        }
    }

    fn ops(&mut self) -> Result<Vec<Op>, Fault> {
        let count = self.parts()?;
        let mut ops = Vec::with_capacity(count);
        for _ in 0..count {
            self.op(&mut ops)?;
        }
        Ok(ops)
    }

    #[inline(always)]
    fn answer<P: Put<Answer>>(&mut self, place: P) -> Result<(), Fault> {
        match self.u8()? {
            0 => place.put(Answer::Done),
            1 => place.put(Answer::Path(self.text()?)),
            2 => {
                let (path, stat) = (self.text()?, self.stat()?);
                place.put(Answer::Created { path, stat });
            }
            3 => place.put(Answer::Stat(self.stat()?)),
            4 => {
                let (data, stat) = (self.value()?, self.stat()?);
                place.put_with(data, |data| Answer::Data { data, stat });
            }
            5 => place.put(Answer::Names(self.texts()?)),
            6 => {
                let (names, stat) = (self.texts()?, self.stat()?);
                place.put(Answer::NamesStat { names, stat });
            }
            7 => {
                let (acl, stat) = (self.acl()?, self.stat()?);
                place.put(Answer::Acl { acl, stat });
            }
            8 if !P::INSIDE_MULTI => place.put(Answer::Multi(self.results()?)),
            _ => return Err("holds an unknown kind of answer"),
        }
        Ok(())
    }

    fn results(&mut self) -> Result<Vec<SubAnswer>, Fault> {
        let count = self.parts()?;
        let mut results = Vec::with_capacity(count);
        for _ in 0..count {
            match self.flag()? {
                true => self.answer(&mut results)?,
                false => results.push(Err(ErrorCode(self.i32()?))),
            }
        }
        Ok(results)
    }

    fn session_event(&mut self) -> Result<SessionEvent, Fault> {
        Ok(match self.u8()? {
            0 => SessionEvent::Connecting {
                session: self.i64()?,
                last_zxid_seen: self.i64()?,
            },
            1 => SessionEvent::Connected {
                session: self.i64()?,
                timeout_ms: self.u64()?,
                reattached: self.flag()?,
                address: match self.u32()? {
                    NULL => None,
                    number => Some(self.text_of(number)?),
                },
            },
            2 => SessionEvent::Disconnected,
            3 => SessionEvent::Expired {
                session: self.i64()?,
            },
            4 => SessionEvent::Abandoned {
                session: self.i64()?,
            },
            kind @ (5 | 10) => SessionEvent::SetWatches {
                relative_zxid: self.i64()?,
                data: self.texts()?,
                exist: self.texts()?,
                child: self.texts()?,
                stays: match kind {
                    10 => WatchMode::join(self.texts()?, self.texts()?),
                    _ => Vec::new(),
                },
            },
            6 => SessionEvent::SetWatchesDone { zxid: self.i64()? },
            7 => SessionEvent::Auth {
                identity: Identity {
                    scheme: self.text()?,
                    id: self.text()?,
                },
            },
            8 => SessionEvent::AuthDone { ok: self.flag()? },
            9 => SessionEvent::WatchesLeftOut,
            _ => return Err("holds an unknown session event"),
        })
    }
}

/// The fields of a Stat one after another. Which of them there are is hard to foretell, so it
/// is counted with and not branched on.
struct Fields<'b> {
    window: &'b [u8; STAT_BYTES_MAX],
    mask: u16,
    at: usize,
}

impl Fields<'_> {
    #[inline(always)]
    fn long(&mut self, bit: u32) -> i64 {
        let there = self.mask >> bit & 1;
        let found = i64_at(self.window, self.at);
        self.at += 8 * usize::from(there);
        found & -i64::from(there)
    }

    #[inline(always)]
    fn int(&mut self, bit: u32) -> i32 {
        let there = self.mask >> bit & 1;
        let found = i32_at(self.window, self.at);
        self.at += 4 * usize::from(there);
        found & -i32::from(there)
    }
}

fn flag_of(byte: u8) -> Result<bool, Fault> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err("holds a flag that is neither 0 nor 1"),
    }
}

/// # Panics
/// There are not so many bytes.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_le_bytes(array_at(bytes, at))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(array_at(bytes, at))
}
