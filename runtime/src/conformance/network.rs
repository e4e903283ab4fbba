//! Connections. `listener` and `dialler` may be one runtime or two hosts of one world;
//! `addr` belongs to the listener and may carry port 0.

use super::both;
use crate::{Listener, Runtime};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Most bytes a connection may swallow while nobody reads. Above the largest socket
/// buffers in use, below what anybody would call unbounded.
const SWALLOWED_BYTES_MAX: usize = 256 << 20;

/// Every case of this page, each on a listener of its own at the same address.
pub async fn all<R: Runtime>(listener: &R, dialler: &R, addr: SocketAddr) {
    what_is_sent_comes_back(listener, dialler, addr).await;
    connections_are_apart(listener, dialler, addr).await;
    bytes_written_before_a_close_arrive(listener, dialler, addr).await;
    waiting_reader_learns_of_a_close(listener, dialler, addr).await;
    writer_learns_of_a_close(listener, dialler, addr).await;
    unread_bytes_hold_the_writer_back(listener, dialler, addr).await;
    nobody_listening_is_an_error(listener, dialler, addr).await;
    address_is_taken_once(listener, addr).await;
}

type Halves<R> = (<R as Runtime>::Read, <R as Runtime>::Write);

/// One connection: the accepted side's halves, the dialling side's halves.
async fn pair<R: Runtime>(listener: &R, dialler: &R, addr: SocketAddr) -> (Halves<R>, Halves<R>) {
    let mut listening = listener.listen(addr).await.expect("listens");
    let addr = listening.local_addr().expect("has an address");
    let (accepted, dialled) = both(listening.accept(), dialler.connect(addr)).await;
    let (read, write, _from) = accepted.expect("accepts");
    ((read, write), dialled.expect("connects"))
}

/// Bytes of a recognisable order.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// An echo returns small and large messages whole and in order, several in a row.
pub async fn what_is_sent_comes_back<R: Runtime>(listener: &R, dialler: &R, addr: SocketAddr) {
    let ((mut read, mut write), (mut back, mut out)) = pair(listener, dialler, addr).await;
    let echo = async move {
        let mut buffer = vec![0; 4096];
        loop {
            match read.read(&mut buffer).await.expect("reads") {
                0 => return,
                count => write.write_all(&buffer[..count]).await.expect("echoes"),
            }
        }
    };
    let talk = async move {
        for len in [1, 7, 1000, 300_000] {
            let said = pattern(len);
            let mut heard = vec![0; len];
            let (sent, received) = both(out.write_all(&said), back.read_exact(&mut heard)).await;
            sent.expect("sends");
            received.expect("hears");
            assert!(said == heard, "{len} bytes came back changed");
        }
    };
    both(echo, talk).await;
}

/// Two connections of the same listener do not mix.
pub async fn connections_are_apart<R: Runtime>(listener: &R, dialler: &R, addr: SocketAddr) {
    let mut listening = listener.listen(addr).await.expect("listens");
    let addr = listening.local_addr().expect("has an address");
    for said in [*b"one", *b"two"] {
        let (accepted, dialled) = both(listening.accept(), dialler.connect(addr)).await;
        let (mut read, _write, _from) = accepted.expect("accepts");
        let (_back, mut out) = dialled.expect("connects");
        let mut heard = [0; 3];
        let (sent, received) = both(out.write_all(&said), read.read_exact(&mut heard)).await;
        sent.expect("sends");
        received.expect("hears");
        assert_eq!(heard, said);
    }
}

/// Dropping both halves is polite: everything written before arrives, then the end.
pub async fn bytes_written_before_a_close_arrive<R: Runtime>(
    listener: &R,
    dialler: &R,
    addr: SocketAddr,
) {
    let ((read, mut write), (mut back, _out)) = pair(listener, dialler, addr).await;
    let said = pattern(200_000);
    let speak = async {
        write.write_all(&said).await.expect("sends");
        drop((read, write));
    };
    let listen = async {
        let mut heard = Vec::new();
        back.read_to_end(&mut heard)
            .await
            .expect("ends, not breaks");
        heard
    };
    let ((), heard) = both(speak, listen).await;
    assert!(heard == said, "{} of {} bytes", heard.len(), said.len());
}

