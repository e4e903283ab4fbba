//! Tree and replica against a plain-map model written from the rules of the stat fields,
//! and snapshots of one moment taken in small steps while writes go on.

use bytes::Bytes;
use gamekeeper_core::base::{Epoch, SessionId, Zxid};
use gamekeeper_core::pipeline::replica::{
    Replica, ReplicaError, ReplicaLoader, SnapshotError, SnapshotId,
};
use gamekeeper_core::proto::{
    Acl, CreateOp, ErrorCode, EventType, Id, MultiResult, OpCode, Response, Stat,
};
use gamekeeper_core::txn::{self, CreateTxn, Txn, TxnHeader};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A node of the model: children are found by scanning the paths.
#[derive(Clone, Debug, PartialEq)]
struct ModelNode {
    data: Option<Vec<u8>>,
    acl: Vec<Acl>,
    czxid: u64,
    mzxid: u64,
    pzxid: u64,
    ctime: i64,
    mtime: i64,
    version: i32,
    creates: i32,
    aversion: i32,
    owner: i64,
}

#[derive(Clone, Debug, Default)]
struct Model {
    nodes: BTreeMap<String, ModelNode>,
    sessions: BTreeMap<i64, u32>,
}

impl Model {
    fn new() -> Model {
        let mut model = Model::default();
        for path in ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
            let config = path == "/zookeeper/config";
            model.nodes.insert(
                path.to_owned(),
                ModelNode {
                    data: Some(Vec::new()),
                    acl: if config {
                        Acl::read_only()
                    } else {
                        Acl::open()
                    },
                    czxid: 0,
                    mzxid: 0,
                    pzxid: 0,
                    ctime: 0,
                    mtime: 0,
                    version: if config { -1 } else { 0 },
                    creates: 0,
                    aversion: if config { -1 } else { 0 },
                    owner: 0,
                },
            );
        }
        model
    }

    fn parent(path: &str) -> String {
        match path.rsplit_once('/').unwrap().0 {
            "" => "/".to_owned(),
            parent => parent.to_owned(),
        }
    }

    fn children(&self, path: &str) -> Vec<String> {
        let found = self.nodes.keys();
        let found = found.filter(|p| *p != "/" && Model::parent(p) == path);
        found
            .map(|p| p.rsplit_once('/').unwrap().1.to_owned())
            .collect()
    }

    fn stat(&self, path: &str) -> Stat {
        let node = &self.nodes[path];
        let children = self.children(path).len() as i32;
        Stat {
            czxid: Zxid(node.czxid),
            mzxid: Zxid(node.mzxid),
            ctime: node.ctime,
            mtime: node.mtime,
            version: node.version,
            cversion: node.creates * 2 - children,
            aversion: node.aversion,
            owner: SessionId(node.owner),
            data_length: node.data.as_ref().map_or(0, |d| d.len() as i32),
            num_children: children,
            pzxid: Zxid(node.pzxid),
        }
    }

    fn create(&mut self, path: &str, data: Option<Vec<u8>>, acl: Vec<Acl>, by: i64, z: u64) {
        let parent = self.nodes.get_mut(&Model::parent(path)).unwrap();
        parent.creates += 1;
        parent.pzxid = z;
        let time = time(z);
        let node = ModelNode {
            data,
            acl,
            czxid: z,
            mzxid: z,
            pzxid: z,
            ctime: time,
            mtime: time,
            version: 0,
            creates: 0,
            aversion: 0,
            owner: by,
        };
        assert!(self.nodes.insert(path.to_owned(), node).is_none());
    }

    fn delete(&mut self, path: &str, z: u64) {
        self.nodes.remove(path).unwrap();
        self.nodes.get_mut(&Model::parent(path)).unwrap().pzxid = z;
    }
}

fn time(z: u64) -> i64 {
    1_000_000 + (z as u32 as i64) * 10
}

/// What a script asks for; made into a transaction that fits, or skipped.
#[derive(Clone, Debug)]
enum Step {
    Create {
        path: usize,
        data: Option<Vec<u8>>,
        acl: u8,
        ephemeral: bool,
    },
    Delete(usize),
    SetData(usize, Option<Vec<u8>>),
    SetAcl(usize, u8),
    Open(i64),
    Close(i64),
    Multi(Vec<Step>),
    Fail,
    NextEpoch,
}

