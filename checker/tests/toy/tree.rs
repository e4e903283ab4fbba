//! What the toy's tree answers: a plain map, copied at every transaction.

use super::{Applied, Node, Toy, Tree};
use gamekeeper_checker::history::*;
use std::rc::Rc;

impl Toy {
    pub(super) fn may(&self, client: usize, node: &Node) -> bool {
        node.only.is_none() || node.only == self.clients[client].identity
    }

    pub(super) fn read(&mut self, client: usize, op: &Op) -> Result<Answer, ErrorCode> {
        if op.arranges_watches() {
            let one_mode = !self.shape.notify_zxid;
            let older = one_mode && self.dice.one_in(2);
            return self.clients[client].arrange(op, one_mode, older);
        }
        let Some(path) = op.path().filter(|_| !matches!(op, Op::Sync { .. })) else {
            return Ok(Answer::Done);
        };
        let one_mode = !self.shape.notify_zxid;
        let tree = self.log[self.clients[client].position].tree.clone();
        let found = tree.get(&**path);
        let may = found.is_none_or(|node| self.may(client, node));
        let me = &mut self.clients[client];
        if let Op::Exists { watch: true, .. } = op
            && may
        {
            me.data_watches.insert(path.to_string());
            me.stays.replaced(path, false, one_mode);
        }
        let node = found.ok_or(ErrorCode::NO_NODE)?;
        if !may {
            return Err(ErrorCode::NO_AUTH);
        }
        let stat = shown(node);
        let names = || {
            let prefix = if **path == *"/" {
                "/".to_string()
            } else {
                format!("{path}/")
            };
            let below = tree.keys().filter_map(|key| key.strip_prefix(&prefix));
            below
                .filter(|name| !name.is_empty() && !name.contains('/'))
                .map(Path::from)
                .collect::<Vec<_>>()
        };
        Ok(match op {
            Op::Get { watch, .. } => {
                if *watch {
                    me.data_watches.insert(path.to_string());
                    me.stays.replaced(path, false, one_mode);
                }
                Answer::Data {
                    data: node.data.clone(),
                    stat,
                }
            }
            Op::Children {
                watch,
                stat: with_stat,
                ..
            } => {
                if *watch {
                    me.child_watches.insert(path.to_string());
                    me.stays.replaced(path, true, one_mode);
                }
                match with_stat {
                    true => Answer::NamesStat {
                        names: names(),
                        stat,
                    },
                    false => Answer::Names(names()),
                }
            }
            Op::GetAcl { .. } => {
                let acl = match &node.only {
                    Some(identity) => vec![Acl {
                        perms: 31,
                        identity: identity.clone(),
                    }],
                    None => vec![Acl::new(31, "world", "anyone")],
                };
                Answer::Acl { acl, stat }
            }
            _ => Answer::Stat(stat),
        })
    }

    pub(super) fn write(
        &mut self,
        client: usize,
        xid: i32,
        op: &Op,
    ) -> (i64, Result<Answer, ErrorCode>) {
        let zxid = self.zxid();
        let mut tree = (*self.log[self.head()].tree).clone();
        let mut events = Vec::new();
        let result = match op {
            Op::Multi { ops } => {
                let (mut trial, mut fired) = (tree.clone(), Vec::new());
                let mut results = Vec::new();
                for op in ops {
                    match self.apply(client, op, zxid, &mut trial, &mut fired) {
                        Ok(answer) => results.push(Ok(answer)),
                        Err(code) => {
                            results = vec![Err(ErrorCode::OK); results.len()];
                            results.push(Err(code));
                            results.resize(ops.len(), Err(ErrorCode::RUNTIME_INCONSISTENCY));
                            break;
                        }
                    }
                }
                if results.iter().all(Result::is_ok) {
                    (tree, events) = (trial, fired);
                }
                Ok(Answer::Multi(results))
            }
            Op::Close => {
                let session = self.clients[client].session;
                end_session(session, zxid, &mut tree, &mut events);
                Ok(Answer::Done)
            }
            _ => self.apply(client, op, zxid, &mut tree, &mut events),
        };
        let session = self.clients[client].session;
        let kind = match (op, &result) {
            (Op::Close, _) => TxnKind::Close,
            (_, Ok(Answer::Multi(parts))) if parts.iter().any(Result::is_err) => TxnKind::Refused,
            (_, Ok(_)) => TxnKind::Write,
            (_, Err(_)) => TxnKind::Refused,
        };
        self.txns.push(Txn {
            zxid,
            session,
            xid,
            kind,
        });
        self.truth
            .push((zxid, format!("session {session:#x} {op:?} -> {result:?}")));
        self.log.push(Applied {
            zxid,
            events,
            tree: Rc::new(tree),
        });
        (zxid, result)
    }

    pub(super) fn close_session(&mut self, client: usize, session: i64) {
        let zxid = self.zxid();
        let mut tree = (*self.log[self.head()].tree).clone();
        let mut events = Vec::new();
        end_session(session, zxid, &mut tree, &mut events);
        self.txns.push(Txn {
            zxid,
            session,
            xid: 0,
            kind: TxnKind::Close,
        });
        self.truth.push((zxid, format!("expiry of {session:#x}")));
        self.log.push(Applied {
            zxid,
            events,
            tree: Rc::new(tree),
        });
        self.clients[client].closing = true;
        self.clients[client].ghosts.clear();
    }

