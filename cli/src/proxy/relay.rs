//! One connection through the proxy: bytes both ways, unchanged, with an ear on them.
//!
//! What a chunk of bytes says is written down before the chunk goes on. So a request stands
//! in the history before its server can have it, an answer before its client can, and what
//! the history says happened earlier did. A half that closes closes the other side's half,
//! an error ends both.

use super::ear::Ear;
use super::ledger::Ledger;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// Bytes carried at a time, each way; also the most that wait in the proxy.
const CHUNK_BYTES: usize = 16 << 10;
/// How long a server is given to take a connection.
const DIAL_WAIT: Duration = Duration::from_secs(5);
/// How long one side may stay when the other has left.
const LINGER: Duration = Duration::from_secs(10);

/// Where a half comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Client,
    Server,
}

/// What both halves of a connection share.
#[derive(Clone)]
struct Line {
    ear: Arc<Mutex<Ear>>,
    ledger: Ledger,
    number: u64,
}

impl Line {
    fn hear(&self, from: Side, bytes: &[u8]) {
        // Held over both, so that the two halves cannot overtake each other.
        let mut ear = self.ear.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = match from {
            Side::Client => ear.from_client(bytes),
            Side::Server => ear.from_server(bytes),
        };
        self.ledger.hear(self.number, heard);
    }
}

/// Carries a client's connection to its server until both are done.
pub(super) async fn relay(client: TcpStream, server: SocketAddr, id: u32, ledger: Ledger) {
    let Ok(Ok(upstream)) = timeout(DIAL_WAIT, TcpStream::connect(server)).await else {
        // Dropping the client tells it what the server would have told.
        return;
    };
    // A socket that cannot do without delay does with it.
    let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
    let number = ledger.begin(id);
    let line = Line {
        ear: Arc::default(),
        ledger: ledger.clone(),
        number,
    };
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), upstream.into_split());
    let there = pump(Side::Client, from_client, to_server, line.clone());
    let back = pump(Side::Server, from_server, to_client, line.clone());
    tokio::pin!(there, back);
    tokio::select! {
        biased;
        done = &mut there => {
            if done.is_ok() {
                // Half closed: the server may still have something to say.
                let _ = timeout(LINGER, back).await;
            }
        }
        done = &mut back => {
            if done.is_ok() {
                let _ = timeout(LINGER, there).await;
            }
        }
    }
    ledger.end(number);
}

/// Carries one half until its source ends.
async fn pump(
    from: Side,
    mut source: OwnedReadHalf,
    mut sink: OwnedWriteHalf,
    line: Line,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match source.read(&mut chunk).await? {
            0 => {
                if from == Side::Server {
                    // What its client still says reaches nobody.
                    line.ledger.end(line.number);
                }
                return sink.shutdown().await;
            }
            n => {
                line.hear(from, &chunk[..n]);
                sink.write_all(&chunk[..n]).await?;
            }
        }
    }
}
