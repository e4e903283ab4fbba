//! Carries one [`ClientSession`] through a world: its connection, its alarm, its callers.
//!
//! One task, one hand-written poll in a fixed order (dial, read, commands, alarm, write) until
//! nothing moves: no `select!`, whose choice would be drawn at random and break replay. All
//! decisions are the session's; this only obeys, and tells the tap before anybody else.

use crate::error::ClientError;
use crate::frame::FrameCutter;
use crate::limits::{OUTSTANDING_MAX, READ_CHUNK_BYTES, READS_PER_WAKE_MAX};
use crate::session::{ClientSession, Input, Outcome, Output, RequestId};
use crate::shared::Shared;
use crate::tap::Tap;
use bytes::{Buf, Bytes, BytesMut};
use gamekeeper_core::base::Mono;
use gamekeeper_core::proto::Request;
use gamekeeper_runtime::{Runtime, Timer};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};

/// From a handle to the driver.
#[derive(Debug)]
pub(crate) enum Command {
    Submit {
        request: Request,
        answer: oneshot::Sender<Outcome>,
    },
    AddAuth {
        scheme: String,
        secret: Bytes,
        answer: oneshot::Sender<Result<(), ClientError>>,
    },
    Close {
        answer: oneshot::Sender<Outcome>,
    },
    MoveOn,
}

/// Who waits for an outcome.
#[derive(Debug)]
enum Waiter {
    Request(oneshot::Sender<Outcome>),
    Auth(oneshot::Sender<Result<(), ClientError>>),
}

type Dial<R> =
    Pin<Box<dyn Future<Output = io::Result<(<R as Runtime>::Read, <R as Runtime>::Write)>> + Send>>;

/// A connection and what is on its way over it.
struct Link<R: Runtime> {
    read: R::Read,
    write: R::Write,
    cutter: FrameCutter,
    unsent: BytesMut,
    /// The stream has ended; frames already cut off it are still to be heard.
    ended: bool,
}

/// See the module's head.
pub(crate) struct Driver<R: Runtime, T: Tap> {
    rt: R,
    servers: Vec<SocketAddr>,
    session: ClientSession,
    tap: T,
    commands: mpsc::Receiver<Command>,
    shared: Arc<Shared>,
    waiters: BTreeMap<RequestId, Waiter>,
    next_id: u64,
    dial: Option<Dial<R>>,
    link: Option<Link<R>>,
    timer: R::Timer,
    armed: Option<Mono>,
    outputs: Vec<Output>,
}

impl<R: Runtime, T: Tap> Driver<R, T> {
    pub(crate) fn new(
        rt: R,
        servers: Vec<SocketAddr>,
        session: ClientSession,
        tap: T,
        commands: mpsc::Receiver<Command>,
        shared: Arc<Shared>,
    ) -> Driver<R, T> {
        Driver {
            timer: rt.timer(),
            armed: None,
            rt,
            servers,
            session,
            tap,
            commands,
            shared,
            waiters: BTreeMap::new(),
            next_id: 0,
            dial: None,
            link: None,
            outputs: Vec::new(),
        }
    }

