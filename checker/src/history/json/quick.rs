//! The line as our own writer writes it, read in one go.
//!
//! Nearly every line asks or answers, and was written by this crate: its keys come in one
//! order, without spaces. Such a line is compared with what it must be, piece by piece, and
//! becomes a record at once. This one never refuses: whatever is not exactly of that shape is
//! left to `scan`, and what that one does not know to the general parser. What always holds:
//! where this one reads a line, the others read the same record.

use super::scan::Scanner;
use crate::history::reader::Interner;
use crate::history::{
    Acl, Answer, Body, ErrorCode, Lapse, Op, Path, Record, Stat, SubAnswer, Value, WatchKind,
    WatchMode,
};

/// What a line says; None if it is not exactly as our writer would have written it.
pub fn record(text: &str, interner: &mut Interner) -> Option<Record> {
    let mut line = Quick {
        scanner: Scanner::new(text),
        interner,
    };
    let record = line.record()?;
    line.scanner.is_at_end().then_some(record)
}

struct Quick<'a, 'i> {
    scanner: Scanner<'a>,
    interner: &'i mut Interner,
}

impl<'a> Quick<'a, '_> {
    fn record(&mut self) -> Option<Record> {
        self.must(b"{\"type\":\"")?;
        let kind = self.scanner.rest_of_string()?;
        self.must(b",\"process\":")?;
        let process = self.scanner.narrow()?;
        self.must(b",\"time\":")?;
        let time = self.scanner.unsigned()?;
        let server = match self.scanner.eat(b",\"server\":") {
            true => Some(self.scanner.narrow()?),
            false => None,
        };
        let body = match kind {
            "invoke" => self.invoke()?,
            "ok" => {
                let (xid, zxid) = self.reply()?;
                self.must(b",\"answer\":\"")?;
                let result = Ok(self.answer(false)?);
                Body::Return { xid, zxid, result }
            }
            "fail" => {
                let (xid, zxid) = self.reply()?;
                self.must(b",\"error\":\"")?;
                let result = Err(self.error()?);
                Body::Return { xid, zxid, result }
            }
            _ => return None,
        };
        self.must(b"}")?;
        Some(Record {
            process,
            time,
            server,
            body,
        })
    }

    fn must<const N: usize>(&mut self, wanted: &[u8; N]) -> Option<()> {
        self.scanner.eat(wanted).then_some(())
    }

    fn invoke(&mut self) -> Option<Body> {
        self.must(b",\"session\":\"0x")?;
        let session = self.scanner.hexadecimal()? as i64;
        self.must(b"\",\"xid\":")?;
        let xid = self.scanner.narrow_signed()?;
        self.must(b",\"f\":\"")?;
        let op = self.op(false)?;
        Some(Body::Invoke { session, xid, op })
    }

    fn reply(&mut self) -> Option<(i32, i64)> {
        self.must(b",\"xid\":")?;
        let xid = self.scanner.narrow_signed()?;
        self.must(b",\"zxid\":")?;
        Some((xid, self.scanner.signed()?))
    }

    /// An operation from its name on.
    fn op(&mut self, inside_multi: bool) -> Option<Op> {
        let f = self.scanner.rest_of_string()?;
        match f {
            "multi" if !inside_multi => {
                self.must(b",\"ops\":[")?;
                return self.list(Self::part).map(|ops| Op::Multi { ops });
            }
            "close" if !inside_multi => return Some(Op::Close),
            _ => {}
        }
        self.must(b",\"path\":\"")?;
        let path = self.shared()?;
        Some(match f {
            "create" | "create2" => {
                let data = self.value()?;
                let ephemeral = self.scanner.eat(b",\"ephemeral\":true");
                Op::Create {
                    path,
                    data,
                    ephemeral,
                    sequential: self.scanner.eat(b",\"sequential\":true"),
                    lapse: self.lapse(ephemeral)?,
                    acl: Acl::open(),
                    stat: f == "create2",
                }
            }
            "delete" => Op::Delete {
                path,
                version: self.version()?,
            },
            "set" => Op::Set {
                path,
                data: self.value()?,
                version: self.version()?,
            },
            "check" => Op::Check {
                path,
                version: self.version()?,
            },
            _ if inside_multi => return None,
            "exists" => Op::Exists {
                path,
                watch: self.watch(),
            },
            "get" => Op::Get {
                path,
                watch: self.watch(),
            },
            "children" | "children2" => Op::Children {
                path,
                watch: self.watch(),
                stat: f == "children2",
            },
            "get_acl" => Op::GetAcl { path },
            "sync" => Op::Sync { path },
            "add_watch" => {
                self.must(b",\"mode\":\"")?;
                let mode = WatchMode::of_name(self.scanner.rest_of_string()?)?;
                Op::AddWatch { path, mode }
            }
            "remove_watches" => {
                self.must(b",\"watches\":\"")?;
                let watches = WatchKind::of_name(self.scanner.rest_of_string()?)?;
                Op::RemoveWatches { path, watches }
            }
            _ => return None,
        })
    }

    #[expect(clippy::option_option, reason = "no lapse is not no answer")]
    fn lapse(&mut self, ephemeral: bool) -> Option<Option<Lapse>> {
        let container = self.scanner.eat(b",\"container\":true");
        let ttl_ms = match self.scanner.eat(b",\"ttl_ms\":") {
            true => Some(self.scanner.unsigned()?),
            false => None,
        };
        Lapse::of_fields(ephemeral, container, ttl_ms).ok()
    }

    fn part(&mut self) -> Option<Op> {
        self.must(b"{\"f\":\"")?;
        let op = self.op(true)?;
        self.must(b"}")?;
        Some(op)
    }

    /// An answer from its name on.
    fn answer(&mut self, inside_multi: bool) -> Option<Answer> {
        Some(match self.scanner.rest_of_string()? {
            "done" => Answer::Done,
            "path" => {
                self.must(b",\"path\":\"")?;
                Answer::Path(self.shared()?)
            }
            "created" => {
                self.must(b",\"path\":\"")?;
                Answer::Created {
                    path: self.shared()?,
                    stat: self.stat()?,
                }
            }
            "stat" => Answer::Stat(self.stat()?),
            "data" => Answer::Data {
                data: self.value()?,
                stat: self.stat()?,
            },
            "names" => Answer::Names(self.names()?),
            "names_stat" => {
                let stat = self.stat()?;
                let names = self.names()?;
                Answer::NamesStat { names, stat }
            }
            "multi" if !inside_multi => {
                self.must(b",\"results\":[")?;
                Answer::Multi(self.list(Self::result)?)
            }
            _ => return None,
        })
    }

    fn result(&mut self) -> Option<SubAnswer> {
        let result = match self.scanner.eat(b"{\"answer\":\"") {
            true => Ok(self.answer(true)?),
            false => {
                self.must(b"{\"error\":\"")?;
                Err(self.error()?)
            }
        };
        self.must(b"}")?;
        Some(result)
    }

    fn error(&mut self) -> Option<ErrorCode> {
        ErrorCode::of_name(self.scanner.rest_of_string()?)
    }

    fn shared(&mut self) -> Option<Path> {
        let text = self.scanner.rest_of_string()?;
        Some(self.interner.share(text))
    }

    fn names(&mut self) -> Option<Vec<Path>> {
        self.must(b",\"names\":[")?;
        self.list(|line| {
            line.must(b"\"")?;
            line.shared()
        })
    }

    /// The rest of a list.
    fn list<T>(&mut self, mut element: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut list = Vec::new();
        if self.scanner.eat(b"]") {
            return Some(list);
        }
        loop {
            list.push(element(self)?);
            if self.scanner.eat(b"]") {
                return Some(list);
            }
            self.must(b",")?;
        }
    }

    /// A value that is written as a text, or none.
    #[expect(clippy::option_option, reason = "no value is not no answer")]
    fn value(&mut self) -> Option<Option<Value>> {
        match self.scanner.eat(b",\"value\":\"") {
            true => Some(Some(Value::from(self.scanner.rest_of_string()?))),
            false => Some(None),
        }
    }

    fn version(&mut self) -> Option<i32> {
        self.must(b",\"version\":")?;
        self.scanner.narrow_signed()
    }

    fn watch(&mut self) -> bool {
        self.scanner.eat(b",\"watch\":true")
    }

    fn stat(&mut self) -> Option<Stat> {
        self.must(b",\"stat\":{\"czxid\":")?;
        let czxid = self.scanner.signed()?;
        self.must(b",\"mzxid\":")?;
        let mzxid = self.scanner.signed()?;
        self.must(b",\"ctime\":")?;
        let ctime = self.scanner.signed()?;
        self.must(b",\"mtime\":")?;
        let mtime = self.scanner.signed()?;
        let version = self.version()?;
        self.must(b",\"cversion\":")?;
        let cversion = self.scanner.narrow_signed()?;
        self.must(b",\"aversion\":")?;
        let aversion = self.scanner.narrow_signed()?;
        self.must(b",\"ephemeral_owner\":")?;
        let ephemeral_owner = self.scanner.signed()?;
        self.must(b",\"data_length\":")?;
        let data_length = self.scanner.narrow_signed()?;
        self.must(b",\"num_children\":")?;
        let num_children = self.scanner.narrow_signed()?;
        self.must(b",\"pzxid\":")?;
        let pzxid = self.scanner.signed()?;
        self.must(b"}")?;
        Some(Stat {
            czxid,
            mzxid,
            ctime,
            mtime,
            version,
            cversion,
            aversion,
            ephemeral_owner,
            data_length,
            num_children,
            pzxid,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Header, Writer};

    #[test]
    fn what_our_writer_writes_is_read_and_anything_else_left_to_others() {
        let body = Body::Invoke {
            session: -1,
            xid: 7,
            op: Op::Get {
                path: "/a".into(),
                watch: true,
            },
        };
        let written = Record {
            process: 1,
            time: 2,
            server: Some(3),
            body,
        };
        let mut writer = Writer::new(Vec::new(), &Header::default()).unwrap();
        writer.record(&written).unwrap();
        let text = String::from_utf8(writer.into_inner()).unwrap();
        let text = text.lines().nth(1).unwrap();
        let mut interner = Interner::default();
        assert_eq!(record(text, &mut interner), Some(written));
        for end in 0..text.len() {
            assert_eq!(record(&text[..end], &mut interner), None, "{end}");
        }
        for (from, to) in [
            ("true", "false"),
            ("true", "null"),
            ("/a", "/\\u0061"),
            ("\"xid\":7", "\"xid\":-0"),
            ("\"xid\":7", "\"xid\":07"),
            ("\"xid\":7", "\"xid\":7.0"),
            ("0xf", "0x+f"),
            ("0xf", "0x1f"),
            ("get", "gets"),
            ("}", "}}"),
            ("}", ",\"xid\":8}"),
        ] {
            let other = text.replacen(from, to, 1);
            assert_ne!(other, text, "{from}");
            assert_eq!(record(&other, &mut interner), None, "{other}");
        }
    }
}