/// A read that waits ends with 0 bytes when the other side drops its halves.
pub async fn waiting_reader_learns_of_a_close<R: Runtime>(
    listener: &R,
    dialler: &R,
    addr: SocketAddr,
) {
    let (accepted, (mut back, _out)) = pair(listener, dialler, addr).await;
    let leave = async {
        listener.sleep_until(listener.now().mono.plus_ms(5)).await;
        drop(accepted);
    };
    let mut buffer = [0; 16];
    let (count, ()) = both(back.read(&mut buffer), leave).await;
    assert_eq!(count.expect("ends, not breaks"), 0);
}

/// Writing to a connection the other side has dropped fails sooner or later.
pub async fn writer_learns_of_a_close<R: Runtime>(listener: &R, dialler: &R, addr: SocketAddr) {
    let (accepted, (_back, mut out)) = pair(listener, dialler, addr).await;
    drop(accepted);
    while out.write_all(b"anybody there?").await.is_ok() {
        dialler.sleep_until(dialler.now().mono.plus_ms(1)).await;
    }
}

/// A reader that does not read stops the writer; once it reads, everything arrives.
pub async fn unread_bytes_hold_the_writer_back<R: Runtime>(
    listener: &R,
    dialler: &R,
    addr: SocketAddr,
) {
    let ((mut read, _write), (_back, mut out)) = pair(listener, dialler, addr).await;
    let mut swallowed = 0;
    loop {
        let before = swallowed;
        swallowed += write_until_full(&mut out, swallowed).await;
        // What is on its way may still find room over there.
        dialler.sleep_until(dialler.now().mono.plus_ms(30)).await;
        if swallowed == before {
            break;
        }
    }
    let finish = async {
        let last = pattern(100_000);
        out.write_all(&last).await.expect("goes on");
        drop((out, _back));
    };
    let listen = async {
        let mut heard = Vec::new();
        read.read_to_end(&mut heard).await.expect("ends");
        heard
    };
    let ((), heard) = both(finish, listen).await;
    assert_eq!(heard.len(), swallowed + 100_000);
    let (first, last) = heard.split_at(swallowed);
    let in_order = |bytes: &[u8]| bytes.iter().zip(0..).all(|(&b, i)| b == (i % 251) as u8);
    assert!(in_order(first) && in_order(last), "changed on the way");
}

/// Writes the pattern on from `from` until the socket takes no more.
async fn write_until_full(out: &mut (impl AsyncWrite + Unpin), from: usize) -> usize {
    let chunk = pattern(251 * 256);
    let mut written = 0;
    loop {
        assert!(
            from + written < SWALLOWED_BYTES_MAX,
            "nothing holds it back"
        );
        let at = (from + written) % 251;
        let count = poll_fn(|cx| {
            let polled = Pin::new(&mut *out).poll_write(cx, &chunk[at..]);
            Poll::Ready(match polled {
                Poll::Ready(count) => Some(count.expect("writes")),
                Poll::Pending => None,
            })
        })
        .await;
        match count {
            Some(count) => written += count,
            None => return written,
        }
    }
}

/// A host without a listener refuses; a listener that is gone is no listener.
pub async fn nobody_listening_is_an_error<R: Runtime>(listener: &R, dialler: &R, addr: SocketAddr) {
    let listening = listener.listen(addr).await.expect("listens");
    let addr = listening.local_addr().expect("has an address");
    drop(listening);
    assert!(dialler.connect(addr).await.is_err(), "somebody answered");
}

/// Two listeners cannot have one address; once the first is gone it is free.
pub async fn address_is_taken_once<R: Runtime>(listener: &R, addr: SocketAddr) {
    let first = listener.listen(addr).await.expect("listens");
    let addr = first.local_addr().expect("has an address");
    assert!(listener.listen(addr).await.is_err(), "two at one address");
    drop(first);
    listener.listen(addr).await.expect("it is free again");
}
