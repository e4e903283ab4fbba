//! Bytes to records: safe against hostile ones, which are refused with a reason.
//!
//! Nothing is allocated before the bytes that it is for are known to be there.

use super::{CODE_MAX, NULL, Tag};
use crate::history::reader::{Batch, Interner};
use crate::history::{
    Acl, Answer, Body, ErrorCode, EventType, Identity, Op, Path, Record, SessionEvent, Stat, Txn,
    TxnKind, Value,
};
use std::sync::Arc;

/// What is wrong with a block.
pub type Fault = &'static str;

/// Most parts of a multi: more than fit into the largest request.
const PARTS_MAX: usize = 1 << 16;

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
    /// Takes the bytes of the next block; returns those of the last one, to be filled again.
    pub fn begin(&mut self, bytes: Vec<u8>, count: u32) -> Vec<u8> {
        (self.at, self.left) = (0, count);
        self.texts.clear();
        std::mem::replace(&mut self.bytes, bytes)
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
        for _ in 0..count {
            self.left -= 1;
            match self.tag(interner)? {
                Tag::Txn => batch.txns.push(self.txn()?),
                tag => batch.records.push(self.record(tag)?),
            }
        }
        match self.left == 0 && self.at != self.bytes.len() {
            true => Err("holds more than it counts"),
            false => Ok(()),
        }
    }

    /// The next tag, after the texts before it.
    fn tag(&mut self, interner: &mut Interner) -> Result<Tag, Fault> {
        loop {
            match Tag::of(self.u8()?).ok_or("holds an unknown kind of record")? {
                Tag::Text => {
                    let length = self.u32()? as usize;
                    let text = std::str::from_utf8(slice(&self.bytes, &mut self.at, length)?);
                    let text = text.map_err(|_| "holds a text that is not UTF-8")?;
                    self.texts.push(interner.share(text));
                }
                tag => return Ok(tag),
            }
        }
    }

    fn record(&mut self, tag: Tag) -> Result<Record, Fault> {
        let has_server = self.flag()?;
        let (process, time) = (self.u32()?, self.u64()?);
        let server = match has_server {
            true => Some(self.u32()?),
            false => None,
        };
        Ok(Record {
            process,
            time,
            server,
            body: self.body(tag)?,
        })
    }

    fn body(&mut self, tag: Tag) -> Result<Body, Fault> {
        Ok(match tag {
            Tag::Invoke => Body::Invoke {
                session: self.i64()?,
                xid: self.i32()?,
                op: self.op(false)?,
            },
            Tag::Ok => Body::Return {
                xid: self.i32()?,
                zxid: self.i64()?,
                result: Ok(self.answer(false)?),
            },
            Tag::Fail => Body::Return {
                xid: self.i32()?,
                zxid: self.i64()?,
                result: Err(ErrorCode(self.i32()?)),
            },
            Tag::Info => Body::Lost { xid: self.i32()? },
            Tag::Notify => Body::Notify {
                zxid: self.i64()?,
                event: EventType::of_number(self.u8()?.into())
                    .ok_or("holds an unknown watch event")?,
                path: self.text()?,
            },
            Tag::Session => Body::Session(self.session_event()?),
            Tag::Ping => Body::Ping { sent: self.u64()? },
            Tag::Final | Tag::Text | Tag::Txn => Body::Final,
        })
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

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let rest = self.bytes.get(self.at..).ok_or(ENDS_EARLY)?;
        let found = rest.first_chunk::<N>().ok_or(ENDS_EARLY)?;
        self.at += N;
        Ok(*found)
    }

    fn u8(&mut self) -> Result<u8, Fault> {
        self.array().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Result<bool, Fault> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("holds a flag that is neither 0 nor 1"),
        }
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_le_bytes)
    }

    fn i32(&mut self) -> Result<i32, Fault> {
        self.array().map(i32::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64, Fault> {
        self.array().map(i64::from_le_bytes)
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
        match count <= (self.bytes.len() - self.at) / bytes_each {
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
        (0..count).map(|_| self.text()).collect()
    }

    fn value(&mut self) -> Result<Option<Value>, Fault> {
        match self.u32()? {
            NULL => Ok(None),
            length => slice(&self.bytes, &mut self.at, length as usize)
                .map(|bytes| Some(Value::from(bytes))),
        }
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
        let begin = self.at;
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
        self.at = begin;
        Ok(self.acl()?.into())
    }

    fn stat(&mut self) -> Result<Stat, Fault> {
        let mask = u16::from_le_bytes(self.array()?);
        if mask >> 11 != 0 {
            return Err("holds a Stat with an unknown field");
        }
        let long = |this: &mut Self, bit: u32| match mask >> bit & 1 {
            0 => Ok(0),
            _ => this.i64(),
        };
        let int = |this: &mut Self, bit: u32| match mask >> bit & 1 {
            0 => Ok(0),
            _ => this.i32(),
        };
        Ok(Stat {
            czxid: long(self, 0)?,
            mzxid: long(self, 1)?,
            ctime: long(self, 2)?,
            mtime: long(self, 3)?,
            version: int(self, 4)?,
            cversion: int(self, 5)?,
            aversion: int(self, 6)?,
            ephemeral_owner: long(self, 7)?,
            data_length: int(self, 8)?,
            num_children: int(self, 9)?,
            pzxid: long(self, 10)?,
        })
    }

    fn op(&mut self, inside_multi: bool) -> Result<Op, Fault> {
        let code = self.u8()?;
        if code > CODE_MAX {
            return Err("holds an unknown operation");
        }
        if inside_multi && !matches!(code, 0..3 | 5 | 10) {
            return Err("holds a multi with a part that cannot be one");
        }
        let path = match code {
            12 => {
                let count = self.parts()?;
                let ops = (0..count)
                    .map(|_| self.op(true))
                    .collect::<Result<_, _>>()?;
                return Ok(Op::Multi { ops });
            }
            13 => return Ok(Op::Close),
            _ => self.text()?,
        };
        Ok(match code {
            0 | 1 => {
                let flags = self.u8()?;
                if flags > 3 {
                    return Err("holds a create with unknown flags");
                }
                let acl = self.shared_acl()?;
                Op::Create {
                    path,
                    acl,
                    data: self.value()?,
                    ephemeral: flags & 1 != 0,
                    sequential: flags & 2 != 0,
                    stat: code == 1,
                }
            }
            2 => Op::Delete {
                path,
                version: self.i32()?,
            },
            3 => Op::Exists {
                path,
                watch: self.flag()?,
            },
            4 => Op::Get {
                path,
                watch: self.flag()?,
            },
            5 => Op::Set {
                path,
                version: self.i32()?,
                data: self.value()?,
            },
            6 | 7 => Op::Children {
                path,
                watch: self.flag()?,
                stat: code == 7,
            },
            8 => Op::GetAcl { path },
            9 => Op::SetAcl {
                path,
                version: self.i32()?,
                acl: self.shared_acl()?,
            },
            10 => Op::Check {
                path,
                version: self.i32()?,
            },
            _ => Op::Sync { path },
        })
    }

    fn answer(&mut self, inside_multi: bool) -> Result<Answer, Fault> {
        Ok(match self.u8()? {
            0 => Answer::Done,
            1 => Answer::Path(self.text()?),
            2 => Answer::Created {
                path: self.text()?,
                stat: self.stat()?,
            },
            3 => Answer::Stat(self.stat()?),
            4 => Answer::Data {
                data: self.value()?,
                stat: self.stat()?,
            },
            5 => Answer::Names(self.texts()?),
            6 => Answer::NamesStat {
                names: self.texts()?,
                stat: self.stat()?,
            },
            7 => Answer::Acl {
                acl: self.acl()?,
                stat: self.stat()?,
            },
            8 if !inside_multi => {
                let count = self.parts()?;
                let mut results = Vec::with_capacity(count);
                for _ in 0..count {
                    results.push(match self.flag()? {
                        true => Ok(self.answer(true)?),
                        false => Err(ErrorCode(self.i32()?)),
                    });
                }
                Answer::Multi(results)
            }
            _ => return Err("holds an unknown kind of answer"),
        })
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
            5 => SessionEvent::SetWatches {
                relative_zxid: self.i64()?,
                data: self.texts()?,
                exist: self.texts()?,
                child: self.texts()?,
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

fn slice<'b>(bytes: &'b [u8], at: &mut usize, length: usize) -> Result<&'b [u8], Fault> {
    let end = at.checked_add(length).ok_or(ENDS_EARLY)?;
    let found = bytes.get(*at..end).ok_or(ENDS_EARLY)?;
    *at = end;
    Ok(found)
}
