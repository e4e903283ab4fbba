//! What the toy's clients ask for, drawn from the seed.

use super::{Pending, Toy};
use gamekeeper_checker::history::*;

impl Toy {
    pub(super) fn path(&mut self) -> String {
        let top = self.dice.below(self.shape.paths);
        match self.dice.below(3) {
            0 => format!("/n{top}/c{}", self.dice.below(3)),
            _ => format!("/n{top}"),
        }
    }

    pub(super) fn fresh_value(&mut self) -> Option<Value> {
        self.value += 1;
        match self.dice.below(12) {
            0 => None,
            1 => Some("same".into()),
            _ => Some(Value::from(format!("v{}", self.value).as_str())),
        }
    }

    pub(super) fn acl(&mut self, client: usize) -> std::sync::Arc<[Acl]> {
        match &self.clients[client].identity {
            Some(_) if self.dice.one_in(12) => [Acl::new(31, "auth", "")].into(),
            _ => Acl::open(),
        }
    }

    pub(super) fn write_op(&mut self, client: usize, inside: bool) -> Op {
        let path: Path = self.path().as_str().into();
        let version = match self.dice.below(3) {
            0 => self.dice.below(4) as i32,
            _ => -1,
        };
        match self.dice.below(if inside { 8 } else { 9 }) {
            0..=2 => {
                let (ephemeral, sequential) = (self.dice.one_in(3), self.dice.one_in(3));
                let path = if sequential {
                    format!("{path}/s-").as_str().into()
                } else {
                    path
                };
                let acl = self.acl(client);
                let stat = self.dice.one_in(2) && !inside;
                Op::Create {
                    path,
                    data: self.fresh_value(),
                    acl,
                    ephemeral,
                    lapse: None,
                    sequential,
                    stat,
                }
            }
            3..=5 => Op::Set {
                path,
                data: self.fresh_value(),
                version,
            },
            6 => Op::Delete { path, version },
            7 if inside => Op::Check { path, version },
            7 => {
                let count = self.dice.below(4);
                Op::Multi {
                    ops: (0..count).map(|_| self.write_op(client, true)).collect(),
                }
            }
            _ => Op::SetAcl {
                path,
                acl: self.acl(client),
                version: -1,
            },
        }
    }

    pub(super) fn read_op(&mut self) -> Op {
        if self.shape.stay > 0 && self.dice.one_in(self.shape.stay) {
            return self.stay_op();
        }
        let path: Path = self.path().as_str().into();
        let watch = self.shape.watches > 0 && self.dice.one_in(self.shape.watches);
        match self.dice.below(10) {
            0..=2 => Op::Get { path, watch },
            3..=5 => Op::Exists { path, watch },
            6..=7 => Op::Children {
                path,
                watch,
                stat: self.dice.one_in(2),
            },
            8 => Op::GetAcl { path },
            _ => Op::Sync { path },
        }
    }

    fn stay_op(&mut self) -> Op {
        let path: Path = match self.dice.below(6) {
            0 => "/".into(),
            _ => self.path().as_str().into(),
        };
        let kinds = if self.shape.notify_zxid { 5 } else { 3 };
        match self.dice.below(4) {
            0 => Op::RemoveWatches {
                path,
                watches: WatchKind::of_number(1 + self.dice.below(kinds) as i32).unwrap(),
            },
            1 => Op::AddWatch {
                path,
                mode: WatchMode::Recursive,
            },
            _ => Op::AddWatch {
                path,
                mode: WatchMode::Persistent,
            },
        }
    }

    pub(super) fn invoke(&mut self, client: usize) {
        if self.clients[client].pending.len() >= 4 || self.clients[client].closing {
            return;
        }
        let op = match self.dice.below(40) {
            0 => Op::Close,
            1..=19 => self.write_op(client, false),
            _ => self.read_op(),
        };
        self.send(client, op);
    }

    pub(super) fn send(&mut self, client: usize, op: Op) {
        let me = &mut self.clients[client];
        me.xid += 1;
        me.closing = op == Op::Close;
        me.last_sent = self.now;
        let (session, xid) = (me.session, me.xid);
        me.pending.push_back(Pending {
            xid,
            op: op.clone(),
            answered: false,
        });
        self.record(client, Body::Invoke { session, xid, op });
    }
}