const PATHS: [&str; 14] = [
    "/a",
    "/a/b",
    "/a/b/c",
    "/a/b/c/d",
    "/a-",
    "/a-/x",
    "/a!",
    "/b",
    "/b/0",
    "/b/1",
    "/b/2",
    "/z",
    "/zookeeper/quota/q",
    "/zookeepers",
];

fn acl(kind: u8) -> Vec<Acl> {
    match kind {
        0 => Acl::open(),
        1 => Acl::read_only(),
        n => vec![Acl::new(31, Id::new("digest", format!("u{n}:h")))],
    }
}

fn flat_step() -> impl Strategy<Value = Step> {
    let data = || prop::option::of(prop::collection::vec(any::<u8>(), 0..20));
    let path = || 0..PATHS.len();
    prop_oneof![
        6 => (path(), data(), 0u8..5, any::<bool>()).prop_map(|(path, data, acl, ephemeral)| {
            Step::Create { path, data, acl, ephemeral }
        }),
        3 => path().prop_map(Step::Delete),
        3 => (path(), data()).prop_map(|(path, data)| Step::SetData(path, data)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => flat_step(),
        2 => (0..PATHS.len(), 0u8..5).prop_map(|(path, acl)| Step::SetAcl(path, acl)),
        2 => (1i64..4).prop_map(Step::Open),
        1 => (1i64..4).prop_map(Step::Close),
        2 => prop::collection::vec(flat_step(), 0..5).prop_map(Step::Multi),
        1 => Just(Step::Fail),
        1 => Just(Step::NextEpoch),
    ]
}

/// Replica and model side by side.
struct Pair {
    replica: Replica,
    model: Model,
    next: Zxid,
}

impl Pair {
    fn new() -> Pair {
        Pair {
            replica: Replica::new(),
            model: Model::new(),
            next: Zxid::new(Epoch(1), 1),
        }
    }

    fn run(&mut self, step: &Step) {
        if matches!(step, Step::NextEpoch) {
            self.next = Zxid::new(Epoch(self.next.epoch().0 + 1), 1);
            return;
        }
        let Some((session, txn)) = self.plan(step) else {
            return;
        };
        let header = TxnHeader {
            session: SessionId(session),
            cxid: 1,
            zxid: self.next,
            time_ms: time(self.next.0),
        };
        let payload = txn::encode(&header, &txn);
        let applied = self.replica.apply(self.next, &payload).unwrap();
        assert_eq!(applied.header, header);
        assert_eq!(applied.kind, txn.kind());
        match &txn {
            Txn::Create(create) => {
                let stat = self.model.stat(&create.path);
                let path = create.path.clone();
                assert_eq!(applied.result, Ok(Response::Create2 { path, stat }));
            }
            Txn::SetData { path, .. } => {
                let stat = self.model.stat(path);
                assert_eq!(applied.result, Ok(Response::SetData { stat }));
            }
            Txn::SetAcl { path, .. } => {
                let stat = self.model.stat(path);
                assert_eq!(applied.result, Ok(Response::SetAcl { stat }));
            }
            _ => {}
        }
        self.next = Zxid::new(self.next.epoch(), self.next.counter() + 1);
    }

    /// The transaction for a step, with the model already changed by it.
    fn plan(&mut self, step: &Step) -> Option<(i64, Txn)> {
        let z = self.next.0;
        match step {
            Step::Create { .. } | Step::Delete(_) | Step::SetData(..) => {
                self.plan_flat(step).map(|txn| (1, txn))
            }
            Step::SetAcl(path, kind) => {
                let path = PATHS[*path];
                let node = self.model.nodes.get_mut(path)?;
                node.acl = acl(*kind);
                node.aversion += 1;
                Some((
                    1,
                    Txn::SetAcl {
                        path: path.into(),
                        acl: acl(*kind),
                        version: node.aversion,
                    },
                ))
            }
            Step::Open(session) => {
                self.model.sessions.insert(*session, 4000);
                Some((*session, Txn::CreateSession { timeout_ms: 4000 }))
            }
            Step::Close(session) => {
                self.model.sessions.remove(session);
                let own = self.model.nodes.iter();
                let own = own.filter(|(_, n)| n.owner == *session);
                let own: Vec<String> = own.map(|(p, _)| p.clone()).collect();
                for path in &own {
                    self.model.delete(path, z);
                }
                // Every other session's close lists its paths, as newer logs do.
                let paths = own.iter().map(|p| p.as_str().into()).collect();
                let paths = (session % 2 == 0).then_some(paths);
                Some((*session, Txn::CloseSession { paths }))
            }
            Step::Multi(steps) => {
                let parts = steps.iter().filter_map(|s| self.plan_flat(s)).collect();
                Some((1, Txn::Multi(parts)))
            }
            Step::Fail => Some((1, Txn::Error { code: -101 })),
            Step::NextEpoch => None,
        }
    }

    fn plan_flat(&mut self, step: &Step) -> Option<Txn> {
        let z = self.next.0;
        match step {
            Step::Create {
                path,
                data,
                acl: kind,
                ephemeral,
            } => {
                let path = PATHS[*path];
                let parent = self.model.nodes.get(&Model::parent(path))?;
                if parent.owner != 0 || self.model.nodes.contains_key(path) {
                    return None;
                }
                let counter = parent.creates + 1;
                let owner = i64::from(*ephemeral);
                self.model.create(path, data.clone(), acl(*kind), owner, z);
                Some(Txn::Create(CreateTxn {
                    op: CreateOp::Create2,
                    path: path.into(),
                    data: data.clone().map(Bytes::from),
                    acl: acl(*kind),
                    ephemeral: *ephemeral,
                    parent_cversion: counter,
                }))
            }
            Step::Delete(path) => {
                let path = PATHS[*path];
                if !self.model.nodes.contains_key(path) || !self.model.children(path).is_empty() {
                    return None;
                }
                self.model.delete(path, z);
                Some(Txn::Delete { path: path.into() })
            }
            Step::SetData(path, data) => {
                let path = PATHS[*path];
                let node = self.model.nodes.get_mut(path)?;
                node.data = data.clone();
                node.version += 1;
                node.mzxid = z;
                node.mtime = time(z);
                Some(Txn::SetData {
                    path: path.into(),
                    data: data.clone().map(Bytes::from),
                    version: node.version,
                })
            }
            _ => None,
        }
    }

    fn check(&self) {
        let tree = self.replica.tree();
        assert_eq!(tree.node_count(), self.model.nodes.len());
        for (path, expected) in &self.model.nodes {
            let node = tree.get(path).expect(path);
            assert_eq!(node.stat(), self.model.stat(path), "{path}");
            assert_eq!(node.data().map(|d| d.to_vec()), expected.data, "{path}");
            assert_eq!(node.acl()[..], expected.acl[..], "{path}");
            assert!(node.child_names().eq(self.model.children(path)), "{path}");
        }
        for owner in 1..4 {
            let own = self.model.nodes.iter();
            let own = own.filter(|(_, n)| n.owner == owner).map(|(p, _)| &p[..]);
            assert!(tree.ephemerals(SessionId(owner)).map(|p| &**p).eq(own));
        }
        let lists: std::collections::BTreeSet<_> =
            self.model.nodes.values().map(|n| &n.acl).collect();
        assert_eq!(tree.acl_count(), lists.len());
        let sessions = self.replica.sessions().iter().map(|(s, t)| (s.0, t));
        assert!(sessions.eq(self.model.sessions.iter().map(|(s, t)| (*s, *t))));
    }
}

/// A snapshot being taken, and the state it must turn out to hold.
struct Taking {
    id: SnapshotId,
    body: Vec<u8>,
    expected: Replica,
}

fn take(replica: &mut Replica, id: SnapshotId, bytes_max: usize) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let (chunk, done) = replica.snapshot_next(id, bytes_max);
        assert!(!chunk.is_empty() && chunk.len() <= bytes_max);
        body.extend_from_slice(&chunk);
        if done {
            return body;
        }
    }
}

