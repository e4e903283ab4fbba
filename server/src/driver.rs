//! The one loop that steps the machine.
//!
//! Each wake goes through the same sources in the same order: bytes left to write, what the
//! connections brought, disk completions, the timer; then every connection that got
//! something is written once. No task and no channel message is spent on a single frame.
//!
//! What always holds:
//! * outputs are carried out in order, all those of one input before the next input;
//! * a connection that was closed, by whomever, is in no table any more: late frames of it
//!   are not fed (ZOOKEEPER-4907), sends to it go nowhere, and its end is told at most once
//!   and never when the machine itself closed it;
//! * no frame of a paused client is fed.

use crate::dial;
use crate::gate::{Keeper, gate};
use crate::hello::Hello;
use crate::line::{Line, Outgoing};
use crate::observe::{Flow, Observer};
use crate::serve::{Halted, Shell};
use crate::wire::{put_client_frame, put_peer_frame, take_client_frame, take_peer_frame};
use bytes::Bytes;
use gamekeeper_core::base::{ConnId, Event, LinkId, Mono, Now, ServerId, earlier};
use gamekeeper_core::peer::{Input, Machine, Outbox, Output};
use gamekeeper_core::zab::LinkKind;
use gamekeeper_runtime::{Disk, Runtime, Timer};
use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::net::IpAddr;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tracing::{debug, error, info};

/// Most rounds of one poll before other tasks may run.
const ROUNDS_MAX: usize = 16;

/// What the tasks of connections bring to the driver.
pub(crate) enum Arrival<W> {
    /// A client was accepted.
    ClientOpened {
        conn: ConnId,
        addr: IpAddr,
        write: W,
        keeper: Keeper,
    },
    /// Whole client frames, headers included.
    ClientFrames { conn: ConnId, frames: Bytes },
    /// A client's reader ended.
    ClientGone { conn: ConnId },
    /// A link was introduced. Of a dialled one the driver holds the keeper already.
    LinkUp {
        link: LinkId,
        peer: ServerId,
        kind: LinkKind,
        write: W,
        keeper: Option<Keeper>,
    },
    /// Whole peer frames, headers included, checksums verified.
    LinkFrames { link: LinkId, frames: Bytes },
    /// A link's reader ended, or its dial failed.
    LinkGone { link: LinkId },
}

/// A connection by either kind of number.
#[derive(Clone, Copy, Debug)]
enum LineId {
    Client(ConnId),
    Link(LinkId),
}

struct Client<W> {
    line: Line<W>,
    paused: bool,
    /// What was read before the pause reached the reader. Bounded by the arrival channel,
    /// since a paused reader reads no more.
    held: VecDeque<Bytes>,
}

struct Link<W> {
    line: Line<W>,
    /// Frames sent so far.
    sequence: u64,
}

/// A closed connection that still has something to say, and until when it may.
struct Lingering<W> {
    outgoing: Outgoing<W>,
    until: Mono,
}

enum End {
    Halted(Halted),
    Died,
}

/// Steps the machine and carries out what it says.
pub(crate) struct Driver<R: Runtime, M, O> {
    shell: Shell<R>,
    disk: R::Disk,
    timer: R::Timer,
    /// When the timer rings. Never later than the next deadline; ringing early costs a look,
    /// arming for each deadline that moves away would cost more.
    armed: Option<Mono>,
    /// What the machine last said, asked again only after it was stepped.
    deadline: Option<Mono>,
    stepped: bool,
    machine: M,
    observer: O,
    arrivals: mpsc::Receiver<Arrival<R::Write>>,
    clients: BTreeMap<ConnId, Client<R::Write>>,
    links: BTreeMap<LinkId, Link<R::Write>>,
    dialling: BTreeMap<LinkId, Keeper>,
    lingering: VecDeque<Lingering<R::Write>>,
    /// Lines with bytes staged in this round.
    staged: Vec<LineId>,
    /// Lines whose socket was full.
    blocked: Vec<LineId>,
    /// Clients that may go on and have frames held.
    resumed: Vec<ConnId>,
    /// Connections the driver itself had to give up, not yet told.
    losses: Vec<Input>,
    inbox: Vec<Arrival<R::Write>>,
    outbox: Outbox,
    /// Inputs stepped in this poll.
    steps: u64,
    started: bool,
    end: Option<End>,
}