    /// Runs until the session is over.
    pub(crate) async fn run(mut self) {
        self.step(Input::Start);
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut moved = self.poll_dial(cx);
            moved |= self.poll_read(cx);
            moved |= self.poll_commands(cx);
            moved |= self.poll_timer(cx);
            moved |= self.poll_write(cx);
            if self.session.is_over() {
                return Poll::Ready(());
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    /// Feeds the session and does what it says.
    fn step(&mut self, input: Input) {
        let now = self.rt.now().mono;
        let mut outputs = std::mem::take(&mut self.outputs);
        self.session.step(now, input, &mut outputs);
        for output in outputs.drain(..) {
            self.tap.hear(&output);
            self.obey(output);
        }
        self.outputs = outputs;
        self.rearm();
    }

    /// An alarm that comes too early is harmless, so it is only moved forward: one arming per
    /// third of a session timeout instead of one per request.
    fn rearm(&mut self) {
        let Some(deadline) = self.session.deadline() else {
            return;
        };
        if self.armed.is_none_or(|armed| deadline < armed) {
            self.timer.arm(Some(deadline));
            self.armed = Some(deadline);
        }
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Connect { server } => {
                let (rt, addr) = (self.rt.clone(), self.servers[server]);
                self.dial = Some(Box::pin(async move { rt.connect(addr).await }));
            }
            Output::Send { frame, .. } => {
                let link = self.link.as_mut().expect("sent without a connection");
                link.unsent.extend_from_slice(&frame);
            }
            Output::Drop { server, reason } => {
                tracing::debug!(server = %self.servers[server], ?reason, "connection let go");
                self.dial = None;
                self.link = None;
            }
            Output::Reply {
                id, zxid, result, ..
            } => {
                let outcome = result.map(|r| (zxid, r)).map_err(ClientError::Server);
                self.settle(id, outcome);
            }
            Output::Lost { id, .. } => self.settle(id, Err(ClientError::ConnectionLoss)),
            Output::Refused { id, error } => self.settle(id, Err(error)),
            Output::AuthAnswered { id, error } => {
                if let Some(Waiter::Auth(answer)) = id.and_then(|id| self.waiters.remove(&id)) {
                    // The caller may have stopped waiting; that changes nothing.
                    let _ = answer.send(error.map_or(Ok(()), |e| Err(ClientError::Server(e))));
                }
            }
            Output::Event(event) => self.shared.push_event(event),
            Output::State(state) => self.shared.set_state(state),
            Output::SetWatchesAnswered { .. } | Output::PingAnswered { .. } => {}
        }
    }

    fn settle(&mut self, id: RequestId, outcome: Outcome) {
        // A caller that stopped waiting has dropped its end: nobody to tell.
        match self.waiters.remove(&id) {
            Some(Waiter::Request(answer)) => drop(answer.send(outcome)),
            Some(Waiter::Auth(answer)) => drop(answer.send(outcome.map(|_| ()))),
            None => {}
        }
    }

    fn poll_dial(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(dial) = &mut self.dial else {
            return false;
        };
        let Poll::Ready(dialled) = dial.as_mut().poll(cx) else {
            return false;
        };
        self.dial = None;
        match dialled {
            Ok((read, write)) => {
                self.link = Some(Link {
                    read,
                    write,
                    cutter: FrameCutter::default(),
                    unsent: BytesMut::new(),
                    ended: false,
                });
                self.step(Input::Linked);
            }
            Err(_) => self.step(Input::Disconnected),
        }
        true
    }

    /// Reads, and feeds whole frames as long as their events have room.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        for _ in 0..READS_PER_WAKE_MAX {
            moved |= self.feed_frames(cx);
            let Some(link) = &mut self.link else {
                return moved;
            };
            if link.ended {
                if self.shared.has_room(cx) {
                    self.step(Input::Disconnected);
                    return true;
                }
                return moved;
            }
            let mut chunk = [std::mem::MaybeUninit::uninit(); READ_CHUNK_BYTES];
            let mut chunk = ReadBuf::uninit(&mut chunk);
            match Pin::new(&mut link.read).poll_read(cx, &mut chunk) {
                Poll::Pending => return moved,
                Poll::Ready(Ok(())) if !chunk.filled().is_empty() => {
                    link.cutter.feed(chunk.filled());
                }
                Poll::Ready(Ok(()) | Err(_)) => link.ended = true,
            }
            moved = true;
        }
        moved
    }

    fn feed_frames(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while self.shared.has_room(cx) {
            let Some(link) = &mut self.link else { break };
            match link.cutter.cut() {
                Ok(Some(frame)) => self.step(Input::Frame(frame)),
                Ok(None) => break,
                Err(_) => self.step(Input::Disconnected),
            }
            moved = true;
        }
        moved
    }

    /// Takes commands while the session may have more outstanding.
    fn poll_commands(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while !self.session.is_over() && self.session.outstanding() < OUTSTANDING_MAX {
            let Poll::Ready(command) = self.commands.poll_recv(cx) else {
                break;
            };
            moved = true;
            self.command(command);
        }
        moved
    }

    fn command(&mut self, command: Option<Command>) {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        match command {
            Some(Command::Submit { request, answer }) => {
                self.waiters.insert(id, Waiter::Request(answer));
                self.step(Input::Submit { id, request });
            }
            Some(Command::AddAuth {
                scheme,
                secret,
                answer,
            }) => {
                self.waiters.insert(id, Waiter::Auth(answer));
                self.step(Input::AddAuth { id, scheme, secret });
            }
            Some(Command::Close { answer }) => {
                self.waiters.insert(id, Waiter::Request(answer));
                self.step(Input::Close { id });
            }
            Some(Command::MoveOn) => self.step(Input::MoveOn),
            // The last handle is gone: nobody can close the session any more.
            None => self.step(Input::Abandon),
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let due = self.timer.poll_due(cx).is_ready();
        if due {
            self.armed = None;
            self.step(Input::Timer);
        }
        due
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while let Some(link) = self.link.as_mut().filter(|link| !link.unsent.is_empty()) {
            match Pin::new(&mut link.write).poll_write(cx, &link.unsent) {
                Poll::Pending => break,
                Poll::Ready(Ok(bytes)) if bytes > 0 => link.unsent.advance(bytes),
                Poll::Ready(Ok(_) | Err(_)) => self.step(Input::Disconnected),
            }
            moved = true;
        }
        moved
    }
}