proptest! {
    #[test]
    fn the_tree_does_what_the_model_does(steps in prop::collection::vec(step(), 0..80)) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.run(step);
            pair.check();
        }
    }

    /// Equal states have equal digests although one of them came from a snapshot; a state
    /// that was different in between and came back has the digest it had.
    #[test]
    fn digests_depend_on_the_state_alone(steps in prop::collection::vec(step(), 0..60)) {
        let mut pair = Pair::new();
        let mut digests = BTreeMap::new();
        for step in &steps {
            pair.run(step);
            let id = pair.replica.snapshot_begin();
            let loaded = Replica::load(&take(&mut pair.replica, id, 4096)).unwrap();
            prop_assert_eq!(loaded.digest(), pair.replica.digest());
            prop_assert_eq!(&loaded, &pair.replica);
            let state = format!("{:?}", (&pair.model.nodes, &pair.model.sessions));
            let before = digests.insert(pair.replica.digest(), state.clone());
            prop_assert!(before.is_none_or(|before| before == state));
        }
    }

    /// Several snapshots open at once, steps of a few bytes, writes in between, cursors
    /// cancelled at will.
    #[test]
    fn a_snapshot_holds_the_state_of_its_beginning(
        steps in prop::collection::vec((step(), 0u8..8, 1usize..300), 0..80),
    ) {
        let mut pair = Pair::new();
        let mut taking: Vec<Taking> = Vec::new();
        for (step, what, bytes_max) in &steps {
            pair.run(step);
            match what {
                0 | 1 => taking.push(Taking {
                    id: pair.replica.snapshot_begin(),
                    body: Vec::new(),
                    expected: pair.replica.clone(),
                }),
                2 if taking.len() > 1 => {
                    let cancelled = taking.remove(0);
                    pair.replica.snapshot_cancel(cancelled.id);
                }
                _ => {}
            }
            let mut open = Vec::new();
            for mut one in taking {
                let (chunk, done) = pair.replica.snapshot_next(one.id, *bytes_max);
                prop_assert!(!chunk.is_empty() && chunk.len() <= *bytes_max);
                one.body.extend_from_slice(&chunk);
                if done {
                    prop_assert_eq!(&Replica::load(&one.body).unwrap(), &one.expected);
                } else {
                    open.push(one);
                }
            }
            taking = open;
        }
        for mut one in taking {
            one.body.extend(take(&mut pair.replica, one.id, 50));
            prop_assert_eq!(&Replica::load(&one.body).unwrap(), &one.expected);
        }
        prop_assert_eq!(pair.replica.snapshots_open(), 0);
        pair.check();
    }

    #[test]
    fn a_body_may_come_in_pieces_of_any_size(
        steps in prop::collection::vec(step(), 0..40), piece in 1usize..60,
    ) {
        let mut pair = Pair::new();
        steps.iter().for_each(|step| pair.run(step));
        let id = pair.replica.snapshot_begin();
        let body = take(&mut pair.replica, id, 1000);
        let mut loader = ReplicaLoader::new();
        for piece in body.chunks(piece) {
            loader.feed(piece).unwrap();
        }
        prop_assert_eq!(&loader.finish().unwrap(), &pair.replica);
    }

    /// One flipped byte, a cut, or a tail: never a panic, never another state.
    #[test]
    fn a_damaged_body_is_refused(
        steps in prop::collection::vec(step(), 0..40),
        at in any::<prop::sample::Index>(), flip in 1u8.., cut in any::<prop::sample::Index>(),
    ) {
        let mut pair = Pair::new();
        steps.iter().for_each(|step| pair.run(step));
        let id = pair.replica.snapshot_begin();
        let mut body = take(&mut pair.replica, id, 1000);
        prop_assert!(Replica::load(&body[..cut.index(body.len())]).is_err());
        body.push(0);
        prop_assert!(Replica::load(&body).is_err());
        body.pop();
        let at = at.index(body.len());
        body[at] ^= flip;
        // The zxid is not part of a digest; whoever carries the body names it as well.
        match Replica::load(&body) {
            Err(_) => {}
            Ok(loaded) => prop_assert!(loaded.last_zxid() != pair.replica.last_zxid()),
        }
    }

    #[test]
    fn hostile_bodies_never_panic(bytes: Vec<u8>) {
        let _ = Replica::load(&bytes);
    }
}

