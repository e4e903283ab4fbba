//! A small machine that does what its clients tell it to, and the servers it runs in.
//!
//! The machine asserts what the shell promises: nothing of a connection after its end, no
//! frame of a paused client, an end told at most once.

#![allow(dead_code)] // each test binary uses its part

use bytes::Bytes;
use gamekeeper_core::base::{
    ConnId, DiskDone, DiskLane, DiskOp, DiskRequest, DiskToken, DiskValue, Event, LinkId, Mono,
    Now, ServerId,
};
use gamekeeper_core::peer::{Input, Machine, Outbox, Output};
use gamekeeper_core::zab::LinkKind;
use gamekeeper_runtime::{Runtime, TokioRuntime};
use gamekeeper_server::{Flow, Halted, Observer, ServeError, ShellConfig, serve};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub const CLUSTER: u64 = 0x200;

/// Does what clients say; tells the test of everything else.
pub struct Puppet {
    notes: mpsc::UnboundedSender<String>,
    clients: BTreeSet<ConnId>,
    paused: BTreeSet<ConnId>,
    links: BTreeMap<LinkId, Option<ServerId>>,
    dialled: u64,
    alarm: Option<(Mono, ConnId)>,
    reader: Option<ConnId>,
    ignored: usize,
}

impl Puppet {
    fn new(notes: mpsc::UnboundedSender<String>) -> Puppet {
        Puppet {
            notes,
            clients: BTreeSet::new(),
            paused: BTreeSet::new(),
            links: BTreeMap::new(),
            dialled: 0,
            alarm: None,
            reader: None,
            ignored: 0,
        }
    }

    fn note(&self, note: String) {
        let _ = self.notes.send(note);
    }

    fn obey(&mut self, now: Now, conn: ConnId, frame: Bytes, out: &mut Outbox) {
        let text = String::from_utf8_lossy(&frame).into_owned();
        let (verb, rest) = text.split_once(' ').unwrap_or((text.as_str(), ""));
        let reply = |text: String| Output::ClientSend {
            conn,
            frame: text.into(),
        };
        match verb {
            "echo" => out.push(Output::ClientSend { conn, frame }),
            "ignore" => self.ignored += frame.len(),
            "ignored" => out.push(reply(self.ignored.to_string())),
            "pause" => {
                self.paused.insert(conn);
                out.push(Output::ClientPause { conn, pause: true });
            }
            "resume" => {
                let conn = ConnId(rest.parse().expect("a number"));
                self.paused.remove(&conn);
                out.push(Output::ClientPause { conn, pause: false });
            }
            "close" => {
                self.clients.remove(&conn);
                out.push(reply("bye".to_string()));
                out.push(Output::ClientClose { conn });
            }
            "flood" => {
                let frame = Bytes::from(vec![b'~'; rest.parse().expect("a length")]);
                out.push(Output::ClientSend { conn, frame });
            }
            "alarm" => {
                let at = now.mono.plus_ms(rest.parse().expect("milliseconds"));
                self.alarm = Some((at, conn));
            }
            "store" => self.store(conn, rest, out),
            "halt" => out.push(Output::Halt {
                reason: rest.to_string(),
            }),
            "dial" => {
                let to = ServerId(rest.parse().expect("a server"));
                self.dial(to, out);
            }
            "hangup" => {
                for (link, _) in std::mem::take(&mut self.links) {
                    out.push(Output::LinkClose { link });
                }
            }
            "shout-and-hangup" => {
                let message = Bytes::from(vec![b'!'; 500_000]);
                for (link, _) in std::mem::take(&mut self.links) {
                    let message = message.clone();
                    let send = Output::LinkSend { link, message };
                    out.extend(std::iter::repeat_n(send, 10));
                    out.push(Output::LinkClose { link });
                }
            }
            "tell" => {
                let message = Bytes::copy_from_slice(rest.as_bytes());
                for (&link, _) in self.links.iter().filter(|(_, peer)| peer.is_some()) {
                    let message = message.clone();
                    out.push(Output::LinkSend { link, message });
                }
            }
            other => panic!("what is {other:?}?"),
        }
    }

