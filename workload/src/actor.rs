//! One client's life in a workload: opens a session, asks, counts, and opens the next one
//! when the last has ended.
//!
//! The kinds of workload only decide *what* to ask. Whatever the world does to them, an
//! actor goes on until it is told to stop: an error is counted, a lost session replaced by a
//! new client object (a new process of the history), an answer that never comes given up
//! after [`Actor::patience_ms`] by leaving the session.
//!
//! Every draw comes from the actor's own stream, in the order of its own steps.

use crate::alarm::Alarm;
use crate::ask::{self, Mode};
use crate::recorder::Recorder;
use crate::root::Root;
use crate::run::{Server, Stats, Stop};
use crate::spec::WorkloadSpec;
use bytes::Bytes;
use gamekeeper_client::{Client, ClientConfig, ClientError, Events, InFlight, State, Watched};
use gamekeeper_core::base::Zxid;
use gamekeeper_core::proto::{Request, Response};
use gamekeeper_runtime::Runtime;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// How a request ended.
pub(crate) type Outcome = Result<(Zxid, Response), ClientError>;

/// See the module's head.
pub(crate) struct Actor<R: Runtime> {
    pub(crate) rt: R,
    pub(crate) spec: WorkloadSpec,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) stats: Stats,
    /// Which client of the workload; part of every name and value it makes.
    pub(crate) index: u32,
    root: Root,
    servers: Vec<Server>,
    recorder: Recorder,
    stop: Stop,
    session: Option<(Client, Events)>,
    alarm: Alarm<R>,
    serial: u64,
    ops: u64,
}

impl<R: Runtime> Actor<R> {
    pub(crate) fn new(
        rt: R,
        spec: WorkloadSpec,
        index: u32,
        servers: Vec<Server>,
        rng: ChaCha8Rng,
        recorder: Recorder,
        stop: Stop,
    ) -> Actor<R> {
        Actor {
            alarm: Alarm::new(rt.clone()),
            rt,
            spec,
            rng,
            stats: Stats::default(),
            index,
            root: Root::default(),
            servers,
            recorder,
            stop,
            session: None,
            serial: 0,
            ops: 0,
        }
    }

    /// Keeps the traffic below a folder of the tree.
    pub(crate) fn stay_below(&mut self, root: Root) {
        self.root = root;
    }

    /// False once the actor has to come home.
    pub(crate) fn on_duty(&self) -> bool {
        let spent = self.spec.ops_max > 0 && self.ops >= self.spec.ops_max;
        !spent && !self.stop.is_set()
    }

    /// How long an answer is waited for, milliseconds. Longer than a session can be silent,
    /// so that only a server that answers pings and nothing else is left this way.
    fn patience_ms(&self) -> u64 {
        u64::from(self.spec.timeout_ms) * 4
    }

    /// Pauses as the specification says, and now and then moves to another server: what was
    /// seen at the one must still hold at the next (GEN-zxid-ahead, CH-116690).
    pub(crate) async fn think(&mut self) {
        let (low, high) = (self.spec.think_ms_min, self.spec.think_ms_max);
        // To the microsecond, so that actors do not march in step.
        let us = self
            .rng
            .random_range(u64::from(low) * 1000..=u64::from(high) * 1000);
        let at = self.rt.now().mono + std::time::Duration::from_micros(us.max(1));
        self.rt.sleep_until(at).await;
        let roams =
            self.spec.roam_permille > 0 && self.rng.random_range(0..1000) < self.spec.roam_permille;
        if roams && let Some((client, _)) = &self.session {
            // A session that is over is replaced by whoever asks next.
            let _over = client.move_on().await;
        }
    }

    /// A number nobody else in this client's life gets.
    pub(crate) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// A value nobody else writes in this run: workload, client, serial, then filler up to a
    /// drawn length.
    pub(crate) fn value(&mut self) -> Bytes {
        let serial = self.serial();
        let label = format!("{:?}-{}-{serial}", self.spec.kind, self.index);
        let longest = (self.spec.value_bytes_max as usize).max(label.len());
        let length = self.rng.random_range(label.len()..=longest);
        let mut value = label.into_bytes();
        value.resize(length, b'.');
        Bytes::from(value)
    }

    /// True with a chance of `percent` in a hundred.
    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    /// One of the shared keys.
    pub(crate) fn key(&mut self) -> u32 {
        self.rng.random_range(0..self.spec.keys)
    }

    /// The session in use, opening a new one when there is none or the last has ended.
    /// `None` when it is not attached yet: think, and come again.
    pub(crate) async fn attached(&mut self) -> Option<Client> {
        if self
            .session
            .as_ref()
            .is_none_or(|(c, _)| c.state().is_over())
        {
            self.open();
        }
        let (client, _) = self.session.as_ref()?;
        let client = client.clone();
        let wait = u64::from(self.spec.timeout_ms).min(ATTACH_WAIT_MS);
        let state = self.alarm.limit(wait, client.ready()).await?;
        matches!(state, State::Connected { .. }).then_some(client)
    }