fn header(counter: u32, session: i64) -> TxnHeader {
    TxnHeader {
        session: SessionId(session),
        cxid: 1,
        zxid: Zxid::new(Epoch(1), counter),
        time_ms: 5,
    }
}

fn create(path: &str) -> Txn {
    Txn::Create(CreateTxn {
        op: CreateOp::Create,
        path: path.into(),
        data: None,
        acl: Acl::open(),
        ephemeral: false,
        parent_cversion: -1,
    })
}

fn apply(replica: &mut Replica, session: i64, txn: &Txn) -> Result<(), ReplicaError> {
    let header = header(replica.last_zxid().counter() + 1, session);
    replica
        .apply(header.zxid, &txn::encode(&header, txn))
        .map(drop)
}

#[test]
fn the_first_nodes_look_as_in_zookeeper() {
    let replica = Replica::new();
    let stat = |path: &str| replica.tree().get(path).unwrap().stat();
    assert_eq!(stat("/").cversion, -1);
    assert_eq!(stat("").cversion, -1, "the empty path reads the root");
    assert_eq!(stat("/zookeeper").cversion, -2);
    assert_eq!(stat("/zookeeper/quota").cversion, 0);
    let config = stat("/zookeeper/config");
    assert_eq!((config.version, config.aversion), (-1, -1));
}

