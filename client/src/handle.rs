//! The async face of a session: what an application holds.
//!
//! A handle sends commands to the session's driver and waits for outcomes; it holds no state
//! of the session. Handles are cheap to clone. Requests take effect in the order in which
//! [`Client::send`] (or the first poll of any other method) handed them over, so a pipeline is
//! a sequence of `send` whose answers are awaited later.

use crate::driver::{Command, Driver};
use crate::error::ClientError;
use crate::limits::COMMANDS_MAX;
use crate::session::{ClientSession, Outcome, SessionConfig, State};
use crate::shared::{Events, Shared};
use crate::tap::Tap;
use bytes::Bytes;
use gamekeeper_core::proto::{
    Acl, CreateMode, CreateOp, CreateRequest, DeleteRequest, ErrorCode, MultiOp, MultiResult,
    Request, Response, SetAclRequest, SetDataRequest, Stat, WatchRequest,
};
use gamekeeper_runtime::Runtime;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Where to connect and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientConfig {
    /// The servers in the order to try them (shuffle it, or every client crowds the first).
    pub servers: Vec<SocketAddr>,
    /// The session timeout to ask for, milliseconds.
    pub timeout_ms: u32,
    /// Pause after every server was tried once and none answered, milliseconds.
    pub rest_ms: u32,
}

/// A session's handle. When the last clone is dropped the session is left to expire; use
/// [`Client::close`] to end it properly.
#[derive(Clone, Debug)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

/// A request handed over and not yet answered.
#[derive(Debug)]
pub struct InFlight {
    answer: oneshot::Receiver<Outcome>,
    shared: Arc<Shared>,
}

impl InFlight {
    /// The header's zxid and the answer.
    ///
    /// # Errors
    ///
    /// Whatever [`ClientError`] says; only `ConnectionLoss` leaves the outcome open.
    pub async fn outcome(self) -> Outcome {
        match self.answer.await {
            Ok(outcome) => outcome,
            // The driver ended before it took the command.
            Err(_) => Err(self.shared.state().refusal()),
        }
    }
}

/// What a request with a different answer than its own kind is told. Cannot happen: the
/// session decodes an answer by its request.
fn mismatch(response: Response) -> ! {
    unreachable!("answer of another kind: {response:?}")
}

impl Client {
    /// Opens a session: spawns its driver, which begins to connect at once.
    ///
    /// # Panics
    ///
    /// When there is no server in the configuration.
    pub fn open<R: Runtime, T: Tap>(rt: &R, config: ClientConfig, tap: T) -> (Client, Events) {
        let session = ClientSession::new(SessionConfig {
            servers: config.servers.len(),
            timeout_ms: config.timeout_ms,
            rest_ms: config.rest_ms,
        });
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let shared = Shared::new();
        let driver = Driver::new(
            rt.clone(),
            config.servers,
            session,
            tap,
            receiver,
            shared.clone(),
        );
        rt.spawn("client", driver.run());
        let events = Events {
            shared: shared.clone(),
        };
        (Client { commands, shared }, events)
    }

    /// Where the session stands.
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// Waits until the session is attached, or over.
    pub async fn ready(&self) -> State {
        self.shared
            .wait_state(|state| matches!(state, State::Connected { .. }))
            .await
    }

    /// Hands a request over and returns without waiting for its answer.
    ///
    /// # Errors
    ///
    /// The session is over; nothing was sent.
    pub async fn send(&self, request: Request) -> Result<InFlight, ClientError> {
        let (answer, receiver) = oneshot::channel();
        self.command(Command::Submit { request, answer }).await?;
        Ok(InFlight {
            answer: receiver,
            shared: self.shared.clone(),
        })
    }

    async fn command(&self, command: Command) -> Result<(), ClientError> {
        let sent = self.commands.send(command).await;
        sent.map_err(|_| self.shared.state().refusal())
    }

    /// Sends any request and waits for its answer.
    ///
    /// # Errors
    ///
    /// Whatever [`ClientError`] says; only `ConnectionLoss` leaves the outcome open.
    pub async fn submit(&self, request: Request) -> Outcome {
        self.send(request).await?.outcome().await
    }

    async fn ask(&self, request: Request) -> Result<Response, ClientError> {
        Ok(self.submit(request).await?.1)
    }

    /// Adds a credential to this and every later connection of the session, and waits for
    /// the first answer.
    ///
    /// # Errors
    ///
    /// `Server(AuthFailed)` when it is refused, which also ends the session's use; other
    /// errors when the session ends first.
    pub async fn add_auth(
        &self,
        scheme: &str,
        secret: impl Into<Bytes>,
    ) -> Result<(), ClientError> {
        let (answer, receiver) = oneshot::channel();
        let (scheme, secret) = (scheme.to_owned(), secret.into());
        let command = Command::AddAuth {
            scheme,
            secret,
            answer,
        };
        self.command(command).await?;
        match receiver.await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.shared.state().refusal()),
        }
    }

    /// Leaves the server for the next of the list and takes the session along. What is
    /// unanswered then is lost, as if the connection had broken; without a connection
    /// nothing happens. [`Client::ready`] may speak of the old connection until the driver
    /// has acted.
    ///
    /// # Errors
    ///
    /// The session is over.
    pub async fn move_on(&self) -> Result<(), ClientError> {
        self.command(Command::MoveOn).await
    }

    /// Closes the session at the server, behind everything handed over before.
    ///
    /// # Errors
    ///
    /// `ConnectionLoss` when the answer never came, `Closed` when there was no connection to
    /// ask on: in both cases the session is left, and ends by expiry at the latest.
    pub async fn close(&self) -> Result<(), ClientError> {
        let (answer, receiver) = oneshot::channel();
        self.command(Command::Close { answer }).await?;
        let outcome = receiver.await;
        outcome.unwrap_or(Err(ClientError::Closed)).map(|_| ())
    }
}