    fn dial(&mut self, to: ServerId, out: &mut Outbox) {
        self.dialled += 1;
        let link = LinkId::dialled(self.dialled);
        self.links.insert(link, None);
        let kind = LinkKind::Learner;
        out.push(Output::Dial { link, to, kind });
    }

    fn store(&mut self, conn: ConnId, text: &str, out: &mut Outbox) {
        self.reader = Some(conn);
        let file = "stored".to_string();
        let ops = [
            DiskOp::Create { file: file.clone() },
            DiskOp::Write {
                file: file.clone(),
                offset: 0,
                data: Bytes::copy_from_slice(text.as_bytes()),
            },
            DiskOp::Sync { file: file.clone() },
            DiskOp::Read {
                file,
                offset: 0,
                len: 1000,
            },
        ];
        for (op, token) in ops.into_iter().zip(0..) {
            let (token, lane) = (DiskToken(token), DiskLane::Log);
            out.push(Output::Disk(DiskRequest { token, lane, op }));
        }
    }
}

impl Machine for Puppet {
    fn start(&mut self, _now: Now, out: &mut Outbox) {
        out.push(Output::Event(Event::Probe("started")));
    }

    fn step(&mut self, now: Now, input: Input, out: &mut Outbox) {
        match input {
            Input::Timer => {
                let (at, conn) = self.alarm.take().expect("an alarm was set");
                assert!(at <= now.mono, "rang early");
                let frame = Bytes::from_static(b"rang");
                out.push(Output::ClientSend { conn, frame });
            }
            Input::ClientOpened { conn, addr } => {
                assert!(self.clients.insert(conn), "opened twice");
                self.note(format!("opened {} {addr}", conn.0));
            }
            Input::ClientFrame { conn, frame } => {
                assert!(self.clients.contains(&conn), "a frame after the end");
                assert!(!self.paused.contains(&conn), "a frame in a pause");
                self.obey(now, conn, frame, out);
            }
            Input::ClientClosed { conn } => {
                assert!(self.clients.remove(&conn), "closed twice");
                self.note(format!("closed {}", conn.0));
            }
            Input::LinkUp { link, peer, kind } => {
                let before = self.links.insert(link, Some(peer));
                assert_eq!(before, link.is_dialled().then_some(None), "up twice");
                self.note(format!("up {peer:?} {kind:?}"));
            }
            Input::LinkMessage { link, message } => {
                assert!(matches!(self.links.get(&link), Some(Some(_))), "not up");
                let text = String::from_utf8_lossy(&message);
                match text.len() {
                    0..40 => self.note(format!("told {text}")),
                    long => self.note(format!("told {long} bytes")),
                }
            }
            Input::LinkDown { link } => {
                let peer = self
                    .links
                    .remove(&link)
                    .expect("down twice, or closed before");
                self.note(peer.map_or("down".to_string(), |peer| format!("down {peer:?}")));
            }
            Input::Disk(DiskDone { token, result }) => {
                if let (DiskToken(3), Some(conn)) = (token, self.reader)
                    && let Ok(DiskValue::Bytes(frame)) = result
                {
                    out.push(Output::ClientSend { conn, frame });
                }
            }
            Input::Rejoin => self.note("rejoin".to_string()),
        }
    }

    fn deadline(&self) -> Option<Mono> {
        self.alarm.map(|(at, _)| at)
    }
}

/// Tells the test the addresses, and dies where it is told to.
struct Watch {
    listening: Option<oneshot::Sender<(SocketAddr, Option<SocketAddr>)>>,
    notes: mpsc::UnboundedSender<String>,
    die_at: Option<fn(&Output) -> bool>,
}

impl Observer for Watch {
    fn listening(&mut self, client: SocketAddr, peer: Option<SocketAddr>) {
        if let Some(listening) = self.listening.take() {
            let _ = listening.send((client, peer));
        }
    }

    fn event(&mut self, _now: Now, event: &Event) {
        let _ = self.notes.send(format!("{event:?}"));
    }