#[test]
fn a_failed_multi_answers_with_its_results_and_changes_nothing() {
    let mut replica = Replica::new();
    let digest = replica.digest();
    let header = header(1, 1);
    let failed = Txn::Multi(
        [
            0,
            ErrorCode::NoNode.to_wire(),
            ErrorCode::RuntimeInconsistency.to_wire(),
        ]
        .map(|code| Txn::Error { code })
        .into(),
    );
    let applied = replica
        .apply(header.zxid, &txn::encode(&header, &failed))
        .unwrap();
    let errs = [0, -101, -2].map(|err| MultiResult::Error { err });
    assert_eq!(applied.result, Ok(Response::Multi(errs.into())));
    assert_eq!(applied.kind, OpCode::Multi);
    assert!(applied.events.is_empty());
    assert_eq!(replica.digest(), digest);
    assert_eq!(replica.last_zxid(), header.zxid);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let misfits = [
        create("/a/b"),
        create("/zookeeper"),
        create("/"),
        create("a"),
        create("/a/"),
        Txn::Delete { path: "/".into() },
        Txn::Delete {
            path: "/zookeeper/config".into(),
        },
        Txn::Delete { path: "/a".into() },
        Txn::SetData {
            path: "/".into(),
            data: None,
            version: 2,
        },
        Txn::SetAcl {
            path: "/".into(),
            acl: Acl::open(),
            version: 2,
        },
        Txn::Check {
            path: "/".into(),
            version: 3,
        },
        Txn::CloseSession {
            paths: Some(vec!["/zookeeper".into()]),
        },
        Txn::Multi(vec![create("/x"), Txn::Error { code: 0 }]),
        Txn::Multi(vec![Txn::CloseSession { paths: None }]),
    ];
    for txn in misfits {
        let got = apply(&mut Replica::new(), 1, &txn);
        assert!(matches!(got, Err(ReplicaError::Apply(_))), "{txn:?}");
    }
}

#[test]
fn a_payload_of_another_place_or_of_nothing_is_an_error() {
    let mut replica = Replica::new();
    let header = header(2, 1);
    let payload = txn::encode(&header, &create("/a"));
    let got = replica.apply(Zxid::new(Epoch(1), 1), &payload);
    assert!(matches!(got, Err(ReplicaError::Misnumbered { .. })));
    let got = replica.apply(Zxid::new(Epoch(1), 1), b"nonsense");
    assert!(matches!(got, Err(ReplicaError::Txn(_))));
}