impl<R: Runtime, M: Machine, O: Observer> Driver<R, M, O> {
    pub(crate) fn new(
        shell: Shell<R>,
        disk: R::Disk,
        machine: M,
        observer: O,
        arrivals: mpsc::Receiver<Arrival<R::Write>>,
    ) -> Driver<R, M, O> {
        assert!(shell.config.drain_max > 0, "a driver that takes nothing");
        Driver {
            timer: shell.runtime.timer(),
            shell,
            disk,
            armed: None,
            deadline: None,
            stepped: true,
            machine,
            observer,
            arrivals,
            clients: BTreeMap::new(),
            links: BTreeMap::new(),
            dialling: BTreeMap::new(),
            lingering: VecDeque::new(),
            staged: Vec::new(),
            blocked: Vec::new(),
            resumed: Vec::new(),
            losses: Vec::new(),
            inbox: Vec::new(),
            outbox: Outbox::new(),
            steps: 0,
            started: false,
            end: None,
        }
    }

    /// Goes on until there is nothing to do; ready when the machine halted.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Halted> {
        if self.end.is_none() {
            self.write_on(cx);
            self.rounds(cx);
            if self.steps > 0 {
                self.observer.stepped(mem::take(&mut self.steps));
            }
        }
        match &self.end {
            Some(End::Halted(halted)) => Poll::Ready(halted.clone()),
            Some(End::Died) | None => Poll::Pending,
        }
    }

    /// Rounds until one of them found nothing. A source that may hold more than it gave
    /// ends the poll: others run, and a crash may fall, before it is asked again.
    fn rounds(&mut self, cx: &mut Context<'_>) {
        for _ in 0..ROUNDS_MAX {
            let steps_before = self.steps;
            let now = self.shell.runtime.now();
            self.start(now);
            self.take_losses(now);
            self.take_resumed(now);
            let mut more = self.take_arrivals(now, cx);
            more |= self.take_completions(now, cx);
            more |= self.take_alarm(cx);
            self.flush(cx);
            if self.end.is_some() {
                return;
            }
            if more {
                break;
            }
            if self.steps == steps_before && self.losses.is_empty() {
                return;
            }
        }
        cx.waker().wake_by_ref();
    }

    fn start(&mut self, now: Now) {
        if mem::replace(&mut self.started, true) {
            return;
        }
        let mut outbox = mem::take(&mut self.outbox);
        self.machine.start(now, &mut outbox);
        self.carry_out_all(now, outbox);
        if self.shell.config.rejoin {
            self.step(now, Input::Rejoin);
        }
        self.steps += 1;
    }

    fn take_losses(&mut self, now: Now) {
        for loss in mem::take(&mut self.losses) {
            self.step(now, loss);
        }
    }

    fn take_resumed(&mut self, now: Now) {
        for conn in mem::take(&mut self.resumed) {
            while let Some(batch) = self.held_batch(conn) {
                self.feed_client(now, conn, batch);
            }
        }
    }

    fn held_batch(&mut self, conn: ConnId) -> Option<Bytes> {
        let client = self.clients.get_mut(&conn)?;
        if client.paused || self.end.is_some() {
            return None;
        }
        client.held.pop_front()
    }

    fn take_arrivals(&mut self, now: Now, cx: &mut Context<'_>) -> bool {
        let drain_max = self.shell.config.drain_max;
        let mut inbox = mem::take(&mut self.inbox);
        let polled = self.arrivals.poll_recv_many(cx, &mut inbox, drain_max);
        for arrival in inbox.drain(..) {
            self.arrive(now, arrival);
        }
        self.inbox = inbox;
        matches!(polled, Poll::Ready(count) if count == drain_max)
    }

    fn take_completions(&mut self, now: Now, cx: &mut Context<'_>) -> bool {
        for _ in 0..self.shell.config.drain_max {
            match self.disk.poll_done(cx) {
                Poll::Ready(done) => self.step(now, Input::Disk(done)),
                Poll::Pending => return false,
            }
        }
        true
    }

    fn take_alarm(&mut self, cx: &mut Context<'_>) -> bool {
        self.arm();
        if self.timer.poll_due(cx).is_pending() {
            return false;
        }
        self.armed = None;
        let now = self.shell.runtime.now();
        self.lingering.retain(|line| line.until > now.mono);
        if self.deadline.is_some_and(|at| at <= now.mono) {
            self.step(now, Input::Timer);
        }
        true
    }

    fn arm(&mut self) {
        if mem::take(&mut self.stepped) {
            self.deadline = self.machine.deadline();
        }
        let linger = self.lingering.front().map(|line| line.until);
        let Some(at) = earlier(self.deadline, linger) else {
            return;
        };
        if self.armed.is_none_or(|armed| at < armed) {
            self.timer.arm(Some(at));
            self.armed = Some(at);
        }
    }

    fn arrive(&mut self, now: Now, arrival: Arrival<R::Write>) {
        match arrival {
            Arrival::ClientOpened {
                conn,
                addr,
                write,
                keeper,
            } => {
                let client = Client {
                    line: Line::new(keeper, write),
                    paused: false,
                    held: VecDeque::new(),
                };
                assert!(
                    self.clients.insert(conn, client).is_none(),
                    "{conn:?} twice"
                );
                self.step(now, Input::ClientOpened { conn, addr });
            }
            Arrival::ClientFrames { conn, frames } => self.client_frames(now, conn, frames),
            Arrival::ClientGone { conn } => {
                // It may have said its last and still listen: what it was answered goes out.
                if let Some(client) = self.clients.remove(&conn) {
                    self.linger(now, client.line);
                    self.step(now, Input::ClientClosed { conn });
                }
            }
            Arrival::LinkUp {
                link,
                peer,
                kind,
                write,
                keeper,
            } => {
                // The machine may have closed the link while it was being dialled.
                let Some(keeper) = keeper.or_else(|| self.dialling.remove(&link)) else {
                    return;
                };
                let up = Link {
                    line: Line::new(keeper, write),
                    sequence: 0,
                };
                assert!(self.links.insert(link, up).is_none(), "{link:?} twice");
                debug!(server = %self.shell.config.me, %peer, ?link, ?kind, "link up");
                self.step(now, Input::LinkUp { link, peer, kind });
            }
            Arrival::LinkFrames { link, frames } => self.link_frames(now, link, frames),
            Arrival::LinkGone { link } => {
                let known = self.links.remove(&link).is_some();
                if self.dialling.remove(&link).is_some() || known {
                    self.step(now, Input::LinkDown { link });
                }
            }
        }
    }

    fn client_frames(&mut self, now: Now, conn: ConnId, batch: Bytes) {
        match self.clients.get_mut(&conn) {
            Some(client) if client.paused || !client.held.is_empty() => {
                client.held.push_back(batch);
            }
            Some(_) => self.feed_client(now, conn, batch),
            None => {}
        }
    }

    /// Feeds a batch until it is through, or its connection is paused or closed by one of
    /// its own frames.
    fn feed_client(&mut self, now: Now, conn: ConnId, mut batch: Bytes) {
        while let Some(client) = self.clients.get_mut(&conn) {
            if client.paused {
                if !batch.is_empty() {
                    client.held.push_front(batch);
                }
                return;
            }
            let Some(frame) = take_client_frame(&mut batch) else {
                return;
            };
            self.step(now, Input::ClientFrame { conn, frame });
        }
    }

    fn link_frames(&mut self, now: Now, link: LinkId, mut batch: Bytes) {
        while self.links.contains_key(&link) {
            let Some(message) = take_peer_frame(&mut batch) else {
                return;
            };
            self.step(now, Input::LinkMessage { link, message });
        }
    }

    fn step(&mut self, now: Now, input: Input) {
        if self.end.is_some() {
            return;
        }
        self.steps += 1;
        self.stepped = true;
        let mut outbox = mem::take(&mut self.outbox);
        self.machine.step(now, input, &mut outbox);
        self.carry_out_all(now, outbox);
    }

    fn carry_out_all(&mut self, now: Now, mut outbox: Outbox) {
        for output in outbox.drain(..) {
            if self.observer.before(now, &output) == Flow::Die {
                self.end = Some(End::Died);
            }
            if self.end.is_some() {
                break;
            }
            self.carry_out(now, output);
        }
        self.outbox = outbox;
    }

    fn carry_out(&mut self, now: Now, output: Output) {
        match output {
            Output::ClientSend { conn, frame } => self.send_client(conn, &frame),
            Output::ClientClose { conn } => {
                self.losses
                    .retain(|loss| *loss != Input::ClientClosed { conn });
                if let Some(client) = self.clients.remove(&conn) {
                    self.linger(now, client.line);
                }
            }
            Output::ClientPause { conn, pause } => self.pause(conn, pause),
            Output::Dial { link, to, kind } => self.dial(link, to, kind),
            Output::LinkSend { link, message } => self.send_link(link, &message),
            Output::LinkClose { link } => {
                // Given up a moment ago, or nobody to dial: not news any more.
                self.losses.retain(|loss| *loss != Input::LinkDown { link });
                self.dialling.remove(&link);
                if let Some(link) = self.links.remove(&link) {
                    self.linger(now, link.line);
                }
            }
            Output::Disk(request) => self.disk.submit(request),
            Output::Event(event) => {
                log(self.shell.config.me, &event);
                self.observer.event(now, &event);
            }
            Output::Halt { reason } => {
                error!(server = %self.shell.config.me, reason, "halted");
                self.end = Some(End::Halted(Halted { reason }));
            }
        }
    }

    fn send_client(&mut self, conn: ConnId, frame: &[u8]) {
        let Some(client) = self.clients.get_mut(&conn) else {
            return;
        };
        if client.line.backlog() > self.shell.config.client_backlog_bytes_max {
            self.lose(LineId::Client(conn), &"it does not read");
        } else if client.line.stage(|out| put_client_frame(out, frame)) {
            self.staged.push(LineId::Client(conn));
        }
    }

    fn send_link(&mut self, link: LinkId, message: &[u8]) {
        let config = &self.shell.config;
        assert!(
            message.len() <= config.peer_frame_bytes_max,
            "a message of {} bytes would be refused at the other end",
            message.len()
        );
        let Some(up) = self.links.get_mut(&link) else {
            return;
        };
        if up.line.backlog() > config.link_backlog_bytes_max {
            self.lose(LineId::Link(link), &"it does not read");
            return;
        }
        let sequence = up.sequence;
        up.sequence += 1;
        if up.line.stage(|out| put_peer_frame(out, sequence, message)) {
            self.staged.push(LineId::Link(link));
        }
    }

    fn pause(&mut self, conn: ConnId, pause: bool) {
        if let Some(client) = self.clients.get_mut(&conn)
            && client.paused != pause
        {
            client.paused = pause;
            client.line.pause(pause);
            if !pause && !client.held.is_empty() {
                self.resumed.push(conn);
            }
        }
    }

    fn dial(&mut self, link: LinkId, to: ServerId, kind: LinkKind) {
        assert!(link.is_dialled(), "accepted links have their own numbers");
        let config = &self.shell.config;
        let Some(&addr) = config.peers.get(&to).filter(|_| to != config.me) else {
            debug!(server = %config.me, peer = %to, "no address to dial");
            self.losses.push(Input::LinkDown { link });
            return;
        };
        let hello = Hello {
            dialled: true,
            cluster_id: config.cluster_id,
            from: config.me,
            to,
            kind,
        };
        let (keeper, gate) = gate();
        assert!(
            self.dialling.insert(link, keeper).is_none() && !self.links.contains_key(&link),
            "{link:?} dialled twice"
        );
        let task = dial::dial(self.shell.clone(), gate, link, hello, addr);
        self.shell.runtime.spawn("dial", task);
    }

    /// Closes a line in the machine's own name: what was staged still goes out, for a while.
    fn linger(&mut self, now: Now, line: Line<R::Write>) {
        if line.backlog() > 0 {
            self.lingering.push_back(Lingering {
                outgoing: line.into_outgoing(),
                until: now.mono.plus_ms(self.shell.config.linger_ms_max),
            });
        }
    }

    /// Gives a connection up; the machine is told in the next round.
    fn lose(&mut self, line: LineId, why: &dyn std::fmt::Display) {
        debug!(server = %self.shell.config.me, ?line, %why, "connection given up");
        let (known, loss) = match line {
            LineId::Client(conn) => (
                self.clients.remove(&conn).is_some(),
                Input::ClientClosed { conn },
            ),
            LineId::Link(link) => (self.links.remove(&link).is_some(), Input::LinkDown { link }),
        };
        assert!(known, "{line:?} was lost before");
        self.losses.push(loss);
    }

    /// Goes on with the lines whose socket was full.
    fn write_on(&mut self, cx: &mut Context<'_>) {
        for line in mem::take(&mut self.blocked) {
            self.write(cx, line);
        }
        self.write_lingering(cx);
    }

    /// Writes what this round staged.
    fn flush(&mut self, cx: &mut Context<'_>) {
        let mut staged = mem::take(&mut self.staged);
        for line in staged.drain(..) {
            self.write(cx, line);
        }
        self.staged = staged;
        self.write_lingering(cx);
    }

    fn write(&mut self, cx: &mut Context<'_>, id: LineId) {
        let line = match id {
            LineId::Client(conn) => self.clients.get_mut(&conn).map(|client| &mut client.line),
            LineId::Link(link) => self.links.get_mut(&link).map(|link| &mut link.line),
        };
        // Listed lines may have been closed since.
        match line.map(|line| line.poll_write(cx)) {
            None | Some(Poll::Ready(Ok(()))) => {}
            Some(Poll::Ready(Err(error))) => self.lose(id, &error),
            Some(Poll::Pending) => self.blocked.push(id),
        }
    }

    fn write_lingering(&mut self, cx: &mut Context<'_>) {
        if !self.lingering.is_empty() {
            let pending = |line: &mut Lingering<_>| line.outgoing.poll_write(cx).is_pending();
            self.lingering.retain_mut(pending);
        }
    }
}

/// The few facts an operator wants to read, and the many a developer may.
fn log(me: ServerId, event: &Event) {
    match event {
        Event::Role(role) => info!(server = %me, ?role, "role"),
        Event::Recovered { .. } | Event::Established { .. } | Event::Truncated { .. } => {
            info!(server = %me, ?event, "event");
        }
        _ => debug!(server = %me, ?event, "event"),
    }
}