    fn before(&mut self, _now: Now, output: &Output) -> Flow {
        match self.die_at {
            Some(here) if here(output) => Flow::Die,
            _ => Flow::Continue,
        }
    }
}

/// A place for a server's directory, removed with it.
pub struct Place(PathBuf);

impl Place {
    pub fn new() -> Place {
        static PLACES: AtomicU32 = AtomicU32::new(0);
        let n = PLACES.fetch_add(1, Ordering::Relaxed);
        let name = format!("gamekeeper-shell-{}-{n}", std::process::id());
        Place(std::env::temp_dir().join(name))
    }

    pub fn dir(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Server `me` with the usual bounds; peers in `peers`.
pub fn config(me: u8, peers: &[(u8, SocketAddr)], place: &Place) -> ShellConfig {
    let peers = peers.iter().map(|&(id, addr)| (ServerId(id), addr));
    let anywhere = loopback(0);
    let (me, peers) = (ServerId(me), peers.collect());
    ShellConfig::new(me, anywhere, anywhere, peers, place.dir(), CLUSTER)
}

/// A running server.
pub struct Server {
    pub client_addr: SocketAddr,
    pub peer_addr: Option<SocketAddr>,
    pub end: JoinHandle<Result<Halted, ServeError>>,
    notes: mpsc::UnboundedReceiver<String>,
}

impl Server {
    pub async fn start(config: ShellConfig) -> Server {
        Server::start_to_die(config, None).await
    }

    /// Its driver dies before the output for which `die_at` is true.
    pub async fn start_to_die(config: ShellConfig, die_at: Option<fn(&Output) -> bool>) -> Server {
        let (notes_in, notes) = mpsc::unbounded_channel();
        let (listening, addrs) = oneshot::channel();
        let watch = Watch {
            listening: Some(listening),
            notes: notes_in.clone(),
            die_at,
        };
        let machine = Puppet::new(notes_in);
        let end = tokio::spawn(serve(TokioRuntime::new(), config, machine, watch));
        let (client_addr, peer_addr) = addrs.await.expect("it starts");
        let mut server = Server {
            client_addr,
            peer_addr,
            end,
            notes,
        };
        server.notes(r#"Probe("started")"#).await;
        server
    }

    /// The machine's next note must be this one.
    pub async fn notes(&mut self, expected: &str) {
        let note = self.notes.recv().await.expect("the server runs");
        assert_eq!(note, expected);
    }

    /// What the machine noted until the server was gone.
    pub async fn rest_of_notes(mut self) -> Vec<String> {
        let mut rest = Vec::new();
        while let Some(note) = self.notes.recv().await {
            rest.push(note);
        }
        rest
    }

    pub async fn client(&mut self, n: u64) -> Wire {
        let wire = Wire::connect(self.client_addr).await;
        self.notes(&format!("opened {n} 127.0.0.1")).await;
        wire
    }
}

/// The bare bytes of a connection.
pub struct Wire {
    pub read: OwnedReadHalf,
    pub write: OwnedWriteHalf,
}

impl Wire {
    pub async fn connect(addr: SocketAddr) -> Wire {
        let (read, write) = TokioRuntime::new().connect(addr).await.expect("connects");
        Wire { read, write }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.write.write_all(bytes).await.expect("sends");
    }

    pub async fn say(&mut self, text: &str) {
        self.send(&framed(text)).await;
    }

    /// The next frame, `None` when the connection is over.
    pub async fn hear(&mut self) -> Option<String> {
        let length = self.read.read_i32().await.ok()?;
        let mut bytes = vec![0; length as usize];
        self.read.read_exact(&mut bytes).await.ok()?;
        Some(String::from_utf8(bytes).expect("text"))
    }

    pub async fn hears(&mut self, expected: &str) {
        assert_eq!(self.hear().await.as_deref(), Some(expected));
    }

    pub async fn is_over(&mut self) {
        assert_eq!(self.hear().await, None);
    }
}

/// A client frame.
pub fn framed(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as i32).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}