/// ZooKeeper's operations, one method each. All fail as [`Client::submit`] does.
impl Client {
    /// Creates a node; its path, with the sequence number if it has one.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn create(
        &self,
        path: &str,
        data: impl Into<Bytes>,
        mode: CreateMode,
        acl: Vec<Acl>,
    ) -> Result<Arc<str>, ClientError> {
        let request = create(CreateOp::Create, path, data.into(), mode, acl);
        match self.ask(request).await? {
            Response::Create { path } => Ok(path),
            other => mismatch(other),
        }
    }

    /// Creates a node; its path, with the sequence number if it has one, and its stat.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn create2(
        &self,
        path: &str,
        data: impl Into<Bytes>,
        mode: CreateMode,
        acl: Vec<Acl>,
    ) -> Result<(Arc<str>, Stat), ClientError> {
        let request = create(CreateOp::Create2, path, data.into(), mode, acl);
        match self.ask(request).await? {
            Response::Create2 { path, stat } => Ok((path, stat)),
            other => mismatch(other),
        }
    }

    /// Deletes a node of this version (-1: any).
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn delete(&self, path: &str, version: i32) -> Result<(), ClientError> {
        let path = path.into();
        let request = Request::Delete(DeleteRequest { path, version });
        self.ask(request).await.map(drop)
    }

    /// The stat of a node, `None` when there is none.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn exists(&self, path: &str, watch: bool) -> Result<Option<Stat>, ClientError> {
        match self.ask(Request::Exists(watched(path, watch))).await {
            Ok(Response::Exists { stat }) => Ok(Some(stat)),
            Ok(other) => mismatch(other),
            Err(ClientError::Server(ErrorCode::NoNode)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A node's data (which may be null) and stat.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn get(&self, path: &str, watch: bool) -> Result<(Option<Bytes>, Stat), ClientError> {
        match self.ask(Request::GetData(watched(path, watch))).await? {
            Response::GetData { data, stat } => Ok((data, stat)),
            other => mismatch(other),
        }
    }

    /// Replaces the data of a node of this version (-1: any).
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn set(
        &self,
        path: &str,
        data: impl Into<Bytes>,
        version: i32,
    ) -> Result<Stat, ClientError> {
        let request = Request::SetData(SetDataRequest {
            path: path.into(),
            data: Some(data.into()),
            version,
        });
        match self.ask(request).await? {
            Response::SetData { stat } => Ok(stat),
            other => mismatch(other),
        }
    }

    /// The names of a node's children, in no particular order.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn children(&self, path: &str, watch: bool) -> Result<Vec<String>, ClientError> {
        match self.ask(Request::GetChildren(watched(path, watch))).await? {
            Response::GetChildren { children } => Ok(children),
            other => mismatch(other),
        }
    }

    /// The names of a node's children, in no particular order, and its stat.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn children2(
        &self,
        path: &str,
        watch: bool,
    ) -> Result<(Vec<String>, Stat), ClientError> {
        let request = Request::GetChildren2(watched(path, watch));
        match self.ask(request).await? {
            Response::GetChildren2 { children, stat } => Ok((children, stat)),
            other => mismatch(other),
        }
    }

    /// Brings the server up to everything committed before; the path means nothing.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn sync(&self, path: &str) -> Result<(), ClientError> {
        let path = path.into();
        self.ask(Request::Sync { path }).await.map(drop)
    }

    /// Several writes, all or none. A multi that failed is an `Ok` of error results, as on
    /// the wire.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn multi(&self, ops: Vec<MultiOp>) -> Result<Vec<MultiResult>, ClientError> {
        match self.ask(Request::Multi(ops)).await? {
            Response::Multi(results) => Ok(results),
            other => mismatch(other),
        }
    }

    /// A node's ACL and stat.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn get_acl(&self, path: &str) -> Result<(Vec<Acl>, Stat), ClientError> {
        let path = path.into();
        match self.ask(Request::GetAcl { path }).await? {
            Response::GetAcl { acl, stat } => Ok((acl, stat)),
            other => mismatch(other),
        }
    }

    /// Replaces the ACL of a node of this ACL version (-1: any).
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn set_acl(
        &self,
        path: &str,
        acl: Vec<Acl>,
        version: i32,
    ) -> Result<Stat, ClientError> {
        let request = Request::SetAcl(SetAclRequest {
            path: path.into(),
            acl: Some(acl),
            version,
        });
        match self.ask(request).await? {
            Response::SetAcl { stat } => Ok(stat),
            other => mismatch(other),
        }
    }
}

fn create(op: CreateOp, path: &str, data: Bytes, mode: CreateMode, acl: Vec<Acl>) -> Request {
    Request::Create(CreateRequest {
        op,
        path: path.into(),
        data: Some(data),
        acl: Some(acl),
        flags: mode.flags(),
    })
}

fn watched(path: &str, watch: bool) -> WatchRequest {
    let path = path.into();
    WatchRequest { path, watch }
}