    /// Opens a new client object, leaving the old one (if any) to its fate.
    pub(crate) fn open(&mut self) {
        self.servers.shuffle(&mut self.rng);
        let config = ClientConfig {
            servers: self.servers.iter().map(|s| s.addr).collect(),
            timeout_ms: self.spec.timeout_ms,
            rest_ms: self.rng.random_range(REST_MS_MIN..=REST_MS_MAX),
        };
        let tap = self
            .recorder
            .scribe(self.servers.iter().map(|s| s.id).collect());
        self.stats.sessions += 1;
        self.session = Some(Client::open(&self.rt, config, tap));
    }

    /// Leaves the session without a word; it will expire by itself.
    pub(crate) fn abandon(&mut self) {
        self.session = None;
    }

    /// Closes the session, if there is one, waiting a bounded time for the answer.
    pub(crate) async fn close(&mut self) {
        if let Some((client, _)) = self.session.take() {
            let patience = self.patience_ms();
            let _ = self.alarm.limit(patience, client.close()).await;
        }
    }

    /// Closes the session right behind requests whose answers are not waited for.
    pub(crate) async fn close_behind(&mut self, requests: Vec<Request>) {
        let Some(client) = self.attached().await else {
            return;
        };
        let mut flights = Vec::new();
        for request in requests {
            if let Ok(flight) = client.send(self.root.outward(request)).await {
                flights.push(flight);
            }
        }
        self.close().await;
        let patience = self.patience_ms();
        for flight in flights {
            let outcome = self.alarm.limit(patience, flight.outcome()).await;
            self.stats
                .count(&outcome.unwrap_or(Err(ClientError::ConnectionLoss)));
        }
    }

    /// Asks until there is a definite answer, whatever it says, or the actor is off duty. Only
    /// for what may safely be asked twice.
    pub(crate) async fn settle(&mut self, request: Request) {
        while self.on_duty() {
            match self.ask(request.clone()).await {
                Some(Ok(_) | Err(ClientError::Server(_))) => return,
                Some(Err(_)) | None => self.think().await,
            }
        }
    }

    /// Makes sure that these nodes exist, parents first.
    pub(crate) async fn ensure(&mut self, paths: &[String]) {
        for path in paths {
            self.settle(ask::create(path, Bytes::new(), Mode::Persistent))
                .await;
        }
    }

    /// Asks one thing and waits for the answer. `None`: there is no session to ask with, or
    /// it was given up.
    pub(crate) async fn ask(&mut self, request: Request) -> Option<Outcome> {
        self.ask_all(vec![request]).await.pop()
    }

    /// Asks several things without waiting in between; the outcomes in the same order. Fewer
    /// (or no) outcomes when the session ended or was given up in between.
    pub(crate) async fn ask_all(&mut self, requests: Vec<Request>) -> Vec<Outcome> {
        let Some(client) = self.attached().await else {
            return Vec::new();
        };
        let mut flights: Vec<InFlight> = Vec::with_capacity(requests.len());
        for request in requests {
            match client.send(self.root.outward(request)).await {
                Ok(flight) => flights.push(flight),
                Err(_) => break,
            }
            self.ops += 1;
        }
        let mut outcomes = Vec::with_capacity(flights.len());
        let mut waiting = flights.len() as u64;
        for flight in flights {
            let patience = self.patience_ms();
            let Some(outcome) = self.alarm.limit(patience, flight.outcome()).await else {
                tracing::warn!(kind = ?self.spec.kind, index = self.index, "gave a session up");
                self.stats.given_up += 1;
                self.stats.unknown += waiting;
                self.abandon();
                break;
            };
            waiting -= 1;
            self.stats.count(&outcome);
            let inward = |(zxid, response)| (zxid, self.root.inward(response));
            outcomes.push(outcome.map(inward));
        }
        outcomes
    }

    /// Adds a digest identity to the session.
    pub(crate) async fn identify(&mut self, user: &str, password: &str) {
        if let Some(client) = self.attached().await {
            let secret = Bytes::from(format!("{user}:{password}"));
            let patience = self.patience_ms();
            // A lost answer changes nothing: the session repeats its credentials by itself.
            let _ = self
                .alarm
                .limit(patience, client.add_auth("digest", secret))
                .await;
        }
    }

    /// The next watch event, waited for at most so many milliseconds.
    pub(crate) async fn event(&mut self, ms: u64) -> Option<Watched> {
        let (_, events) = self.session.as_mut()?;
        let event = self.alarm.limit(ms, events.next()).await.flatten()?;
        Some(self.root.inward_event(event))
    }

    /// Throws away the events that have come so far.
    pub(crate) async fn drain_events(&mut self) {
        if let Some((_, events)) = self.session.as_mut() {
            std::future::poll_fn(|cx| {
                while let std::task::Poll::Ready(Some(_)) = events.poll_next(cx) {}
                std::task::Poll::Ready(())
            })
            .await;
        }
    }
}

/// Longest wait for a connection between two looks at the stop signal, milliseconds.
const ATTACH_WAIT_MS: u64 = 1000;
/// Shortest pause of a client that has tried every server in vain, milliseconds.
const REST_MS_MIN: u32 = 50;
/// Longest pause of a client that has tried every server in vain, milliseconds.
const REST_MS_MAX: u32 = 500;