    pub(super) fn apply(
        &mut self,
        client: usize,
        op: &Op,
        zxid: i64,
        tree: &mut Tree,
        events: &mut Vec<(EventType, String, Option<Identity>)>,
    ) -> Result<Answer, ErrorCode> {
        let time = self.now as i64 / 1_000_000;
        let path = op.path().expect("single writes name a path").to_string();
        let parent = parent_of(&path);
        let node = tree.get(&path).cloned();
        let holder = tree.get(&parent).cloned();
        let version_is = |wanted: i32, actual: i32| match wanted == -1 || wanted == actual {
            true => Ok(()),
            false => Err(ErrorCode::BAD_VERSION),
        };
        match op {
            Op::Create {
                data,
                acl,
                ephemeral,
                sequential,
                stat: with_stat,
                ..
            } => {
                let holder = holder.ok_or(ErrorCode::NO_NODE)?;
                if !self.may(client, &holder) {
                    return Err(ErrorCode::NO_AUTH);
                }
                let path = if *sequential {
                    format!("{path}{:010}", holder.creates)
                } else {
                    path
                };
                if tree.contains_key(&path) {
                    return Err(ErrorCode::NODE_EXISTS);
                }
                if holder.stat.ephemeral_owner != 0 {
                    return Err(ErrorCode::NO_CHILDREN_FOR_EPHEMERALS);
                }
                let only = (&*acl[0].identity.scheme == "auth")
                    .then(|| self.clients[client].identity.clone())
                    .flatten();
                let ephemeral_owner = if *ephemeral {
                    self.clients[client].session
                } else {
                    0
                };
                let stat = Stat {
                    czxid: zxid,
                    mzxid: zxid,
                    pzxid: zxid,
                    ctime: time,
                    mtime: time,
                    ephemeral_owner,
                    data_length: data.as_ref().map_or(0, |data| data.bytes().len() as i32),
                    ..Stat::default()
                };
                let made = Node {
                    data: data.clone(),
                    stat,
                    creates: 0,
                    only: only.clone(),
                };
                let answer = match with_stat {
                    true => Answer::Created {
                        path: path.as_str().into(),
                        stat: shown(&made),
                    },
                    false => Answer::Path(path.as_str().into()),
                };
                tree.insert(path.clone(), made);
                let holder = tree.get_mut(&parent).expect("checked above");
                holder.creates += 1;
                holder.stat.num_children += 1;
                holder.stat.pzxid = zxid;
                events.push((EventType::NodeCreated, path, only));
                events.push((EventType::NodeChildrenChanged, parent, holder.only.clone()));
                Ok(answer)
            }
            Op::Delete { version, .. } => {
                let holder = holder.ok_or(ErrorCode::NO_NODE)?;
                if !self.may(client, &holder) {
                    return Err(ErrorCode::NO_AUTH);
                }
                let node = node.ok_or(ErrorCode::NO_NODE)?;
                version_is(*version, node.stat.version)?;
                if node.stat.num_children > 0 {
                    return Err(ErrorCode::NOT_EMPTY);
                }
                remove(&path, zxid, tree, events);
                Ok(Answer::Done)
            }
            Op::Set { data, version, .. } => {
                let node = node.ok_or(ErrorCode::NO_NODE)?;
                if !self.may(client, &node) {
                    return Err(ErrorCode::NO_AUTH);
                }
                version_is(*version, node.stat.version)?;
                let node = tree.get_mut(&path).expect("checked above");
                node.data = data.clone();
                node.stat.version += 1;
                node.stat.mzxid = zxid;
                node.stat.mtime = time;
                node.stat.data_length = data.as_ref().map_or(0, |data| data.bytes().len() as i32);
                events.push((EventType::NodeDataChanged, path, node.only.clone()));
                Ok(Answer::Stat(shown(node)))
            }
            Op::SetAcl { acl, version, .. } => {
                let node = node.ok_or(ErrorCode::NO_NODE)?;
                if !self.may(client, &node) {
                    return Err(ErrorCode::NO_AUTH);
                }
                version_is(*version, node.stat.aversion)?;
                let only = (&*acl[0].identity.scheme == "auth")
                    .then(|| self.clients[client].identity.clone())
                    .flatten();
                let node = tree.get_mut(&path).expect("checked above");
                node.only = only;
                node.stat.aversion += 1;
                Ok(Answer::Stat(shown(node)))
            }
            Op::Check { version, .. } => {
                let node = node.ok_or(ErrorCode::NO_NODE)?;
                if !self.may(client, &node) {
                    return Err(ErrorCode::NO_AUTH);
                }
                version_is(*version, node.stat.version)?;
                Ok(Answer::Done)
            }
            _ => unreachable!("not a single write"),
        }
    }
}

fn parent_of(path: &str) -> String {
    match path.rfind('/') {
        Some(0) | None => "/".into(),
        Some(slash) => path[..slash].into(),
    }
}

fn shown(node: &Node) -> Stat {
    Stat {
        cversion: node.creates * 2 - node.stat.num_children,
        ..node.stat
    }
}

fn remove(
    path: &str,
    zxid: i64,
    tree: &mut Tree,
    events: &mut Vec<(EventType, String, Option<Identity>)>,
) {
    let node = tree.remove(path).expect("only what exists is removed");
    let parent = parent_of(path);
    let holder = tree.get_mut(&parent).expect("parents outlive children");
    holder.stat.num_children -= 1;
    holder.stat.pzxid = zxid;
    events.push((EventType::NodeDeleted, path.to_string(), node.only));
    events.push((EventType::NodeChildrenChanged, parent, holder.only.clone()));
}

fn end_session(
    session: i64,
    zxid: i64,
    tree: &mut Tree,
    events: &mut Vec<(EventType, String, Option<Identity>)>,
) {
    let owned: Vec<String> = tree
        .iter()
        .filter(|(_, node)| node.stat.ephemeral_owner == session)
        .map(|(path, _)| path.clone())
        .collect();
    for path in owned {
        remove(&path, zxid, tree, events);
    }
}