#[test]
#[should_panic(expected = "was applied after")]
fn a_gap_in_the_order_is_a_broken_invariant() {
    let header = header(2, 1);
    let payload = txn::encode(&header, &create("/a"));
    let _ = Replica::new().apply(header.zxid, &payload);
}

#[test]
fn closing_a_session_deletes_what_it_lists_and_what_is_left() {
    let mut replica = Replica::new();
    apply(&mut replica, 7, &Txn::CreateSession { timeout_ms: 4000 }).unwrap();
    for path in ["/e1", "/e2", "/e3"] {
        let Txn::Create(mut ephemeral) = create(path) else {
            unreachable!()
        };
        ephemeral.ephemeral = true;
        apply(&mut replica, 7, &Txn::Create(ephemeral)).unwrap();
    }
    let header = header(5, 7);
    let close = Txn::CloseSession {
        paths: Some(vec!["/e2".into()]),
    };
    let applied = replica
        .apply(header.zxid, &txn::encode(&header, &close))
        .unwrap();
    assert_eq!(applied.closed_session, Some(SessionId(7)));
    let deleted: Vec<&str> = applied
        .events
        .iter()
        .filter(|e| e.kind == EventType::NodeDeleted)
        .map(|e| &*e.path)
        .collect();
    assert_eq!(deleted, ["/e2", "/e1", "/e3"]);
    assert_eq!(replica.tree().node_count(), 4);
    assert_eq!(replica.tree().owners().count(), 0);
    assert!(replica.sessions().is_empty());
    // The session's expiry and its own close may both have been proposed.
    apply(&mut replica, 7, &Txn::CloseSession { paths: None }).unwrap();
    let root = replica.tree().get("/").unwrap().stat();
    assert_eq!(root.pzxid, header.zxid);
    assert_eq!(root.cversion, 3 * 2 - 1);
}

#[test]
fn deep_trees_are_no_deeper_for_the_stack() {
    let mut replica = Replica::new();
    let mut path = String::new();
    for _ in 0..3000 {
        path.push_str("/d");
        apply(&mut replica, 1, &create(&path)).unwrap();
    }
    let id = replica.snapshot_begin();
    let loaded = Replica::load(&take(&mut replica, id, 1 << 20)).unwrap();
    assert_eq!(loaded, replica);
    while !path.is_empty() {
        let delete = Txn::Delete {
            path: path.as_str().into(),
        };
        apply(&mut replica, 1, &delete).unwrap();
        path.truncate(path.len() - 2);
    }
    assert_eq!(replica.tree().node_count(), 4);
}

#[test]
fn writes_during_a_snapshot_cost_memory_only_ahead_of_it() {
    let mut replica = Replica::new();
    for i in 0..100 {
        apply(&mut replica, 1, &create(&format!("/n{i:03}"))).unwrap();
    }
    let id = replica.snapshot_begin();
    // Everything that comes after the beginning stays out, also in a step that meets
    // nothing else.
    for i in 0..5000 {
        apply(&mut replica, 1, &create(&format!("/zz{i:05}"))).unwrap();
    }
    let body = take(&mut replica, id, 4096);
    let loaded = Replica::load(&body).unwrap();
    assert_eq!(loaded.tree().node_count(), 104);
    assert!(body.len() < 20_000, "{} bytes", body.len());
}

#[test]
fn bodies_of_other_formats_are_told() {
    let mut replica = Replica::new();
    let id = replica.snapshot_begin();
    let mut body = take(&mut replica, id, 1 << 16);
    body[12] = 9; // The version's last byte.
    assert_eq!(Replica::load(&body), Err(SnapshotError::Version(9)));
    body[5] = 0;
    assert_eq!(Replica::load(&body), Err(SnapshotError::NotASnapshot));
    assert_eq!(Replica::load(b""), Err(SnapshotError::Cut));
    let huge = [0x7f, 0xff, 0xff, 0xff, 1];
    assert_eq!(
        Replica::load(&huge),
        Err(SnapshotError::RecordLength(0x7fff_ffff))
    );
}
