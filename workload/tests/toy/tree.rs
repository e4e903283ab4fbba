//! The toy's znodes: creates, deletes, sets and multis with ZooKeeper's Stat arithmetic.

use bytes::Bytes;
use gamekeeper_core::base::{SessionId, Zxid};
use gamekeeper_core::proto::{
    CreateRequest, ErrorCode, EventType, MultiOp, MultiResult, Stat, multi::failed_results,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a watch might want to know.
pub struct Change {
    pub kind: EventType,
    pub path: Arc<str>,
    pub parent: Arc<str>,
}

#[derive(Clone, Default)]
pub struct Node {
    pub data: Option<Bytes>,
    stat: Stat,
    /// Children ever created.
    created: i32,
    /// Children there are.
    children: i32,
}

impl Node {
    pub fn stat(&self) -> Stat {
        Stat {
            cversion: self.created * 2 - self.children,
            num_children: self.children,
            data_length: self.data.as_ref().map_or(0, |d| d.len() as i32),
            ..self.stat
        }
    }
}

pub struct Tree {
    pub zxid: u64,
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    pub fn fresh() -> Tree {
        let node = |children| Node {
            data: Some(Bytes::new()),
            children,
            ..Node::default()
        };
        let fresh = [
            ("/", node(1)),
            ("/zookeeper", node(2)),
            ("/zookeeper/quota", node(0)),
            ("/zookeeper/config", node(0)),
        ];
        Tree {
            zxid: 0,
            nodes: fresh.map(|(path, node)| (path.into(), node)).into(),
        }
    }

    pub fn get(&self, path: &str) -> Result<&Node, ErrorCode> {
        self.nodes.get(path).ok_or(ErrorCode::NoNode)
    }

    pub fn owned_by(&self, owner: SessionId) -> Vec<String> {
        let own = self
            .nodes
            .iter()
            .filter(|(_, node)| node.stat.owner == owner);
        own.map(|(path, _)| path.clone()).collect()
    }

    fn parent(path: &str) -> &str {
        match path.rfind('/') {
            Some(0) | None => "/",
            Some(at) => &path[..at],
        }
    }

    fn change(kind: EventType, path: &str) -> Change {
        Change {
            kind,
            path: path.into(),
            parent: Tree::parent(path).into(),
        }
    }

    pub fn children(&self, path: &str) -> Result<Vec<String>, ErrorCode> {
        self.get(path)?;
        let below = self.nodes.keys().filter(|p| *p != "/");
        let own = below.filter(|p| Tree::parent(p) == path);
        Ok(own
            .map(|p| p.rsplit('/').next().expect("a name").into())
            .collect())
    }

    pub fn create(
        &mut self,
        owner: SessionId,
        r: &CreateRequest,
    ) -> Result<(Arc<str>, Stat, Change), ErrorCode> {
        let mode = r.mode()?;
        let zxid = Zxid(self.zxid);
        if r.acl.as_ref().is_none_or(Vec::is_empty) {
            return Err(ErrorCode::InvalidAcl);
        }
        let parent = self.get(Tree::parent(&r.path))?;
        let path = match mode.sequential {
            true => format!("{}{:010}", r.path, parent.created),
            false => r.path.to_string(),
        };
        if self.nodes.contains_key(&path) {
            return Err(ErrorCode::NodeExists);
        }
        if parent.stat.owner != SessionId::NONE {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let parent = self
            .nodes
            .get_mut(Tree::parent(&path))
            .expect("found above");
        parent.created += 1;
        parent.children += 1;
        parent.stat.pzxid = zxid;
        let stat = Stat {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: zxid.to_wire(),
            mtime: zxid.to_wire(),
            owner: match mode.ephemeral {
                true => owner,
                false => SessionId::NONE,
            },
            ..Stat::default()
        };
        let node = Node {
            data: r.data.clone(),
            stat,
            ..Node::default()
        };
        let stat = node.stat();
        self.nodes.insert(path.clone(), node);
        let change = Tree::change(EventType::NodeCreated, &path);
        Ok((change.path.clone(), stat, change))
    }

    fn check(&mut self, path: &str, version: i32) -> Result<&mut Node, ErrorCode> {
        let node = self.nodes.get_mut(path).ok_or(ErrorCode::NoNode)?;
        match version == -1 || version == node.stat.version {
            true => Ok(node),
            false => Err(ErrorCode::BadVersion),
        }
    }

    pub fn delete(&mut self, path: &str, version: i32) -> Result<Change, ErrorCode> {
        if self.check(path, version)?.children > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        self.nodes.remove(path);
        let zxid = Zxid(self.zxid);
        let parent = self.nodes.get_mut(Tree::parent(path)).expect("a parent");
        parent.children -= 1;
        parent.stat.pzxid = zxid;
        Ok(Tree::change(EventType::NodeDeleted, path))
    }

    pub fn set(
        &mut self,
        path: &str,
        data: Option<Bytes>,
        version: i32,
    ) -> Result<(Stat, Change), ErrorCode> {
        let zxid = Zxid(self.zxid);
        let node = self.check(path, version)?;
        node.data = data;
        node.stat.version += 1;
        node.stat.mzxid = zxid;
        node.stat.mtime = zxid.to_wire();
        let stat = node.stat();
        Ok((stat, Tree::change(EventType::NodeDataChanged, path)))
    }

    pub fn multi(
        &mut self,
        session: SessionId,
        ops: Vec<MultiOp>,
    ) -> (Vec<MultiResult>, Vec<Change>) {
        let before = self.nodes.clone();
        let (len, mut results, mut changes) = (ops.len(), Vec::new(), Vec::new());
        for (i, op) in ops.into_iter().enumerate() {
            match self.multi_op(session, op) {
                Ok((result, change)) => {
                    results.push(result);
                    changes.extend(change);
                }
                Err(code) => {
                    self.nodes = before;
                    return (failed_results(len, i, code), Vec::new());
                }
            }
        }
        (results, changes)
    }

    fn multi_op(
        &mut self,
        session: SessionId,
        op: MultiOp,
    ) -> Result<(MultiResult, Option<Change>), ErrorCode> {
        Ok(match op {
            MultiOp::Create(r) => {
                let (path, _, change) = self.create(session, &r)?;
                (MultiResult::Create { path }, Some(change))
            }
            MultiOp::Delete(r) => {
                let change = self.delete(&r.path, r.version)?;
                (MultiResult::Delete, Some(change))
            }
            MultiOp::SetData(r) => {
                let (stat, change) = self.set(&r.path, r.data, r.version)?;
                (MultiResult::SetData { stat }, Some(change))
            }
            MultiOp::Check(r) => {
                self.check(&r.path, r.version)?;
                (MultiResult::Check, None)
            }
        })
    }
}
